"""Advantage compression: how little advantages differ between candidates that share a prefix.

Candidates of a search share prefixes, so their rewards hardly differ. Their advantages within the
whole group hardly differ either. Advantages among siblings are scaled anew below every parent.
Source of the claim: V-STAR (arXiv:2602.10699), sec. 1 and 4.3. V-STAR names no measure; the
spreads here are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.objectives.advantages import (
    EPSILON,
    below_parents,
    group_advantages,
    sibling_advantages,
    siblings,
)
from sidestep.objectives.choices import Scaling
from sidestep.objectives.value import is_first_of_prefix, mean_below, shared_prefixes


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionAtDepth:
    """Advantage compression at one depth: means over the parents of that depth.

    depth: number of codes that all candidates below a parent share.
    num_parents: number of prefixes of one user's candidates that have at least two children.
    informative: share of the parents whose children differ in mean reward.
    overlap, group_spread, sibling_spread: see `AdvantageCompression`.
    """

    depth: int
    num_parents: int
    informative: float
    overlap: float
    group_spread: float
    sibling_spread: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdvantageCompression:
    """Spread of the advantages among the children of a prefix.

    Every array has one entry per parent. A parent is a prefix with at least two children.

    depths: number of codes of the parent, 0 for a root.
    overlaps: share of the codes, counted from the first one, that two candidates below the parent
        have in common; mean over pairs of candidates.
    group_spreads: standard deviation over the children of the advantage in the whole group. The
        advantage of a child is the mean over the candidates below the child.
    sibling_spreads: standard deviation over the children of the advantage among siblings. If the
        advantage is scaled by the standard deviation, this spread is 1 wherever mean rewards differ
        and 0 elsewhere.
    """

    depths: Int[np.ndarray, " parents"]
    overlaps: Float[np.ndarray, " parents"]
    group_spreads: Float[np.ndarray, " parents"]
    sibling_spreads: Float[np.ndarray, " parents"]

    @staticmethod
    def joined(parts: "Sequence[AdvantageCompression]") -> "AdvantageCompression":
        """Joins the entries of several batches of users. There must be at least one batch."""
        return AdvantageCompression(
            depths=np.concatenate([part.depths for part in parts]),
            overlaps=np.concatenate([part.overlaps for part in parts]),
            group_spreads=np.concatenate([part.group_spreads for part in parts]),
            sibling_spreads=np.concatenate([part.sibling_spreads for part in parts]),
        )

    @property
    def by_depth(self) -> tuple[CompressionAtDepth, ...]:
        """Means over the parents of each depth; a depth without a parent is left out."""
        found = []
        for depth in np.unique(self.depths):
            here = self.depths == depth
            found.append(
                CompressionAtDepth(
                    depth=int(depth),
                    num_parents=int(here.sum()),
                    informative=float((self.sibling_spreads[here] > EPSILON).mean()),
                    overlap=float(self.overlaps[here].mean()),
                    group_spread=float(self.group_spreads[here].mean()),
                    sibling_spread=float(self.sibling_spreads[here].mean()),
                )
            )
        return tuple(found)


def advantage_compression(
    rewards: Float[Tensor, "users candidates"],
    states: Int[Tensor, "users candidates levels"],
    is_member: Bool[Tensor, "users candidates"],
    *,
    scaling: Scaling = "std",
) -> AdvantageCompression:
    """Measures the spread of group and sibling advantages below every parent of candidate sets.

    Args:
        rewards: one reward per candidate.
        states: states of each candidate's prefixes of 1 to L codes, or any numbers that are equal
            where the prefixes are equal.
        is_member: False at padding, and at candidates outside of the group.
        scaling: how the advantages are scaled.
    """
    shared = shared_prefixes(states, is_member)
    is_first = is_first_of_prefix(shared)
    below, is_sibling = below_parents(shared), siblings(shared, is_first)
    whole = group_advantages(rewards.double(), is_member, scaling=scaling)
    scores = mean_below(rewards.double(), shared)
    among = sibling_advantages(scores, shared, is_first, scaling=scaling)
    num_levels = states.shape[2]
    # One candidate represents each parent, as one candidate represents each prefix.
    stands_for_root = is_member & (is_member.cumsum(dim=1) == 1)
    stands = torch.cat([stands_for_root[..., None], is_first[..., :-1]], dim=2).movedim(2, 1)
    chosen = stands & (is_sibling.sum(dim=3) >= 2)  # [users, levels, candidates]
    levels = torch.arange(num_levels, device=states.device)[:, None].expand_as(chosen)
    overlaps = _mean_over_pairs(below, shared.double().mean(dim=1))
    return AdvantageCompression(
        depths=levels[chosen].cpu().numpy(),
        overlaps=overlaps[chosen].cpu().numpy(),
        group_spreads=_spreads(mean_below(whole, shared), is_sibling)[chosen].cpu().numpy(),
        sibling_spreads=_spreads(among, is_sibling)[chosen].cpu().numpy(),
    )


def _spreads(
    values: Float[Tensor, "users candidates levels"],
    is_sibling: Bool[Tensor, "users levels candidates candidates"],
) -> Float[Tensor, "users levels candidates"]:
    """Population standard deviation of the values over the siblings of each prefix."""
    counts = is_sibling.sum(dim=3).clamp(min=1)
    by_level = values.movedim(2, 1)[:, :, None]
    means = torch.where(is_sibling, by_level, 0.0).sum(dim=3) / counts
    squares = torch.where(is_sibling, (by_level - means[..., None]).square(), 0.0)
    return (squares.sum(dim=3) / counts).sqrt()


def _mean_over_pairs(
    together: Bool[Tensor, "users levels candidates candidates"],
    overlaps: Float[Tensor, "users candidates candidates"],
) -> Float[Tensor, "users levels candidates"]:
    """Mean overlap of two candidates, over the pairs of the set of each candidate.

    The set of a candidate are those for which `together` is True. The mean is 0 for a set of one.
    """
    weights = together.to(overlaps.dtype)
    counts = weights.sum(dim=3)
    with_itself = overlaps.diagonal(dim1=1, dim2=2)[:, None, None]
    sums = (weights @ overlaps[:, None] * weights).sum(dim=3) - (weights * with_itself).sum(dim=3)
    return sums / (counts * (counts - 1)).clamp(min=1)
