"""Sentence encoders: pretrained networks of sentence-transformers. Needs the extra `hf`.

A model is given by its name on the Hugging Face hub, or by a folder on this machine.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from sidestep.embedding.config import SentenceConfig

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_DEFAULT_OWNER = "sentence-transformers"
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SentenceEncoder:
    """A loaded sentence encoder; `load_sentence_encoder` makes it.

    sha256: hash of the weights, the vocabulary, the settings of every module and the batch size.
    """

    network: "SentenceTransformer"
    config: SentenceConfig
    sha256: str

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "texts dim"]:
        """Makes one vector per text. The model cuts texts that are too long for it."""
        vectors: np.ndarray = self.network.encode(
            list(texts),
            batch_size=self.config.batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(vectors, dtype=np.float32)


def load_sentence_encoder(config: SentenceConfig, *, device: str | None = None) -> SentenceEncoder:
    """Loads an encoder from a folder, from the cache of the hub, or from the hub, in this order.

    Args:
        config: the encoder and its settings.
        device: device of the encoder; None takes the GPU if there is one.

    Raises:
        ImportError: sentence-transformers is not installed.
        FileNotFoundError: the folder does not exist.
        ConnectionError: the name is not in the cache, and the hub cannot be reached.
        ValueError: the hub has no such model, or the model cannot be loaded.
    """
    sentence_transformer = _sentence_transformer()
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
            raise ValueError(
                f"{folder}: no sentence-transformers model here, modules.json is missing; give the "
                "folder that SentenceTransformer.save wrote."
            )
        source, is_here = str(folder), True
    else:
        source = _hub_name(config.model)
        is_here = _is_cached(source)
        if not is_here:
            _refuse_unreachable(source)
    try:
        network = sentence_transformer(source, device=device, local_files_only=is_here)
    # Any error: the libraries below raise many kinds of errors for a faulty folder.
    except Exception as error:
        raise ValueError(
            f"{config.model}: cannot be loaded as a sentence encoder "
            f"({type(error).__name__}: {error}); try SentenceTransformer({config.model!r}) in "
            "Python, or name another model."
        ) from error
    network.eval()
    return SentenceEncoder(
        network=network, config=config, sha256=_sha256(network, config.batch_size)
    )


def check_sentence_encoder(config: SentenceConfig) -> None:
    """Raises the errors of `load_sentence_encoder`. It asks the hub, but downloads nothing."""
    _sentence_transformer()
    if Path(config.model).expanduser().is_dir() or _is_cached(_hub_name(config.model)):
        load_sentence_encoder(config)
    else:
        _refuse_unreachable(_hub_name(config.model))


def _sentence_transformer() -> "type[SentenceTransformer]":
    """The class `SentenceTransformer`, which comes with the extra `hf`."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            "sentence encoders need the extra `hf` (sentence-transformers): "
            "pip install 'sidestep[hf]'."
        ) from error
    return SentenceTransformer


def _hub_name(model: str) -> str:
    """Full name of a model on the hub.

    Raises:
        FileNotFoundError: the name can only mean a folder, and there is no such folder.
    """
    if model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1:
        raise FileNotFoundError(
            f"{model}: no folder here; give the folder of a sentence-transformers model, or a name "
            "such as sentence-transformers/all-MiniLM-L6-v2."
        )
    return model if "/" in model else f"{_DEFAULT_OWNER}/{model}"


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return any(
        isinstance(try_to_load_from_cache(name, file), str)
        for file in ("modules.json", "config.json")
    )


def _refuse_unreachable(name: str) -> None:
    """Asks the hub once, because the loading itself would retry for minutes."""
    from huggingface_hub import model_info
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        model_info(name, timeout=_TIMEOUT_S)
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"{name}: the Hugging Face hub knows no such model, and there is no folder of this "
            "name here; check the spelling."
        ) from error
    # Any error: the HTTP library of the hub's client decides which error means "no network".
    except Exception as error:
        raise ConnectionError(
            f"{name}: not on this machine, and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}: {error}). Where there is a network, run "
            f"SentenceTransformer({name!r}).save('encoder'); copy the folder here and give its "
            "path instead of the name."
        ) from error


def _sha256(network: "SentenceTransformer", batch_size: int) -> str:
    """Hash of everything that decides the vectors; equal for a folder and the hub."""
    digest = hashlib.sha256()
    settings = {
        "modules": repr(network),
        "max_tokens": network.max_seq_length,
        "prompts": network.prompts,
        "default_prompt": network.default_prompt_name,
        "batch_size": batch_size,
        "vocabulary": _vocabulary(network.tokenizer),
    }
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weights in sorted(network.state_dict().items()):
        digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
        digest.update(weights.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _vocabulary(tokenizer: Any) -> Any:
    """Description of how texts become tokens, as far as the tokenizer gives it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return backend.to_str()
    return tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else repr(tokenizer)
