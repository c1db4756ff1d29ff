"""The native T5 form: an encoder-decoder whose prompt is the encoder's.

Hugging Face's T5 computes relative positions by cache slot, which gives the nodes of a tree wrong
ones; here they are computed by depth. Weights from there are read by `t5_weights`.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.config import T5Config
from sidestep.model.context import KeyValues, Memory, TreeContext, root_context
from sidestep.model.flops import attention_flops, matrix_flops
from sidestep.model.heads import ItemTable
from sidestep.model.layers import attend
from sidestep.model.reading import READERS, InputVectors
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.step import HistoryBatch, StepOutput


class RelativeBias(nn.Module):
    """Bias that attention adds to a score by the distance between two positions, per head.

    Source: T5 (arXiv:1910.10683). Half of the buckets tell small distances apart exactly, half
    hold logarithmically growing ranges up to `max_distance`.
    """

    def __init__(self, config: T5Config, *, is_bidirectional: bool) -> None:
        super().__init__()
        self.is_bidirectional = is_bidirectional
        self.max_distance = config.max_distance
        self.table = nn.Embedding(config.num_buckets, config.num_heads)

    def forward(self, offsets: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape heads"]:
        """Biases of columns that stand `offsets` after their query; negative is before."""
        biases: Tensor = self.table(self.buckets(offsets))
        return biases

    def buckets(self, offsets: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The bucket of each offset; without directions, what comes later counts as here."""
        num_buckets, side = self.table.num_embeddings, torch.zeros_like(offsets)
        if self.is_bidirectional:
            num_buckets //= 2
            side = (offsets > 0) * num_buckets
            distances = offsets.abs()
        else:
            distances = (-offsets).clamp(min=0)
        num_exact = num_buckets // 2
        growth = torch.log(distances.clamp(min=1).float() / num_exact)
        growth = growth / math.log(self.max_distance / num_exact)
        far = num_exact + (growth * (num_buckets - num_exact)).long()
        return side + torch.where(distances < num_exact, distances, far.clamp(max=num_buckets - 1))


