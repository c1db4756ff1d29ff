"""Item index: the best items by the item head, for catalogs in which the head is too slow to score
every item.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.latest import LatestAnswers
from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.catalog.user_sets import distinct
from sidestep.padding import NO_ITEM
from sidestep.search.item_pages import (
    NO_PLACE,
    ItemPages,
    LivePages,
    equal_groups,
    items_per_page,
    largest,
)
from sidestep.search.item_ranking import ItemRanking
from sidestep.search.item_support import HasItemHead, flops_per_item
from sidestep.search.policy import Scope, trie_scope
from sidestep.search.spent import Spent
from sidestep.search.tree import Candidates
from sidestep.step import HistoryBatch, StepModel, in_float32


@runtime_checkable
class IndexableHead(Protocol):
    """An item head with one row per item: a score is the product of the state and the item's row.

    The score of an item that the history holds may differ from the product, such as by a repeat
    bias.
    """

    def item_rows(self, items: Int[Tensor, " some"] | None = None) -> Float[Tensor, "some dim"]:
        """The rows of some items; None asks for those of all items, in the order of the catalog."""
        ...

    def scores_of_lists(
        self,
        states: Float[Tensor, "states dim"],
        items: Int[Tensor, "states items"],
        held: Int[Tensor, "states held"],
    ) -> Float[Tensor, "states items"]:
        """Scores of a list of items at each state; any score at `NO_ITEM`.

        Args:
            states: of the model, one per user.
            items: those to score, per state.
            held: the items of the history of each state; `NO_ITEM` is padding.
        """
        ...


@dataclass(frozen=True, kw_only=True)  # no slots: a cached property needs a dict
class ItemIndex:
    """Ranks the leaves of the most promising items by the item head.

        score(leaf) = log Σ_{items i of the leaf, in scope} exp(z_i)

    with z the item logits at the root. The leaves stand in the order of `ItemRanking`, whose scores
    are lower by one constant per user. `ItemRanking` scores all items; here the head scores few
    items, so a leaf may be missed. The items lie in pages of near vectors (`ItemPages`). For each
    user, the search

    1. scores the mean of the live items of every page, and keeps the best pages;
    2. scores the items of these pages by vectors of bytes, and keeps the best items;
    3. scores these items and the items of the history by the head.

    Items out of scope are left out before the search keeps anything. So no list has such an item,
    and no list is short while items are left. A search costs one token.

    The first search reads the rows of the head and makes the pages, in about a minute per million
    items. The object keeps the pages. If the head learns later, make a new object. A scope with a
    prefix of its own for each user (`Scope.below`) is ranked by `ItemRanking`.

    Source: Jégou et al. 2011 (Product Quantization for Nearest Neighbor Search), for inverted
    lists. Ours are lists of equal size, pages as bags of rows, live means and the exact scope.

    head: scores the items.
    num_leaves: leaves returned, at most.
    pages: pages whose items are scored, per user. More pages find more of the head's own list.
    refined: items that the head scores, per user; more where the list needs more.
    page_size: about the number of items of a page; None: `items_per_page` of the catalog.
    seed: chooses the sample of items by which the pages are made.

    Raises:
        TypeError: at construction: the head is no `IndexableHead`.
        ValueError: at construction: a number is below 1.
    """

    head: HasItemHead
    num_leaves: int = 50
    pages: int = 48
    refined: int = 72
    page_size: int | None = None
    seed: int = 0
    name: str = "item-index"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._rows_of_head()
        sizes = {"num_leaves": self.num_leaves, "pages": self.pages, "refined": self.refined}
        if self.page_size is not None:
            sizes["page_size"] = self.page_size
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}.")

    @torch.no_grad()
    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`."""
        scope = trie_scope(scope, asker=self.name)
        if scope.below is not None:
            every = ItemRanking(head=self.head, num_leaves=self.num_leaves, name=self.name)
            return every.search(model, histories, scope)
        step, _ = model.encode(histories, capacity=0)
        device = step.logits.device
        with in_float32(device):
            leaves, scores, spent = self._ranked(step.hidden[:, 0], histories, scope)
        root = torch.ones_like(leaves[:, :1])
        return Candidates(
            leaves=leaves,
            log_probs=scores,
            scores=scores,
            score_kind=self.name,
            spent=Spent.on_nodes(model, histories, root) + spent,
        )

    def _ranked(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch, scope: Scope
    ) -> tuple[Int[Tensor, "users leaves"], Float[Tensor, "users leaves"], Spent]:
        """The best leaves, their scores, and the cost beyond the root."""
        items = self._promising(states, histories, scope)
        # No row tells what the head adds to the scores of the history's items: score them all.
        leaves = distinct(scope.trie.leaf_of(torch.cat([items, histories.items], dim=1)))
        buckets = scope.items(leaves)
        flat = buckets.flatten(1)
        scores = self._rows_of_head().scores_of_lists(states, flat, histories.items).float()
        is_none = buckets == NO_ITEM
        scores = scores.view(buckets.shape).masked_fill(is_none, -torch.inf)
        scores = scores[..., 0] if scores.shape[2] == 1 else scores.logsumexp(dim=2)
        best, column = scores.topk(min(self.num_leaves, scores.shape[1]), dim=1)
        found = leaves.gather(1, column).masked_fill(best == -torch.inf, NO_STATE)
        scored = (~is_none).flatten(1).sum(dim=1)
        per_item = flops_per_item(self.head)
        return (
            found,
            best,
            Spent(
                tokens=torch.zeros_like(scored),
                scored=scored,
                flops=None if per_item is None else scored * per_item + self._flops_of_pages(),
            ),
        )

    def _promising(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch, scope: Scope
    ) -> Int[Tensor, "users refined"]:
        """The items in scope whose rows have the largest products with each state, nearly."""
        index, live = self.layout, self._live(scope)
        queries = states.float().cpu()
        refined = max(self.refined, self.num_leaves * scope.trie.max_bucket)
        wanted = torch.full((len(queries),), refined)
        if scope.excluded is not None:
            wanted += (scope.excluded.items != NO_ITEM).sum(dim=1).cpu()
        pages = index.likeliest(queries, live, live.pages_for(wanted).clamp(min=self._num_kept))
        scores = index.scores(queries, pages, live)
        if scope.excluded is not None:
            places = index.places_of(scope.excluded.items.cpu(), pages)
            users, columns = (places != NO_PLACE).nonzero(as_tuple=True)
            scores[users, places[users, columns]] = -torch.inf
        chosen = largest(scores, refined)
        items = index.items_at(chosen, pages)
        return items.masked_fill(scores.gather(1, chosen) == -torch.inf, NO_ITEM).to(states.device)

    def take_over(self, other: "ItemIndex") -> None:
        """Takes the pages from a search with the same head, instead of making them again."""
        self.__dict__.update({name: getattr(other, name) for name in ("layout", "_lives")})

    @property
    def _num_kept(self) -> int:
        return min(self.pages, self.layout.num_pages)

    def _flops_of_pages(self) -> int:
        """FLOPs of the scores of all pages and of the items of the kept pages, per user."""
        num_pages, size = self.layout.items.shape
        dim = self.layout.dim
        return 2 * (num_pages * (dim + 1) + self._num_kept * size * dim)

    @cached_property
    def layout(self) -> ItemPages:
        """The pages of all items; made at the first use."""
        rows = self._rows()
        size = self.page_size or items_per_page(len(rows))
        groups = equal_groups(rows, -(-len(rows) // size), seed=self.seed)
        return ItemPages.of_groups(rows, groups)

    @cached_property
    def _lives(self) -> LatestAnswers[LivePages]:
        return LatestAnswers()

    def _live(self, scope: Scope) -> LivePages:
        """The pages without the items out of stock; the latest few answers are kept."""
        available = scope.available

        def counted() -> LivePages:
            is_live = torch.ones(scope.num_items, dtype=torch.bool)
            if available is not None:
                is_live[:] = False
                is_live[available.bucket_items.long().cpu()] = True
            return self.layout.live(self._rows(), is_live)

        return self._lives.get(available, counted)

    def _rows(self) -> Float[Tensor, "items dim"]:
        return self._rows_of_head().item_rows().detach().cpu()

    def _rows_of_head(self) -> IndexableHead:
        """The head as one that has rows."""
        if not isinstance(self.head, IndexableHead):
            raise TypeError(
                "item-index needs an item head with item_rows and scores_of_lists, got "
                f"{type(self.head).__name__}; search by item-head, which scores every item."
            )
        return self.head
