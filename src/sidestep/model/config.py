"""Shapes of the networks, beside the networks and without them: to read one needs no torch."""

import operator
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

HistoryForm = Literal["codes", "items"]
"""How a history is read: `codes` writes each past item as its codes, `items` as one vector."""


CodebookOrder = Literal["confident", "informative", "fixed", "random"]
"""Rules by which a network over sets of codes chooses the next codebook."""


class GapConfig(BaseModel):
    """Configuration of the gaps between events as inputs; see `GapEmbedding`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bins_per_doubling: int = Field(2, ge=1, le=16)
    """Bins between a gap and twice the gap; more tell gaps apart better and learn from fewer."""

    hidden_share: float = Field(0.1, ge=0, lt=1)
    """Share of histories, and of single gaps, that training hides, so that the network can be asked
    without times. 0 hides none; then give times with every history."""


def _on_or_off(given: object) -> object:
    """`true` is the default configuration, `false` is none."""
    if isinstance(given, bool):
        return GapConfig() if given else None
    return given


Times = Annotated[GapConfig | None, BeforeValidator(_on_or_off)]
"""Whether and how times are read: true, false, or a `GapConfig`."""


class ColumnConfig(BaseModel):
    """Configuration of a column that describes items or users; see `ColumnEmbedding`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    separator: str | None = Field(None, min_length=1)
    """The text between the values of a cell, such as `|`; None reads a cell as one value."""

    min_count: int = Field(1, ge=1)
    """Items or users that must have a value; a rarer value gets no vector."""

    values: tuple[str, ...] | None = Field(None, min_length=1, exclude_if=lambda values: not values)
    """The values with a vector, in the order of the vectors. None takes those that the data have;
    a trained network has them here."""


def _column(given: object) -> object:
    """A text or null is the separator of a column, else with the default."""
    return {"separator": given} if given is None or isinstance(given, str) else given


Columns = Annotated[
    dict[str, Annotated[ColumnConfig, BeforeValidator(_column)]] | None,
    AfterValidator(lambda columns: columns or None),
]
"""Columns to read, by name: a separator, null for one value per cell, or a `ColumnConfig`."""


