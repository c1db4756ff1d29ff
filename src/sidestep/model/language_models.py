"""Language models and their tokenizers: read from a folder or a hub, and given tokens of codes.

Needs the extra `hf`. Weights are only ever read from safetensors.
"""

import string
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.model.flat_codes import level_starts
from sidestep.model.kept_tokenizer import backend_of, kept_text, settings_of
from sidestep.model.prompt_tokens import Turn

try:
    from tokenizers import Tokenizer
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        PreTrainedModel,
        PreTrainedTokenizerFast,
    )

    from sidestep.model.quiet_transformers import quiet
except ImportError as error:
    raise ImportError(
        "Language models need the extra `hf` (transformers 5 or later): pip install 'sidestep[hf]'."
    ) from error

_VOCABULARY_MULTIPLE = 64
"""The rows of a vocabulary are padded to a multiple of this number, which matrix units like."""

_PLACE = "the place of the prompt"
"""Stands in a chat template while its frame is looked for."""

_NOISE = 0.1
"""Size of the noise on the rows of new codes, as a share of the spread of all rows: two codes of
the same items must begin at different rows."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal language model with its tokenizer.

    model: in float32, on the CPU.
    tokenizer: of transformers; a fast one.
    """

    model: PreTrainedModel
    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without a token for its begin or its end."""
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return tokens

    def turn(self, *, chat: bool | None) -> Turn:
        """The frame of a prompt.

        Args:
            chat: the turn of a user, by the chat template of the tokenizer; None: where there is a
                template. Without it, the token for the begin of a text and a new line.

        Raises:
            ValueError: there is no chat template, or it changes what it frames.
        """
        has_template = getattr(self.tokenizer, "chat_template", None) is not None
        end = self.tokenizer.eos_token_id
        if chat and not has_template:
            raise ValueError(
                "model.chat: true needs the chat template of the tokenizer, which has none; leave "
                "model.chat out."
            )
        if not has_template or chat is False:
            return Turn(before=self.tokenizer.bos_token or "", end=end)
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": _PLACE}], add_generation_prompt=True, tokenize=False
        )
        before, found, after = text.partition(_PLACE)
        if not found:
            raise ValueError(
                "the chat template of the tokenizer changes the text of a turn; set model.chat to "
                "false."
            )
        return Turn(before=before, after=after, end=end)

    def opening(self, instruction: str, turn: Turn) -> tuple[int, ...]:
        """The tokens before a history: the frame and the instruction.

        Raises:
            ValueError: no token stands before the history.
        """
        tokens = self.encode(f"{turn.before}{instruction}{turn.after}")
        if not tokens:
            raise ValueError("nothing stands before the first item; write a model.instruction.")
        return tuple(tokens)


def read_language_model(source: str) -> LanguageModel:
    """Reads a language model and its tokenizer.

    Args:
        source: a folder, or a name on the Hugging Face hub.

    Raises:
        FileNotFoundError: there is no such folder, and the hub does not give such a model.
        ValueError: the folder lacks safetensors or a tokenizer, or it is no causal language model.
    """
    folder = Path(source)
    if folder.is_dir():
        _refuse_missing(folder, "config.json", "config.json")
        _refuse_missing(
            folder, "*.safetensors", "weights as *.safetensors; others would have to be unpickled"
        )
    models: Any = AutoModelForCausalLM  # transformers leaves it untyped
    tokenizer = read_tokenizer(source)
    with _found(source), quiet():
        # float32: the weights that learn. Training computes in the precision of `training`.
        model = models.from_pretrained(source, use_safetensors=True, dtype=torch.float32)
    return LanguageModel(model.eval(), tokenizer)


def read_tokenizer(source: str) -> Any:
    """Reads the tokenizer of a language model.

    Args:
        source: see `read_language_model`.

    Raises:
        FileNotFoundError: there is no such folder, and the hub does not give such a tokenizer.
        ValueError: the folder lacks a tokenizer, or the tokenizer has no fast form.
    """
    folder = Path(source)
    if folder.is_dir():
        _refuse_missing(folder, "tokenizer*", "a tokenizer (tokenizer.json)")
    tokenizers: Any = AutoTokenizer
    with _found(source):
        tokenizer = tokenizers.from_pretrained(source)
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{source}: its tokenizer has no fast form (tokenizer.json), which a bundle keeps."
        )
    return tokenizer


def _refuse_missing(folder: Path, pattern: str, what: str) -> None:
    if not list(folder.glob(pattern)):
        raise ValueError(
            f"{folder}: a language model needs {what}; write the folder with save_pretrained of "
            "the model and of its tokenizer."
        )


@contextmanager
def _found(source: str) -> Iterator[None]:
    """Says what to do where neither a folder nor the hub has a language model."""
    try:
        yield
    except OSError as error:
        reason = str(error).partition("\n")[0]
        raise FileNotFoundError(
            f"language model: {source} is no folder here, and the Hugging Face hub did not give it "
            f"({reason}); name a folder with config.json, *.safetensors and tokenizer.json."
        ) from error


def code_token(level: int, code: int) -> str:
    """Name of a code in a vocabulary: `<a_12>` is code 12 of level 0.

    Raises:
        ValueError: the levels have more than the 26 letters.
    """
    if level >= len(string.ascii_lowercase):
        raise ValueError(
            "the tokens of codes have a letter per level, and there are more than 26 levels; "
            "tokenize with fewer levels."
        )
    return f"<{string.ascii_lowercase[level]}_{code}>"


def add_code_tokens(
    language: LanguageModel,
    semantic_ids: Int[Tensor, "items levels"],
    codebook_sizes: tuple[int, ...],
    *,
    texts: Sequence[str | None],
    seed: int,
) -> Int[Tensor, " codes"]:
    """Adds a token for each code to a language model, in place.

    The row of a code begins at the mean of the rows of the words in the texts of its items, with a
    little noise. A code that no item has, or whose items have no texts, begins at the mean of all
    rows. The head begins in the same way, where it has rows of its own. The vocabulary is padded to
    a multiple of 64.

    Args:
        language: the model and its tokenizer.
        semantic_ids: of the items.
        codebook_sizes: codes per level.
        texts: one per item; None where there is none.
        seed: of the noise.

    Returns:
        The token of each flat code id.

    Raises:
        ValueError: the vocabulary has such tokens already.
    """
    names = [
        code_token(level, code) for level, size in enumerate(codebook_sizes) for code in range(size)
    ]
    known = language.tokenizer.get_vocab()
    present = [name for name in names if name in known]
    if present and len(present) < len(names):
        raise ValueError(
            f"the vocabulary of the language model has some tokens of codes, such as {present[0]}, "
            f"but not all {len(names)} of this catalog; name the language model from before."
        )
    if present:  # trained before on the same codebooks
        return torch.tensor([known[name] for name in names])
    words = tokens_of(language.tokenizer, texts)
    language.tokenizer.add_tokens(names)
    model: Any = language.model
    tables = [model.get_input_embeddings().weight]
    if model.get_output_embeddings().weight is not tables[0]:
        tables.append(model.get_output_embeddings().weight)
    flat = semantic_ids.cpu().long() + level_starts(semantic_ids.cpu(), codebook_sizes)
    generator = torch.Generator().manual_seed(seed)
    rows = [_rows_of_codes(table.detach(), words, flat, len(names), generator) for table in tables]
    num_tokens = max(len(language.tokenizer), tables[0].shape[0])
    model.resize_token_embeddings(
        num_tokens, pad_to_multiple_of=_VOCABULARY_MULTIPLE, mean_resizing=False
    )
    vocabulary = language.tokenizer.get_vocab()
    tokens = torch.tensor([vocabulary[name] for name in names])
    with torch.no_grad():
        grown = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
        for table, own in zip(grown, rows, strict=False):
            table[tokens] = own.to(table.dtype)
    return tokens


def tokens_of(tokenizer: Any, texts: Sequence[str | None]) -> list[list[int]]:
    """The tokens of texts; none where there is no text."""
    given = [text or "" for text in texts]
    if not given:
        return []
    tokens: list[list[int]] = tokenizer(given, add_special_tokens=False)["input_ids"]
    return tokens


_KEPT_SETTINGS = ("bos_token", "eos_token", "pad_token", "unk_token", "chat_template")


def tokenizer_text(tokenizer: Any) -> str:
    """A tokenizer as the text that a bundle keeps, see `kept_tokenizer`."""
    settings = {name: getattr(tokenizer, name, None) for name in _KEPT_SETTINGS}
    return kept_text(tokenizer.backend_tokenizer.to_str(), settings)


def tokenizer_of_text(text: str) -> Any:
    """The tokenizer of transformers behind the text of a bundle."""
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=Tokenizer.from_str(backend_of(text)), **settings_of(text))


def _rows_of_codes(
    table: Float[Tensor, "tokens dim"],
    words: list[list[int]],
    flat: Int[Tensor, "items levels"],
    num_codes: int,
    generator: torch.Generator,
) -> Float[Tensor, "codes dim"]:
    """The first rows of codes: means over the items of a code, of the means over their words."""
    has_words = torch.tensor([bool(tokens) for tokens in words])
    everywhere = table.mean(dim=0)
    of_items = torch.stack(
        [table[tokens].mean(dim=0) if tokens else everywhere for tokens in words]
    )
    sums = table.new_zeros(num_codes, table.shape[1])
    counts = table.new_zeros(num_codes)
    for level in flat[has_words].unbind(dim=1):
        sums.index_add_(0, level, of_items[has_words])
        counts.index_add_(0, level, torch.ones_like(level, dtype=table.dtype))
    means = torch.where(
        counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], everywhere.expand_as(sums)
    )
    noise = torch.randn(means.shape, generator=generator)
    return means + _NOISE * table.std(dim=0) * noise
