"""Bundles in the layout of Hugging Face, and language models from there as bundles.

An exported folder is one that `AutoModelForCausalLM` and `AutoTokenizer` load, with the catalog
beside it. Needs the extra `hf`. Weights are only ever read from safetensors.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from sidestep.bundle.layout import CARD
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.networks import tokenizer_of
from sidestep.catalog.catalog import Catalog
from sidestep.files import check_replaceable, read_json, whole_folder, write_json
from sidestep.model.heads import HasLlamaForm
from sidestep.model.llama_weights import transformer_from_llama
from sidestep.model.prompt_tokens import PromptTokens
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.transformer import Transformer

try:
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from tokenizers.processors import TemplateProcessing
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    from sidestep.model.hugging_face import HuggingFaceModel
    from sidestep.model.language_models import (
        code_token,
        tokenizer_of_text,
        tokenizer_text,
    )
    from sidestep.model.quiet_transformers import quiet
except ImportError as error:
    raise ImportError(
        "Hugging Face models need the extra `hf` (transformers 5 or later): "
        "pip install 'sidestep[hf]'."
    ) from error

TOKENS_FILE = "sidestep_tokens.json"
CATALOG_FOLDER = "catalog"

_START = "<start>"
_NATIVE = ("llama", "qwen2")
_CONTENTS = ("*.json", "*.safetensors", "*.jinja", CATALOG_FOLDER, CARD)


class TokenMap(BaseModel):
    """Tokens of a language model's vocabulary by the code that each of them writes.

    start_token: stands before every history.
    instruction: the tokens behind the start token.
    code_tokens: per level the token of each code.
    after_item: the tokens behind every item of a history.
    silent_codes: flat code ids that write nothing in a history, see `PromptTokens`.
    max_history: most recent items that the model was shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["sidestep.tokens"] = "sidestep.tokens"
    schema_version: Literal[1] = 1
    start_token: int = Field(ge=0)
    instruction: list[int] = []
    code_tokens: list[list[int]]
    after_item: list[int] = []
    silent_codes: list[int] = []
    max_history: int = Field(ge=1)

    @property
    def prompt(self) -> PromptTokens:
        """The tokens as a network reads them."""
        return PromptTokens(
            opening=(self.start_token, *self.instruction),
            after_item=tuple(self.after_item),
            codes=torch.tensor([token for level in self.code_tokens for token in level]),
            silent=tuple(self.silent_codes),
        )


def export_hugging_face(path: Path, loaded: LoadedRecommender, *, card: str | None = None) -> None:
    """Writes config.json, model.safetensors, a tokenizer of codes, the token map and the catalog.

    In the tokenizer's words an item is its codes, such as "<a_12><b_3><c_200>".

    Args:
        path: of the folder.
        loaded: the bundle.
        card: the text of its model card; None writes none.

    Raises:
        ValueError: the network is no causal language model over codes, or something else stands at
            `path`.
    """
    network: Any = loaded.network
    language_model: Any
    reads_items = isinstance(network, SemanticIdModel) and network.reader.form == "items"
    if isinstance(network, HasLlamaForm) and not reads_items:
        export = network.llama_form()
        language_model = LlamaForCausalLM(LlamaConfig(**export.config))
        language_model.load_state_dict(export.weights)
        prompt = PromptTokens(opening=(export.start_token,), codes=export.code_tokens.cpu())
    elif isinstance(network, HuggingFaceModel):
        language_model, prompt = network.language_model, network.prompt
    else:
        reason = "reads items as vectors" if reads_items else "is none"
        raise ValueError(
            f"only a causal language model over codes can be exported; this {loaded.kind} "
            f"{reason}. Train a transformer with model.history: codes."
        )
    levels = torch.split(prompt.codes, list(loaded.catalog.codebook_sizes))
    tokens = TokenMap(
        start_token=prompt.opening[0],
        instruction=list(prompt.opening[1:]),
        code_tokens=[level.tolist() for level in levels],
        after_item=list(prompt.after_item),
        silent_codes=list(prompt.silent),
        max_history=loaded.max_history,
    )
    check_export_place(path)
    with whole_folder(path) as folder, quiet():
        language_model.save_pretrained(folder, safe_serialization=True)
        _tokenizer(tokens, tokenizer_of(network)).save_pretrained(folder)
        write_json(folder / TOKENS_FILE, tokens.model_dump(mode="json"))
        loaded.catalog.to("cpu").save(folder / CATALOG_FOLDER)
        if card is not None:
            (folder / CARD).write_text(card, encoding="utf-8")


def check_export_place(path: Path) -> None:
    """Raises a `ValueError` where `export_hugging_face` would not write: other things stand."""
    check_replaceable(
        path, "an exported bundle", lambda folder: (folder / TOKENS_FILE).is_file(), _CONTENTS
    )


def read_token_map(folder: Path, catalog: Catalog, *, max_history: int) -> TokenMap:
    """The token map of a folder, or one read off its tokenizer: its start token, and `<a_0>` on.

    Raises:
        ValueError: the map is damaged or of other codebooks, or the tokenizer lacks the token of a
            code that an item has.
    """
    file = folder / TOKENS_FILE
    if not file.is_file():
        return _map_of_tokenizer(folder, catalog, max_history)
    try:
        tokens = TokenMap.model_validate(read_json(file))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    sizes = tuple(len(level) for level in tokens.code_tokens)
    if sizes != catalog.codebook_sizes:
        raise ValueError(
            f"{file}: tokens for codebooks of sizes {sizes}, but the catalog has "
            f"{catalog.codebook_sizes}; give the catalog that the model was trained on."
        )
    return tokens


