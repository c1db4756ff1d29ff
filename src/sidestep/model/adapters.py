"""Adapters of language models: low-rank weights and rows of new tokens that learn alone.

The adapters are those of PEFT. While an adapter learns, the rest of the language model stays as it
is. Merged, the adapter is gone and the language model has its weights. Needs the extra `hf`.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from sidestep.model.config import LoraShape

_NAME = "default"
"""The name that PEFT gives to the only adapter of a model."""


@runtime_checkable
class Adapter(Protocol):
    """A language model with an adapter inside."""

    def merge_and_unload(self) -> nn.Module:
        """Adds the adapter to the weights of the language model, in place, and removes it."""
        ...


def adapted(language_model: Any, *, new_tokens: Sequence[int], lora: LoraShape | None) -> Adapter:
    """Puts an adapter into a language model, in place; nothing but the adapter requires gradients.

    Source: LoRA (arXiv:2106.09685). An adapter without the rows of new tokens would be useless: no
    low-rank weight could tell codes apart whose rows never learn.

    Args:
        language_model: a causal language model of Hugging Face.
        new_tokens: the tokens whose rows learn, in the embedding and in the head; in this order
            `learned_rows` gives the rows.
        lora: the low-rank weights; None lets the rows learn alone.

    Raises:
        ImportError: PEFT is not installed.
        ValueError: nothing would learn.
    """
    try:
        import peft

        from sidestep.model.quiet_transformers import quiet
    except ImportError as error:
        raise ImportError(
            "model.trained: lora and rows need the extra `hf` (peft): pip install 'sidestep[hf]'."
        ) from error
    if lora is None and not new_tokens:
        raise ValueError(
            "model.trained: rows lets the rows of new tokens learn alone, and the codes of this "
            "catalog are tokens that the language model has; set model.trained to lora or all."
        )
    names = [_name_of(language_model, language_model.get_input_embeddings())]
    head = language_model.get_output_embeddings()
    if head.weight is not language_model.get_input_embeddings().weight:
        names.append(_name_of(language_model, head))
    rows = {name: list(new_tokens) for name in names} if new_tokens else None
    config: Any
    if lora is not None:
        config = peft.LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules="all-linear" if lora.modules is None else list(lora.modules),
            trainable_token_indices=rows,
        )
    else:
        config = peft.TrainableTokensConfig(token_indices=list(new_tokens), target_modules=names)
    try:
        with quiet(), warnings.catch_warnings():
            # PEFT doubts the merging of tied rows, which our tests check.
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings")
            made: Adapter = peft.get_peft_model(language_model, config)
    except ValueError as error:
        raise ValueError(f"model.lora.modules: {error}") from error
    return made


def learned_rows(head: Any) -> Float[Tensor, "tokens dim"] | None:
    """The rows of the new tokens that learn in an adapter of a head; None where none do."""
    layer = getattr(head, "token_adapter", head)
    rows = getattr(layer, "trainable_tokens_delta", None)
    if rows is None:
        return None
    learned: Tensor = rows[_NAME]
    return learned


def _name_of(model: nn.Module, module: nn.Module) -> str:
    """The last part of the name of a module."""
    name: str = next(name for name, each in model.named_modules() if each is module)
    return name.rpartition(".")[2]