class CategoryHeadConfig(BaseModel):
    """Configuration of a category head; see `CategoryHead`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(min_length=1)
    """The column of the items' texts. The first value of a cell is the item's category."""

    separator: str | None = Field(None, min_length=1)
    """The text between the values of a cell; None reads a cell as one value."""

    min_count: int = Field(1, ge=1)
    """Items that must have a category; a rarer category is not learned."""

    values: tuple[str, ...] | None = Field(None, min_length=1, exclude_if=lambda values: not values)
    """The categories, in the order of the weights. None takes those that the data have; a trained
    network has them here."""


def _category_column(given: object) -> object:
    """A text is the column of a category head, else with the default."""
    return {"column": given} if isinstance(given, str) else given


class TransformerConfig(BaseModel):
    """Shape of the native Transformer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(128, ge=2)
    """Width of the residual stream."""

    num_layers: int = Field(4, ge=1)

    num_heads: int = Field(4, ge=1)

    num_kv_heads: int | None = Field(None, ge=1)
    """Key and value heads; None means as many as query heads."""

    ffn_dim: int | None = Field(None, ge=1)
    """Width of the feed-forward layer; None means 8/3 of `dim`, rounded up to a multiple of 32."""

    history: HistoryForm = "codes"
    """`codes` writes each past item as its codes, `items` as one vector."""

    item_embedding: bool = False
    """With history `items`: add a vector of the item's own to the sum of its codes' vectors."""

    item_head: bool = False
    """Also score items directly from the root state; an auxiliary task in training."""

    # Left out of files where they are not set, so that runs of older versions go on.
    tied_item_head: bool = Field(False, exclude_if=operator.not_)
    """With an item head and history `items`: score an item by the vector it is read by, instead of
    by a row of the head's own."""

    repeat_bias: bool = Field(False, exclude_if=operator.not_)
    """With an item head: learn a number that is added to the scores of items that the history
    holds, from the repeat rate of the training part on. A tied head needs it where people do not
    take an item twice."""

    last_code_head: Literal["codes", "items"] = Field(
        "codes", exclude_if=lambda head: head == "codes"
    )
    """What chooses the last code. `codes`: a row per code, as at every level. `items`: the item
    head scores the items below the prefix. The item head reads the state after the history, and the
    network learns how much of the state of the prefix to add. With `items`, the item head also
    chooses an earlier code where few items are left, see `few_items`. In a network over sets, the
    item head chooses only there."""

    few_items: int = Field(0, ge=0, exclude_if=operator.not_)
    """With `last_code_head: items`: the item head also chooses an earlier code, but the first,
    below each prefix with at most so many items; 0: the last code alone."""

    prefix_queries: bool = Field(True, exclude_if=lambda reads: reads)
    """With `last_code_head: items`: whether the items below a prefix are scored by the state of the
    prefix, too. With false, the state after the history alone scores them, as in the item head.
    Where items choose every code but the first, a search then asks the network for the first code
    alone, and costs about as much as the item head."""

    rows_per_code: int = Field(1, ge=1, exclude_if=lambda number: number == 1)
    """Rows by which a code is scored. A code stands for all items with the code. One row is close
    to the mean of these items; several rows can stand for items of several kinds."""

    times: Times = Field(None, exclude_if=lambda times: times is None)
    """With history `items`: add a vector of the gap between each item and what came next; `true`
    for the default. The data need times."""

    item_columns: Columns = Field(None, exclude_if=operator.not_)
    """With history `items`: add vectors of the values that an item has in these columns to the
    vector that the item is read by, as in `{genre: "|", brand: null}`. The items need texts."""

    user_columns: Columns = Field(None, exclude_if=operator.not_)
    """With history `items`: add vectors of the values that a user has in these columns to the start
    token, as in `{age: null, gender: null}`. The data need a table of users."""

    category_head: Annotated[CategoryHeadConfig | None, BeforeValidator(_category_column)] = Field(
        None, exclude_if=lambda head: head is None
    )
    """Also tell the category of the next item at every code; an auxiliary task in training. The
    name of a column of the items, or a `CategoryHeadConfig`. The search `reg4rec` and the rewards
    `category-hit` and `step-consistency` need it."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """On embeddings and on the output of every sublayer, while training."""

    attention_bias: bool = False
    """Biases on queries, keys and values (Qwen2 has them, Llama does not)."""

    rope_theta: float = Field(10_000.0, gt=0)

    norm_epsilon: float = Field(1e-6, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> "TransformerConfig":
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(
                f"dim {self.dim} must be num_heads {self.num_heads} times an even number."
            )
        if self.num_heads % self.kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} must be a multiple of num_kv_heads {self.kv_heads}."
            )
        _refuse_unread_embedding(self)
        if self.times is not None and self.history != "items":
            raise ValueError("times needs history: items, which has one vector per item.")
        if self.item_columns is not None and self.history != "items":
            raise ValueError("item_columns needs history: items, which has one vector per item.")
        if self.user_columns is not None and self.history != "items":
            raise ValueError("user_columns needs history: items.")
        if (self.tied_item_head or self.repeat_bias) and not self.item_head:
            raise ValueError("tied_item_head and repeat_bias need item_head: true.")
        if self.last_code_head == "items" and not self.item_head:
            raise ValueError("last_code_head: items needs item_head: true.")
        if "few_items" in self.model_fields_set and self.last_code_head != "items":
            raise ValueError("few_items needs last_code_head: items.")
        if not self.prefix_queries and self.last_code_head != "items":
            raise ValueError("prefix_queries: false needs last_code_head: items.")
        if self.tied_item_head and self.history != "items":
            raise ValueError("tied_item_head needs history: items, which reads items as vectors.")
        return self

    @property
    def kv_heads(self) -> int:
        """Key and value heads."""
        return self.num_kv_heads or self.num_heads

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.dim // self.num_heads

    @property
    def hidden_ffn_dim(self) -> int:
        """Width of the feed-forward layer."""
        return self.ffn_dim or -(-self.dim * 8 // (3 * 32)) * 32

    @property
    def num_layer_weights(self) -> int:
        """About the weights of the layers; the vectors of items do not count."""
        return self.num_layers * 12 * self.dim**2


class CodebookOrderConfig(BaseModel):
    """Configuration of the order in which a network over sets of codes decides the codebooks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: CodebookOrder = "confident"
    """The codebook that decides next. `confident`: the codebook whose likeliest legal code has the
    highest probability (the rule CRSS of REG4Rec). `informative`: the codebook of the largest
    entropy, so that fewer codes tell the items apart. `fixed`: the codebooks one after the other.
    `random`: one random order for all histories."""

    order_seed: int = Field(0, exclude_if=lambda seed: seed == 0)
    """Seed of a random order."""


