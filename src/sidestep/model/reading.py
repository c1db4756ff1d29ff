"""History readers: how a network reads the items of a history as positions of its prompt.

A network over semantic IDs is a reader and a backbone: TIGER is T5 with `codes`, LC-Rec a language
model with `codes`. A reader has no weights. It takes the vectors of the network that asks, so
the weights keep the names that they have in bundles.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.columns import ItemColumns
from sidestep.model.config import HistoryForm
from sidestep.model.gaps import GapEmbedding
from sidestep.step import HistoryBatch

WEIGHTS_NEED_ITEMS = (
    "the histories have input events of a weight other than 0 and 1, which scales the vector of an "
    "item, and this network reads items as codes; give input events the weight 0 or 1, or read "
    "items as vectors (model.history: items)."
)
"""The error of a network that reads codes and is given weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputVectors:
    """The vectors by which a network reads codes and items.

    flat_codes: gives the flat code ids of items; at `NO_ITEM` those of item 0.
    codes: one row per flat code id; None where no code is read.
    items: one row per item; None where items have no vector of their own. There are rows of codes,
        of items or of both.
    columns: vectors of the values that items have in columns; None where no column is read.
    gaps: vectors of gaps between events; None where times are not read.
    """

    flat_codes: Callable[[Int[Tensor, "*batch"]], Int[Tensor, "*batch levels"]]
    codes: nn.Embedding | None
    items: nn.Embedding | None
    columns: ItemColumns | None = None
    gaps: GapEmbedding | None = None

    def code_vectors(self, items: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch levels dim"]:
        """The vectors of the codes of items."""
        assert self.codes is not None, "only a network that reads codes is asked for their vectors"
        vectors: Tensor = self.codes(self.flat_codes(items))
        return vectors

    def item_vectors(self, items: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """The sum of the vectors of an item's codes, of its own and of its values in columns.

        An item has as many of the three as there are. Any vector at `NO_ITEM`.
        """
        terms = []
        if self.codes is not None:
            terms.append(self.code_vectors(items).sum(dim=-2))
        if self.items is not None:
            terms.append(self.items(items.clamp(min=0)))
        if self.columns is not None:
            terms.append(self.columns.of_items(items))
        return reduce(torch.add, terms)

    def catalog_vectors(self, num_items: int) -> Float[Tensor, "items dim"]:
        """`item_vectors` of the first items, in memory of one vector per item."""
        terms: list[Tensor] = []
        if self.codes is not None:
            table = self.codes.weight
            codes = self.flat_codes(torch.arange(num_items, device=table.device))
            terms.append(functional.embedding_bag(codes, table, mode="sum"))
        if self.items is not None:
            terms.append(self.items.weight)
        if self.columns is not None:
            terms.append(self.columns.of_catalog())
        return reduce(torch.add, terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextItemPrompt:
    """Histories with the codes of every next item, for one teacher-forced pass.

    vectors: the columns of each item stand side by side: its predecessor's last one, then its
        codes but the last one.
    positions: of the columns, counted along the path that leads to each.
    mask: what each column sees; None is causal.
    """

    vectors: Float[Tensor, "users columns dim"]
    positions: Int[Tensor, " columns"]
    mask: Bool[Tensor, "1 columns columns"] | None


class HistoryReader(ABC):
    """Writes the items of a history as positions of a prompt, behind one start token.

    form: the name of the reader in configurations.
    reads_weights: whether items may weigh other than 1.
    """

    form: ClassVar[HistoryForm]
    reads_weights: ClassVar[bool]

    @abstractmethod
    def tokens_per_item(self, num_levels: int) -> int:
        """Positions of one item, whose semantic ID has `num_levels` codes."""

    def prompt_lengths(self, histories: HistoryBatch, num_levels: int) -> Int[Tensor, " users"]:
        """Positions of each prompt, the start token included."""
        return 1 + histories.lengths * self.tokens_per_item(num_levels)

    @abstractmethod
    def vectors(
        self, inputs: InputVectors, histories: HistoryBatch
    ) -> Float[Tensor, "users positions dim"]:
        """The positions of the items, oldest first; arbitrary from the end of a history on.

        Raises:
            ValueError: the items have weights that the reader has no place for.
        """

    @abstractmethod
    def branching(self, items: Int[Tensor, "users items"]) -> Int[Tensor, "users branches"]:
        """The items whose codes `next_item_prompt` needs beside the prompt."""

    @abstractmethod
    def next_item_prompt(
        self,
        before: Float[Tensor, "users positions dim"],
        codes: Float[Tensor, "users branches codes dim"],
    ) -> NextItemPrompt:
        """Puts prompts and codes together for a decoder.

        Args:
            before: the prompts of the items but the last one, the start token included.
            codes: the vectors of the codes of the items of `branching`, without the last code.
        """


class CodeReader(HistoryReader):
    """Writes each item as its codes, as TIGER (arXiv:2305.05065) does."""

    form = "codes"
    reads_weights = False

    def tokens_per_item(self, num_levels: int) -> int:
        """See `HistoryReader.tokens_per_item`."""
        return num_levels

    def unweighted(self, histories: HistoryBatch) -> Int[Tensor, "users items"]:
        """The items, which a language model writes as tokens.

        Raises:
            ValueError: the items have weights, for which codes have no place.
        """
        if histories.weights is not None:
            raise ValueError(WEIGHTS_NEED_ITEMS)
        return histories.items

    def vectors(
        self, inputs: InputVectors, histories: HistoryBatch
    ) -> Float[Tensor, "users positions dim"]:
        """See `HistoryReader.vectors`."""
        return inputs.code_vectors(self.unweighted(histories)).flatten(1, 2)

    def branching(self, items: Int[Tensor, "users items"]) -> Int[Tensor, "users branches"]:
        """The last item alone: the codes of the others stand in the prompt."""
        return items[:, -1:]

    def next_item_prompt(
        self,
        before: Float[Tensor, "users positions dim"],
        codes: Float[Tensor, "users branches codes dim"],
    ) -> NextItemPrompt:
        """The codes of the last item continue the prompt as any others do."""
        vectors = torch.cat([before, codes.flatten(1, 2)], dim=1)
        positions = torch.arange(vectors.shape[1], device=vectors.device)
        return NextItemPrompt(vectors=vectors, positions=positions, mask=None)


class ItemReader(HistoryReader):
    """Writes each item as one vector, so that a prompt is L times shorter than with codes."""

    form = "items"
    reads_weights = True

    def tokens_per_item(self, num_levels: int) -> int:
        """See `HistoryReader.tokens_per_item`."""
        return 1

    def vectors(
        self, inputs: InputVectors, histories: HistoryBatch
    ) -> Float[Tensor, "users positions dim"]:
        """See `HistoryReader.vectors`."""
        vectors = histories.weighted(inputs.item_vectors(histories.items))
        return vectors if inputs.gaps is None else vectors + inputs.gaps(histories)

    def branching(self, items: Int[Tensor, "users items"]) -> Int[Tensor, "users branches"]:
        """Every item."""
        return items

    def next_item_prompt(
        self,
        before: Float[Tensor, "users positions dim"],
        codes: Float[Tensor, "users branches codes dim"],
    ) -> NextItemPrompt:
        """Position p is followed by the branch of item p: its codes but the last one.

        The trunk sees the trunk. A branch sees the trunk up to its position, and itself.
        """
        vectors = torch.cat([before[:, :, None], codes], dim=2)
        num_levels = vectors.shape[2]
        columns = torch.arange(before.shape[1] * num_levels, device=before.device)
        item, level = columns // num_levels, columns % num_levels
        is_past = columns[:, None] >= columns
        mask = is_past & ((level == 0) | (item == item[:, None]))
        return NextItemPrompt(
            vectors=vectors.flatten(1, 2), positions=item + level, mask=mask[None]
        )


READERS: dict[HistoryForm, HistoryReader] = {
    reader.form: reader for reader in (CodeReader(), ItemReader())
}
"""The readers by their form."""
