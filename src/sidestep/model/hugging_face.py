"""Any Hugging Face causal language model as a model over semantic IDs. Needs the extra `hf`.

The tree lives in a cache of our own and in a four-dimensional mask; the backbone runs as it is.
A Llama or Qwen2 runs faster in the native form, see `llama_weights`; T5 has its own, see `t5`.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.model import adapters
from sidestep.model.config import LoraShape
from sidestep.model.context import KeyValues, TreeContext, root_context
from sidestep.model.flops import CausalFlops, matrix_flops
from sidestep.model.layers import attend
from sidestep.model.prompt_tokens import SILENT, Prompts, PromptTokens, write_prompts
from sidestep.model.reading import CodeReader
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.step import ROOT_SLOT, HistoryBatch, HistoryStates, StepOutput, in_float32, widened

try:
    from transformers import (
        AttentionInterface,
        AttentionMaskInterface,
        AutoConfig,
        AutoModelForCausalLM,
        Cache,
        PreTrainedModel,
    )
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask
except ImportError as error:
    raise ImportError(
        "Hugging Face models need the extra `hf` (transformers 5 or later): "
        "pip install 'sidestep[hf]'."
    ) from error

_NEVER = -1e4
"""The logit of a code that is never in question."""

ATTENTION = "sidestep"
"""Name under which our attention is registered: PyTorch's, but masked groups share their keys."""


class SlottedCache(Cache):
    """A cache whose new columns go where the tree has them, and not always at the end."""

    def __init__(self, columns: tuple[KeyValues, ...], start: int) -> None:
        """Holds the columns before `start`, per layer; none at all for a prompt."""
        super().__init__(layers=[])
        self.columns = columns
        self.start = start
        self.written: dict[int, KeyValues] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Puts the columns of one layer; returns all that its queries may see."""
        if not self.columns:
            self.written[layer_idx] = KeyValues(keys=key_states, values=value_states)
            return key_states, value_states
        kept, keys, values = self.columns[layer_idx].appended(self.start, key_states, value_states)
        self.written[layer_idx] = kept
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns before those of this call."""
        return self.start

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Columns after this call, and the first of them."""
        return self.start + query_length, 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Columns before those of this call."""
        return self.start

    def layers_written(self, num_layers: int) -> tuple[KeyValues, ...]:
        """Keys and values that each layer has put.

        Raises:
            ValueError: if not every layer has.
        """
        if sorted(self.written) != list(range(num_layers)):
            raise ValueError(
                f"{len(self.written)} of {num_layers} layers wrote their keys and values to the "
                "cache. Only models that attend in every layer can hold a tree; switch gradient "
                "checkpointing off."
            )
        return tuple(self.written[layer] for layer in range(num_layers))


def described_model(description: Mapping[str, Any]) -> PreTrainedModel:
    """The language model of a `HuggingFaceModel.description`, with new weights.

    Raises:
        ValueError: it describes no model that the installed transformers knows.
    """
    try:
        settings = dict(description["config"])
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        models: Any = AutoModelForCausalLM  # transformers leaves it untyped
        made: PreTrainedModel = models.from_config(config)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the description of a Hugging Face model: {error!r}.") from error
    return made


