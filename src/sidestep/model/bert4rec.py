"""BERT4Rec: a Transformer that fills in masked items from the items on both sides."""

from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.config import Bert4RecConfig
from sidestep.model.flops import attention_flops, matrix_flops
from sidestep.model.layers import pre_norm_layers
from sidestep.model.tied_item_network import TiedItemNetwork
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch


class Bert4Rec(TiedItemNetwork):
    """Bidirectional attention over item IDs; the next item is a masked item behind the history.

    Source: BERT4Rec (arXiv:1904.06690). Our departures: pre-norm layers; a start token, so that an
    empty history is legal; no layer and no bias between a state and the vectors of items. A kind of
    run of this network learns by `MaskedItemObjective`. See `TiedItemNetwork` for inputs and
    scores.

    A state depends on which items are masked. So the state after p items needs a pass of its own,
    in which the first p items are read, and `states` takes one pass per position; `last_states`
    takes one pass.
    """

    Config: ClassVar = Bert4RecConfig
    extra_positions: ClassVar = 2  # the start token, and the masked item behind a history
    config: Bert4RecConfig

    def add_layers(self, config: Bert4RecConfig) -> None:
        """See `TiedItemNetwork.add_layers`."""
        self.mask = nn.Parameter(torch.empty(config.dim))
        nn.init.normal_(self.mask, std=0.02)
        self.layers = pre_norm_layers(
            config.dim, config.num_layers, config.num_heads, config.hidden_ffn_dim, config.dropout
        )

    def masked_states(
        self, histories: HistoryBatch, is_masked: Bool[Tensor, "users items"]
    ) -> Float[Tensor, "users items dim"]:
        """The states at the items of histories, some of which are masked.

        Args:
            histories: of at most `max_items` + 1 items.
            is_masked: the items that are not read; a mask stands in the place of each.
        """
        vectors = self.item_vectors(histories)
        vectors = torch.where(is_masked[..., None], self.mask.to(vectors.dtype), vectors)
        vectors = torch.cat([self.start_vectors(histories), vectors], dim=1)
        return self.read(self.dropout(self.placed(vectors)), histories)[:, 1:]

    def read(
        self, vectors: Float[Tensor, "users positions dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users positions dim"]:
        """See `TiedItemNetwork.read`; here a position sees all positions of its history."""
        positions = torch.arange(vectors.shape[1], device=vectors.device)
        states: Tensor = self.layers(
            vectors, src_key_padding_mask=positions > histories.lengths[:, None]
        )
        return states

    def last_states(self, histories: HistoryBatch) -> Float[Tensor, "users dim"]:
        """See `ItemNetwork.last_states`: the state of a masked item behind each history."""
        self.refuse_longer(histories)
        asked = _with_one_more(histories)
        rows = torch.arange(len(histories.lengths), device=histories.lengths.device)
        is_masked = torch.zeros_like(asked.items, dtype=torch.bool)
        is_masked[rows, histories.lengths] = True
        return self.masked_states(asked, is_masked)[rows, histories.lengths]

    def states(self, histories: HistoryBatch) -> Float[Tensor, "users positions dim"]:
        """See `ItemNetwork.states`; takes one pass per position."""
        numbers = range(histories.items.shape[1] + 1)
        firsts = (histories.first(histories.lengths.clamp(max=number)) for number in numbers)
        return torch.stack([self.last_states(first) for first in firsts], dim=1)

    def layer_flops(self, positions: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """See `TiedItemNetwork.layer_flops`; the masked item has a position, too."""
        positions = positions + 1
        channels = self.config.num_layers * self.config.dim
        matrices = matrix_flops(self.layers)
        return positions * matrices + attention_flops(channels, positions * positions)


def _with_one_more(histories: HistoryBatch) -> HistoryBatch:
    """Histories with one more item at the end, which is unknown."""
    weights, gaps = histories.weights, histories.gaps
    return replace(
        histories,
        items=functional.pad(histories.items, (0, 1), value=NO_ITEM),
        lengths=histories.lengths + 1,
        weights=None if weights is None else functional.pad(weights, (0, 1), value=1.0),
        gaps=None if gaps is None else functional.pad(gaps, (0, 1), value=torch.nan),
    )
