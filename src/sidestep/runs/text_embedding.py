"""Vectors of new items from their texts, as the vectors of the old items were made.

The fitted TF-IDF is kept beside the vectors, and then beside the catalog, for `sidestep append`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sidestep.data.items import ItemTable
from sidestep.embedding.config import BEHAVIOUR, SentenceConfig
from sidestep.embedding.encoding import Report, encode_texts
from sidestep.embedding.vectors import concatenated, unit_length
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.embedding import sentence as sentences
    from sidestep.embedding import tfidf as tfidfs

TFIDF_FILE = "tfidf.safetensors"
"""The file of the fitted TF-IDF in a catalog's folder."""


def save_text_embedding(vectors: Path, tfidf: tfidfs.FittedTfidf | None) -> None:
    """Keeps what embeds texts beside the vectors, in the place of an older one."""
    file = _beside(vectors)
    file.unlink(missing_ok=True)
    if tfidf is not None:
        tfidf.save(file)


def keep_with_catalog(vectors: Path, catalog: Path) -> None:
    """Puts what embeds texts beside the catalog that was made of vectors."""
    if _beside(vectors).is_file():
        tfidfs.FittedTfidf.load(_beside(vectors)).save(catalog / TFIDF_FILE)


def new_vectors(
    catalog: Path,
    made_of: Mapping[str, Any],
    items: ItemTable,
    *,
    sentence: str | None = None,
    report: Report | None = None,
) -> Float[np.ndarray, "items dim"]:
    """Vectors of new items in the space of the catalog's vectors, from the texts of the items.

    The part of a source of behaviour is zero, as for an old item that nobody has touched.

    Args:
        catalog: the folder of the catalog.
        made_of: what the vectors of the catalog were made of, see `VectorsInfo`.
        items: the new items.
        sentence: the place of the sentence encoder now; None is its place when the old items were
            embedded.
        report: is told how many of how many texts a sentence encoder has read.

    Raises:
        KeyError: the items lack a text column.
        ImportError: a sentence encoder is needed, and sentence-transformers is not installed.
        ValueError: the vectors have a source that cannot be asked for new items; the sentence
            encoder is not there, or is another one.
    """
    sources: Sequence[dict[str, Any]] = made_of.get("sources", ())
    if not sources:
        raise ValueError(
            f"{catalog}: does not say what its vectors were made of; give --vectors, made as the "
            "old ones were."
        )
    if sentence is not None and not any(source["source"] == "sentence" for source in sources):
        raise ValueError(
            f"a sentence encoder is named, {sentence}, but the catalog's vectors are made of "
            f"{', '.join(source['source'] for source in sources)}; leave it out."
        )
    parts = [
        _of_sentences(source, items, sentence, report)
        if source["source"] == "sentence"
        else _part(catalog, source, items)
        for source in sources
    ]
    if len(parts) == 1:
        return parts[0]
    return concatenated(parts, weights=[source["weight"] for source in sources])


def _part(
    catalog: Path, source: dict[str, Any], items: ItemTable
) -> Float[np.ndarray, "items dim"]:
    name, width = source["source"], source["dim"]
    if name in BEHAVIOUR:
        return np.zeros((len(items), width), dtype=np.float32)
    if name != "text" or not (catalog / TFIDF_FILE).is_file():
        raise ValueError(
            f"the catalog's vectors are made of {name!r}, which this bundle cannot make for new "
            "items; give --vectors, made as the old ones were."
        )
    fitted = tfidfs.FittedTfidf.load(catalog / TFIDF_FILE)
    return fitted.encode({name: items.frame[name].to_list() for name in items.text_columns})


def _of_sentences(
    source: dict[str, Any], items: ItemTable, moved_to: str | None, report: Report | None
) -> Float[np.ndarray, "items dim"]:
    """Vectors by the recorded encoder from the recorded columns, as for the old items."""
    columns = source["columns"]
    missing = [name for name in columns if name not in items.text_columns]
    if missing:
        raise KeyError(
            f"the vectors were made of the text columns {columns}, but {missing} are missing among "
            f"{list(items.text_columns)}."
        )
    config = SentenceConfig.model_validate(source["config"])
    recorded = config.model
    if moved_to is not None:
        config = config.model_copy(update={"model": moved_to})
    remedy = "name its place now with --sentence, or give --vectors, made as the old ones were."
    try:
        encoder = sentences.load_sentence_encoder(config)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the catalog's vectors were made by the sentence encoder {recorded}, which is needed "
            f"for new items and cannot be loaded ({error}); {remedy}"
        ) from error
    if encoder.sha256 != source["model_sha256"]:
        raise ValueError(
            f"{config.model}: not the sentence encoder that made the catalog's vectors, which was "
            f"{recorded} with the hash {source['model_sha256'][:12]}, but another one or another "
            f"version of it ({encoder.sha256[:12]}), whose vectors would be encoded as nonsense; "
            f"where the old one still is, {remedy}"
        )
    texts = items.texts(columns)
    if not any(text.strip() for text in texts):
        return np.zeros((len(items), source["dim"]), dtype=np.float32)
    return unit_length(encode_texts(encoder, texts, report=report).vectors)


def _beside(vectors: Path) -> Path:
    return vectors.with_suffix(f".{TFIDF_FILE}")
