"""The evaluator: measures every metric of the results file for one recommender on some rows.

The evaluator ranks the whole catalog of the recommender. It does not know how a list was made. The
metrics of a list are in `sidestep.metrics.ranking` and `ties`; intervals and tests are in
`sidestep.metrics.statistics`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.trie import NO_CODE
from sidestep.catalog.user_sets import is_among
from sidestep.data.batches import row_batch
from sidestep.data.splits import Rows
from sidestep.evaluation.target_metrics import target_metrics
from sidestep.metrics import ranking
from sidestep.metrics.ties import NOT_LISTED
from sidestep.padding import NO_ITEM
from sidestep.recommender import Recommendations, Recommender

COVERAGE_CUTOFF = 10
"""Coverage counts the first entries of a list: those that users see and the main metrics judge."""

_FIXED_USERS_SEED = 20_000
"""Seed of `fixed_users`. Never change it: results of fewer users were measured on its rows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Result of one evaluation, in the order of the rows.

    user_ids: one per row.
    targets: the item that followed each history.
    rank_before: number of items that are better than the target, or `ties.NOT_LISTED`.
    num_tied: number of items with the score of the target, such as the items of its bucket; the
        target included.
    items: the first k items, `NO_ITEM` where a list is shorter.
    metrics: means over the rows, by the names of the results file.
    ms_per_user: wall-clock time of `recommend`, with the copies to the device and to the CPU.
    tokens_per_user: mean number of backbone positions spent after the prompt.
    scored_per_user: mean number of prefixes that the scorer of the search scored.
    flops_per_user: mean number of floating-point operations, see `Recommendations`; None if not
        known.
    """

    user_ids: tuple[str, ...]
    targets: Int[Tensor, " users"]
    rank_before: Int[Tensor, " users"]
    num_tied: Int[Tensor, " users"]
    items: Int[Tensor, "users k"]
    metrics: dict[str, float]
    ms_per_user: float
    tokens_per_user: float
    scored_per_user: float
    flops_per_user: float | None


def evaluate(
    recommender: Recommender,
    rows: Rows,
    *,
    k: int = 50,
    batch_size: int = 64,
    exclude_seen: bool = False,
    semantic_ids: Int[Tensor, "items levels"] | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Asks for `k` items for every row and measures the lists.

    Rows of similar length share a batch; no result depends on the batches. Metrics of one target
    are expectations over the order of ties (`sidestep.metrics.ranking`). The other metrics are:

    - `HRecall@b@k`: share of rows with the target's first b codes among the k best leaves.
    - `HRecall@b@evaluated`: share of rows with the target's first b codes among all prefixes that
      a tree search evaluated.
    - `coverage`: share of the catalog in the first ten items of at least one list.
    - `diversity`: mean over rows of 1 - LCP/L over pairs of the k best leaves.
    - `invalid_rate`: share of listed entries that are no item, repeated, or excluded.

    Args:
        recommender: the recommender to evaluate.
        rows: histories and targets; targets are items of the recommender.
        k: length of the lists; metrics at larger cut-offs are left out.
        batch_size: number of rows in one call of the recommender.
        exclude_seen: lists leave out every item of the user's history, also items that the
            recommender does not read.
        semantic_ids: the semantic ID of every item, for HRecall and diversity. None leaves these
            two metrics out.
        device: device of the histories.
        progress: called after each batch with the number of rows done and the number of all rows.

    Raises:
        ValueError: if there are no rows, or if rows, recommender and IDs do not fit each other.
    """
    _check(recommender, rows, k=k, batch_size=batch_size, semantic_ids=semantic_ids)
    targets = torch.from_numpy(rows.targets).long()
    lists = _Lists.empty(len(rows), k, recommender.num_items, semantic_ids=semantic_ids)
    seconds = 0.0
    num_done = 0
    for chosen in batches_by_length(rows.histories.lengths, batch_size):
        histories = row_batch(rows, chosen)
        start = time.perf_counter()
        with torch.no_grad():
            answer = recommender.recommend(histories.to(device), k, exclude_seen=exclude_seen)
        answer = _on_cpu(answer)
        seconds += time.perf_counter() - start
        _check_answer(answer, recommender, num_users=len(chosen), k=k)
        seen = histories.items if exclude_seen else None
        lists.record(torch.from_numpy(chosen), answer, targets[chosen], excluded=seen)
        num_done += len(chosen)
        if progress is not None:
            progress(num_done, len(rows))
    return Evaluation(
        user_ids=tuple(rows.histories.user_ids),
        targets=targets,
        rank_before=lists.rank_before,
        num_tied=lists.num_tied,
        items=lists.items,
        metrics={
            **target_metrics(lists.rank_before.numpy(), lists.num_tied.numpy(), k),
            **lists.metrics(k),
        },
        ms_per_user=1000.0 * seconds / len(rows),
        tokens_per_user=float(lists.tokens.double().mean()),
        scored_per_user=float(lists.scored.double().mean()),
        flops_per_user=None if lists.flops is None else float(lists.flops.double().mean()),
    )