class HuggingFaceModel(SemanticIdModel):
    """A causal language model whose vocabulary holds the tokens of an opening and of the codes.

    Histories are written as codes behind the opening tokens, see `PromptTokens`. The head is cut
    to the codes; the rest of the vocabulary is never scored by a search, and the generation
    settings of a checkpoint (temperature, top-k and others) are never read. The model is changed in
    one way: its attention is set to `ATTENTION`, which computes the same.

    prompt: the tokens of prompts.
    tokenizer: turns texts into tokens of the model, as a text of `kept_tokenizer`; None where
        nobody gave one.
    """

    reader = CodeReader()
    code_tokens: Tensor
    history_tokens: Tensor
    opening: Tensor
    after_item: Tensor

    def __init__(
        self,
        language_model: PreTrainedModel,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
        *,
        prompt: PromptTokens,
        tokenizer: str | None = None,
    ) -> None:
        """Wraps a model.

        Args:
            language_model: used, not copied.
            semantic_ids: codes of the items that histories may name.
            codebook_sizes: codes per level.
            prompt: the tokens of prompts.
            tokenizer: see the class.

        Raises:
            ValueError: if the model cannot hold a tree: an encoder-decoder, sliding windows,
                recurrent layers, a head that is more than a matrix.
        """
        device = language_model.device
        super().__init__(semantic_ids.to(device), codebook_sizes)
        if prompt.codes.shape[0] != self.num_codes:
            raise ValueError(f"{prompt.codes.shape[0]} code_tokens for {self.num_codes} codes.")
        self.text_config = language_model.config.get_text_config()
        _refuse_what_cannot_hold_a_tree(language_model)
        language_model.set_attn_implementation(ATTENTION)
        self.language_model = language_model
        self.prompt = prompt
        self.tokenizer = tokenizer
        # In a tuple, so that the weights of the adapted model are not registered twice.
        self._adapters: tuple[adapters.Adapter, ...] = ()
        for name, tokens in (
            ("code_tokens", prompt.codes.long()),
            ("history_tokens", prompt.history_tokens()),
            ("opening", torch.tensor(prompt.opening)),
            ("after_item", torch.tensor(prompt.after_item, dtype=torch.long)),
        ):
            self.register_buffer(name, tokens.to(device), persistent=False)
        self._refuse_what_computes_otherwise()

    @classmethod
    def from_description(
        cls,
        description: Mapping[str, Any],
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
    ) -> "HuggingFaceModel":
        """The model that `description` describes, with new weights.

        Raises:
            ValueError: it describes no model that the installed transformers knows.
        """
        language_model = described_model(description)
        try:
            prompt = PromptTokens.from_json(description)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not the description of a Hugging Face model: {error!r}.") from error
        return cls(language_model, semantic_ids, codebook_sizes, prompt=prompt)

    def description(self) -> dict[str, Any]:
        """Description that makes this model again, apart from its weights and items, as JSON."""
        return {
            "config": json.loads(self.language_model.config.to_json_string(use_diff=True)),
            **self.prompt.as_json(),
        }

    @property
    def gives_history_states(self) -> bool:
        """See `SemanticIdModel.gives_history_states`."""
        return True

    def flops_by_depth(self, histories: HistoryBatch) -> Int[Tensor, "users depths"]:
        """See `CountsFlops.flops_by_depth`."""
        lengths = self.prompts_of(histories).lengths
        backbone = self.backbone_flops.by_depth(lengths, self.num_levels)
        return backbone + self.head_flops(self.text_config.hidden_size)

    @cached_property
    def backbone_flops(self) -> CausalFlops:
        """FLOPs of positions, without the head; for experts see `matrix_flops`."""
        config = self.text_config
        head_dim = getattr(config, "head_dim", None)
        width = config.hidden_size if head_dim is None else config.num_attention_heads * head_dim
        return CausalFlops(
            matrices=matrix_flops(self.language_model.base_model),
            channels=config.num_hidden_layers * width,
        )

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """The mean of the input rows of the tokens that an item writes in a history."""
        embedding: Any = self.language_model.get_input_embeddings()
        rows: Tensor = embedding(self.code_tokens)  # also those that learn in an adapter
        codes = self.flat_codes(self._every_item)
        is_written = self.history_tokens[codes] != SILENT
        starts = functional.pad(is_written.sum(dim=1).cumsum(0)[:-1], (1, 0))
        return functional.embedding_bag(codes[is_written], rows, starts)

    @property
    def _every_item(self) -> Int[Tensor, " items"]:
        return torch.arange(self.num_items, device=self.code_tokens.device)

    def code_weights(
        self, items: Int[Tensor, " targets"]
    ) -> Float[Tensor, "targets levels"] | None:
        """See `SemanticIdModel.code_weights`; codes that write nothing weigh 0."""
        if not self.prompt.silent:
            return None
        return (self.history_tokens[self.flat_codes(items)] != SILENT).float()

    @property
    def head_weight(self) -> Float[Tensor, "codes dim"]:
        """See `SemanticIdModel.head_weight`."""
        return self._rows_of_codes(0, self.num_codes)

    def row_logits(
        self, states: Float[Tensor, "*batch dim"], start: int, stop: int
    ) -> Float[Tensor, "*batch codes"]:
        """See `SemanticIdModel.row_logits`; reads the rows of these codes alone.

        A silent code is never in question: it is the only code behind the end of a title. So it
        takes no share from the other codes of its level, and alone it has the probability 1.
        """
        logits = states @ self._rows_of_codes(start, stop).to(states.dtype).T
        if not self.prompt.silent:
            return logits
        return logits.masked_fill(self.history_tokens[start:stop] == SILENT, _NEVER)

    def _rows_of_codes(self, start: int, stop: int) -> Float[Tensor, "codes dim"]:
        """Rows of the head; those that learn in an adapter, where there is one."""
        head = _head(self.language_model)
        learned = adapters.learned_rows(head)
        if learned is not None:  # in the order of the codes
            return learned[start:stop]
        weight: Tensor = head.weight
        return weight[self.code_tokens[start:stop]]

    def adapt(self, lora: LoraShape | None, *, learns_rows: bool) -> None:
        """Puts an adapter into the language model: from now on the adapter alone learns.

        Args:
            lora: the low-rank weights; None for rows alone.
            learns_rows: whether the rows of the codes learn; only where no two codes share a token.

        Raises:
            ImportError, ValueError: see `adapters.adapted`.
        """
        new_tokens = self.code_tokens.tolist() if learns_rows else []
        made = adapters.adapted(self.language_model, new_tokens=new_tokens, lora=lora)
        self._adapters = (made,)

    def merge_adapter(self) -> None:
        """Adds the adapter to the weights of the language model, if there is one."""
        for adapter in self._adapters:
            adapter.merge_and_unload()
        self._adapters = ()

    def encode(self, histories: HistoryBatch, *, capacity: int) -> tuple[StepOutput, TreeContext]:
        """See `StepModel.encode`."""
        prompts = self.prompts_of(histories)
        tokens, lengths = prompts.tokens, prompts.lengths
        users = tokens.shape[0]
        states, layers = self._cached(tokens, SlottedCache((), 0))
        ends = prompts.ends[:, :, None].expand(-1, -1, states.shape[2])
        after_items = HistoryStates(states=states.gather(1, ends), counts=histories.lengths + 1)
        hidden = states[torch.arange(users, device=states.device), lengths - 1][:, None]
        root_depth = torch.zeros(users, 1, dtype=torch.long, device=states.device)
        context = root_context(
            layers=layers,
            prompt_lengths=lengths,
            num_levels=self.num_levels,
            capacity=capacity,
            history_states=after_items,
        )
        return StepOutput(
            logits=self.node_logits(hidden, root_depth, depth=0), hidden=hidden
        ), context

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
        cache = SlottedCache(context.layers, context.next_column)
        prompt = context.prompt_lengths[:, None] if visible is None else visible
        context = context.placed(parents, depths, is_node, depth)
        hidden, layers = self._cached(
            self.code_tokens[self.node_codes(codes, depths)],
            cache,
            mask=context.node_mask(codes.shape[1], visible),
            positions=(prompt + depths - 1).clamp(min=0),
        )
        step = StepOutput(logits=self.node_logits(hidden, depths, depth=depth), hidden=hidden)
        return step, context.with_layers(layers)

    def next_item_states(self, histories: HistoryBatch) -> Float[Tensor, "users items levels dim"]:
        """See `SemanticIdModel.next_item_states`."""
        prompts = self.prompts_of(histories)
        # The last token of all predicts nothing, unless codes that write nothing follow.
        read = prompts.tokens if self.prompt.silent else prompts.tokens[:, :-1]
        states: Tensor = self.language_model.base_model(
            input_ids=read, use_cache=False, return_dict=True
        ).last_hidden_state
        users, num_items, num_levels = prompts.before.shape
        places = prompts.before.flatten(1).clamp(max=states.shape[1] - 1)
        every = places[:, :, None].expand(-1, -1, states.shape[2])
        return states.gather(1, every).view(users, num_items, num_levels, -1)

    def vocabulary_logits(
        self, tokens: Int[Tensor, "texts tokens"], wanted: Bool[Tensor, "texts tokens"]
    ) -> Float[Tensor, "places vocabulary"]:
        """Logits of the token after some places of texts, over the whole vocabulary.

        Args:
            tokens: of texts, padded at the end with any token.
            wanted: the places, row by row in the result.
        """
        states: Tensor = self.language_model.base_model(
            input_ids=tokens, use_cache=False, return_dict=True
        ).last_hidden_state
        with in_float32(states.device):
            logits: Tensor = _head(self.language_model)(widened(states[wanted]))
        return logits

    def prompts_of(self, histories: HistoryBatch) -> Prompts:
        """The opening and the histories as tokens.

        Raises:
            ValueError: the items have weights, or a prompt is longer than the language model reads.
        """
        items = self.reader.unweighted(histories)
        codes = self.history_tokens[self.flat_codes(items)]
        behind = self.after_item.expand(*items.shape, -1)
        written = torch.cat([codes, behind], dim=2)
        places = torch.arange(items.shape[1], device=items.device)
        # With silent codes, only the device knows how long the longest prompt is.
        longest = len(self.opening) + items.shape[1] * written.shape[2]
        prompts = write_prompts(
            self.opening,
            written,
            places < histories.lengths[:, None],
            num_levels=self.num_levels,
            columns=None if self.prompt.silent else longest,
        )
        positions = getattr(self.text_config, "max_position_embeddings", None)
        if positions is not None and prompts.tokens.shape[1] + self.num_levels > positions:
            raise ValueError(
                f"{items.shape[1]} items of {self.num_levels} codes and a new one exceed "
                f"the {positions} positions of the language model; cut the histories."
            )
        return prompts

    def _cached(
        self,
        tokens: Int[Tensor, "users width"],
        cache: SlottedCache,
        *,
        mask: Bool[Tensor, "users width columns"] | None = None,
        positions: Int[Tensor, "users width"] | None = None,
    ) -> tuple[Float[Tensor, "users width dim"], tuple[KeyValues, ...]]:
        """Final states of some columns, and all layers with these columns put. None is causal."""
        states: Tensor = self.language_model.base_model(
            input_ids=tokens,
            attention_mask=None if mask is None else mask[:, None],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            return_dict=True,
        ).last_hidden_state
        return states, cache.layers_written(self.text_config.num_hidden_layers)

    @torch.no_grad()
    def _refuse_what_computes_otherwise(self) -> None:
        """Compares one code after a tiny prompt with the whole model on the same tokens.

        Catches logits that are scaled after the head, positions that are not told, and layers
        that mix columns without looking at the mask; silently wrong scores otherwise.
        """
        model, device = self.language_model, self.code_tokens.device
        was_training = model.training
        model.train(False)
        try:
            prompt = HistoryBatch(
                items=torch.zeros(1, 1, dtype=torch.long, device=device),
                lengths=torch.ones(1, dtype=torch.long, device=device),
            )
            first = torch.zeros(1, 2, dtype=torch.long, device=device)
            _, context = self.encode(prompt, capacity=2)
            # The second column: the first is a sibling, which must not be seen.
            step, _ = self.extend(context, first, first + ROOT_SLOT, first + 1, is_node=first == 0)
            ours = step.hidden[0, 1] @ self.head_weight.T
            tokens = torch.cat([self.prompts_of(prompt).tokens, self.code_tokens[:1][None]], dim=1)
            theirs = model(input_ids=tokens, use_cache=False).logits[0, -1, self.code_tokens]
        finally:
            model.train(was_training)
        difference = (ours - theirs).abs().max()
        if difference > 0.02 * theirs.abs().max():
            raise ValueError(
                f"{type(model).__name__} scores codes in a tree otherwise than in a sequence (by "
                f"{float(difference):.3g}): its logits are more than head times state, or its "
                "layers do more than attend through the mask."
            )


