"""Item networks that read and score an item by the same vector, as SASRec does.

Such networks share the inputs and the scores. Each network adds the layers in between.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.columns import ItemColumns, UserColumns
from sidestep.model.config import TiedItemConfig
from sidestep.model.flat_codes import level_starts
from sidestep.model.gaps import GapEmbedding
from sidestep.model.heads import ItemTable
from sidestep.model.item_head import ItemHead
from sidestep.model.item_network import ItemNetwork
from sidestep.model.reading import READERS, InputVectors
from sidestep.step import HistoryBatch


class TiedItemNetwork(ItemNetwork):
    """A network over item IDs that scores an item by the product of a state and its input vector.

    A history is read as a start token, so that an empty history is legal, and a vector per item.
    With a temperature the cosine takes the product's place (as in NT-Xent, arXiv:2002.05709); with
    a repeat bias the network learns whether people take an item again (see `ItemHead`); with
    `times` it reads the gaps between events (see `GapEmbedding`); with `item_columns` it reads and
    scores an item also by the item's values in columns (see `ColumnEmbedding`); with `user_columns`
    it reads what describes the user (see `UserColumns`). With `code_embedding` the vector of an
    item is the sum of the vectors of its codes and a vector of its own; the sum is that of a
    Transformer with history `items`, so that the codes are inputs here and no outputs.

    Source: tied scores, SASRec (arXiv:1808.09781, eq. 6).

    extra_positions: positions of a prompt beside those of its items, each with a learned vector;
        None: the layers tell positions themselves.
    adds_gaps: whether the vectors of gaps are added to those of items; otherwise the layers read
        the times themselves.
    semantic_ids: of the items, held as the catalog has them; they are no weights. None where no
        code is read.
    """

    Config: ClassVar = TiedItemConfig
    extra_positions: ClassVar[int | None] = 1
    adds_gaps: ClassVar[bool] = True
    config: TiedItemConfig
    semantic_ids: Tensor | None
    level_starts: Tensor | None

    def __init__(
        self,
        config: Any,
        num_items: int,
        *,
        semantic_ids: Int[Tensor, "items levels"] | None = None,
        codebook_sizes: tuple[int, ...] = (),
    ) -> None:
        """Makes an untrained network.

        Args:
            config: its shape, of class `Config`.
            num_items: of the catalog.
            semantic_ids: of the items; a network with `code_embedding` needs them.
            codebook_sizes: codes per level, beside semantic IDs.

        Raises:
            ValueError: `code_embedding` without semantic IDs, or with those of other items or
                codebooks.
        """
        super().__init__()
        self.config = config
        self.item_embedding = nn.Embedding(num_items, config.dim)
        self.code_embedding = None
        starts = None
        if config.code_embedding:
            if semantic_ids is None or len(semantic_ids) != num_items:
                found = "none" if semantic_ids is None else str(len(semantic_ids))
                raise ValueError(
                    f"code_embedding needs the semantic IDs of all {num_items} items, got {found}; "
                    "pass semantic_ids and codebook_sizes of the catalog."
                )
            starts = level_starts(semantic_ids, codebook_sizes)
            self.code_embedding = nn.Embedding(sum(codebook_sizes), config.dim)
        else:
            semantic_ids = None
        self.register_buffer("semantic_ids", semantic_ids, persistent=False)
        self.register_buffer("level_starts", starts, persistent=False)
        self.position_embedding = (
            None
            if self.extra_positions is None
            else nn.Embedding(config.max_items + self.extra_positions, config.dim)
        )
        self.column_embedding = (
            None if config.item_columns is None else ItemColumns(config.item_columns, config.dim)
        )
        self.user_embedding = (
            None if config.user_columns is None else UserColumns(config.user_columns, config.dim)
        )
        self.gap_embedding = (
            GapEmbedding(config.times, config.dim)
            if config.times is not None and self.adds_gaps
            else None
        )
        self.start = nn.Parameter(torch.empty(config.dim))
        self.item_head = ItemHead(config.dim, None, has_repeat_bias=config.repeat_bias)
        self.add_layers(config)
        self.dropout = nn.Dropout(config.dropout)
        self._initialise_vectors()

    @abstractmethod
    def add_layers(self, config: Any) -> None:
        """Makes the layers of a new network, with their initial weights."""

    @abstractmethod
    def read(
        self, vectors: Float[Tensor, "users positions dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users positions dim"]:
        """The states at the positions of a prompt: the start token, then one position per item.

        Args:
            vectors: of the positions; arbitrary behind the end of a history. A position must not
                see a later one, so that the end of a history need not be known.
            histories: the items that were read.
        """

    @abstractmethod
    def layer_flops(self, positions: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """FLOPs of `read` for prompts of so many positions."""

    def _initialise_vectors(self) -> None:
        positions = self.position_embedding
        first = [self.item_embedding.weight]
        first += [] if positions is None else [positions.weight]
        for parameter in (*first, self.start):
            nn.init.normal_(parameter, std=0.02)
        if self.code_embedding is not None:
            nn.init.normal_(self.code_embedding.weight, std=0.02)
        for table in (self.column_embedding, self.user_embedding, self.gap_embedding):
            if table is not None:
                nn.init.normal_(table.table.weight, std=0.02)

    @classmethod
    def of_codes(
        cls,
        config: Any,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
    ) -> "TiedItemNetwork":
        """See `ItemNetwork.of_codes`; the network reads codes only with `code_embedding`."""
        return cls(
            config, len(semantic_ids), semantic_ids=semantic_ids, codebook_sizes=codebook_sizes
        )

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return self.item_embedding.num_embeddings

    @property
    def item_columns(self) -> ItemColumns | None:
        """See `ItemNetwork.item_columns`."""
        return self.column_embedding

    @property
    def user_columns(self) -> UserColumns | None:
        """See `ItemNetwork.user_columns`."""
        return self.user_embedding

    @property
    def item_tables(self) -> tuple[ItemTable, ...]:
        """See `ItemNetwork.item_tables`."""
        return (self.item_embedding,)

    @property
    def reads_times(self) -> bool:
        """See `ItemNetwork.reads_times`."""
        return self.config.times is not None

    @property
    def input_vectors(self) -> InputVectors:
        """The vectors by which items are read."""
        return InputVectors(
            flat_codes=self.flat_codes,
            codes=self.code_embedding,
            items=self.item_embedding,
            columns=self.column_embedding,
            gaps=self.gap_embedding,
        )

    def flat_codes(self, items: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch levels"]:
        """Flat code ids of items; those of item 0 where there is `NO_ITEM`."""
        assert self.semantic_ids is not None, "only a network that reads codes is asked for them"
        assert self.level_starts is not None
        return self.semantic_ids[items.clamp(min=0)].long() + self.level_starts

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """The vectors by which items are read and scored."""
        return self.input_vectors.catalog_vectors(self.num_items)

    def states(self, histories: HistoryBatch) -> Float[Tensor, "users positions dim"]:
        """States after the start token and after each item; position p has seen p items.

        Raises:
            ValueError: if a history is longer than `max_items`.
        """
        return self.read(self.inputs(histories), histories)

    def inputs(self, histories: HistoryBatch) -> Float[Tensor, "users positions dim"]:
        """The vectors that `read` is given: prompts in their places, with dropout.

        Raises:
            ValueError: if a history is longer than `max_items`.
        """
        vectors: Tensor = self.dropout(self.placed(self.prompts(histories)))
        return vectors

    def prompts(self, histories: HistoryBatch) -> Float[Tensor, "users positions dim"]:
        """The vectors of the start token and of the items, without their positions.

        Raises:
            ValueError: if a history is longer than `max_items`.
        """
        self.refuse_longer(histories)
        return torch.cat([self.start_vectors(histories), self.item_vectors(histories)], dim=1)

    def refuse_longer(self, histories: HistoryBatch) -> None:
        """Raises a `ValueError` for histories that are longer than `max_items`."""
        num_items = histories.items.shape[1]
        if num_items > self.config.max_items:
            raise ValueError(
                f"histories of {num_items} items; the network was built for "
                f"{self.config.max_items}. Cut them to the most recent ones."
            )

    def item_vectors(self, histories: HistoryBatch) -> Float[Tensor, "users items dim"]:
        """The vectors of the items of histories; arbitrary behind the end of a history."""
        return READERS["items"].vectors(self.input_vectors, histories)

    def start_vectors(self, histories: HistoryBatch) -> Float[Tensor, "users 1 dim"]:
        """The vectors of the start tokens, which tell what describes the users."""
        start = self.start.expand(len(histories.lengths), 1, -1)
        if self.user_embedding is None:
            return start
        return start + self.user_embedding.of_users(histories)[:, None]

    def placed(
        self, vectors: Float[Tensor, "users positions dim"]
    ) -> Float[Tensor, "users positions dim"]:
        """The vectors with those of their positions added, if positions have vectors."""
        if self.position_embedding is None:
            return vectors
        positions: Tensor = self.position_embedding.weight[: vectors.shape[1]]
        return vectors + positions

    def flops(self, lengths: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """FLOPs of the states of histories, and of the scores of all items at the last state."""
        return self.layer_flops(lengths + 1) + 2 * self.config.dim * self.num_items

    def scores(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users items"]:
        """Unnormalised scores of all items.

        Args:
            states: after each history.
            histories: only the items that they hold count, and only with a repeat bias.
        """
        scores: Tensor = self.item_head(self._directions(states), histories, self.item_rows())
        return scores

    def item_rows(self, items: Int[Tensor, " some"] | None = None) -> Float[Tensor, "some dim"]:
        """See `HasItemRows.item_rows`."""
        rows = self.catalog_vectors() if items is None else self.input_vectors.item_vectors(items)
        return rows if self.config.temperature is None else functional.normalize(rows, dim=-1)

    def row_scores(
        self,
        states: Float[Tensor, "users dim"],
        rows: Float[Tensor, "some dim"],
        items: Int[Tensor, " some"],
        histories: HistoryBatch,
    ) -> Float[Tensor, "users some"]:
        """See `HasItemRows.row_scores`."""
        return self.item_head.scores_of_rows(self._directions(states), rows, items, histories)

    def _directions(self, states: Float[Tensor, "users dim"]) -> Float[Tensor, "users dim"]:
        """The states, or with a temperature their directions, divided by it."""
        if self.config.temperature is None:
            return states
        directions: Tensor = functional.normalize(states, dim=-1) / self.config.temperature
        return directions
