"""GRU4Rec: a recurrent network over item ids."""

from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.model.config import Gru4RecConfig
from sidestep.model.flops import matrix_flops
from sidestep.model.tied_item_network import TiedItemNetwork
from sidestep.step import HistoryBatch


class Gru4Rec(TiedItemNetwork):
    """Gated recurrent units over item IDs, scored by the product with the item embeddings.

    Source: GRU4Rec (arXiv:1511.06939), with the embeddings of items in place of one-hot inputs and
    tied to the output, which its authors call constrained embeddings in their later work
    (arXiv:1706.03847). Our departures: histories of users in place of sessions; a start token; the
    cross-entropy over the catalog by default, and the losses of `objective.loss`, in place of TOP1
    and BPR-max. See `TiedItemNetwork` for inputs and scores.
    """

    Config: ClassVar = Gru4RecConfig
    extra_positions: ClassVar = None
    config: Gru4RecConfig

    def add_layers(self, config: Gru4RecConfig) -> None:
        """See `TiedItemNetwork.add_layers`."""
        self.gru = nn.GRU(
            config.dim,
            config.state_dim,
            config.num_layers,
            batch_first=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )
        self.out = nn.Linear(config.state_dim, config.dim)

    def read(
        self, vectors: Float[Tensor, "users positions dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users positions dim"]:
        """See `TiedItemNetwork.read`."""
        del histories
        states: Tensor = self.out(self.gru(vectors)[0])
        return states

    def layer_flops(self, positions: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """See `TiedItemNetwork.layer_flops`."""
        return positions * matrix_flops(self.gru, self.out)
