"""Pages of items: the vectors of a large catalog, laid out so that a few pages hold the best items.

A page is a group of items of near vectors; all pages have about equally many items. The mean of a
page and the spread of its items say how high the best score of the page may be. The vectors of a
page are the columns of a matrix of bytes. So the scores of a page are a weighted sum of the rows of
this matrix: row d is multiplied by number d of the query.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from sidestep.padding import NO_ITEM
from sidestep.tokenizer.balance import balanced_codes, sinkhorn_prices
from sidestep.tokenizer.codebooks import nearest

NO_PAGE, NO_PLACE = -1, -1
"""Padding among the pages of a user, and among places."""

_SPREAD_WEIGHT = 3.0
"""Standard deviations above the mean at which the best item of a page is expected. Measured: 1,
2 and 3 find more than 0, and 3 most, see docs/experiments.md."""

_SAMPLE_PER_PAGE, _MEANS_ROUNDS = 48, 6
"""Items per page in the sample, and rounds of k-means on the sample."""

_TEMPERATURES = np.geomspace(0.3, 0.03, 8)
"""Temperatures of the rounds that find prices, as shares of the mean squared distance to the
nearest mean."""

_ITEMS_AT_ONCE = 1_000_000
"""Items that one pass reads at once, a bound on memory."""

_ROW_UNIT = 8
"""The bytes of a row that a processor adds at once."""


def items_per_page(num_items: int) -> int:
    """The usual size of a page: about √num_items / 4, as a power of two from 16 to 1,024.

    At this size, the choice of the pages takes about as long as the scores in the pages.
    """
    return int(np.clip(2 ** round(math.log2(max(num_items, 1)) / 2 - 2), 16, 1024))


def equal_groups(
    vectors: Float[Tensor, "items dim"], num_groups: int, *, seed: int
) -> Int[np.ndarray, " items"]:
    """Groups of near vectors. The sizes of two groups differ by at most one per million items.

    K-means on a sample gives the means. Prices from this sample keep the groups equal, see
    `balanced_codes`. Only one pass reads all items.

    Args:
        vectors: of all items, of any floating-point type.
        num_groups: at most the number of items.
        seed: chooses the sample.

    Returns:
        The number of the group of each item.
    """
    num_items = len(vectors)
    generator = np.random.default_rng(seed)
    size = min(num_items, _SAMPLE_PER_PAGE * num_groups)
    drawn = torch.from_numpy(generator.choice(num_items, size, replace=False))
    sample = vectors[drawn].float().numpy()
    means = sample[:num_groups]
    if num_groups < size:
        found = KMeans(num_groups, init=means, n_init=1, max_iter=_MEANS_ROUNDS).fit(sample)
        means = np.ascontiguousarray(found.cluster_centers_, dtype=np.float32)
    distances = sample - means[nearest(sample, means)]
    distortion = float(np.square(distances).sum(axis=1).mean()) or 1.0
    prices = sinkhorn_prices(
        sample,
        means,
        np.zeros(num_groups, dtype=np.float32),
        temperatures=(distortion * _TEMPERATURES).tolist(),
    )
    groups = np.empty(num_items, dtype=np.int64)
    parts = max(1, num_items // _ITEMS_AT_ONCE)
    for part in range(parts):
        own = vectors[part::parts].float().numpy()
        groups[part::parts] = balanced_codes(own, means, prices)
    return groups


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LivePages:
    """The pages without the items that nobody may get; the other items are live.

    guides: the mean of the live items of each page, and in the last column the spread of these
        items. The product with a query and the query's length is about the best score in the page.
    floors: added to these products: 0, and -inf for a page without a live item.
    closed: added to the scores of the places: 0, and -inf where there is no live item; None where
        every place has a live item.
    fewest: entry n is the number of live items in the n + 1 pages that have the fewest of them;
        pages without a live item do not count.
    """

    guides: Float[Tensor, "pages dim_plus_one"]
    floors: Float[Tensor, " pages"]
    closed: Float[Tensor, "pages size"] | None
    fewest: Int[Tensor, " live_pages"]

    def pages_for(self, num_items: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """The number of pages that surely hold so many live items, whichever pages they are.

        The number of all pages, where all pages together hold fewer items.
        """
        enough = torch.searchsorted(self.fewest, num_items) + 1
        return enough.clamp(max=len(self.fewest))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItemPages:
    """The vectors of all items of a catalog, in pages.

    items: those of each page; `NO_ITEM` is padding.
    page_of, slot_of: the page of each item, and the column of the item in `items`.
    columns: rows of bytes, one per page and dimension, with a scale and an offset at the end of
        each row, as `torch.ops.quantized.embedding_bag_byte_prepack` makes rows.
    dim: width of the vectors.
    """

    items: Int[Tensor, "pages size"]
    page_of: Int[Tensor, " items"]
    slot_of: Int[Tensor, " items"]
    columns: UInt8[Tensor, "rows bytes"]
    dim: int

    @staticmethod
    def of_groups(
        vectors: Float[Tensor, "items dim"], groups: Int[np.ndarray, " items"]
    ) -> "ItemPages":
        """Lays out the vectors by groups, one page per group.

        Args:
            vectors: of all items, on the CPU.
            groups: of each item; no group between the first and the last is empty.
        """
        order = np.argsort(groups, kind="stable")
        counts = np.bincount(groups)
        slots = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
        size = -(-int(counts.max()) // _ROW_UNIT) * _ROW_UNIT
        items = np.full((len(counts), size), NO_ITEM, dtype=np.int32)
        items[groups[order], slots] = order
        slot_of = np.empty(len(groups), dtype=np.int32)
        slot_of[order] = slots
        pages = torch.from_numpy(items)
        return ItemPages(
            items=pages,
            page_of=torch.from_numpy(groups.astype(np.int32)),
            slot_of=torch.from_numpy(slot_of),
            columns=_columns(vectors, pages),
            dim=vectors.shape[1],
        )

    @property
    def num_pages(self) -> int:
        """The number of pages."""
        return len(self.items)

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in (self.items, self.page_of, self.slot_of, self.columns))

    def live(
        self, vectors: Float[Tensor, "items dim"], is_live: Bool[Tensor, " items"]
    ) -> LivePages:
        """The pages for a catalog of which only some items may be returned.

        Args:
            vectors: of all items; the vectors that the pages were made of.
            is_live: the items that every user may get.
        """
        counts = torch.zeros(self.num_pages).index_add_(0, self.page_of, is_live.float())
        means = torch.zeros(self.num_pages, self.dim)
        squares = torch.zeros(self.num_pages)
        for part in torch.split(torch.arange(len(vectors)), _ITEMS_AT_ONCE // 4):
            own = vectors[part].float() * is_live[part, None]
            means.index_add_(0, self.page_of[part], own)
            squares.index_add_(0, self.page_of[part], own.square().sum(dim=1))
        means /= counts.clamp(min=1)[:, None]
        variances = squares / counts.clamp(min=1) - means.square().sum(dim=1)
        spreads = _SPREAD_WEIGHT * (variances.clamp(min=0) / self.dim).sqrt()
        is_open = is_live[self.items.clamp(min=0).long()] & (self.items != NO_ITEM)
        return LivePages(
            guides=torch.cat([means, spreads[:, None]], dim=1),
            floors=_barred(counts > 0),
            closed=None if is_open.all() else _barred(is_open),
            fewest=counts[counts > 0].long().sort().values.cumsum(0),
        )

    def likeliest(
        self,
        queries: Float[Tensor, "users dim"],
        live: LivePages,
        numbers: Int[Tensor, " users"],
    ) -> Int[Tensor, "users kept"]:
        """The pages whose best items should score highest, in any order.

        Args:
            queries: states of the users.
            live: the pages to choose from.
            numbers: pages to choose per user.

        Returns:
            Numbers of pages; `NO_PAGE` pads the rows of users with fewer pages than others.
        """
        lengths = queries.norm(dim=1, keepdim=True)
        scores = functional.linear(torch.cat([queries, lengths], dim=1), live.guides, live.floors)
        most = int(numbers.max())
        if (numbers == most).all():
            return largest(scores, most)
        best = scores.topk(most, dim=1).indices
        return best.masked_fill(torch.arange(most) >= numbers[:, None], NO_PAGE)

    def scores(
        self,
        queries: Float[Tensor, "users dim"],
        pages: Int[Tensor, "users kept"],
        live: LivePages,
    ) -> Float[Tensor, "users places"]:
        """The products of each query with the items of its pages, nearly; -inf at no live item.

        The scores of a page are a sum over dimensions: each row of the page times a number of the
        query. So there is one bag of weighted rows per user and page.
        """
        users, kept = pages.shape
        known = pages.clamp(min=0)
        rows = (known.int() * self.dim)[..., None] + torch.arange(self.dim, dtype=torch.int32)
        rows = rows.view(-1)
        weights = queries[:, None].expand(-1, kept, -1).reshape(-1)
        starts = torch.arange(0, len(rows), self.dim, dtype=torch.int32)
        products: Tensor = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
            self.columns, rows, starts, False, 0, False, weights, None, False
        )
        scores = products.view(users, kept, -1)
        if live.closed is not None:
            scores += functional.embedding(known, live.closed)
        is_none = pages == NO_PAGE
        if is_none.any():
            scores.masked_fill_(is_none[..., None], -torch.inf)
        return scores.view(users, -1)

    def places_of(
        self, items: Int[Tensor, "users items"], pages: Int[Tensor, "users kept"]
    ) -> Int[Tensor, "users items"]:
        """The columns of some items in `scores`; `NO_PLACE` for items of no kept page."""
        known = items.clamp(min=0)
        is_there = self.page_of[known][..., None] == pages[:, None]
        places = is_there.byte().argmax(dim=2) * self.items.shape[1] + self.slot_of[known]
        return places.masked_fill(~is_there.any(dim=2) | (items == NO_ITEM), NO_PLACE)

    def items_at(
        self, places: Int[Tensor, "users chosen"], pages: Int[Tensor, "users kept"]
    ) -> Int[Tensor, "users chosen"]:
        """The items at some columns of `scores`."""
        size = self.items.shape[1]
        pages = pages.gather(1, places // size).clamp(min=0)
        found = self.items.view(-1).index_select(0, (pages * size + places % size).view(-1))
        return found.view(places.shape).long()


def largest(scores: Float[Tensor, "users columns"], number: int) -> Int[Tensor, "users chosen"]:
    """The columns of the largest scores, in no order.

    On a CPU, numpy selects them three times as fast as `torch.topk`.
    """
    number = min(number, scores.shape[1])
    if number == scores.shape[1]:
        return torch.arange(number).expand(len(scores), -1)
    chosen = np.argpartition(scores.numpy(), -number, axis=1)[:, -number:]
    return torch.from_numpy(chosen)


def _columns(
    vectors: Float[Tensor, "items dim"], items: Int[Tensor, "pages size"]
) -> UInt8[Tensor, "rows bytes"]:
    """The vectors of each page as rows of bytes, see `ItemPages`."""
    packed = []
    for part in torch.split(items, max(1, _ITEMS_AT_ONCE // 8 // items.shape[1])):
        # Padding repeats the first item, so that no scale changes; the place of padding is closed.
        some = torch.where(part == NO_ITEM, part[:, :1], part).long()
        rows = vectors[some].float().transpose(1, 2).reshape(-1, items.shape[1])
        packed.append(torch.ops.quantized.embedding_bag_byte_prepack(rows))
    return torch.cat(packed)


def _barred(is_open: Bool[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return torch.zeros(is_open.shape).masked_fill(~is_open, -torch.inf)
