"""LARES: a network over item IDs of recurrent depth, which refines its states again and again."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.model.config import LaresConfig
from sidestep.model.flops import CausalFlops, matrix_flops
from sidestep.model.latent_reasoning import ChainDraw, DrawnChainNetwork
from sidestep.model.layers import pre_norm_layers

_DEPTH_SPREAD = 0.5
"""Standard deviation of the logarithm of the rate from which depths are drawn."""

_NOISE_BOUND = 3.0
"""Standard deviations at which the noise is cut off."""


class Lares(DrawnChainNetwork):
    """A pre-block reads a history once, then one core-block is applied T times to all positions.

        H = A(E + P),   T_0 = ω z,   T_i = C(LN(f(T_(i-1), H)))

    A is the pre-block and C the core-block; f is their mean, or a linear map of both; z is standard
    normal noise, cut off at three standard deviations. A chain is T_1, .., T_T, and the last of
    them scores items. In training the depth T is drawn for each pass: 1 + Poisson(λ), where log λ
    is normal with standard deviation 1/2 and the mean of λ is m (`mean_depth`), at most 3 m.

    Source: LARES (arXiv:2505.16865); the draw of depths, which the paper takes from recurrent-depth
    language models (arXiv:2502.05171). The defaults are those of a public re-implementation by one
    of its authors (RecBole 3.0). Our departures: our pre-norm layers, each block with a norm at its
    end; a start token; no noise in a recommendation, where T_0 is the mean of the noise, 0, so that
    a list does not depend on a draw. See `TiedItemNetwork` for inputs and scores.
    """

    Config: ClassVar = LaresConfig
    config: LaresConfig

    def add_layers(self, config: LaresConfig) -> None:
        """See `TiedItemNetwork.add_layers`."""
        shape = (config.num_heads, config.hidden_ffn_dim, config.dropout)
        self.pre_block = pre_norm_layers(config.dim, config.num_layers, *shape)
        self.core_block = pre_norm_layers(config.dim, config.num_core_layers, *shape)
        self.mix_norm = nn.LayerNorm(config.dim)
        self.mix = nn.Linear(2 * config.dim, config.dim) if config.mixing == "linear" else None

    def draw_depth(self) -> int:
        """A depth of training, from torch's generator of the CPU."""
        mean = self.config.mean_depth
        rate = (math.log(mean) - _DEPTH_SPREAD**2 / 2 + _DEPTH_SPREAD * torch.randn(())).exp()
        return min(1 + int(torch.poisson(rate)), 3 * mean)

    def draw_chain(self, vectors: Float[Tensor, "users positions dim"]) -> ChainDraw:
        """See `DrawnChainNetwork.draw_chain`; the depth and the first states are drawn."""
        return ChainDraw(depth=self.draw_depth(), first=self.draw_first(vectors))

    @property
    def answer_draw(self) -> ChainDraw:
        """See `DrawnChainNetwork.answer_draw`."""
        return ChainDraw(depth=self.config.answer_depth, first=None)

    def drawn_chains(
        self, vectors: Float[Tensor, "users positions dim"], draws: Sequence[ChainDraw]
    ) -> list[Float[Tensor, "users positions _ dim"]]:
        """See `DrawnChainNetwork.drawn_chains`."""
        return [self.recur(vectors, depth=draw.depth, first=draw.first) for draw in draws]

    def draw_first(
        self, vectors: Float[Tensor, "users positions dim"]
    ) -> Float[Tensor, "users positions dim"]:
        """T_0 for prompts of these vectors, from the random generator of the device."""
        noise = torch.empty_like(vectors, requires_grad=False)
        nn.init.trunc_normal_(noise, a=-_NOISE_BOUND, b=_NOISE_BOUND)
        return self.config.state_scale * noise

    def recur(
        self,
        vectors: Float[Tensor, "users positions dim"],
        *,
        depth: int,
        first: Float[Tensor, "users positions dim"] | None = None,
    ) -> Float[Tensor, "users positions depth dim"]:
        """Chains of a given depth.

        Args:
            vectors: see `TiedItemNetwork.read`.
            depth: T, the number of recurrences.
            first: T_0; None is 0.
        """
        causal = nn.Transformer.generate_square_subsequent_mask(
            vectors.shape[1], device=vectors.device
        )
        read = self.pre_block(vectors, mask=causal, is_causal=True)
        states = torch.zeros_like(read) if first is None else first
        chain = []
        for _ in range(depth):
            if self.mix is None:
                mixed = (states + read) / 2
            else:
                mixed = self.mix(torch.cat([states, read], dim=-1))
            states = self.core_block(self.mix_norm(mixed), mask=causal, is_causal=True)
            chain.append(states)
        return torch.stack(chain, dim=2)

    def layer_flops(self, positions: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """See `TiedItemNetwork.layer_flops`; every position is refined in every recurrence."""
        depth, dim = self.config.answer_depth, self.config.dim
        of_mixing = 0 if self.mix is None else matrix_flops(self.mix)
        read = CausalFlops(
            matrices=matrix_flops(self.pre_block), channels=self.config.num_layers * dim
        )
        core = CausalFlops(
            matrices=matrix_flops(self.core_block) + of_mixing,
            channels=self.config.num_core_layers * dim,
        )
        return read.of_prompt(positions) + depth * core.of_prompt(positions)