def fixed_users(num_rows: int, num_users: int = 2000) -> Int[np.ndarray, " users"]:
    """Random rows, in ascending order, on which expensive settings are measured.

    The rows depend only on `num_rows` and `num_users`, so that such results can be paired.
    """
    if num_users < 1:
        raise ValueError(f"num_users must be at least 1, got {num_users}.")
    if num_rows <= num_users:
        return np.arange(num_rows)
    generator = np.random.default_rng(_FIXED_USERS_SEED)
    return np.sort(generator.choice(num_rows, size=num_users, replace=False))


def target_ranks(
    answer: Recommendations, targets: Int[Tensor, " users"]
) -> tuple[Int[Tensor, " users"], Int[Tensor, " users"]]:
    """Ranks of the targets: how many entries are better, and how many items are tied.

    An entry that is no item keeps its place in the list and is no hit.

    Args:
        answer: the lists.
        targets: one item per user.

    Returns:
        First, the number of entries before the entries that are tied with the target. It is
        `ties.NOT_LISTED` if the target is neither in the list nor a runner-up.
        Second, the number of tied items, the target and the runners-up included. It is 1 if the
        target is not listed.
    """
    at_target = answer.all_items == targets[:, None]  # [users, entries]
    scores = answer.all_scores
    is_next = torch.ones_like(at_target)
    is_next[:, 1:] = scores[:, 1:] != scores[:, :-1]
    place = is_next.cumsum(dim=1)  # the same for all that are tied
    own = place.gather(1, at_target.byte().argmax(dim=1, keepdim=True))
    is_tied = (place == own) & (answer.all_items != NO_ITEM)
    is_listed = at_target.any(dim=1)
    rank_before = is_tied.byte().argmax(dim=1).masked_fill(~is_listed, NOT_LISTED)
    return rank_before, is_tied.sum(dim=1).masked_fill(~is_listed, 1)


@dataclass(slots=True, kw_only=True, eq=False)
class _Lists:
    """The measured lists. Batches fill them one by one; they are read when all rows are there.

    num_items: number of items of the catalog.
    semantic_ids: the semantic ID of every item, as in `evaluate`. All other fields are of the rows.
    """

    num_items: int
    semantic_ids: Int[Tensor, "items levels"] | None
    rank_before: Int[Tensor, " users"]
    num_tied: Int[Tensor, " users"]
    items: Int[Tensor, "users k"]
    tokens: Int[Tensor, " users"]
    scored: Int[Tensor, " users"]
    flops: Int[Tensor, " users"] | None
    is_invalid: Bool[Tensor, "users k"]
    leaf_hits: Bool[Tensor, "users levels"] | None
    evaluated_hits: Bool[Tensor, "users levels"] | None
    diversity: Float[Tensor, " users"] | None

    @classmethod
    def empty(
        cls,
        num_rows: int,
        k: int,
        num_items: int,
        *,
        semantic_ids: Int[Tensor, "items levels"] | None,
    ) -> "_Lists":
        hits = diversity = None
        if semantic_ids is not None:
            hits = torch.zeros(num_rows, semantic_ids.shape[1], dtype=torch.bool)
            diversity = torch.zeros(num_rows, dtype=torch.float64)
        return cls(
            num_items=num_items,
            semantic_ids=None if semantic_ids is None else semantic_ids.cpu(),
            rank_before=torch.full((num_rows,), NOT_LISTED),
            num_tied=torch.ones(num_rows, dtype=torch.long),
            items=torch.full((num_rows, k), NO_ITEM),
            tokens=torch.zeros(num_rows, dtype=torch.long),
            scored=torch.zeros(num_rows, dtype=torch.long),
            flops=torch.zeros(num_rows, dtype=torch.long),
            is_invalid=torch.zeros(num_rows, k, dtype=torch.bool),
            leaf_hits=hits,
            evaluated_hits=None,
            diversity=diversity,
        )

    def record(
        self,
        rows: Int[Tensor, " batch"],
        answer: Recommendations,
        targets: Int[Tensor, " batch"],
        *,
        excluded: Int[Tensor, "batch excluded"] | None,
    ) -> None:
        width = answer.items.shape[1]
        self.items[rows, :width] = answer.items
        spent = answer.spent
        self.tokens[rows], self.scored[rows] = spent.tokens, spent.scored
        if spent.flops is None:
            self.flops = None
        elif self.flops is not None:
            self.flops[rows] = spent.flops
        is_excluded = None if excluded is None else is_among(answer.items, excluded)
        self.is_invalid[rows, :width] = ranking.invalid_entries(
            answer.items, self.num_items, is_forbidden=is_excluded
        )
        self.rank_before[rows], self.num_tied[rows] = target_ranks(answer, targets)
        if excluded is not None:
            # A list that holds an excluded target all the same has no hit.
            is_excluded = is_among(targets[:, None], excluded)[:, 0]
            self.rank_before[rows[is_excluded]] = NOT_LISTED
            self.num_tied[rows[is_excluded]] = 1
        if self.semantic_ids is not None:
            self._record_prefixes(rows, answer, self.semantic_ids, targets)

    def _record_prefixes(
        self,
        rows: Int[Tensor, " batch"],
        answer: Recommendations,
        semantic_ids: Int[Tensor, "items levels"],
        targets: Int[Tensor, " batch"],
    ) -> None:
        assert self.leaf_hits is not None
        assert self.diversity is not None
        leaves = answer.leaves[:, : self.items.shape[1]]
        is_leaf = (leaves >= 0) & (leaves < len(semantic_ids))
        codes = semantic_ids[leaves.where(is_leaf, 0)]  # [batch, leaves, levels]
        codes = codes.masked_fill(~is_leaf[:, :, None], NO_CODE)
        self.leaf_hits[rows] = ranking.prefix_hits(codes, semantic_ids[targets])
        self.diversity[rows] = ranking.diversity(codes, is_leaf)
        if answer.evaluated is not None:
            if self.evaluated_hits is None:
                self.evaluated_hits = torch.zeros_like(self.leaf_hits)
            self.evaluated_hits[rows] = ranking.prefix_hits(answer.evaluated, semantic_ids[targets])

    def metrics(self, k: int) -> dict[str, float]:
        """Metrics of all lists together, rather than of one target."""
        metrics = {}
        for hits, among in ((self.leaf_hits, str(k)), (self.evaluated_hits, "evaluated")):
            if hits is not None:
                for depth, share in enumerate(hits.double().mean(dim=0).tolist(), start=1):
                    metrics[f"HRecall@{depth}@{among}"] = share
        metrics["coverage"] = ranking.coverage(self.items[:, :COVERAGE_CUTOFF], self.num_items)
        if self.diversity is not None:
            diversity = float(self.diversity.nanmean())
            # Without a single pair of leaves, diversity is not defined.
            if not math.isnan(diversity):
                metrics["diversity"] = diversity
        num_entries = int((self.items != NO_ITEM).sum())
        metrics["invalid_rate"] = int(self.is_invalid.sum()) / max(num_entries, 1)
        return metrics


