"""The process reward model: how good a prefix is for a history, every prefix on its own.

Source: PROMISE (arXiv:2601.04674), sec. 3.2, eq. 10-12.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.config import ProcessRewardConfig
from sidestep.model.flops import attention_flops, matrix_flops
from sidestep.model.layers import attend
from sidestep.step import HistoryStates

_HASH = 0x9E3779B97F4A7C15 >> 1  # Fibonacci hashing; the largest odd number of its kind in 63 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardMemory:
    """Histories as keys and values, block by block.

    states: the histories, projected; None where no inner product is taken.
    is_visible: False at padding.
    """

    keys: tuple[Float[Tensor, "users heads states head_dim"], ...]
    values: tuple[Float[Tensor, "users heads states head_dim"], ...]
    states: Float[Tensor, "users states dim"] | None
    is_visible: Bool[Tensor, "users states"]

    def of(
        self, users: Int[Tensor, " rows"], is_visible: Bool[Tensor, "rows states"]
    ) -> "RewardMemory":
        """A row for each of some users, who may repeat, each with what it may see."""
        return RewardMemory(
            keys=tuple(keys[users] for keys in self.keys),
            values=tuple(values[users] for values in self.values),
            states=None if self.states is None else self.states[users],
            is_visible=is_visible,
        )


class _Block(nn.Module):
    """Cross-attention onto the history, then a feed-forward layer, each added to what comes in.

    Departure from eq. 11: its first line adds P^(i), which is what the line defines; P^(i-1) is
    meant.
    """

    def __init__(self, config: ProcessRewardConfig, memory_dim: int) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.queries = nn.Linear(config.dim, config.dim, bias=False)
        self.keys = nn.Linear(memory_dim, config.dim, bias=False)
        self.values = nn.Linear(memory_dim, config.dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)
        self.norm = nn.RMSNorm(config.dim)
        ffn_dim = config.ffn_dim or 2 * config.dim
        self.up = nn.Linear(config.dim, ffn_dim)
        self.down = nn.Linear(ffn_dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def heads(self, states: Float[Tensor, "users width dim"]) -> Tensor:
        """[users, heads, width, head_dim]."""
        users, width, _ = states.shape
        return states.view(users, width, self.num_heads, -1).transpose(1, 2)

    def forward(
        self,
        prefixes: Float[Tensor, "users width dim"],
        keys: Float[Tensor, "users heads states head_dim"],
        values: Float[Tensor, "users heads states head_dim"],
        is_visible: Bool[Tensor, "users states"],
    ) -> Float[Tensor, "users width dim"]:
        """Prefixes do not see one another."""
        users, width, _ = prefixes.shape
        mask = is_visible[:, None].expand(users, width, -1)
        mixed = attend(self.heads(self.queries(prefixes)), keys, values, mask)
        prefixes = prefixes + self.dropout(self.out(mixed))
        mapped = self.down(functional.gelu(self.up(self.norm(prefixes))))
        passed_on: Tensor = prefixes + self.dropout(mapped)
        return passed_on


class ProcessRewardModel(nn.Module):
    """Scores prefixes from one embedding each and the states of a history.

    The embedding of a prefix is the sum of the rows of its features
    (`sidestep.catalog.space.HasFeatures`). A prefix of a trie is its own feature, and has a row of
    its own, as published. A set of codes is the sum of the rows of its codes, so the inner product
    of a set is the sum of those of its codes; that is ours. After a change of the catalog the rows
    of a trie are others' and the model must be trained again. Scores of one depth are comparable,
    as it is trained depth by depth.
    """

    def __init__(self, config: ProcessRewardConfig, *, num_features: int, memory_dim: int) -> None:
        """Fresh weights.

        Args:
            config: the shape.
            num_features: of the space: the nodes of the trie, the root included, or the codes of
                all codebooks.
            memory_dim: width of the backbone's states.
        """
        super().__init__()
        self.config = config
        self.num_features = num_features
        self.embedding = nn.Embedding(config.hashed_rows or num_features, config.dim)
        self.blocks = nn.ModuleList(_Block(config, memory_dim) for _ in range(config.num_blocks))
        self.hidden = nn.Linear(config.dim, config.dim)
        self.out = nn.Linear(config.dim, 1)
        self.last = nn.Linear(memory_dim, config.dim, bias=False) if config.dot_product else None
        nn.init.normal_(self.embedding.weight, std=0.02)

    def remember(self, history: HistoryStates) -> RewardMemory:
        """Reads histories, once for all prefixes."""
        positions = torch.arange(history.states.shape[1], device=history.states.device)
        blocks = [block for block in self.blocks if isinstance(block, _Block)]
        return RewardMemory(
            keys=tuple(block.heads(block.keys(history.states)) for block in blocks),
            values=tuple(block.heads(block.values(history.states)) for block in blocks),
            states=None if self.last is None else self.last(history.states),
            is_visible=positions < history.counts[:, None],
        )

    def flops(
        self, num_states: Int[Tensor, " users"], num_prefixes: Int[Tensor, " users"]
    ) -> Int[Tensor, " users"]:
        """FLOPs of reading so many states of each history and scoring so many prefixes."""
        channels = self.config.num_blocks * self.config.dim
        per_prefix = self._score_flops + attention_flops(channels, num_states)
        return num_states * self._read_flops + num_prefixes * per_prefix

    @cached_property
    def _read_flops(self) -> int:
        """FLOPs of one state, as keys and values of all blocks, and for the inner product."""
        blocks = [block for block in self.blocks if isinstance(block, _Block)]
        read = sum(matrix_flops(block.keys, block.values) for block in blocks)
        return read if self.last is None else read + matrix_flops(self.last)

    @cached_property
    def _score_flops(self) -> int:
        """FLOPs of one prefix, without attention."""
        inner_product = 0 if self.last is None else 2 * self.config.dim
        return matrix_flops(self) - self._read_flops + inner_product

    def forward(
        self, memory: RewardMemory, features: Int[Tensor, "users width features"]
    ) -> Float[Tensor, "users width"]:
        """A score for every prefix, from its features; arbitrary where all of them are padding."""
        rows = features.clamp(min=0)
        if self.config.hashed_rows is not None:
            rows = ((rows * _HASH) >> 20).remainder(self.config.hashed_rows)
        embedded = self.embedding(rows).masked_fill((features < 0)[..., None], 0.0).sum(dim=2)
        prefixes = embedded
        for block, keys, values in zip(self.blocks, memory.keys, memory.values, strict=True):
            prefixes = block(prefixes, keys, values, memory.is_visible)
        scores: Tensor = self.out(functional.gelu(self.hidden(prefixes)))[..., 0]
        if memory.states is not None:
            last = memory.is_visible.sum(dim=1) - 1
            last_states = memory.states[torch.arange(len(last), device=last.device), last]
            scores = scores + torch.einsum("uwd,ud->uw", embedded, last_states)
        return scores
