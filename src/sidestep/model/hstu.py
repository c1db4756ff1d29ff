"""HSTU: attention over item ids without softmax, in which a gate takes the feed-forward's place."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.config import GapConfig, HstuConfig
from sidestep.model.flops import CausalFlops, matrix_flops
from sidestep.model.gaps import UNKNOWN_GAP, gap_bins, hidden_gaps, num_gap_bins
from sidestep.model.tied_item_network import TiedItemNetwork
from sidestep.step import HistoryBatch

_NORM_EPSILON = 1e-6


class HstuLayer(nn.Module):
    """One layer: pointwise attention, whose gated output is added to the residual stream.

        U, V, Q, K = split(SiLU(LN(X) W))
        A = SiLU(Q Kᵀ + position bias + time bias) / N, causal
        Y = X + dropout(U ⊙ LN(A V)) W' + b'

    N is the same number for all queries, and has nearly no effect, because a norm follows A V.
    """

    def __init__(self, config: HstuConfig) -> None:
        super().__init__()
        self.num_heads, self.width = config.num_heads, config.max_items + 1
        self.norm = nn.LayerNorm(config.dim, eps=_NORM_EPSILON, elementwise_affine=False)
        self.uvqk = nn.Linear(config.dim, 4 * config.dim, bias=False)
        # A number per distance, from 0 on, and a number per bin of times.
        self.position_bias = nn.Embedding(self.width, 1)
        self.time_bias = (
            None if config.times is None else nn.Embedding(num_gap_bins(config.times), 1)
        )
        self.mixed_norm = nn.LayerNorm(config.dim, eps=_NORM_EPSILON, elementwise_affine=False)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.dim, config.dim)
        nn.init.normal_(self.uvqk.weight, std=0.02)
        nn.init.xavier_uniform_(self.out.weight)
        for table in (self.position_bias, self.time_bias):
            if table is not None:
                nn.init.normal_(table.weight, std=0.02)

    def forward(
        self,
        states: Float[Tensor, "users positions dim"],
        time_bins: Int[Tensor, "users positions positions"] | None,
    ) -> Float[Tensor, "users positions dim"]:
        """The new states.

        Args:
            states: X, of the residual stream.
            time_bins: the bin of the time between a query and a key, see `time_bins`; None where
                the layer reads no times.
        """
        users, width, dim = states.shape
        gate, values, queries, keys = functional.silu(self.uvqk(self.norm(states))).chunk(4, dim=-1)
        values, queries, keys = (
            each.view(users, width, self.num_heads, -1).transpose(1, 2)
            for each in (values, queries, keys)
        )
        places = torch.arange(width, device=states.device)
        distances = places[:, None] - places
        bias = self.position_bias.weight[distances.clamp(min=0), 0]
        if self.time_bias is not None:
            assert time_bins is not None, "a layer that reads times is given their bins"
            bias = bias + self.time_bias.weight[time_bins, 0][:, None]
        attention = functional.silu(queries @ keys.transpose(2, 3) + bias) / self.width
        attention = attention.masked_fill(distances < 0, 0.0)
        mixed = (attention @ values).transpose(1, 2).reshape(users, width, dim)
        added: Tensor = self.out(self.dropout(gate * self.mixed_norm(mixed)))
        return states + added


def time_bins(
    histories: HistoryBatch, config: GapConfig, *, training: bool
) -> Int[Tensor, "users positions positions"]:
    """The bin of the time from each key (last axis) to each query; arbitrary at later keys.

    A query behind an item stands at the moment of the next event, or at that of the recommendation;
    a key stands at the moment of its own item. So no query reads a time that is not known when it
    is asked. The time of the start token, and any time that an unknown gap is part of, is unknown.

    Args:
        histories: with their gaps.
        config: the bins.
        training: whether some gaps are hidden at random, see `GapConfig.hidden_share`.
    """
    items = histories.items
    users, width = items.shape
    bins = torch.full((users, width + 1, width + 1), UNKNOWN_GAP, device=items.device)
    if histories.gaps is None:
        return bins
    gaps = histories.gaps.double()  # sums of seconds over years need more than 24 bits
    is_unknown = ~(gaps >= 0)
    if training and config.hidden_share > 0:
        is_unknown = is_unknown | hidden_gaps(items, config)
    # Sums from the first item on: the time of a pair is a difference of two of them.
    behind = gaps.masked_fill(is_unknown, 0.0).cumsum(dim=1)
    before = functional.pad(behind, (1, 0))[:, :-1]
    unknown_behind = is_unknown.cumsum(dim=1)
    unknown_before = functional.pad(unknown_behind, (1, 0))[:, :-1]
    times = behind[:, :, None] - before[:, None, :]
    has_unknown = unknown_behind[:, :, None] > unknown_before[:, None, :]
    bins[:, 1:, 1:] = gap_bins(times.masked_fill(has_unknown, torch.nan), config)
    return bins


class Hstu(TiedItemNetwork):
    """Hierarchical sequential transduction units over item IDs.

    Source: HSTU (arXiv:2402.17152), as the authors' public experiments have it: pointwise SiLU
    attention, one bias per distance and one per bin of the time between two events in every layer,
    no feed-forward layer but the gate U, learned positions at the input, and the cosine divided by
    a temperature as score. Our departures: a start token, so that an empty history is legal; a norm
    behind the last layer; the bins of `GapEmbedding` for times, with unknown times in a bin of
    their own. The authors learn with a sampled softmax of 128 to 512 negatives, which is
    `objective.loss: sampled-softmax`; by default this network learns with the cross-entropy over
    the catalog. See `TiedItemNetwork` for inputs and scores.
    """

    Config: ClassVar = HstuConfig
    adds_gaps: ClassVar = False
    config: HstuConfig

    def add_layers(self, config: HstuConfig) -> None:
        """See `TiedItemNetwork.add_layers`."""
        self.layers = nn.ModuleList(HstuLayer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim)

    def read(
        self, vectors: Float[Tensor, "users positions dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users positions dim"]:
        """See `TiedItemNetwork.read`."""
        times = self.config.times
        bins = None if times is None else time_bins(histories, times, training=self.training)
        for layer in self.layers:
            vectors = layer(vectors, bins)
        states: Tensor = self.norm(vectors)
        return states

    def layer_flops(self, positions: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """See `TiedItemNetwork.layer_flops`."""
        backbone = CausalFlops(
            matrices=matrix_flops(self.layers),
            channels=self.config.num_layers * self.config.dim,
        )
        return backbone.of_prompt(positions)
