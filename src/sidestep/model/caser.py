"""Caser: convolutions over the vectors of the last items of a history."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.config import CaserConfig
from sidestep.model.tied_item_network import TiedItemNetwork
from sidestep.step import HistoryBatch


class Caser(TiedItemNetwork):
    """Convolutions over the last L items, as over the rows of an image of width `dim`.

        o_h = max over places of relu(filter of h rows), for each height h of 1 to L
        o_v = weighted sums of the L rows
        state = relu(W [dropout(o_v, o_1, .., o_L)] + b)

    Source: Caser (arXiv:1809.07426). Our departures: no vector per user, so that the network can be
    asked about strangers (`user_columns` are read into the start token); the start token stands in
    the places before the first item; the state is scored by the vectors that items are read by,
    where the authors have a second table; the cross-entropy over the catalog by default
    (the authors' loss is `objective.loss: binary` with three negatives), for the next item alone.
    See `TiedItemNetwork` for inputs and scores.
    """

    Config: ClassVar = CaserConfig
    extra_positions: ClassVar = None
    config: CaserConfig

    def add_layers(self, config: CaserConfig) -> None:
        """See `TiedItemNetwork.add_layers`."""
        self.horizontal = nn.ModuleList(
            nn.Conv1d(config.dim, config.num_horizontal, height)
            for height in range(1, config.num_last + 1)
        )
        self.vertical = nn.Conv1d(1, config.num_vertical, config.num_last, bias=False)
        num_features = config.num_horizontal * config.num_last + config.num_vertical * config.dim
        self.feature_dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(num_features, config.dim)

    def read(
        self, vectors: Float[Tensor, "users positions dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users positions dim"]:
        """See `TiedItemNetwork.read`."""
        del histories
        num_last = self.config.num_last
        users, positions, dim = vectors.shape
        # The start token fills the places before the first item, so the window of each position
        # holds the L rows that end with it.
        before = vectors[:, :1].expand(-1, num_last - 1, -1)
        rows = torch.cat([before, vectors], dim=1).transpose(1, 2)
        features = []
        for height, filters in enumerate(self.horizontal, start=1):
            # A filter is applied once to the whole history; each window takes its largest answer.
            answers = functional.relu(filters(rows))
            features.append(functional.max_pool1d(answers, num_last - height + 1, stride=1))
        sums = self.vertical(rows.reshape(users * dim, 1, -1))
        features.append(sums.reshape(users, -1, positions))
        joined = torch.cat(features, dim=1).transpose(1, 2)
        states: Tensor = functional.relu(self.out(self.feature_dropout(joined)))
        return states

    def layer_flops(self, positions: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """See `TiedItemNetwork.layer_flops`."""
        last, dim = self.config.num_last, self.config.dim
        # A filter of height h answers at the L - h places before the first position, too.
        before = sum(
            2 * dim * height * self.config.num_horizontal * (last - height)
            for height in range(1, last + 1)
        )
        each = self.out.weight.numel() + self.config.num_vertical * last * dim
        each += sum(weight.numel() for weight in self.horizontal.parameters() if weight.ndim == 3)
        return positions * 2 * each + before
