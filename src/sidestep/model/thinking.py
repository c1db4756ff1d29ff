"""Thinking: networks over item IDs that feed their last state back before they score items."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.model.config import ThinkingConfig
from sidestep.model.flops import CausalFlops, matrix_flops
from sidestep.model.latent_reasoning import LatentReasoningNetwork
from sidestep.model.layers import KeysAndValues, cached_pass, pre_norm_layers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadPrompt:
    """Prompts that were read, and from which chains of reasoning go on.

    states: at every position; the first states of the chains.
    cache: keys and values at the positions, layer by layer.
    """

    states: Float[Tensor, "users positions dim"]
    cache: tuple[KeysAndValues, ...]


class ThinkingNetwork(LatentReasoningNetwork):
    """SASRec whose last state is fed back for K steps.

        h_0 = the state after a history,   h_k = SASRec(history, r_1, .., r_k),
        r_k = h_(k-1) + P_k

    P is a vector per step, which takes the place of a position's vector. Each chain h_0, .., h_K
    sees the items up to its position and its own earlier states, as if its position were the end of
    the history. Keys and values of what was read are kept, so a step costs one position.

    Source: ReaRec (arXiv:2503.22675). Our departures: the layers of our `SasRec`; no norm before
    the layers, because the layers are pre-norm; every position of a window has a chain of its own
    in training, so that each position learns.
    """

    Config: ClassVar = ThinkingConfig
    config: ThinkingConfig

    def add_layers(self, config: Any) -> None:
        """See `TiedItemNetwork.add_layers`."""
        self.layers = pre_norm_layers(
            config.dim, config.num_layers, config.num_heads, config.hidden_ffn_dim, config.dropout
        )
        self.step_embedding = nn.Embedding(config.num_steps, config.dim)
        nn.init.normal_(self.step_embedding.weight, std=0.02)

    def read_prompt(self, vectors: Float[Tensor, "users positions dim"]) -> ReadPrompt:
        """Reads prompts, without a step of reasoning.

        Args:
            vectors: see `TiedItemNetwork.read`.
        """
        places = torch.arange(vectors.shape[1], device=vectors.device)
        sees = places <= places[:, None]
        states, cache = cached_pass(self.layers, vectors, None, sees[None])
        return ReadPrompt(states=states, cache=cache)

    def reason_from(
        self,
        prompt: ReadPrompt,
        places: Int[Tensor, "#users chains"] | None = None,
        *,
        noise: float = 0.0,
    ) -> Float[Tensor, "users chains steps dim"]:
        """Chains from prompts that were read.

        Args:
            prompt: what was read.
            places: the positions at which chains begin; None begins one at every position.
            noise: standard deviation of what is added to each r_k.
        """
        users, width, dim = prompt.states.shape
        columns = torch.arange(width, device=prompt.states.device)
        places = columns[None] if places is None else places
        own = torch.eye(places.shape[1], dtype=torch.bool, device=places.device)[None]
        sees: Bool[Tensor, "some chains columns"] = columns <= places[..., None]
        own = own.expand(len(sees), -1, -1)
        rows = places.expand(users, -1)[..., None].expand(-1, -1, dim)
        states, cache = prompt.states.gather(1, rows), prompt.cache
        chain = [states]
        for step in self.step_embedding.weight:
            tokens = states + step
            if noise > 0:
                tokens = tokens + noise * torch.randn_like(tokens)
            sees = torch.cat([sees, own], dim=2)
            states, cache = cached_pass(self.layers, self.dropout(tokens), cache, sees)
            chain.append(states)
        return torch.stack(chain, dim=2)

    def thinking_flops(self, positions: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """FLOPs of reading prompts of so many positions, and of the steps of the last position."""
        backbone = CausalFlops(
            matrices=matrix_flops(self.layers),
            channels=self.config.num_layers * self.config.dim,
        )
        steps = torch.arange(1, self.config.num_steps + 1, device=positions.device)
        of_steps = backbone.of_position(positions[:, None] + steps).sum(dim=1)
        return backbone.of_prompt(positions) + of_steps
