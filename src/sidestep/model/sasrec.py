"""SASRec: a causal Transformer over item ids that scores the whole catalog at once."""

from collections.abc import Callable
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.model.config import SasRecConfig
from sidestep.model.flops import CausalFlops, matrix_flops
from sidestep.model.layers import pre_norm_layers
from sidestep.model.ligr import LigrLayers
from sidestep.model.tied_item_network import TiedItemNetwork
from sidestep.step import HistoryBatch


class SasRec(TiedItemNetwork):
    """Self-attentive sequential recommendation, scored by the product with the item embeddings.

    Source: SASRec (arXiv:1808.09781). Our departures: pre-norm layers with GELU and a feed-forward
    layer four times as wide; a start token, so that an empty history is legal; by default trained
    with the full cross-entropy over the catalog, which is what makes it strong (arXiv:2309.07602).
    The authors' loss is `objective.loss: binary`. See `TiedItemNetwork` for inputs and scores.

    With `layers: ligr` and `objective.loss: sampled-softmax`, this is eSASRec (arXiv:2508.06450),
    see `LigrLayers`. So eSASRec is no network of its own, but these two settings; its shifted
    sequence, which learns the next item at every position, is how every SASRec learns.
    """

    Config: ClassVar = SasRecConfig
    config: SasRecConfig

    def add_layers(self, config: SasRecConfig) -> None:
        """See `TiedItemNetwork.add_layers`."""
        made: Callable[..., nn.Module] = LigrLayers if config.layers == "ligr" else pre_norm_layers
        self.layers = made(
            config.dim, config.num_layers, config.num_heads, config.hidden_ffn_dim, config.dropout
        )

    def read(
        self, vectors: Float[Tensor, "users positions dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users positions dim"]:
        """See `TiedItemNetwork.read`."""
        del histories
        causal = nn.Transformer.generate_square_subsequent_mask(
            vectors.shape[1], device=vectors.device
        )
        states: Tensor = self.layers(vectors, mask=causal, is_causal=True)
        return states

    def layer_flops(self, positions: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """See `TiedItemNetwork.layer_flops`."""
        backbone = CausalFlops(
            matrices=matrix_flops(self.layers),
            channels=self.config.num_layers * self.config.dim,
        )
        return backbone.of_prompt(positions)
