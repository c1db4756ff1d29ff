"""Item support: what a distribution over items says of every prefix, exactly."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.space import CodeSpace, ListsCandidates
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.search.policy import Scope, trie_scope
from sidestep.search.scorer import PrefixScores
from sidestep.search.spent import both_flops
from sidestep.step import Context, HistoryBatch, StepOutput, is_named


@runtime_checkable
class HasItemHead(Protocol):
    """A model that scores every item at the state of a history, as a Transformer can."""

    def item_logits(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users items"]:
        """Unnormalised log-probabilities of all items of the catalog, in its order."""
        ...


@runtime_checkable
class CountsItemHead(Protocol):
    """An item head that tells what it takes."""

    @property
    def flops_per_item(self) -> int:
        """FLOPs of the matrix products behind the logit of one item at one state."""
        ...


@runtime_checkable
class ItemRanker(Protocol):
    """Scores every item after a history by itself, as a network over item IDs does."""

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """Unnormalised log-probabilities of all items of the catalog, in its order."""
        ...

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"] | None:
        """FLOPs of the matrix products behind the scores; None if not known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSupport:
    """Scores a prefix by the log of the probability of all items below it.

        y(prefix) = log Σ_{items i below} exp(z_i) - log Σ_{items i in scope} exp(z_i)

    with z the item logits at the root, of the model's own item head, of a ranker beside it, or of
    both: head + weight × ranker. A leaf's score is that of its item, so that a search with it can
    return the item head's own ranking, and, mixed with log π, any product of the two. Memory grows
    with users × nodes of the trie. In a space that lists its candidates, such as the space of code
    sets, the items below a state are the items that the state may still become.

    head: gives z from the model's state; None leaves it to the ranker.
    ranker: gives z from the history; None leaves it to the head.
    ranker_weight: of its scores beside the head's; more than 0.
    """

    head: HasItemHead | None = None
    ranker: ItemRanker | None = None
    ranker_weight: float = 1.0
    name: str = "item-support"

    def __post_init__(self) -> None:
        if self.head is None and self.ranker is None:
            raise ValueError("nothing scores the items: give a head, a ranker or both.")
        if not 0 < self.ranker_weight < math.inf:
            raise ValueError(
                f"ranker_weight must be more than 0 and finite, got {self.ranker_weight}; to do "
                "without the ranker, give none."
            )

    def begin(
        self, histories: HistoryBatch, root: StepOutput, context: Context, scope: CodeSpace
    ) -> PrefixScores:
        """See `PrefixScorer.begin`; sums over candidates where the space lists them."""
        if isinstance(scope, ListsCandidates):
            return self._sums_of_candidates(histories, root, scope)
        tree = trie_scope(scope, asker=self.name)
        logits = _in_scope(self._item_logits(histories, root, tree.num_items), tree)
        whole = logits.logsumexp(dim=1, keepdim=True)
        # -inf - -inf is NaN
        sums = NodeLogSums(logits - whole.masked_fill(whole == -torch.inf, 0.0), tree.trie)

        def scores(states: Int[Tensor, "users width"], depth: int) -> Float[Tensor, "users width"]:
            first = tree.trie.nodes_at(depth).start
            found = sums.at(depth).gather(1, (states - first).clamp(min=0))
            return found.masked_fill(states == NO_STATE, -torch.inf)

        return scores

    def flops(
        self, histories: HistoryBatch, asked: Int[Tensor, "users asked"], scope: CodeSpace
    ) -> Int[Tensor, " users"] | None:
        """See `CountsScores.flops`: those of the item logits, which serve all prefixes."""
        per_item = 0 if self.head is None else flops_per_item(self.head)
        of_head = None
        if per_item is not None:
            of_head = torch.full_like(histories.lengths, scope.num_items * per_item)
        return of_head if self.ranker is None else both_flops(of_head, self.ranker.flops(histories))

    def _sums_of_candidates(
        self, histories: HistoryBatch, root: StepOutput, space: ListsCandidates
    ) -> PrefixScores:
        """The scores of states by the items that they may still become."""
        is_in = space.in_scope(len(histories.lengths))
        logits = self._item_logits(histories, root, is_in.shape[1]).masked_fill(~is_in, -torch.inf)
        whole = logits.logsumexp(dim=1, keepdim=True)
        logits = logits - whole.masked_fill(whole == -torch.inf, 0.0)  # -inf - -inf is NaN

        def scores(states: Int[Tensor, "users width"], depth: int) -> Float[Tensor, "users width"]:
            items, rows = space.candidates(states.flatten())
            counts = rows.bincount(minlength=states.numel())
            bounds = functional.pad(counts.cumsum(0), (1, 0))
            weighed = logits[rows // states.shape[1], items]
            return segment_log_sums(weighed[None], bounds).view(states.shape)

        return scores

    def _item_logits(
        self, histories: HistoryBatch, root: StepOutput, num_items: int
    ) -> Float[Tensor, "users items"]:
        parts = []
        if self.head is not None:
            parts.append(self.head.item_logits(root.hidden[:, 0], histories).float())
        if self.ranker is not None:
            scores = self.ranker.scores(histories).float()
            if scores.shape != (len(histories.lengths), num_items):
                raise ValueError(
                    f"the ranker gave scores of shape {list(scores.shape)} for "
                    f"{len(histories.lengths)} users and {num_items} items of the catalog; "
                    "it must know the same items."
                )
            if scores.isnan().any():
                raise ValueError("the ranker gave scores that are no numbers (NaN).")
            parts.append(self.ranker_weight * scores.to(root.hidden.device))
        return torch.stack(parts).sum(dim=0)


def flops_per_item(head: object) -> int | None:
    """See `CountsItemHead.flops_per_item`; None for a head that does not tell."""
    return head.flops_per_item if isinstance(head, CountsItemHead) else None


class NodeLogSums:
    """log Σ exp of the logits of the items below every node of a trie; -inf where all have -inf.

    Level by level from the leaves, each a reduction over runs of siblings; what is far below the
    largest logit keeps its digits. A level is summed when it is first asked for: a search that asks
    for leaves alone pays for leaves alone.
    """

    def __init__(self, logits: Float[Tensor, "users items"], trie: Trie) -> None:
        """Sums nothing yet."""
        self._logits = logits
        self._trie = trie
        self._levels: dict[int, Float[Tensor, "users nodes"]] = {}

    def at(self, depth: int) -> Float[Tensor, "users nodes"]:
        """The sums of the nodes of a depth, in the order of their states."""
        if depth not in self._levels:
            is_leaf = depth == self._trie.num_levels
            self._levels[depth] = self._leaves() if is_leaf else self._parents(depth)
        return self._levels[depth]

    def _leaves(self) -> Float[Tensor, "users leaves"]:
        trie = self._trie
        by_leaf = self._logits[:, trie.bucket_items.long()]
        if trie.max_bucket == 1:  # one item per leaf: nothing to sum
            return by_leaf
        return segment_log_sums(by_leaf, trie.bucket_start.long())

    def _parents(self, depth: int) -> Float[Tensor, "users nodes"]:
        nodes = self._trie.nodes_at(depth)
        bounds = self._trie.child_start[nodes.start : nodes.stop + 1].long()
        return segment_log_sums(self.at(depth + 1), bounds - bounds[0])


def node_log_sums(logits: Float[Tensor, "users items"], trie: Trie) -> Float[Tensor, "users nodes"]:
    """The sums of all nodes in the order of their states, see `NodeLogSums`."""
    sums = NodeLogSums(logits, trie)
    return torch.cat([sums.at(depth) for depth in range(trie.num_levels + 1)], dim=1)


def segment_log_sums(
    values: Float[Tensor, "users values"], bounds: Int[Tensor, " runs_plus_one"]
) -> Float[Tensor, "users runs"]:
    """log Σ exp of each run of values; -inf where it is empty or all of it is -inf.

    Args:
        values: the runs, one after the other.
        bounds: run r goes from `bounds[r]` up to `bounds[r + 1]`.
    """
    num_runs = len(bounds) - 1
    run = torch.repeat_interleave(torch.arange(num_runs, device=bounds.device), bounds.diff())
    index = run.expand(len(values), -1)
    empty = values.new_full((len(values), num_runs), -torch.inf)
    largest = empty.scatter_reduce(1, index, values, "amax")
    # A run of -inf alone would give NaN.
    shift = largest.masked_fill(largest == -torch.inf, 0.0)
    sums = torch.zeros_like(empty).index_add_(1, run, (values - shift[:, run]).exp())
    return sums.log() + shift


def _in_scope(logits: Float[Tensor, "users items"], scope: Scope) -> Float[Tensor, "users items"]:
    """The logits, -inf at items that must not be returned."""
    if scope.available is not None:
        is_available = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        is_available[scope.available.bucket_items.long()] = True
        logits = logits.masked_fill(~is_available, -torch.inf)
    if scope.excluded is not None:
        is_out = is_named(scope.excluded.items, logits.shape[1])
        logits = logits.masked_fill(is_out, -torch.inf)
    if scope.below is not None:
        items = torch.arange(logits.shape[1], device=logits.device)
        leaves = scope.trie.leaf_of(items)
        first, last = (end[:, None] for end in scope.trie.leaf_range(scope.below))
        logits = logits.masked_fill((leaves < first) | (leaves >= last), -torch.inf)
    return logits