def _refuse_what_cannot_hold_a_tree(model: PreTrainedModel) -> None:
    """Raises ValueError with the reason and the way out."""
    name, config = type(model).__name__, model.config.get_text_config()
    if config.is_encoder_decoder:
        raise ValueError(f"{name} is an encoder-decoder; for T5 use sidestep.model.t5.")
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise ValueError(
            f"{name} has layers of the types {sorted(kinds)}; a tree needs full attention in "
            "every layer: a sliding or recurrent layer sees neighbours by place, not by path."
        )
    if getattr(config, "sliding_window", None) is not None:
        raise ValueError(
            f"{name} attends within a sliding window of {config.sliding_window}; a tree needs "
            "full attention. Where histories are shorter, load it with sliding_window=None."
        )
    if getattr(config, "final_logit_softcapping", None) is not None:
        raise ValueError(f"{name} caps its logits after the head, which is not supported.")
    head = _head(model)
    if not isinstance(head, torch.nn.Linear) or getattr(head, "bias", None) is not None:
        raise ValueError(f"{name} has no language-model head that is one matrix without a bias.")
    if not model._can_set_attn_implementation():
        raise ValueError(f"{name} does not let its attention be replaced, so it cannot be masked.")


def _head(model: Any) -> Any:
    """The language-model head; transformers leaves it untyped."""
    return model.get_output_embeddings()


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as Hugging Face calls it, in its own words; differs from sdpa in speed only."""
    if attention_mask is None or attention_mask.dtype != torch.bool or dropout > 0:
        mixed: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return mixed
    users, heads, width, _ = query.shape
    gathered = attend(query, key, value, attention_mask[:, 0], scale=scaling)
    return gathered.view(users, width, heads, -1), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