def batches_by_length(
    lengths: Int[np.ndarray, " users"], batch_size: int
) -> list[Int[np.ndarray, " batch"]]:
    """Rows in batches of similar length, the longest first: a lack of memory shows at once."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _on_cpu(answer: Recommendations) -> Recommendations:
    return Recommendations(
        items=answer.items.cpu().long(),
        scores=answer.scores.cpu(),
        score_kind=answer.score_kind,
        spent=answer.spent.to("cpu"),
        leaves=answer.leaves.cpu().long(),
        runners_up=None if answer.runners_up is None else answer.runners_up.cpu().long(),
        evaluated=None if answer.evaluated is None else answer.evaluated.cpu().long(),
    )


def _check(
    recommender: Recommender,
    rows: Rows,
    *,
    k: int,
    batch_size: int,
    semantic_ids: Int[Tensor, "items levels"] | None,
) -> None:
    if len(rows) == 0:
        raise ValueError("there are no rows to evaluate: the split is empty.")
    if k < 1 or batch_size < 1:
        raise ValueError(f"k and batch_size must be at least 1, got {k} and {batch_size}.")
    if rows.targets.max() >= recommender.num_items:
        raise ValueError(
            f"the target {rows.targets.max()} is no item of {recommender.name}, which has "
            f"{recommender.num_items}: rows and recommender stem from different datasets."
        )
    if semantic_ids is not None and len(semantic_ids) != recommender.num_items:
        raise ValueError(
            f"{recommender.name} has {recommender.num_items} items and there are semantic IDs for "
            f"{len(semantic_ids)}."
        )


def _check_answer(
    answer: Recommendations, recommender: Recommender, *, num_users: int, k: int
) -> None:
    if len(answer.items) != num_users or answer.items.shape[1] > k:
        raise ValueError(
            f"{recommender.name} was asked for {k} items for {num_users} users and answered with "
            f"the shape {tuple(answer.items.shape)}."
        )
    if answer.scores.shape != answer.items.shape:
        raise ValueError(
            f"{recommender.name} answered with {tuple(answer.items.shape)} items and "
            f"{tuple(answer.scores.shape)} scores; give one score per entry of the lists."
        )
