"""RPG: a network that predicts all codes of the next item at once, and so scores every item."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.config import RpgConfig
from sidestep.model.flat_codes import level_starts
from sidestep.model.flops import CausalFlops, matrix_flops
from sidestep.model.item_network import ItemNetwork
from sidestep.model.layers import pre_norm_layers
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch


class Rpg(ItemNetwork):
    """A causal Transformer with a head per codebook, for long product codes without an order.

        v_i = mean_j e_(j, c_ij),   p_j(c | s) = softmax_c cos(g_j(s), e_(j, c)) / τ,
        log p(i | s) = Σ_j log p_j(c_ij | s)

    An item is read as the mean of the vectors of its codes, so nothing is kept per item. The codes
    of an item are independent given the state s of a history. The score of an item is exact: every
    item of the catalog is scored by the sum over its codes. Items with the same codes tie.

    Source: RPG (arXiv:2506.05781, eq. 1): the codes are those of OPQ, the pooling is the mean, and
    each codebook has a head g_j, which is an MLP. Our choices, where the paper leaves them open or
    we depart: the cosine in place of the product, because temperatures near .03 need vectors of one
    length; the head is the residual layer s + SiLU(W_j s + b_j) of Medusa (arXiv:2401.10774);
    pre-norm layers; a start token; all items are scored, where the authors walk a graph of similar
    items. The paper validates in the same exact way.
    """

    Config: ClassVar = RpgConfig
    config: RpgConfig
    semantic_ids: Tensor
    level_starts: Tensor

    def __init__(
        self,
        config: RpgConfig,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
    ) -> None:
        """Makes an untrained network.

        Args:
            config: its shape.
            semantic_ids: of the items, held as the catalog has them; they are no weights.
            codebook_sizes: codes per level.

        Raises:
            ValueError: semantic IDs and codebooks do not fit each other.
        """
        super().__init__()
        self.config, self.codebook_sizes = config, codebook_sizes
        starts = level_starts(semantic_ids, codebook_sizes)
        self.register_buffer("semantic_ids", semantic_ids, persistent=False)
        self.register_buffer("level_starts", starts, persistent=False)
        num_heads, dim = len(codebook_sizes), config.dim
        self.code_embedding = nn.Embedding(sum(codebook_sizes), dim)
        self.position_embedding = nn.Embedding(config.max_items + 1, dim)
        self.start = nn.Parameter(torch.empty(dim))
        self.head_weight = nn.Parameter(torch.empty(num_heads, dim, dim))
        self.head_bias = nn.Parameter(torch.zeros(num_heads, dim))
        self.layers = pre_norm_layers(
            dim, config.num_layers, config.num_heads, config.ffn_dim, config.dropout
        )
        self.dropout = nn.Dropout(config.dropout)
        for weights in (
            self.code_embedding.weight,
            self.position_embedding.weight,
            self.start,
            self.head_weight,
        ):
            nn.init.normal_(weights, std=0.02)

    @classmethod
    def of_codes(
        cls,
        config: RpgConfig,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
    ) -> "Rpg":
        """See `ItemNetwork.of_codes`."""
        return cls(config, semantic_ids, codebook_sizes)

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return len(self.semantic_ids)

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """The vectors by which items are read: the means of the vectors of their codes."""
        flat = self.semantic_ids.long() + self.level_starts
        return functional.embedding_bag(flat, self.code_embedding.weight, mode="mean")

    def item_vectors(self, histories: HistoryBatch) -> Float[Tensor, "users items dim"]:
        """The vectors of the items of histories; arbitrary behind the end of a history."""
        items = histories.items.masked_fill(histories.items == NO_ITEM, 0)
        flat = self.semantic_ids[items].long() + self.level_starts
        return histories.weighted(self.code_embedding(flat).mean(dim=2))

    def states(self, histories: HistoryBatch) -> Float[Tensor, "users positions dim"]:
        """See `ItemNetwork.states`."""
        users, num_items = histories.items.shape
        if num_items > self.config.max_items:
            raise ValueError(
                f"histories of {num_items} items; the network was built for "
                f"{self.config.max_items}. Cut them to the most recent ones."
            )
        start = self.start.expand(users, 1, -1)
        vectors = torch.cat([start, self.item_vectors(histories)], dim=1)
        vectors = vectors + self.position_embedding.weight[: num_items + 1]
        causal = nn.Transformer.generate_square_subsequent_mask(
            num_items + 1, device=vectors.device
        )
        states: Tensor = self.layers(self.dropout(vectors), mask=causal, is_causal=True)
        return states

    def code_log_probs(
        self, states: Float[Tensor, "users dim"]
    ) -> list[Float[Tensor, "users codes"]]:
        """Log-probabilities of the codes of each codebook, in float32."""
        hidden = torch.einsum("ud,jkd->ujk", states, self.head_weight) + self.head_bias
        heads = functional.normalize(states[:, None] + functional.silu(hidden), dim=-1)
        codes = functional.normalize(self.code_embedding.weight, dim=-1)
        logits = [
            own @ vectors.T / self.config.temperature
            for own, vectors in zip(
                heads.unbind(dim=1), torch.split(codes, list(self.codebook_sizes)), strict=True
            )
        ]
        return [each.float().log_softmax(dim=-1) for each in logits]

    def scores(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users items"]:
        """Log-probabilities of the codes of all items; those of all code sets sum to one."""
        del histories
        scores = states.new_zeros(len(states), self.num_items, dtype=torch.float32)
        for logs, codes in zip(
            self.code_log_probs(states), self.semantic_ids.unbind(dim=1), strict=True
        ):
            scores = scores + logs[:, codes.long()]
        return scores

    def flops(self, lengths: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """FLOPs of the states of histories, and of all heads and codes at the last state."""
        backbone = CausalFlops(
            matrices=matrix_flops(self.layers),
            channels=self.config.num_layers * self.config.dim,
        )
        of_heads = 2 * self.head_weight.numel() + 2 * self.code_embedding.weight.numel()
        return backbone.of_prompt(lengths + 1) + of_heads
