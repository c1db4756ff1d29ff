"""SASRec: a causal Transformer over item ids that scores the whole catalog at once."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.columns import ItemColumns, UserColumns
from sidestep.model.config import SasRecConfig
from sidestep.model.flops import CausalFlops, matrix_flops
from sidestep.model.gaps import GapEmbedding
from sidestep.model.heads import ItemTable
from sidestep.model.item_head import ItemHead
from sidestep.model.item_network import ItemNetwork
from sidestep.step import HistoryBatch


class SasRec(ItemNetwork):
    """Self-attentive sequential recommendation, scored by the product with the item embeddings.

    Source: SASRec (arXiv:1808.09781). Our departures: pre-norm layers with GELU and a feed-forward
    layer four times as wide; a start token, so that an empty history is legal; trained with the
    full cross-entropy over the catalog, which is what makes it strong (arXiv:2309.07602). With a
    temperature the cosine takes the product's place (as in NT-Xent, arXiv:2002.05709); with a
    repeat bias it learns whether people take an item again (see `ItemHead`); with `times` it reads
    the gaps between events (see `GapEmbedding`); with `item_columns` it reads and scores an item
    also by the item's values in columns (see `ColumnEmbedding`); with `user_columns` it reads what
    describes the user (see `UserColumns`).
    """

    Config: ClassVar = SasRecConfig
    config: SasRecConfig

    def __init__(self, config: SasRecConfig, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.item_embedding = nn.Embedding(num_items, config.dim)
        self.position_embedding = nn.Embedding(config.max_items + 1, config.dim)
        self.column_embedding = (
            None if config.item_columns is None else ItemColumns(config.item_columns, config.dim)
        )
        self.user_embedding = (
            None if config.user_columns is None else UserColumns(config.user_columns, config.dim)
        )
        self.gap_embedding = (
            None if config.times is None else GapEmbedding(config.times, config.dim)
        )
        self.start = nn.Parameter(torch.empty(config.dim))
        self.item_head = ItemHead(config.dim, None, has_repeat_bias=config.repeat_bias)
        layer = nn.TransformerEncoderLayer(
            config.dim,
            config.num_heads,
            config.ffn_dim or 4 * config.dim,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, config.num_layers, norm=nn.LayerNorm(config.dim), enable_nested_tensor=False
        )
        self.dropout = nn.Dropout(config.dropout)
        for parameter in (self.item_embedding.weight, self.position_embedding.weight, self.start):
            nn.init.normal_(parameter, std=0.02)
        if self.column_embedding is not None:
            nn.init.normal_(self.column_embedding.table.weight, std=0.02)
        if self.user_embedding is not None:
            nn.init.normal_(self.user_embedding.table.weight, std=0.02)
        if self.gap_embedding is not None:
            nn.init.normal_(self.gap_embedding.table.weight, std=0.02)

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
        return self.gap_embedding is not None

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """The vectors by which items are read and scored."""
        rows = self.item_embedding.weight
        return rows if self.column_embedding is None else rows + self.column_embedding.of_catalog()

    def states(self, histories: HistoryBatch) -> Float[Tensor, "users positions dim"]:
        """States after the start token and after each item; position p has seen p items.

        Raises:
            ValueError: if a history is longer than `max_items`.
        """
        num_items = histories.items.shape[1]
        if num_items > self.config.max_items:
            raise ValueError(
                f"histories of {num_items} items; SASRec was built for {self.config.max_items}. "
                "Cut them to the most recent ones."
            )
        vectors = self.item_embedding(histories.items.clamp(min=0))
        if self.column_embedding is not None:
            vectors = vectors + self.column_embedding.of_items(histories.items)
        vectors = histories.weighted(vectors)
        if self.gap_embedding is not None:
            vectors = vectors + self.gap_embedding(histories)
        start = self.start.expand(vectors.shape[0], 1, -1)
        if self.user_embedding is not None:
            start = start + self.user_embedding.of_users(histories)[:, None]
        vectors = torch.cat([start, vectors], dim=1)
        width = num_items + 1
        causal = nn.Transformer.generate_square_subsequent_mask(width, device=vectors.device)
        states: Tensor = self.layers(
            self.dropout(vectors + self.position_embedding.weight[:width]),
            mask=causal,
            is_causal=True,
        )
        return states

    def flops(self, lengths: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """FLOPs of the states of histories, and of the scores of all items at the last state."""
        backbone = CausalFlops(
            matrices=matrix_flops(self.layers),
            channels=self.config.num_layers * self.config.dim,
        )
        return backbone.of_prompt(lengths + 1) + 2 * self.config.dim * self.num_items

    def scores(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users items"]:
        """Unnormalised scores of all items.

        Args:
            states: after each history.
            histories: of which nothing counts but which items they hold, and that only with a
                repeat bias.
        """
        scores: Tensor = self.item_head(self._directions(states), histories, self.item_rows())
        return scores

    def item_rows(self, items: Int[Tensor, " some"] | None = None) -> Float[Tensor, "some dim"]:
        """See `HasItemRows.item_rows`."""
        if items is None:
            rows = self.catalog_vectors()
        else:
            rows = self.item_embedding(items)
            if self.column_embedding is not None:
                rows = rows + self.column_embedding.of_items(items)
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
        return functional.normalize(states, dim=-1) / self.config.temperature
