"""DiffuReason: SASRec that thinks after a history, and then denoises what it has thought."""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.config import DiffuReasonConfig
from sidestep.model.flops import matrix_flops
from sidestep.model.latent_reasoning import ChainDraw, DrawnChainNetwork
from sidestep.model.thinking import ThinkingNetwork
from sidestep.step import HistoryBatch

_COSINE_OFFSET = 0.008
"""s of the cosine schedule, which keeps the noise of the first levels from being tiny."""


def signal_shares(num_levels: int) -> Float[Tensor, " levels"]:
    """The share a_t of the signal in the variance, at the noise levels t = 0 .. T.

        a_t = g(t) / g(0),   g(t) = cos²((t/T + s) / (1 + s) · π/2),   s = 0.008

    Level 0 is the signal alone, a = 1; level T is noise alone, a = 0.

    Source: improved denoising diffusion (arXiv:2102.09672, eq. 17).

    Args:
        num_levels: T.
    """
    times = torch.arange(num_levels + 1, dtype=torch.float64) / num_levels
    angles = (times + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * torch.pi / 2
    shares = angles.cos().square()
    shares = shares / shares[0]
    shares[-1] = 0.0  # the cosine of π/2 is 6e-17 in float64
    return shares.float()


class Denoiser(nn.Module):
    """Tells the vector without noise from the vector with noise, the noise level and a thought.

        f(x_t, t, h) = LN(h + W_2 SiLU(W_1 [x_t, h] + τ_t))

    τ is a learned vector per noise level. So what is learned is how the thought h must be changed.
    The norm LN keeps the length near √dim, which the vectors of items have here, so that a step
    cannot make a vector longer and longer.
    """

    def __init__(self, dim: int, hidden_dim: int, num_levels: int) -> None:
        """Makes an untrained denoiser.

        Args:
            dim: width of vectors and thoughts.
            hidden_dim: width of the hidden layer.
            num_levels: T; there are the noise levels 1 .. T.
        """
        super().__init__()
        self.hidden = nn.Linear(2 * dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, dim)
        self.level_embedding = nn.Embedding(num_levels, hidden_dim)
        nn.init.normal_(self.level_embedding.weight, std=0.02)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        noisy: Float[Tensor, "*batch dim"],
        levels: Int[Tensor, "..."],
        thoughts: Float[Tensor, "*batch dim"],
    ) -> Float[Tensor, "*batch dim"]:
        """The vectors without noise.

        Args:
            noisy: x_t.
            levels: t of each vector, from 1; or one t for all of them, as a tensor of no dimension.
            thoughts: h_K.
        """
        hidden = self.hidden(torch.cat([noisy, thoughts], dim=-1))
        changes = self.output(functional.silu(hidden + self.level_embedding(levels - 1)))
        clean: Tensor = self.norm(thoughts + changes)
        return clean


