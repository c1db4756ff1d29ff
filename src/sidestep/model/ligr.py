"""LiGR layers: a Transformer whose residual stream lets through as much as a gate allows."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.model.layers import SwiGLU


class GatedResidual(nn.Module):
    """Adds what a sublayer made to the residual stream, as far as a gate lets it through.

    y = x + σ(x W + b) ⊙ dropout(F(LN(x)))
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, states: Float[Tensor, "*batch dim"], made: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch dim"]:
        """The new states.

        Args:
            states: x, of the residual stream.
            made: F(LN(x)), the output of the sublayer.
        """
        added: Tensor = torch.sigmoid(self.gate(states)) * self.dropout(made)
        return states + added


class LigrLayer(nn.Module):
    """One layer: attention, then SwiGLU, each with a norm before and a gate behind."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, num_heads, dropout, batch_first=True)
        self.attention_gate = GatedResidual(dim, dropout)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = SwiGLU(dim, ffn_dim)
        self.ffn_gate = GatedResidual(dim, dropout)

    def forward(
        self,
        states: Float[Tensor, "users positions dim"],
        *,
        mask: Float[Tensor, "positions positions"],
        is_causal: bool,
    ) -> Float[Tensor, "users positions dim"]:
        """See `LigrLayers.forward`."""
        normed = self.attention_norm(states)
        mixed, _ = self.attention(
            normed, normed, normed, attn_mask=mask, is_causal=is_causal, need_weights=False
        )
        states = self.attention_gate(states, mixed)
        gated: Tensor = self.ffn_gate(states, self.ffn(self.ffn_norm(states)))
        return gated


class LigrLayers(nn.Module):
    """The layers of eSASRec, in the place of a `torch.nn.TransformerEncoder`.

    Source: gated residuals, LiGR (arXiv:2502.03417), in the form in which eSASRec
    (arXiv:2508.06450) takes them: LayerNorm before each sublayer, softmax attention, SwiGLU, and
    gates that read the residual stream. Our departures: a norm behind the last layer, as our other
    pre-norm networks have it; no dropout within SwiGLU.
    """

    def __init__(
        self, dim: int, num_layers: int, num_heads: int, ffn_dim: int, dropout: float
    ) -> None:
        """Makes untrained layers.

        Args:
            dim: width of the residual stream.
            num_layers: their number.
            num_heads: of the attention.
            ffn_dim: width of SwiGLU.
            dropout: on attention weights and on the output of every sublayer, while training.
        """
        super().__init__()
        self.layers = nn.ModuleList(
            LigrLayer(dim, num_heads, ffn_dim, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        vectors: Float[Tensor, "users positions dim"],
        mask: Float[Tensor, "positions positions"],
        *,
        is_causal: bool,
    ) -> Float[Tensor, "users positions dim"]:
        """The states at all positions.

        Args:
            vectors: of the positions.
            mask: added to the scores of attention; -inf where a position does not see another.
            is_causal: a hint that the mask is causal, see `torch.nn.MultiheadAttention`.
        """
        for layer in self.layers:
            vectors = layer(vectors, mask=mask, is_causal=is_causal)
        states: Tensor = self.norm(vectors)
        return states
