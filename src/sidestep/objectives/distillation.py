"""Distillation: turns a distribution over items into a distribution over each next code."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.objectives.weighting import mean_over_targets


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrefixRanges:
    """Ranges of the items below each prefix, when items are sorted by semantic ID.

    order: item indices in lexicographic order of their semantic IDs.
    starts: per level l, a matrix with one row per prefix of l codes, of width codes + 1. The items
        below the r-th prefix and code c are at `starts[r, c]` to before `starts[r, c + 1]` of
        `order`.
    prefixes: per level l, the row of each item's prefix of l codes.
    """

    order: Int[Tensor, " items"]
    starts: tuple[Int[Tensor, "_prefixes bounds"], ...]
    prefixes: tuple[Int[Tensor, " items"], ...]

    @staticmethod
    def of(
        semantic_ids: Int[Tensor, "items levels"], codebook_sizes: tuple[int, ...]
    ) -> "PrefixRanges":
        """Sorts the items. Memory grows with prefixes × codes of the deepest level."""
        widest = max(codebook_sizes)
        num_items = semantic_ids.shape[0]
        prefix = torch.zeros(num_items, dtype=torch.long, device=semantic_ids.device)
        prefixes, keys = [], []
        for level in range(semantic_ids.shape[1]):
            prefixes.append(prefix)
            keys.append(prefix * widest + semantic_ids[:, level].long())
            # Ranks of distinct keys ascend in lexicographic order of the prefixes.
            prefix = torch.unique(keys[-1], return_inverse=True)[1]
        order = prefix.argsort(stable=True)
        starts = []
        for row, key in zip(prefixes, keys, strict=True):
            num_prefixes = int(row.max()) + 1
            bounds = torch.arange(num_prefixes, device=key.device)[:, None] * widest
            bounds = bounds + torch.arange(widest + 1, device=key.device)
            starts.append(torch.searchsorted(key[order], bounds))
        return PrefixRanges(order=order, starts=tuple(starts), prefixes=tuple(prefixes))

    def to(self, device: torch.device | str) -> "PrefixRanges":
        """Copies the ranges to `device`."""
        return PrefixRanges(
            order=self.order.to(device),
            starts=tuple(starts.to(device) for starts in self.starts),
            prefixes=tuple(prefixes.to(device) for prefixes in self.prefixes),
        )


def next_code_probs(
    item_probs: Float[Tensor, "targets items"], targets: Int[Tensor, " targets"], at: PrefixRanges
) -> Float[Tensor, "targets levels codes"]:
    """Probability of each code after the target's prefix, under a distribution over items.

        q(c | y_1..y_l) = Σ_{items i below y_1..y_l c} p(i) / Σ_{items i below y_1..y_l} p(i)

    Args:
        item_probs: rows sum to one.
        targets: items whose prefixes are followed.
        at: ranges of the prefixes of the catalog.

    Returns:
        Probabilities, whose rows sum to one; 0 at codes that cannot follow the target's prefix.
    """
    # In float64: a mass is a difference of sums, and the mass of an unlikely prefix is small.
    sums = item_probs[:, at.order].double().cumsum(dim=1)
    sums = torch.nn.functional.pad(sums, (1, 0))
    levels = []
    for starts, prefixes in zip(at.starts, at.prefixes, strict=True):
        masses = sums.gather(1, starts[prefixes[targets]]).diff(dim=1)
        levels.append(shares_of_masses(masses))
    return torch.stack(levels, dim=1)


def next_code_masses(
    item_masses: Float[Tensor, "targets some"],
    codes: Int[Tensor, "some levels"],
    paths: Int[Tensor, "targets levels"],
    num_codes: int,
) -> Float[Tensor, "targets levels codes"]:
    """Sums of the weights of some items below each code that may follow on a target's path.

        m(c | y_1..y_l) = Σ_{items i below y_1..y_l c} w_i

    Only the children of the nodes on the path are summed, so no array has an entry per target and
    node. The sums over several parts of the catalog add up.

    Args:
        item_masses: w, at least 0.
        codes: semantic IDs of the items.
        paths: semantic IDs of the targets.
        num_codes: codes of the widest level.

    Returns:
        Sums in float64.
    """
    rows, items = (paths[:, :1] == codes[:, 0]).nonzero(as_tuple=True)
    masses = pair_masses(item_masses[rows, items], codes[items], rows, paths, num_codes)
    masses[:, 0].index_add_(1, codes[:, 0], item_masses.double())
    return masses


def pair_masses(
    weights: Float[Tensor, " pairs"],
    codes: Int[Tensor, "pairs levels"],
    rows: Int[Tensor, " pairs"],
    paths: Int[Tensor, "targets levels"],
    num_codes: int,
) -> Float[Tensor, "targets levels codes"]:
    """`next_code_masses` of pairs of a target and an item below the target's first code.

    The first level stays 0.

    Args:
        weights: what each item weighs for its target, at least 0.
        codes: semantic IDs of the items.
        rows: the target of each pair, as a row of `paths`.
        paths: semantic IDs of the targets.
        num_codes: codes of the widest level.

    Returns:
        Sums in float64.
    """
    masses = weights.new_zeros(*paths.shape, num_codes, dtype=torch.float64)
    weights = weights.double()
    for level in range(1, paths.shape[1]):
        # Ever fewer pairs of a target and an item share a prefix.
        is_below = codes[:, level - 1] == paths[rows, level - 1]
        weights, codes, rows = weights[is_below], codes[is_below], rows[is_below]
        masses[:, level].index_put_((rows, codes[:, level]), weights, accumulate=True)
    return masses


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SmallNodes:
    """The nodes of a catalog that have few items below, so that all of the items can be scored.

    order: item indices in lexicographic order of their semantic IDs.
    starts: per item, where the items below its small node begin in `order`. The small node of an
        item is the shallowest node on its path, the root aside, with few items below.
    counts: the number of these items; 0 where no node on the path is small.
    depths: the depth of the small node; the number of levels where there is none.
    """

    order: Int[Tensor, " items"]
    starts: Int[Tensor, " items"]
    counts: Int[Tensor, " items"]
    depths: Int[Tensor, " items"]

    @staticmethod
    def of(semantic_ids: Int[Tensor, "items levels"], *, most_items: int) -> "SmallNodes":
        """The nodes with at most so many items below."""
        num_items, num_levels = semantic_ids.shape
        width = int(semantic_ids.max()) + 1
        rank = torch.zeros(num_items, dtype=torch.long, device=semantic_ids.device)
        starts, counts = torch.zeros_like(rank), torch.zeros_like(rank)
        depths = torch.full_like(rank, num_levels)
        for depth in range(1, num_levels + 1):
            # Ranks of prefixes ascend in lexicographic order, and so do the items below them.
            key = rank * width + semantic_ids[:, depth - 1].long()
            _, rank, below = torch.unique(key, return_inverse=True, return_counts=True)
            if depth < num_levels:
                is_small = (counts == 0) & (below[rank] <= most_items)
                starts = torch.where(is_small, (below.cumsum(0) - below)[rank], starts)
                counts = torch.where(is_small, below[rank], counts)
                depths = depths.masked_fill(is_small, depth)
        return SmallNodes(
            order=rank.argsort(stable=True), starts=starts, counts=counts, depths=depths
        )

    def to(self, device: torch.device | str) -> "SmallNodes":
        """Copies the nodes to `device`."""
        return SmallNodes(
            order=self.order.to(device),
            starts=self.starts.to(device),
            counts=self.counts.to(device),
            depths=self.depths.to(device),
        )

    def items_below(
        self, targets: Int[Tensor, " targets"]
    ) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
        """The items below the small node of each target, as pairs of a row and an item."""
        counts = self.counts[targets]
        rows = torch.arange(len(targets), device=targets.device).repeat_interleave(counts)
        places = torch.arange(len(rows), device=targets.device) - (counts.cumsum(0) - counts)[rows]
        return rows, self.order[self.starts[targets][rows] + places]


def shares_of_masses(masses: Float[Tensor, "*batch codes"]) -> Float[Tensor, "*batch codes"]:
    """Masses divided by their sum over the last axis, in float32; 0 where all masses are."""
    total = masses.sum(dim=-1, keepdim=True)
    return (masses / total.clamp(min=torch.finfo(masses.dtype).tiny)).float()


def soft_cross_entropy(
    logits: Float[Tensor, "targets levels codes"],
    probs: Float[Tensor, "targets levels codes"],
    weights: Float[Tensor, " targets"] | None = None,
) -> Float[Tensor, " levels"]:
    """Mean cross-entropy -Σ_c q(c) log softmax(logits)_c of each level, in nats.

    Args:
        logits: -inf past the end of a codebook, where `probs` must be 0.
        probs: the soft targets q.
        weights: weights of the targets, see `mean_over_targets`.
    """
    logs = logits.float().log_softmax(dim=-1)
    # 0 · -inf is NaN, also in the gradient.
    losses = (probs * logs.masked_fill(probs == 0, 0.0)).sum(dim=-1)
    return -mean_over_targets(losses, weights)


def soft_node_losses(
    log_probs: Float[Tensor, "users nodes codes"], targets: Float[Tensor, "users nodes codes"]
) -> Float[Tensor, "users nodes"]:
    """Cross-entropy -Σ_c q(c) log p(c) of the next code at each node, in nats.

    Args:
        log_probs: log p; finite wherever `targets` is.
        targets: log q; -inf at codes that cannot follow. A node without a code that may follow,
            such as a leaf, has a loss of 0.
    """
    # 0 · -inf is NaN, also in the gradient.
    finite = log_probs.masked_fill(targets == -torch.inf, 0.0)
    return -(targets.exp() * finite).sum(dim=-1)