class DiffuReason(ThinkingNetwork, DrawnChainNetwork):
    """A network that thinks for K steps after a history, and then denoises a vector that scores.

        h_K = the last state of a chain of thinking (see `ThinkingNetwork`),   x_T ~ N(0, I),
        x̂_t = f(x_t, t, h_K),
        x_s = √a_s x̂_t + √(1 - a_s) ε_t,   ε_t = (x_t - √a_t x̂_t) / √(1 - a_t)

    where f is the `Denoiser`, s is the noise level after t, and a is told by `signal_shares`. The
    levels go from T down to 0 in `num_refinements` even steps. A chain is x̂_T, .., and its last
    vector, which is x_0, scores items.

    Training draws x_T for each position. A recommendation begins at the mean of the noise, x_T = 0:
    no number is drawn, so a history gets the same scores in every call, alone or in any batch. The
    steps add no noise either.

    Source: DiffuReason (arXiv:2602.09744). We could read its abstract alone, and found no code. The
    abstract says: a model generates several thinking tokens over the history, which form an initial
    hypothesis of the user's intent; a diffusion process refines the hypothesis by iterative
    denoising, and models intent as a distribution; GRPO trains thinking and refinement together for
    ranking; backbones can be exchanged. All else is our guess: the backbone and the steps of
    ReaRec; a denoiser of two layers that is given h_K and tells x_0; the deterministic steps of
    DDIM (arXiv:2010.02502, eq. 12 with σ = 0); the cosine schedule; x_0 as the vector of the item,
    scaled to the length √dim, so that noise and signal have one scale; a supervised stage
    (`RefinementObjective`) before the stage of rewards (`ChainRewardObjective`), while the paper
    trains without stages; no noise in a recommendation. So its numbers are not those of the paper.
    See `TiedItemNetwork` for inputs and scores.
    """

    Config: ClassVar = DiffuReasonConfig
    config: DiffuReasonConfig
    signal_shares: Tensor

    def add_layers(self, config: DiffuReasonConfig) -> None:
        """See `TiedItemNetwork.add_layers`."""
        super().add_layers(config)
        num_levels, num_steps = config.num_noise_levels, config.num_refinements
        self.denoiser = Denoiser(config.dim, config.hidden_ffn_dim, num_levels)
        self.register_buffer("signal_shares", signal_shares(num_levels), persistent=False)
        self.visited_levels = [num_levels * left // num_steps for left in range(num_steps, -1, -1)]

    def clean_vectors(self, items: Int[Tensor, " some"]) -> Float[Tensor, "some dim"]:
        """x_0 of items: the vectors by which they are read, scaled to the length √dim."""
        vectors = self.input_vectors.item_vectors(items)
        scaled: Tensor = self.config.dim**0.5 * functional.normalize(vectors, dim=-1)
        return scaled

    def think(
        self,
        vectors: Float[Tensor, "users positions dim"],
        places: Int[Tensor, "#users chains"] | None = None,
    ) -> Float[Tensor, "users chains dim"]:
        """h_K after prompts.

        Args:
            vectors: see `TiedItemNetwork.read`.
            places: the positions that think; None is every position.
        """
        return self.reason_from(self.read_prompt(vectors), places)[:, :, -1]

    def noised(
        self,
        clean: Float[Tensor, "some dim"],
        levels: Int[Tensor, " some"],
        noise: Float[Tensor, "some dim"],
    ) -> Float[Tensor, "some dim"]:
        """x_t = √a_t x_0 + √(1 - a_t) ε.

        Args:
            clean: x_0.
            levels: t of each vector.
            noise: ε, standard normal.
        """
        share = self.signal_shares[levels][:, None].to(clean.dtype)
        noisy: Tensor = share.sqrt() * clean + (1 - share).sqrt() * noise
        return noisy

    def refine(
        self,
        thoughts: Float[Tensor, "users chains dim"],
        first: Float[Tensor, "users chains dim"] | None = None,
    ) -> Float[Tensor, "users chains steps dim"]:
        """Chains of vectors without noise, the first guess first.

        Args:
            thoughts: h_K.
            first: x_T; None is 0.
        """
        noisy = torch.zeros_like(thoughts) if first is None else first
        levels = torch.tensor(self.visited_levels, device=thoughts.device)
        shares = self.signal_shares[levels].to(thoughts.dtype)
        chain = []
        for level, (share, lower) in zip(levels[:-1], pairwise(shares), strict=True):
            clean = self.denoiser(noisy, level, thoughts)
            noise = (noisy - share.sqrt() * clean) / (1 - share).sqrt()
            noisy = lower.sqrt() * clean + (1 - lower).sqrt() * noise
            chain.append(clean)
        return torch.stack(chain, dim=2)

    def draw_chain(self, vectors: Float[Tensor, "users positions dim"]) -> ChainDraw:
        """See `DrawnChainNetwork.draw_chain`; x_T is drawn by the device."""
        return ChainDraw(depth=self.config.num_refinements, first=torch.randn_like(vectors))

    @property
    def answer_draw(self) -> ChainDraw:
        """See `DrawnChainNetwork.answer_draw`."""
        return ChainDraw(depth=self.config.num_refinements, first=None)

    def drawn_chains(
        self, vectors: Float[Tensor, "users positions dim"], draws: Sequence[ChainDraw]
    ) -> list[Float[Tensor, "users positions _ dim"]]:
        """See `DrawnChainNetwork.drawn_chains`; the thoughts are the same for all draws."""
        thoughts = self.think(vectors)
        return [self.refine(thoughts, draw.first) for draw in draws]

    def last_chains(self, histories: HistoryBatch) -> Float[Tensor, "users steps dim"]:
        """See `LatentReasoningNetwork.last_chains`; no other position thinks."""
        thoughts = self.think(self.inputs(histories), histories.lengths[:, None])
        draw = self.draw_chain(thoughts) if self.training else self.answer_draw
        return self.refine(thoughts, draw.first)[:, 0]

    def layer_flops(self, positions: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """See `TiedItemNetwork.layer_flops`; only the last position thinks and is refined."""
        of_refining = self.config.num_refinements * matrix_flops(self.denoiser)
        return self.thinking_flops(positions) + of_refining
