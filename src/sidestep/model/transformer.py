"""The native decoder-only Transformer over semantic IDs: the history is its prompt."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.category_head import CategoryHead
from sidestep.model.columns import ItemColumns, UserColumns
from sidestep.model.config import TransformerConfig
from sidestep.model.context import KeyValues, TreeContext, root_context
from sidestep.model.flops import CausalFlops, matrix_flops
from sidestep.model.gaps import GapEmbedding
from sidestep.model.heads import ItemTable
from sidestep.model.item_head import ItemHead
from sidestep.model.layers import Block, attend, rotary_angles
from sidestep.model.llama_form import LlamaForm, llama_form
from sidestep.model.reading import READERS, InputVectors
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.set_items import SlotSets
from sidestep.model.sibling_items import SiblingItems, SlotPrefixes
from sidestep.step import ROOT_SLOT, HistoryBatch, HistoryStates, StepOutput, in_float32, widened

SCORED_ITEMS = 20_000
"""The largest catalog of which a network scores all items at once, where it reads no prefix."""


class Transformer(SemanticIdModel):
    """Decoder-only Transformer: RMSNorm, SwiGLU, rotary positions, grouped-query attention.

    The prompt is a start token and the history; the nodes of a search tree continue it. Logits of
    level l are the product of the final state with that level's rows of the head.
    """

    Config: ClassVar = TransformerConfig

    def __init__(
        self,
        config: TransformerConfig,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
    ) -> None:
        super().__init__(semantic_ids, codebook_sizes)
        self.config = config
        self.reader = READERS[config.history]
        self.start = nn.Parameter(torch.empty(config.dim))
        self.code_embedding = nn.Embedding(self.num_codes, config.dim)
        self.item_embedding = (
            nn.Embedding(self.num_items, config.dim) if config.item_embedding else None
        )
        self.column_embedding = (
            None if config.item_columns is None else ItemColumns(config.item_columns, config.dim)
        )
        self.user_embedding = (
            None if config.user_columns is None else UserColumns(config.user_columns, config.dim)
        )
        self.gap_embedding = (
            None if config.times is None else GapEmbedding(config.times, config.dim)
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.dim, eps=config.norm_epsilon)
        num_rows = self.num_codes
        self._add_item_lists(config)
        self._add_query_mix(config)
        if self.siblings is not None:
            num_rows -= self.codebook_sizes[-1]
        self.head = nn.Linear(config.dim, num_rows, bias=False)
        self.head_more = None
        if config.rows_per_code > 1:
            more = torch.empty(num_rows, config.rows_per_code - 1, config.dim)
            self.head_more = nn.Parameter(nn.init.normal_(more, std=0.02))
        self.item_head = None
        if config.item_head:
            self.item_head = ItemHead(
                config.dim,
                None if config.tied_item_head else self.num_items,
                has_repeat_bias=config.repeat_bias,
            )
        if config.category_head is not None:
            self.category_head = CategoryHead(config.category_head, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.apply(_initialise)
        nn.init.normal_(self.start, std=0.02)

    def encode(self, histories: HistoryBatch, *, capacity: int) -> tuple[StepOutput, TreeContext]:
        """See `StepModel.encode`."""
        tokens, lengths = self._prompt(histories)
        users, width, _ = tokens.shape
        angles = self._angles(torch.arange(width, device=tokens.device)[None])
        states, layers = tokens, []
        for block in self.blocks:
            assert isinstance(block, Block)
            queries, keys, values = block.attention.project(block.attention_norm(states), *angles)
            layers.append(KeyValues(keys=keys, values=values))
            # Padding stands at the end, so causal order alone hides it.
            states = block.mix(states, attend(queries, keys, values, None))
        # Every position's, of which the last token of an item stands for the item.
        final = self.norm(states[:, :: self.reader.tokens_per_item(self.num_levels)])
        counts = histories.lengths + 1
        hidden = final[torch.arange(users, device=states.device), counts - 1][:, None]
        root_depth = torch.zeros(users, 1, dtype=torch.long, device=states.device)
        context = root_context(
            layers=layers,
            prompt_lengths=lengths,
            num_levels=self.num_levels,
            capacity=capacity if self.reads_prefixes else 0,
            history_states=HistoryStates(states=final, counts=counts),
            prefixes=self._root_prefixes(histories, hidden),
        )
        return self._step(hidden, root_depth, context.prefixes, depth=0), context

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
        """See `StepModel.extend`."""
        start = context.next_column
        prompt = context.prompt_lengths[:, None] if visible is None else visible
        context = context.placed(parents, depths, is_node, depth)
        context = self._with_prefixes(context, codes, parents, depths, visible, depth)
        if not self.reads_prefixes:
            assert context.prefixes is not None, "items choose"
            hidden = context.prefixes.roots.expand(*codes.shape, -1)
            return self._step(hidden, depths, context.prefixes, depth=depth), context
        mask = context.node_mask(codes.shape[1], visible)
        angles = self._angles(prompt - 1 + self._offsets(depths))
        states = self.dropout(self._node_vectors(context, codes, parents, depths, depth))
        layers = []
        for block, layer in zip(self.blocks, context.layers, strict=True):
            assert isinstance(block, Block)
            queries, keys, values = block.attention.project(block.attention_norm(states), *angles)
            kept, keys, values = layer.appended(start, keys, values)
            layers.append(kept)
            states = block.mix(states, attend(queries, keys, values, mask))
        hidden = self.norm(states)
        step = self._step(hidden, depths, context.prefixes, depth=depth)
        return step, context.with_layers(layers)

    def next_item_states(self, histories: HistoryBatch) -> Float[Tensor, "users items levels dim"]:
        """See `SemanticIdModel.next_item_states`."""
        own = self.flat_codes(self.reader.branching(histories.items))
        return self._states_along(histories, own[..., :-1])

    def _states_along(
        self, histories: HistoryBatch, codes: Int[Tensor, "users branches codes"]
    ) -> Float[Tensor, "users items states dim"]:
        """Teacher-forced states along a path of codes after every position of every history.

        Args:
            histories: whose items are predicted.
            codes: flat code ids of the path of each item of `HistoryReader.branching`, in the order
                in which the codes are decided.

        Returns:
            The state before the first code, then the state after each code.
        """
        users, num_items = histories.items.shape
        # Codes that change no state are not read, unless the prompt consists of codes.
        is_read = self.reads_prefixes or self.reader.tokens_per_item(self.num_levels) > 1
        read = codes if is_read else codes[..., :0]
        before, _ = self._prompt(histories.without_last())
        prompt = self.reader.next_item_prompt(before, self.dropout(self.code_embedding(read)))
        states, mask = prompt.vectors, prompt.mask
        num_states = read.shape[2] + 1
        depths = torch.arange(states.shape[1], device=states.device) % num_states
        roots = prompt.positions - depths
        angles = self._angles((roots + self._offsets(depths))[None])
        for block in self.blocks:
            assert isinstance(block, Block)
            queries, keys, values = block.attention.project(block.attention_norm(states), *angles)
            states = block.mix(states, attend(queries, keys, values, mask))
        hidden: Tensor = self.norm(states).view(users, num_items, num_states, self.config.dim)
        if self.reads_prefixes:
            return hidden
        return hidden[:, :, :1].expand(-1, -1, codes.shape[2] + 1, -1)

    def with_last_code_by_items(
        self, few_items: int | None = None, *, prefix_queries: bool | None = None
    ) -> "Transformer":
        """See `SemanticIdModel.with_last_code_by_items`.

        Raises:
            ValueError: the network has no item head.
        """
        changes: dict[str, object] = {"last_code_head": "items"}
        if few_items is not None:
            changes["few_items"] = few_items
        if prefix_queries is not None:
            changes["prefix_queries"] = prefix_queries
        config = self.config.model_copy(update=changes)
        if config == self.config:
            return self
        if self.item_head is None:
            raise ValueError(
                "the network has no item head, which would choose the last code; train it with "
                "model.item_head: true."
            )
        other = copy.deepcopy(self)  # with all that was read of the items, such as their columns
        other.config = config
        other._add_item_lists(config)
        if self.query_mix is None or not config.prefix_queries:
            other._add_query_mix(config)
        if self.config.last_code_head == "items":
            return other
        if other.siblings is not None:  # the last codes need no rows
            num_rows = self.num_codes - self.codebook_sizes[-1]
            other.head.weight = nn.Parameter(self.head.weight[:num_rows].detach().clone())
            other.head.out_features = num_rows
            if self.head_more is not None:
                other.head_more = nn.Parameter(self.head_more[:num_rows].detach().clone())
        return other

    def with_rows_per_code(self, number: int) -> "Transformer":
        """See `SemanticIdModel.with_rows_per_code`.

        Every code is nearly as likely as before: each new row is near the row that the code has.
        The noise that tells them apart is a tenth of the size of the rows, and fixed.
        """
        if number == self.config.rows_per_code:
            return self
        if number < self.config.rows_per_code:
            raise ValueError(
                f"rows_per_code: {number} is less than the {self.config.rows_per_code} rows that "
                "each code of the backbone has; leave rows_per_code out to keep them."
            )
        rows = self.head.weight.detach()
        shape = (len(rows), number - self.config.rows_per_code, rows.shape[1])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(rows)
        new = rows[:, None] + 0.1 * rows.square().mean().sqrt() * noise
        other = copy.deepcopy(self)
        other.config = self.config.model_copy(update={"rows_per_code": number})
        known = [] if self.head_more is None else [self.head_more.detach()]
        other.head_more = nn.Parameter(torch.cat([*known, new], dim=1))
        return other

    @property
    def more_rows(self) -> Float[Tensor, "codes more dim"] | None:
        """See `SemanticIdModel.more_rows`."""
        return self.head_more

    @property
    def code_rows(self) -> tuple[nn.Parameter, ...]:
        """See `SemanticIdModel.code_rows`."""
        rows = self.head.weight
        assert isinstance(rows, nn.Parameter), "a layer has parameters"
        return (rows,) if self.head_more is None else (rows, self.head_more)

    @property
    def reads_prefixes(self) -> bool:
        """See `SemanticIdModel.reads_prefixes`."""
        return self.config.prefix_queries or not self.rows_choose_first_alone

    @property
    def item_scorer(self) -> "Transformer | None":
        """See `SemanticIdModel.item_scorer`."""
        return None if self.item_head is None else self

    @property
    def item_columns(self) -> ItemColumns | None:
        """See `SemanticIdModel.item_columns`."""
        return self.column_embedding

    @property
    def user_columns(self) -> UserColumns | None:
        """See `SemanticIdModel.user_columns`."""
        return self.user_embedding

    @property
    def item_tables(self) -> tuple[ItemTable, ...]:
        """See `SemanticIdModel.item_tables`.

        There is none where items choose the last code, because the logits may read all rows.
        """
        if self.config.last_code_head == "items":
            return ()
        has_own_rows = self.item_head is not None and self.item_head.weight is not None
        tables = (self.item_embedding, self.item_head if has_own_rows else None)
        return tuple(table for table in tables if table is not None)

    @property
    def reads_times(self) -> bool:
        """See `SemanticIdModel.reads_times`."""
        return self.gap_embedding is not None

    @property
    def gives_history_states(self) -> bool:
        """See `SemanticIdModel.gives_history_states`."""
        return True

    def llama_form(self) -> LlamaForm:
        """See `HasLlamaForm.llama_form`."""
        return llama_form(self.config, self.state_dict())

    def flops_by_depth(self, histories: HistoryBatch) -> Int[Tensor, "users depths"]:
        """See `CountsFlops.flops_by_depth`."""
        lengths = self.reader.prompt_lengths(histories, self.num_levels)
        backbone = self.backbone_flops.by_depth(lengths, self.num_levels)
        if not self.reads_prefixes:
            backbone[:, 1:] = 0
        by_depth = backbone + self.head_flops(self.config.dim)
        if self.scores_all_items:
            by_depth[:, 0] += self.num_items * self.flops_per_item
            by_depth[:, 1:] = 0
        return by_depth

    @cached_property
    def backbone_flops(self) -> CausalFlops:
        """FLOPs of positions, the head aside."""
        return CausalFlops(
            matrices=matrix_flops(self.blocks), channels=self.config.num_layers * self.config.dim
        )

    @property
    def flops_per_item(self) -> int:
        """FLOPs of the matrix products behind one of `item_logits`."""
        return 2 * self.config.dim

    @property
    def head_weight(self) -> Float[Tensor, "codes dim"]:
        """See `SemanticIdModel.head_weight`."""
        return self.head.weight

    def item_logits(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users items"]:
        """Scores of all items at root states, by the auxiliary head.

        Args:
            states: after each history.
            histories: of which the head looks at nothing but which items they hold.

        Raises:
            ValueError: if the model has no item head.
        """
        head = self._required_item_head
        rows = self.catalog_vectors() if self.config.tied_item_head else None
        logits: Tensor = head(states, histories, rows)
        return logits

    def some_item_logits(
        self,
        states: Float[Tensor, "users dim"],
        items: Int[Tensor, " users"],
        histories: HistoryBatch,
    ) -> Float[Tensor, " users"]:
        """Scores of one item at each root state, as `item_logits` has them.

        Raises:
            ValueError: if the model has no item head.
        """
        return self.scores_of_lists(states, items[:, None], histories.items)[:, 0]

    def scores_of_lists(
        self,
        states: Float[Tensor, "states dim"],
        items: Int[Tensor, "states items"],
        held: Int[Tensor, "states held"],
    ) -> Float[Tensor, "states items"]:
        """See `SemanticIdModel.scores_of_lists`."""
        rows = None
        if self.config.tied_item_head:
            known = items.clamp(min=0)
            # The rows of all items, once, where that is less work than the rows of each list.
            if items.numel() > self.num_items:
                rows = functional.embedding(known, self.catalog_vectors())
            else:
                rows = self.input_vectors.item_vectors(known)
        return self._required_item_head.scores_of_lists(states, items, held, rows)

    def item_rows(self, items: Int[Tensor, " some"] | None = None) -> Float[Tensor, "some dim"]:
        """See `HasItemRows.item_rows`.

        Raises:
            ValueError: if the model has no item head.
        """
        head = self._required_item_head
        if not self.config.tied_item_head:
            return head.own_rows(items)
        return self.catalog_vectors() if items is None else self.input_vectors.item_vectors(items)

    def row_scores(
        self,
        states: Float[Tensor, "users dim"],
        rows: Float[Tensor, "some dim"],
        items: Int[Tensor, " some"],
        histories: HistoryBatch,
    ) -> Float[Tensor, "users some"]:
        """See `HasItemRows.row_scores`.

        Raises:
            ValueError: if the model has no item head.
        """
        return self._required_item_head.scores_of_rows(states, rows, items, histories)

    def item_parameters(self) -> Iterable[nn.Parameter]:
        """See `ItemScorer.item_parameters`; the vectors of a tied head are read in histories."""
        return self._required_item_head.parameters()

    @property
    def _required_item_head(self) -> ItemHead:
        if self.item_head is None:
            raise ValueError("the model has no item head; build it with item_head: true.")
        return self.item_head

    @property
    def input_vectors(self) -> InputVectors:
        """The vectors by which codes and items are read."""
        return InputVectors(
            flat_codes=self.flat_codes,
            codes=self.code_embedding,
            items=self.item_embedding,
            columns=self.column_embedding,
            gaps=self.gap_embedding,
        )

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """The vectors by which a reader of items reads them."""
        return self.input_vectors.catalog_vectors(self.num_items)

    def _prompt(
        self, histories: HistoryBatch
    ) -> tuple[Float[Tensor, "users prompt dim"], Int[Tensor, " users"]]:
        """The start token and the history as vectors, and their number per user."""
        vectors = self.reader.vectors(self.input_vectors, histories)
        start = self.start.to(vectors.dtype).expand(vectors.shape[0], 1, -1)
        if self.user_embedding is not None:
            start = start + self.user_embedding.of_users(histories)[:, None]
        lengths = self.reader.prompt_lengths(histories, self.num_levels)
        return self.dropout(torch.cat([start, vectors], dim=1)), lengths

    def item_queries(
        self, states: Float[Tensor, "*states dim"], roots: Float[Tensor, "*roots dim"]
    ) -> Float[Tensor, "*states dim"]:
        """See `SemanticIdModel.item_queries`."""
        if self.query_mix is None:
            return roots.to(states.dtype).expand(states.shape)
        of_root, of_prefix = self.query_mix.to(states.dtype)
        queries: Tensor = of_root * roots.to(states.dtype) + of_prefix * states
        return queries

    def _add_item_lists(self, config: TransformerConfig) -> None:
        """Adds the lists of items that choose codes, if items do."""
        if config.last_code_head == "items":
            self.siblings = SiblingItems(
                self.semantic_ids, self.codebook_sizes, few_items=config.few_items
            )

    def _add_query_mix(self, config: TransformerConfig) -> None:
        """Adds the weights of `item_queries`, if items choose codes.

        An item is scored at first by the state of the root alone, as the item head scores it.
        """
        self.query_mix = None
        if config.last_code_head == "items" and config.prefix_queries:
            self.query_mix = nn.Parameter(torch.tensor([1.0, 0.0], device=self.start.device))

    def _root_prefixes(
        self, histories: HistoryBatch, roots: Float[Tensor, "users 1 dim"]
    ) -> SlotPrefixes | SlotSets | None:
        """See `TreeContext.prefixes`, of the roots of histories."""
        if self.siblings is None:
            return None
        scores = self._root_item_scores(histories, roots)
        return SlotPrefixes.at_roots(histories.items, roots, scores)

    @property
    def scores_all_items(self) -> bool:
        """Whether the scores of all items are computed at the root, see `SlotPrefixes.scores`."""
        return not self.reads_prefixes and self.num_items <= SCORED_ITEMS

    def _root_item_scores(
        self, histories: HistoryBatch, roots: Float[Tensor, "users 1 dim"]
    ) -> Float[Tensor, "users items"] | None:
        """See `SlotPrefixes.scores`."""
        if not self.scores_all_items:
            return None
        with in_float32(roots.device):
            return self.item_logits(widened(roots)[:, 0], histories)

    def _node_vectors(
        self,
        context: TreeContext,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        depth: int | None,
    ) -> Float[Tensor, "users width dim"]:
        """The vectors by which nodes are read; the arguments are those of `extend`.

        Args:
            context: with the prefixes of the nodes.
            codes, parents, depths, depth: of the nodes.
        """
        vectors: Tensor = self.code_embedding(self.node_codes(codes, depths))
        return vectors

    def _roots_of(
        self, context: TreeContext, visible: Int[Tensor, "users width"] | None
    ) -> Float[Tensor, "users roots dim"]:
        """See `SlotPrefixes.roots`."""
        of_history = context.history_states
        assert of_history is not None
        if visible is None:
            return of_history.states.take_along_dim((of_history.counts - 1)[:, None, None], dim=1)
        items = (visible - 1) // self.reader.tokens_per_item(self.num_levels)
        return of_history.states.take_along_dim(items[..., None], dim=1)

    def _with_prefixes(
        self,
        context: TreeContext,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        visible: Int[Tensor, "users width"] | None,
        depth: int | None,
    ) -> TreeContext:
        """The context with the prefixes of its newest nodes."""
        siblings = self.siblings
        if siblings is None:
            return context
        known, width = context.prefixes, codes.shape[1]
        assert isinstance(known, SlotPrefixes), "the context is of another network"
        slots = known.numbers.shape[1]
        numbers = torch.cat([known.numbers, torch.zeros_like(codes)], dim=1)
        above = parents.clamp(ROOT_SLOT, slots + width - 1)
        # A parent may lie in the same call, so a number is complete once its parent's is. Nodes of
        # one depth are no chain.
        for _ in range(1 if depth is not None or width == 1 else self.num_levels):
            numbers[:, slots:] = siblings.next_number(numbers.gather(1, above), codes)
        roots = self._roots_of(context, visible)
        scores = known.scores if visible is None else None
        return replace(context, prefixes=known.with_nodes(numbers[:, slots:], roots, scores))

    def _angles(self, positions: Int[Tensor, "rows width"]) -> tuple[Tensor, Tensor]:
        cosines, sines = rotary_angles(positions, self.config.head_dim, self.config.rope_theta)
        return cosines[:, None], sines[:, None]


def _initialise(module: nn.Module) -> None:
    """Small normal weights, as usual for Transformers; norms stay at one."""
    if isinstance(module, (nn.Linear, nn.Embedding, ItemHead)) and module.weight is not None:
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
