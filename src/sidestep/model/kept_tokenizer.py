"""The tokenizer of a language model as one JSON text, which a bundle keeps. Needs no transformers.

The text has the tokenizer itself, in the form of the library tokenizers, and the settings that
transformers adds to it: special tokens and the chat template.
"""

import json
from collections.abc import Mapping
from typing import Any


def kept_text(backend: str, settings: Mapping[str, str | None]) -> str:
    """The text that a bundle keeps.

    Args:
        backend: the JSON text of a `tokenizers.Tokenizer`.
        settings: special tokens and the chat template, by the names of transformers; None is left
            out.
    """
    known = {name: value for name, value in settings.items() if value is not None}
    return json.dumps({"tokenizer": json.loads(backend), "settings": known}, ensure_ascii=False)


def backend_of(text: str) -> str:
    """The JSON text of the `tokenizers.Tokenizer` in a kept text."""
    return json.dumps(json.loads(text)["tokenizer"], ensure_ascii=False)


def settings_of(text: str) -> dict[str, Any]:
    """The settings in a kept text."""
    found: dict[str, Any] = json.loads(text)["settings"]
    return found
