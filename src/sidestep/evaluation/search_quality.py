"""Quality of a search: how deep it keeps the target, where it loses the target, what it returns.

The evaluator measures the lists that users get. This module measures the search behind the lists.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.trie import NO_STATE
from sidestep.data.splits import Rows
from sidestep.evaluation.measured import Measured, RowNumbers
from sidestep.evaluation.row_batches import row_batches
from sidestep.evaluation.target_codes import DiagnosedSpace, leaf_diversity, reached, recalled
from sidestep.metrics.prefixes import best_in_set, losses
from sidestep.metrics.statistics import numbered
from sidestep.objectives.semantic_reward import target_cosines
from sidestep.search.policy import SearchPolicy
from sidestep.search.proposals import Proposals, watched
from sidestep.step import StepModel


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAtDepth:
    """Fate of the targets at one depth, as shares of the rows.

    For sets of codes, read "a state of b codes that may still become the target" for the target's
    prefix, and "some b codes" for the first b codes, see `sidestep.evaluation.target_codes`. A way
    that ends early at the target and is not returned was lost where it ended.

    kept: the search went on from the target's prefix; at the last depth, it returned the leaf.
        This share is HRecall@b@k of PROMISE (arXiv:2601.04674, eq. 13) if k prefixes are kept.
    recalled: the target's first b codes are the first b codes of a returned leaf. This share is
        HRecall@b@k of our results.
    dropped: the search lost the target at this depth, although it looked at the target's prefix.
    unproposed: the search lost the target at this depth, because it never looked at the target's
        prefix.
    """

    depth: int
    kept: Measured
    recalled: Measured
    dropped: Measured
    unproposed: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSet:
    """Quality of the leaves that a search returns, as means over rows.

    size: number of leaves.
    diversity: mean over pairs of 1 - LCP / L, see `sidestep.metrics.ranking.diversity`; of sets,
        see `set_diversity` there.
    has_target: whether the target's leaf is among the leaves and the target is available. This is
        the best reward of the set if the reward is an exact match.
    best_cosine: the best reward of the set if the reward is the cosine of embeddings; None without
        embeddings.
    rank: place of the target's leaf, from 1 for the best; only rows count where it is among the
        leaves and the target is available.
    tokens: backbone positions spent after the prompt.
    """

    size: Measured | None
    diversity: Measured | None
    has_target: Measured | None
    best_cosine: Measured | None
    rank: Measured | None
    tokens: Measured | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuality:
    """Quality of one search on some rows.

    score_kind: kind of the score by which the search ranks.
    """

    name: str
    score_kind: str
    num_rows: int
    depths: tuple[SearchAtDepth, ...]
    candidates: CandidateSet

    def as_json(self) -> dict[str, Any]:
        """The quality as plain dictionaries and numbers."""
        return asdict(self)


def search_quality(
    model: StepModel[Any],
    rows: Rows,
    space: DiagnosedSpace,
    policies: Sequence[SearchPolicy],
    *,
    embeddings: Float[Tensor, "items dim"] | None = None,
    batch_size: int = 32,
    max_history: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SearchQuality, ...]:
    """Runs searches on rows and measures them, in the order of the policies.

    Args:
        model: the network that is searched.
        rows: histories and targets.
        space: the items that may be recommended, on the device of the model.
        policies: the searches.
        embeddings: one embedding per item, see `prefix_quality`.
        batch_size: number of rows searched for at once.
        max_history: number of most recent items of a history that are shown; None shows all.
        progress: called after each batch with the number of rows done and the number of all rows.

    Raises:
        ValueError: there are no rows, or not one embedding per item.
    """
    if len(rows) == 0:
        raise ValueError("there are no rows to search for: the split is empty.")
    vectors = None if embeddings is None else LeafEmbeddings.of(embeddings, space)
    users = numbered(rows.histories.user_ids)
    found = [RowNumbers(users) for _ in policies]
    score_kinds = [""] * len(policies)
    for batch in row_batches(
        rows, batch_size, max_history=max_history, device=space.device, progress=progress
    ):
        for place, (policy, of_policy) in enumerate(zip(policies, found, strict=True)):
            with torch.no_grad():
                proposals = watched(policy, model, batch.histories, space)
            score_kinds[place] = proposals.candidates.score_kind
            of_policy.put(batch.rows, _seen(proposals, space, batch.targets, vectors))
    return tuple(
        _summary(policy.name, score_kind, of_policy, space.num_steps)
        for policy, score_kind, of_policy in zip(policies, score_kinds, found, strict=True)
    )


def _seen(
    proposals: Proposals,
    space: DiagnosedSpace,
    targets: Int[Tensor, " users"],
    embeddings: LeafEmbeddings | None,
) -> dict[str, Float[Tensor, "users _"]]:
    """Numbers of each user, by kind: one number per user, or one per user and depth."""
    own = space.state_of(targets)[:, None]
    leaves, tokens = proposals.candidates.leaves, proposals.candidates.spent.tokens
    is_leaf = leaves != NO_STATE
    is_kept = reached(proposals.kept, targets, space)
    lost = losses(reached(proposals.proposed, targets, space), is_kept)
    is_available = (space.items(own)[:, 0] == targets[:, None]).any(dim=1)
    is_target = (leaves == own) & is_available[:, None]
    has_target = is_target.any(dim=1, keepdim=True)
    rank = 1 + is_target.byte().argmax(dim=1, keepdim=True).double()
    numbers = {
        "kept": is_kept,
        "recalled": recalled(leaves, targets, space),
        "dropped": lost.dropped,
        "unproposed": lost.unproposed,
        "size": is_leaf.sum(dim=1)[:, None],
        "diversity": leaf_diversity(leaves, space)[:, None],
        "has_target": has_target,
        "rank": rank.masked_fill(~has_target, torch.nan),
        "tokens": tokens[:, None],
    }
    if embeddings is not None:
        cosines = target_cosines(embeddings.at(leaves), embeddings.items[targets])
        numbers["best_cosine"] = best_in_set(cosines, is_leaf)[:, None]
    return {name: values.double() for name, values in numbers.items()}


def _summary(name: str, score_kind: str, found: RowNumbers, num_levels: int) -> SearchQuality:
    def share(kind: str, level: int) -> Measured:
        known = found.measured(kind, level)
        assert known is not None, f"every row has {kind}"
        return known

    return SearchQuality(
        name=name,
        score_kind=score_kind,
        num_rows=len(found.users),
        depths=tuple(
            SearchAtDepth(
                depth=level + 1,
                kept=share("kept", level),
                recalled=share("recalled", level),
                dropped=share("dropped", level),
                unproposed=share("unproposed", level),
            )
            for level in range(num_levels)
        ),
        candidates=CandidateSet(
            size=found.measured("size"),
            diversity=found.measured("diversity"),
            has_target=found.measured("has_target"),
            best_cosine=found.measured("best_cosine"),
            rank=found.measured("rank"),
            tokens=found.measured("tokens"),
        ),
    )