class T5Attention(nn.Module):
    """Multi-head attention whose scores are not scaled; the weights carry the scale."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.head_dim = config.width_of_head
        inner = config.num_heads * self.head_dim
        self.query = nn.Linear(config.dim, inner, bias=False)
        self.key = nn.Linear(config.dim, inner, bias=False)
        self.value = nn.Linear(config.dim, inner, bias=False)
        self.out = nn.Linear(inner, config.dim, bias=False)

    def key_values(self, states: Float[Tensor, "users columns dim"]) -> KeyValues:
        """Keys and values of columns."""
        return KeyValues(keys=self._heads(self.key(states)), values=self._heads(self.value(states)))

    def forward(
        self,
        states: Float[Tensor, "users width dim"],
        keys: Float[Tensor, "users heads columns head_dim"],
        values: Float[Tensor, "users heads columns head_dim"],
        mask: Bool[Tensor, "#users width columns"] | Float[Tensor, "#users heads width columns"],
    ) -> Float[Tensor, "users width dim"]:
        """Mixture of columns that states attend to; the mask is boolean, or a bias that is -inf."""
        queries = self._heads(self.query(states))
        mixed: Tensor = self.out(attend(queries, keys, values, mask, scale=1.0))
        return mixed

    def _heads(self, projected: Tensor) -> Tensor:
        users, width, _ = projected.shape
        return projected.view(users, width, -1, self.head_dim).transpose(1, 2)


class T5FeedForward(nn.Module):
    """ReLU, or GELU (its tanh form) with a gate."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        is_gated = config.ffn == "gated-gelu"
        self.up = nn.Linear(config.dim, config.hidden_ffn_dim, bias=False)
        self.gate = nn.Linear(config.dim, config.hidden_ffn_dim, bias=False) if is_gated else None
        self.down = nn.Linear(config.hidden_ffn_dim, config.dim, bias=False)

    def forward(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Maps each state on its own."""
        if self.gate is None:
            inner = functional.relu(self.up(states))
        else:
            inner = functional.gelu(self.gate(states), approximate="tanh") * self.up(states)
        mapped: Tensor = self.down(inner)
        return mapped


class T5Block(nn.Module):
    """One pre-norm layer: self-attention, in a decoder cross-attention, feed-forward."""

    def __init__(self, config: T5Config, *, is_decoder: bool) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.dim, eps=config.norm_epsilon)
        self.attention = T5Attention(config)
        self.cross_norm = nn.RMSNorm(config.dim, eps=config.norm_epsilon) if is_decoder else None
        self.cross_attention = T5Attention(config) if is_decoder else None
        self.ffn_norm = nn.RMSNorm(config.dim, eps=config.norm_epsilon)
        self.ffn = T5FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        states: Float[Tensor, "users width dim"],
        bias: Float[Tensor, "#users heads width columns"],
        *,
        earlier: tuple[KeyValues, int] | None = None,
        memory: tuple[KeyValues, Bool[Tensor, "users width prompt"]] | None = None,
    ) -> tuple[Float[Tensor, "users width dim"], KeyValues]:
        """States after the layer, and the columns that self-attention has seen.

        Args:
            states: of the newest columns.
            bias: -inf where a query does not see a column.
            earlier: columns from earlier calls, and where the newest ones start.
            memory: what cross-attention reads, and what of it each state sees.
        """
        normed = self.attention_norm(states)
        kept = self.attention.key_values(normed)
        keys, values = kept.keys, kept.values
        if earlier is not None:
            kept, keys, values = earlier[0].appended(earlier[1], keys, values)
        states = states + self.dropout(self.attention(normed, keys, values, bias))
        if memory is not None:
            assert self.cross_norm is not None
            assert self.cross_attention is not None
            read, is_visible = memory
            mixed = self.cross_attention(
                self.cross_norm(states), read.keys, read.values, is_visible
            )
            states = states + self.dropout(mixed)
        states = states + self.dropout(self.ffn(self.ffn_norm(states)))
        return states, kept


class T5(SemanticIdModel):
    """Encoder-decoder over semantic IDs, as generative retrieval began (TIGER, arXiv:2305.05065).

    The encoder reads a start token and the history, the decoder a start token of its own, which is
    the root, and the nodes. TIGER reads the history as codes; `history: items` is ours. `visible`
    counts tokens of the encoder's prompt, as in a decoder-only model. Because the encoder reads
    both ways, a part of the prompt is not what the same items alone would give, so that only the
    whole is accepted.
    """

    Config: ClassVar = T5Config

    def __init__(
        self,
        config: T5Config,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
    ) -> None:
        super().__init__(semantic_ids, codebook_sizes)
        self.config = config
        self.reader = READERS[config.history]
        self.start = nn.Parameter(torch.empty(config.dim))
        self.decoder_start = nn.Parameter(torch.empty(config.dim))
        self.code_embedding = nn.Embedding(self.num_codes, config.dim)
        self.item_embedding = (
            nn.Embedding(self.num_items, config.dim) if config.item_embedding else None
        )
        self.encoder_bias = RelativeBias(config, is_bidirectional=True)
        self.encoder_blocks = nn.ModuleList(
            T5Block(config, is_decoder=False) for _ in range(config.num_layers)
        )
        self.encoder_norm = nn.RMSNorm(config.dim, eps=config.norm_epsilon)
        self.decoder_bias = RelativeBias(config, is_bidirectional=False)
        self.decoder_blocks = nn.ModuleList(
            T5Block(config, is_decoder=True) for _ in range(config.decoder_layers)
        )
        self.decoder_norm = nn.RMSNorm(config.dim, eps=config.norm_epsilon)
        self.head = None if config.tied_head else nn.Linear(config.dim, self.num_codes, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self._initialise()

    @property
    def head_weight(self) -> Float[Tensor, "codes dim"]:
        """See `SemanticIdModel.head_weight`."""
        if self.head is not None:
            return self.head.weight
        scaled: Tensor = self.code_embedding.weight * self.config.dim**-0.5
        return scaled

    @property
    def item_tables(self) -> tuple[ItemTable, ...]:
        """See `SemanticIdModel.item_tables`."""
        return () if self.item_embedding is None else (self.item_embedding,)

    @property
    def input_vectors(self) -> InputVectors:
        """The vectors by which codes and items are read."""
        return InputVectors(
            flat_codes=self.flat_codes, codes=self.code_embedding, items=self.item_embedding
        )

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """The vectors by which a reader of items reads them."""
        return self.input_vectors.catalog_vectors(self.num_items)

    def encode(self, histories: HistoryBatch, *, capacity: int) -> tuple[StepOutput, TreeContext]:
        """See `StepModel.encode`."""
        memory = self._memory(histories)
        hidden, layers = self._begun(memory)
        context = root_context(
            layers=layers,
            prompt_lengths=torch.full_like(histories.lengths, 1 + self.num_before_root),
            num_levels=self.num_levels,
            capacity=capacity,
            memory=memory,
        )
        return self._step(hidden, torch.zeros_like(histories.lengths)[:, None], depth=0), context

    @property
    def num_before_root(self) -> int:
        """Positions of the decoder before the root; here the start token is the root."""
        return 0

    def _begun(self, memory: Memory) -> tuple[Float[Tensor, "users 1 dim"], list[KeyValues]]:
        """The state of each root, and all layers with the columns of the decoder up to the root."""
        start = self.dropout(self.decoder_start.expand(len(memory.is_visible), 1, -1))
        depth = torch.zeros(1, 1, dtype=torch.long, device=start.device)
        return self._decode(start, self._biased(depth, depth, depth[..., None] == 0), memory)

    def extend(
        self,
        context: TreeContext,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        *,
        is_node: Bool[Tensor, "users width"],
        visible: Int[Tensor, "users width"] | None = None,
        depth: int | None = None,
    ) -> tuple[StepOutput, TreeContext]:
        """See `StepModel.extend`.

        Raises:
            ValueError: also if `visible` is less than the whole prompt.
        """
        memory = context.memory
        assert memory is not None
        if visible is not None:
            whole = memory.is_visible.sum(dim=1, keepdim=True)
            if ((visible != whole) & is_node).any():
                raise ValueError(
                    "T5's encoder reads its prompt both ways, so a node cannot see a part of it: "
                    "pass visible=None, or encode the shorter history on its own."
                )
        start = context.next_column
        context = context.placed(parents, depths, is_node, depth)
        # The root is the last column of the decoder's prompt, and column s after it holds slot s.
        slot_depths = (context.ancestor_slots >= 0).sum(dim=2) - 1
        before = torch.arange(-self.num_before_root, 0, device=slot_depths.device)
        column_depths = torch.cat([before.expand(len(slot_depths), -1), slot_depths], dim=1)
        mask = context.node_mask(codes.shape[1], None)
        hidden, layers = self._decode(
            self.dropout(self.code_embedding(self.node_codes(codes, depths))),
            self._biased(depths, column_depths, mask),
            memory,
            earlier=[(layer, start) for layer in context.layers],
        )
        return self._step(hidden, depths, depth=depth), context.with_layers(layers)

    def next_item_states(self, histories: HistoryBatch) -> Float[Tensor, "users items levels dim"]:
        """See `SemanticIdModel.next_item_states`; for its cost see `_states_along`."""
        return self._states_along(histories, self.flat_codes(histories.items)[..., :-1])

    def _states_along(
        self, histories: HistoryBatch, codes: Int[Tensor, "users items codes"]
    ) -> Float[Tensor, "users items states dim"]:
        """Teacher-forced states along a path of codes after every position of every history.

        Every position is encoded as a row of its own, because the encoder reads both ways: a
        history of n items costs n encoder passes, quadratic in n where a decoder-only model is
        linear.

        Args:
            histories: whose items are predicted.
            codes: flat code ids of the path of each item, in the order in which the codes are
                decided.

        Returns:
            The state before the first code, then the state after each code.
        """
        users, num_items = histories.items.shape
        memory = self._memory_at_positions(histories)
        states = self._teacher_forced(memory, codes.flatten(0, 1))
        return states.view(users, num_items, codes.shape[2] + 1, -1)

    def _memory_at_positions(self, histories: HistoryBatch) -> Memory:
        """Encodes the items before every position of every history, each as a row of its own."""
        users, num_items = histories.items.shape
        rows = torch.arange(users, device=histories.items.device).repeat_interleave(num_items)
        before = torch.arange(num_items, device=histories.items.device).repeat(users)
        return self._memory(histories.select(rows).first(before))

    def _teacher_forced(
        self, memory: Memory, codes: Int[Tensor, "rows codes"]
    ) -> Float[Tensor, "rows states dim"]:
        """The state of the start token of the decoder, then the state after each code.

        Args:
            memory: of the rows.
            codes: flat code ids that the decoder is given.
        """
        start = self.decoder_start.expand(len(codes), 1, -1)
        vectors = torch.cat([start, self.code_embedding(codes)], dim=1)
        depths = torch.arange(vectors.shape[1], device=vectors.device)[None]
        bias = self._biased(depths, depths, (depths[..., None] >= depths[:, None]))
        hidden, _ = self._decode(self.dropout(vectors), bias, memory)
        return hidden

    def flops_by_depth(self, histories: HistoryBatch) -> Int[Tensor, "users depths"]:
        """See `CountsFlops.flops_by_depth`."""
        prompt = self.reader.prompt_lengths(histories, self.num_levels)
        flops = self._decoder_flops(prompt) + self.head_flops(self.config.dim)
        flops[:, 0] += self._encoder_flops(prompt)
        return flops

    def _encoder_flops(self, lengths: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """FLOPs of a prompt, whose positions see each other, and of its keys for the decoder."""
        config = self.config
        channels = config.num_layers * config.num_heads * config.width_of_head
        matrices = matrix_flops(self.encoder_blocks) + self._read_flops
        return lengths * (matrices + attention_flops(channels, lengths))

    def _decoder_flops(self, prompt: Int[Tensor, " users"]) -> Int[Tensor, "users depths"]:
        """FLOPs of a node of each depth, which sees the path to it and the whole prompt."""
        config = self.config
        channels = config.decoder_layers * config.num_heads * config.width_of_head
        matrices = matrix_flops(self.decoder_blocks) - self._read_flops
        path = torch.arange(1, self.num_levels + 2, device=prompt.device) + self.num_before_root
        return matrices + attention_flops(channels, path + prompt[:, None])

    @cached_property
    def _read_flops(self) -> int:
        """FLOPs of one prompt position, as keys and values of cross-attention."""
        crossed = [
            block.cross_attention
            for block in self.decoder_blocks
            if isinstance(block, T5Block) and block.cross_attention is not None
        ]
        return sum(matrix_flops(attention.key, attention.value) for attention in crossed)

    def _memory(self, histories: HistoryBatch) -> Memory:
        """Encodes histories, as keys and values for each decoder layer."""
        return self._memory_of(*self._encoded(histories))

    def _encoded(
        self, histories: HistoryBatch
    ) -> tuple[Float[Tensor, "users prompt dim"], Bool[Tensor, "users prompt"]]:
        """Final states of the encoder, and which of them are no padding."""
        vectors = self.reader.vectors(self.input_vectors, histories)
        states = torch.cat([self.start.expand(vectors.shape[0], 1, -1), vectors], dim=1)
        states = self.dropout(states)
        positions = torch.arange(states.shape[1], device=states.device)
        lengths = self.reader.prompt_lengths(histories, self.num_levels)
        is_visible = positions < lengths[:, None]
        biases = self.encoder_bias(positions - positions[:, None]).permute(2, 0, 1)[None]
        bias = biases.masked_fill(~is_visible[:, None, None], -torch.inf)
        for block in self.encoder_blocks:
            states, _ = block(states, bias)
        return self.dropout(self.encoder_norm(states)), is_visible

    def _memory_of(
        self, states: Float[Tensor, "users prompt dim"], is_visible: Bool[Tensor, "users prompt"]
    ) -> Memory:
        """Keys and values of the states of the encoder, for each decoder layer."""
        layers = []
        for block in self.decoder_blocks:
            assert isinstance(block, T5Block)
            assert block.cross_attention is not None
            layers.append(block.cross_attention.key_values(states))
        return Memory(layers=tuple(layers), is_visible=is_visible)

    def _decode(
        self,
        states: Float[Tensor, "users width dim"],
        bias: Float[Tensor, "#users heads width columns"],
        memory: Memory,
        *,
        earlier: Sequence[tuple[KeyValues, int]] | None = None,
    ) -> tuple[Float[Tensor, "users width dim"], list[KeyValues]]:
        """Final states of the newest columns, and all layers with these columns put."""
        users, width, _ = states.shape
        seen = memory.is_visible[:, None].expand(users, width, memory.is_visible.shape[1])
        layers = []
        for index, (block, read) in enumerate(zip(self.decoder_blocks, memory.layers, strict=True)):
            states, kept = block(
                states, bias, earlier=earlier[index] if earlier else None, memory=(read, seen)
            )
            layers.append(kept)
        return self.dropout(self.decoder_norm(states)), layers

    def _biased(
        self,
        query_depths: Int[Tensor, "users width"],
        column_depths: Int[Tensor, "users columns"],
        mask: Bool[Tensor, "users width columns"],
    ) -> Float[Tensor, "users heads width columns"]:
        """Biases by depth, not by slot: a beam's tenth node is one step below its parent."""
        queries, columns = self._offsets(query_depths), self._offsets(column_depths)
        biases = self.decoder_bias(columns[:, None] - queries[..., None])
        by_head: Tensor = biases.permute(0, 3, 1, 2)
        return by_head.masked_fill(~mask[:, None], -torch.inf)

    def _initialise(self) -> None:
        """T5's own: linear maps keep the variance, queries carry the scale of the scores."""
        dim, inner = self.config.dim, self.config.num_heads * self.config.width_of_head
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
            elif isinstance(module, RelativeBias):
                nn.init.normal_(module.table.weight, std=dim**-0.5)
        for module in self.modules():
            if isinstance(module, T5Attention):
                head_dim = self.config.width_of_head
                nn.init.normal_(module.query.weight, std=(dim * head_dim) ** -0.5)
                nn.init.normal_(module.out.weight, std=inner**-0.5)
        for parameter in (self.start, self.decoder_start, self.code_embedding.weight):
            nn.init.normal_(parameter)