class CodeSetConfig(CodebookOrderConfig, TransformerConfig):
    """Shape of a Transformer whose items are sets of codes, see `CodeSetTransformer`."""

    history: Literal["items"] = "items"
    """A set of codes has no order, so the network reads an item as one vector."""

    few_items: int = Field(64, ge=0, exclude_if=lambda number: number == 64)
    """With `last_code_head: items`: the item head chooses among the items of a set as soon as at
    most so many items have one of its codes."""


class CobraConfig(TransformerConfig):
    """Shape of COBRA, see `Cobra`."""

    num_layers: int = Field(2, ge=1)

    history: Literal["codes"] = "codes"
    """An item is read as the codes of its sparse ID, then its dense vector."""

    item_head: Literal[False] = False
    """The cosine of vectors scores items; there is no head beside it."""

    vector_dim: int | None = Field(None, ge=1)
    """Width of the given vectors of items. None takes that of the file `embeddings`; a trained
    network has it here."""

    temperature: float = Field(0.07, gt=0)
    """Divides the cosine between the predicted vector and the vector of an item; ours."""


class T5Config(BaseModel):
    """Shape of the native T5."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(128, ge=2)
    """Width of the residual streams."""

    num_layers: int = Field(4, ge=1)
    """Layers of the encoder."""

    num_decoder_layers: int | None = Field(None, ge=1)
    """Layers of the decoder; None means as many as the encoder has."""

    num_heads: int = Field(4, ge=1)

    head_dim: int | None = Field(None, ge=1)
    """Width of a head; None means `dim` divided by `num_heads`."""

    ffn_dim: int | None = Field(None, ge=1)
    """Width of the feed-forward layers; None means four times `dim`."""

    ffn: Literal["relu", "gated-gelu"] = "relu"
    """`relu` as in the first T5, `gated-gelu` as in version 1.1."""

    tied_head: bool = True
    """Logits from the code embedding, states scaled by `dim ** -0.5`; else from a head's own."""

    # Left out of files where they are not set, so that runs of older versions go on.
    history: HistoryForm = Field("codes", exclude_if=lambda form: form == "codes")
    """`codes` writes each past item as its codes, `items` as one vector."""

    item_embedding: bool = Field(False, exclude_if=operator.not_)
    """With history `items`: add a vector of the item's own to the sum of its codes' vectors."""

    num_buckets: int = Field(32, ge=4, multiple_of=4)
    """Relative distances told apart."""

    max_distance: int = Field(128, ge=2)
    """From here on all distances are the same to the model."""

    dropout: float = Field(0.1, ge=0, lt=1)
    """On embeddings and on the output of every sublayer, while training."""

    norm_epsilon: float = Field(1e-6, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> "T5Config":
        if self.head_dim is None and self.dim % self.num_heads:
            raise ValueError(
                f"dim {self.dim} must be a multiple of num_heads {self.num_heads}, or set head_dim."
            )
        if self.max_distance <= self.num_buckets // 2:
            raise ValueError(
                f"max_distance {self.max_distance} must be above half of num_buckets "
                f"{self.num_buckets}."
            )
        _refuse_unread_embedding(self)
        return self

    @property
    def decoder_layers(self) -> int:
        """Layers of the decoder."""
        return self.num_decoder_layers or self.num_layers

    @property
    def width_of_head(self) -> int:
        """Width of a head."""
        return self.head_dim or self.dim // self.num_heads

    @property
    def hidden_ffn_dim(self) -> int:
        """Width of the feed-forward layers."""
        return self.ffn_dim or 4 * self.dim

    @property
    def num_layer_weights(self) -> int:
        """About the weights of the layers; the vectors of items do not count."""
        return (self.num_layers + self.decoder_layers) * 12 * self.dim**2


class CodeSetT5Config(CodebookOrderConfig, T5Config):
    """Shape of a T5 whose items are sets of codes, see `CodeSetT5`."""

    history: Literal["items"] = "items"
    """A set of codes has no order, so the network reads an item as one vector."""


class LoraShape(BaseModel):
    """Shape of the low-rank weights that are added to a language model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(16, ge=1)

    alpha: int = Field(32, ge=1)
    """The low-rank product is multiplied by alpha / rank."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """On the inputs of the low-rank weights, while training."""

    modules: tuple[str, ...] | None = Field(None, min_length=1)
    """Names of the linear layers that get low-rank weights, such as q_proj; None: all but the
    head."""


class LanguageModelConfig(BaseModel):
    """A language model over codes, and what of it learns; see `HuggingFaceModel`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language_model: str = Field(min_length=1)
    """A folder with config.json, safetensors and a tokenizer, or a name on the Hugging Face hub. A
    causal language model with full attention in every layer."""

    trained: Literal["all", "lora", "rows"] = "lora"
    """`lora`: low-rank weights and the rows of the new tokens learn. `rows`: the rows alone. `all`:
    every weight."""

    lora: LoraShape = LoraShape()
    """The low-rank weights; only `trained: lora` reads them."""

    codes: Literal["new-tokens", "titles"] = "new-tokens"
    """`new-tokens`: each code is a token of its own, as in LC-Rec and MiniOneRec. `titles`: the
    codes are the tokens of titles, of a catalog of 'sidestep tokenize --titles', as in BIGRec and
    D3."""

    instruction: str = "Items that one customer chose, the oldest first:"
    """The text before every history."""

    chat: bool | None = None
    """Write the instruction as the turn of a user, by the chat template of the tokenizer; the items
    are then the answer. None: where there is a template."""

    gradient_checkpointing: bool = False
    """Compute the layers again in the backward pass instead of keeping their states: less memory,
    and about a third more time."""

    history: Literal["codes"] = "codes"
    """A language model reads items as tokens."""

    @model_validator(mode="after")
    def _reads_its_settings(self) -> "LanguageModelConfig":
        if "lora" in self.model_fields_set and self.trained != "lora":
            raise ValueError(f"lora is of trained: lora, and trained is {self.trained}.")
        if self.trained == "rows" and self.codes == "titles":
            raise ValueError(
                "trained: rows lets the rows of new tokens learn alone, and codes: titles has no "
                "new tokens; set trained to lora or all."
            )
        return self


class StreamRecConfig(T5Config):
    """Shape of STREAM-Rec."""

    num_thoughts: int = Field(4, ge=1, le=64)
    """l, codes of reasoning that the decoder writes before the codes of the item. The paper takes 4
    or 6, by the data set."""


def _refuse_unread_embedding(config: TransformerConfig | T5Config) -> None:
    if config.item_embedding and config.history != "items":
        raise ValueError("item_embedding needs history: items.")


class TiedItemConfig(BaseModel):
    """Inputs and scores of a network over item IDs that scores items by their input vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(128, ge=2)
    """Width of the vectors of items and of the states."""

    dropout: float = Field(0.5, ge=0, lt=1)
    """On embeddings and within the layers, while training."""

    max_items: int = Field(50, ge=1)
    """Longest history; where positions have vectors, there is one for each of its items."""

    temperature: float | None = Field(None, gt=0)
    """Divides the cosine between state and item; None scores by the plain product instead.

    With the cosine, an item's popularity cannot hide in the length of its vector, which learns
    faster on sparse data. Values around 0.07 are usual.
    """

    # Left out of files where they are not set, so that runs of older versions go on.
    repeat_bias: bool = Field(False, exclude_if=operator.not_)
    """Learn a number that is added to the scores of items that the history holds, see `ItemHead`;
    ours."""

    code_embedding: bool = Field(False, exclude_if=operator.not_)
    """Add the vectors of an item's codes to the item's own vector. The sum is the vector by which
    the item is read and scored. The run needs a catalog of semantic IDs."""

    times: Times = Field(None, exclude_if=lambda times: times is None)
    """Read the times of events; `true` for the default. By default, a vector of the gap between
    each item and what came next is added to the vector of the item, see `GapEmbedding`. The data
    need times."""

    item_columns: Columns = Field(None, exclude_if=operator.not_)
    """Add vectors of the values that an item has in these columns to the vector that the item is
    read and scored by, as in `{genre: "|", brand: null}`. The items need texts."""

    user_columns: Columns = Field(None, exclude_if=operator.not_)
    """Add vectors of the values that a user has in these columns to the start token, as in
    `{age: null, gender: null}`. The data need a table of users."""

    @property
    def num_layer_weights(self) -> int:
        """Weights of the layers, or fewer; the vectors of items do not count."""
        return 0  # a network with larger layers says so itself


class _AttentionConfig(TiedItemConfig):
    """Shape of a network over item IDs with layers of attention."""

    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _divides(self) -> "_AttentionConfig":
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} must be a multiple of num_heads {self.num_heads}.")
        return self


class _FeedForwardConfig(_AttentionConfig):
    """Shape of a network over item IDs with attention and a feed-forward layer in each layer."""

    ffn_dim: int | None = Field(None, ge=1)
    """Width of the feed-forward layer; None means four times `dim`."""

    @property
    def hidden_ffn_dim(self) -> int:
        """Width of the feed-forward layer."""
        return self.ffn_dim or 4 * self.dim

    @property
    def num_layer_weights(self) -> int:
        """See `TiedItemConfig.num_layer_weights`."""
        return self.num_layers * (4 * self.dim**2 + 2 * self.dim * self.hidden_ffn_dim)


class SasRecConfig(_FeedForwardConfig):
    """Shape of SASRec."""

    # Left out of files where it is not set, so that runs of older versions go on.
    layers: Literal["transformer", "ligr"] = Field(
        "transformer", exclude_if=lambda layers: layers == "transformer"
    )
    """`ligr` gates what each sublayer adds, as eSASRec does; see `LigrLayers`."""


class HstuConfig(_AttentionConfig):
    """Shape of HSTU."""

    num_layers: int = Field(4, ge=1)
    num_heads: int = Field(4, ge=1)

    dropout: float = Field(0.2, ge=0, lt=1)
    """On embeddings and on the gated output of every layer, while training."""

    temperature: float | None = Field(0.05, gt=0)
    """See `TiedItemConfig.temperature`; the authors' is .05."""

    times: Times = Field(None, exclude_if=lambda times: times is None)
    """Add a number for the time between two events to the scores of attention; `true` for the
    default. The data need times."""

    @property
    def num_layer_weights(self) -> int:
        """See `TiedItemConfig.num_layer_weights`."""
        return self.num_layers * 5 * self.dim**2


class Gru4RecConfig(TiedItemConfig):
    """Shape of GRU4Rec."""

    dim: int = Field(64, ge=2)
    """Width of the vectors of items and of the states that score them."""

    state_dim: int = Field(128, ge=1)
    """Width of the recurrent state."""

    num_layers: int = Field(1, ge=1)

    dropout: float = Field(0.3, ge=0, lt=1)
    """On embeddings and between layers, while training."""

    @property
    def num_layer_weights(self) -> int:
        """See `TiedItemConfig.num_layer_weights`."""
        return self.num_layers * 3 * self.state_dim**2


class CaserConfig(TiedItemConfig):
    """Shape of Caser."""

    dim: int = Field(64, ge=2)
    """Width of the vectors of items and of the states that score them."""

    num_last: int = Field(5, ge=1)
    """L, the last items of a history that are looked at."""

    num_horizontal: int = Field(16, ge=1)
    """Filters of each height from 1 to L; each looks at so many neighbouring items."""

    num_vertical: int = Field(4, ge=1)
    """Filters that weigh the L items and sum their vectors."""

    dropout: float = Field(0.5, ge=0, lt=1)
    """On embeddings and on what the filters found, while training."""

    @property
    def num_layer_weights(self) -> int:
        """See `TiedItemConfig.num_layer_weights`."""
        return self.num_vertical * self.dim**2


class Bert4RecConfig(_FeedForwardConfig):
    """Shape of BERT4Rec."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """On embeddings, attention weights and the output of every sublayer, while training."""


class ThinkingConfig(_FeedForwardConfig):
    """Shape of a network over item IDs that feeds its last state back."""

    num_steps: int = Field(2, ge=1)
    """K, steps of thinking after each history. ReaRec's authors take 2 for most data sets."""

    @property
    def num_layer_weights(self) -> int:
        """See `TiedItemConfig.num_layer_weights`."""
        return super().num_layer_weights + self.num_steps * self.dim


class ReaRecConfig(ThinkingConfig):
    """Shape of ReaRec."""

    reasoning: Literal["progressive", "ensemble"] = "progressive"
    """The state that scores items, and with it the loss. `progressive` (PRL): the last state of a
    chain, and each step learns a sharper distribution than the step before. `ensemble` (ERL): the
    mean of all states, which learn to differ."""


class DiffuReasonConfig(ThinkingConfig):
    """Shape of DiffuReason. The numbers are ours: of the paper we could read the abstract alone."""

    temperature: float | None = Field(0.07, gt=0)
    """See `TiedItemConfig.temperature`. The denoiser learns the direction of an item's vector, and
    the cosine reads nothing else."""

    num_noise_levels: int = Field(50, ge=1)
    """T. Training adds noise of the levels 1 to T; level T is noise alone."""

    num_refinements: int = Field(5, ge=1)
    """Steps of denoising from level T down to 0, for lists and in training; at most T."""

    @model_validator(mode="after")
    def _has_levels_enough(self) -> "DiffuReasonConfig":
        if self.num_refinements > self.num_noise_levels:
            raise ValueError(
                f"num_refinements {self.num_refinements} must be at most num_noise_levels "
                f"{self.num_noise_levels}: each refinement goes down by a level or more."
            )
        return self

    @property
    def num_layer_weights(self) -> int:
        """See `TiedItemConfig.num_layer_weights`."""
        of_denoiser = self.hidden_ffn_dim * (3 * self.dim + self.num_noise_levels)
        return super().num_layer_weights + of_denoiser


class LaresConfig(_FeedForwardConfig):
    """Shape of LARES."""

    num_layers: int = Field(1, ge=1)
    """Layers of the pre-block, which reads the history once."""

    num_core_layers: int = Field(1, ge=1)
    """Layers of the core-block, which is applied again and again."""

    mean_depth: int = Field(4, ge=1)
    """m: training draws 1 more than a random number of this mean, see `Lares`. A recommendation
    takes m recurrences, if `depth` does not say another number."""

    depth: int | None = Field(None, ge=1)
    """Recurrences of the core-block in a recommendation; None takes `mean_depth`."""

    mixing: Literal["mean", "linear"] = "mean"
    """The function that puts a thought and the states of the pre-block together: their mean, or a
    learned linear map of both."""

    state_scale: float = Field(3.0, ge=0)
    """Factor of the noise that a chain begins at while the network trains."""

    @property
    def answer_depth(self) -> int:
        """Recurrences of the core-block in a recommendation."""
        return self.depth or self.mean_depth

    @property
    def num_layer_weights(self) -> int:
        """See `TiedItemConfig.num_layer_weights`."""
        layers = self.num_layers + self.num_core_layers
        return layers * (4 * self.dim**2 + 2 * self.dim * self.hidden_ffn_dim)


class RpgConfig(BaseModel):
    """Shape of RPG."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(448, ge=2)
    """Width of the vectors of codes and of the states."""

    num_layers: int = Field(2, ge=1)
    num_heads: int = Field(4, ge=1)

    ffn_dim: int = Field(1024, ge=1)
    """Width of the feed-forward layer."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """On embeddings and within the layers, while training."""

    max_items: int = Field(50, ge=1)
    """Longest history; each of its items has a position with a vector."""

    temperature: float = Field(0.03, gt=0)
    """Divides the cosine between the output of a head and the vector of a code."""

    @model_validator(mode="after")
    def _divides(self) -> "RpgConfig":
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} must be a multiple of num_heads {self.num_heads}.")
        return self


class ProcessRewardConfig(BaseModel):
    """Shape of a process reward model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(64, ge=1)
    """Width of a prefix's embedding and of the blocks. A set of codes is the sum of its codes."""

    num_blocks: int = Field(1, ge=1)

    num_heads: int = Field(1, ge=1)
    """Of the cross-attention; the paper takes a quarter of the backbone's."""

    ffn_dim: int | None = Field(None, ge=1)
    """Width of the feed-forward layer; None is twice `dim`."""

    dropout: float = Field(0.0, ge=0, lt=1)

    dot_product: bool = False
    """Whether the inner product of a prefix's embedding and the last state of the history is added
    to the score. An MLP learns an inner product badly from few data (Rendle et al., 2020,
    arXiv:2005.09683); the published model has none."""

    hashed_rows: int | None = Field(None, ge=1)
    """Rows of the table that prefixes share by a hash, for catalogs whose prefixes do not fit
    memory; None gives each its own."""

    @model_validator(mode="after")
    def _check_heads(self) -> "ProcessRewardConfig":
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} must be a multiple of num_heads {self.num_heads}.")
        return self


class ValueHeadConfig(BaseModel):
    """Shape of a value head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_heads: int = Field(4, ge=1)
    """Attention heads of the block."""

    ffn_dim: int | None = Field(None, ge=1)
    """Width of the block's feed-forward layer; None is as in `TransformerConfig`."""
