"""Item support of live subtrees: for catalogs of more items than can be scored for every user."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.search.item_support import flops_per_item, segment_log_sums
from sidestep.search.policy import Scope, trie_scope
from sidestep.search.scorer import PrefixScores
from sidestep.step import Context, HistoryBatch, StepOutput


@runtime_checkable
class PartialItemHead(Protocol):
    """Scores some items at the state of a history, as a Transformer with an item head does."""

    def some_item_logits(
        self,
        states: Float[Tensor, "users dim"],
        items: Int[Tensor, " users"],
        histories: HistoryBatch,
    ) -> Float[Tensor, " users"]:
        """Scores of one item at each state, as `item_logits` has them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveItemSupport:
    """Scores a prefix by the log of what all items below it weigh.

        y(prefix) = log Σ_{items i below, in scope} exp(z_i)

    with z the item logits at the root. That is `ItemSupport` without what it subtracts, a constant
    of the user, so both rank alike; but here the head is asked for nothing but the items below
    the prefixes that are scored. Time grows with those, so let likelihood alone choose among the
    first levels, which have the whole catalog below them: None in `GuidedBeamSearch.candidates`.

    head: gives z.
    chunk_items: items whose weights are in memory at once.
    """

    head: PartialItemHead
    chunk_items: int = 65_536
    name: str = "live-item-support"

    def __post_init__(self) -> None:
        if self.chunk_items < 1:
            raise ValueError(f"chunk_items must be at least 1, got {self.chunk_items}.")

    def begin(
        self, histories: HistoryBatch, root: StepOutput, context: Context, scope: CodeSpace
    ) -> PrefixScores:
        """See `PrefixScorer.begin`."""
        tree = trie_scope(scope, asker=self.name)
        roots = root.hidden[:, 0]

        def scores(states: Int[Tensor, "users width"], depth: int) -> Float[Tensor, "users width"]:
            first, counts = _items_below(states, tree)
            ends = counts.flatten().cumsum(0)
            column = torch.repeat_interleave(counts.flatten())
            place = torch.arange(len(column), device=column.device)
            place = place - (ends - counts.flatten())[column] + first.flatten()[column]
            buckets = tree.trie if tree.available is None else tree.available
            items, users = buckets.bucket_items[place].long(), column // states.shape[1]
            logits = [
                self.head.some_item_logits(
                    roots[users[part]], items[part], histories.select(users[part])
                )
                for part in _parts(len(items), self.chunk_items)
            ]
            weighed = torch.cat(logits).float().masked_fill(_is_out(items, users, tree), -torch.inf)
            bounds = torch.cat([ends.new_zeros(1), ends])
            return segment_log_sums(weighed[None], bounds).view(states.shape)

        return scores

    def flops(
        self, histories: HistoryBatch, asked: Int[Tensor, "users asked"], scope: CodeSpace
    ) -> Int[Tensor, " users"] | None:
        """See `CountsScores.flops`; an item below two states is scored twice, and counts twice."""
        per_item = flops_per_item(self.head)
        if per_item is None:
            return None
        _, counts = _items_below(asked, trie_scope(scope, asker=self.name))
        return per_item * counts.sum(dim=1)


def _parts(number: int, size: int) -> list[slice]:
    """Slices of at most `size`; an empty one where there is nothing."""
    return [slice(start, start + size) for start in range(0, max(number, 1), size)]


def _items_below(
    states: Int[Tensor, "users width"], scope: Scope
) -> tuple[Int[Tensor, "users width"], Int[Tensor, "users width"]]:
    """Where the items below each state begin among `bucket_items`, and how many they are."""
    first, last = scope.trie.leaf_range(states)
    if scope.below is not None:
        own_first, own_last = (end[:, None] for end in scope.trie.leaf_range(scope.below))
        first, last = first.maximum(own_first), last.minimum(own_last)
    buckets = scope.trie if scope.available is None else scope.available
    leaf = scope.trie.first_leaf
    start = buckets.bucket_start[first - leaf].long()
    stop = buckets.bucket_start[last - leaf].long()
    return start, (stop - start).clamp(min=0)


def _is_out(
    items: Int[Tensor, " scored"], users: Int[Tensor, " scored"], scope: Scope
) -> Bool[Tensor, " scored"]:
    """Items that their user must not get, as a mask."""
    if scope.excluded is None:
        return torch.zeros_like(items, dtype=torch.bool)
    closed, num_items = scope.excluded.items.long(), len(scope.trie.bucket_items)
    rows = torch.arange(len(closed), device=closed.device)[:, None]
    keys = (rows * num_items + closed)[closed >= 0]
    return torch.isin(users * num_items + items, keys)