def network_from_hugging_face(
    folder: Path, catalog: Catalog, tokens: TokenMap, *, native: bool | None = None
) -> Transformer | HuggingFaceModel:
    """The causal language model of a folder, over the semantic IDs of a catalog.

    Args:
        folder: with config.json and safetensors.
        catalog: its items.
        tokens: which token is which code.
        native: copy the weights into the native Transformer, which is faster and cuts the
            vocabulary to the codes; False runs the model as it is; None is native for Llama and
            Qwen2.

    Raises:
        FileNotFoundError: there is no model in safetensors.
        ValueError: the model cannot hold a tree, or has no native counterpart and must be native.
    """
    if not list(folder.glob("*.safetensors")) or not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder}: needs config.json and *.safetensors of a causal language model; other "
            "weights are not read, as they would have to be unpickled. Save the model again with "
            "save_pretrained(safe_serialization=True)."
        )
    models: Any = AutoModelForCausalLM  # transformers leaves it untyped
    with quiet():
        language_model = models.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()
    prompt = tokens.prompt
    vocabulary = language_model.get_input_embeddings().weight.shape[0]
    largest = prompt.largest
    if largest >= vocabulary:
        raise ValueError(
            f"{folder}: token {largest} of the token map is outside the model's vocabulary of "
            f"{vocabulary}."
        )
    is_bare = len(prompt.opening) == 1 and not prompt.after_item and not prompt.silent
    if native and not is_bare:
        raise ValueError(
            f"{folder}: an instruction stands before its histories, which the native Transformer "
            "cannot read; leave the native form out."
        )
    has_form = is_bare and language_model.config.model_type in _NATIVE
    if has_form if native is None else native:
        return transformer_from_llama(
            language_model.config.to_dict(),
            language_model.state_dict(),
            catalog.semantic_ids,
            catalog.codebook_sizes,
            start_token=tokens.start_token,
            code_tokens=prompt.codes,
        ).eval()
    return HuggingFaceModel(
        language_model,
        catalog.semantic_ids,
        catalog.codebook_sizes,
        prompt=prompt,
        tokenizer=_tokenizer_text(folder),
    ).eval()


def _tokenizer_text(folder: Path) -> str | None:
    """The tokenizer of a folder as a bundle keeps it; None where there is none in a fast form."""
    if not (folder / "tokenizer.json").is_file():
        return None
    tokenizers: Any = AutoTokenizer
    return tokenizer_text(tokenizers.from_pretrained(folder, local_files_only=True))


def _tokenizer(tokens: TokenMap, own: str | None) -> Any:
    """The model's own tokenizer; else one that knows codes alone.

    It turns "<a_12><b_3>" into the start token and the tokens of the codes.
    """
    if own is not None:
        return tokenizer_of_text(own)
    words = {
        code_token(level, code): token
        for level, row in enumerate(tokens.code_tokens)
        for code, token in enumerate(row)
    }
    tokenizer = Tokenizer(WordLevel({_START: tokens.start_token, **words}, unk_token=_START))
    tokenizer.pre_tokenizer = Split(Regex(r"<[a-z]_\d+>"), behavior="isolated")
    tokenizer.post_processor = TemplateProcessing(
        single=f"{_START} $A", special_tokens=[(_START, tokens.start_token)]
    )
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=tokenizer, bos_token=_START, unk_token=_START, pad_token=_START)


def _map_of_tokenizer(folder: Path, catalog: Catalog, max_history: int) -> TokenMap:
    try:
        tokenizers: Any = AutoTokenizer
        tokenizer = tokenizers.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder}: neither {TOKENS_FILE} nor a tokenizer says which token is which code."
        ) from error
    start_token = tokenizer.bos_token_id
    if start_token is None:
        raise ValueError(f"{folder}: its tokenizer has no start token (bos); add {TOKENS_FILE}.")
    vocabulary = tokenizer.get_vocab()
    # No search ever weighs a code that no item has, so any token may stand for it.
    code_tokens = [
        [vocabulary.get(code_token(level, code), start_token) for code in range(size)]
        for level, size in enumerate(catalog.codebook_sizes)
    ]
    missing = _missing_tokens(catalog.semantic_ids, vocabulary)
    if missing:
        raise ValueError(
            f"{folder}: its tokenizer lacks {len(missing)} tokens of codes that items have, such "
            f"as {missing[0]}; add {TOKENS_FILE}, or the tokens to the model."
        )
    return TokenMap(start_token=start_token, code_tokens=code_tokens, max_history=max_history)


def _missing_tokens(
    semantic_ids: Int[Tensor, "items levels"], vocabulary: dict[str, int]
) -> list[str]:
    return [
        name
        for level, codes in enumerate(semantic_ids.unbind(dim=1))
        for code in sorted(set(codes.tolist()))
        if (name := code_token(level, code)) not in vocabulary
    ]
