"""What embeds texts, on its way: beside the vectors, then beside the catalog.

With it `sidestep append` turns the texts of new items into vectors.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sidestep.data.items import ItemTable
from sidestep.embedding.tfidf import FittedTfidf
from sidestep.embedding.vectors import concatenated

TFIDF_FILE = "tfidf.safetensors"
"""Its name in a catalog's folder."""

_OF_BEHAVIOUR = ("collaborative", "sasrec")


def save_text_embedding(vectors: Path, tfidf: FittedTfidf | None) -> None:
    """Keeps what embeds texts beside the vectors, in the place of an older one."""
    file = _beside(vectors)
    file.unlink(missing_ok=True)
    if tfidf is not None:
        tfidf.save(file)


def keep_with_catalog(vectors: Path, catalog: Path) -> None:
    """Puts what embeds texts beside the catalog that was made of vectors."""
    if _beside(vectors).is_file():
        FittedTfidf.load(_beside(vectors)).save(catalog / TFIDF_FILE)


def new_vectors(
    catalog: Path, made_of: Mapping[str, Any], items: ItemTable
) -> Float[np.ndarray, "items dim"]:
    """Vectors of new items in the space of the catalog's, from their texts.

    What comes of behaviour is zero, as for an old item that nobody has touched.

    Args:
        catalog: its folder.
        made_of: what its vectors were made of, see `VectorsInfo`.
        items: the new ones.

    Raises:
        KeyError: the items lack a text column.
        ValueError: the vectors have a source that cannot be asked for new items.
    """
    sources: Sequence[dict[str, Any]] = made_of.get("sources", ())
    if not sources:
        raise ValueError(
            f"{catalog}: does not say what its vectors were made of; give --vectors, made as the "
            "old ones were."
        )
    parts = [_part(catalog, source, items) for source in sources]
    if len(parts) == 1:
        return parts[0]
    return concatenated(parts, weights=[source["weight"] for source in sources])


def _part(
    catalog: Path, source: dict[str, Any], items: ItemTable
) -> Float[np.ndarray, "items dim"]:
    name, width = source["source"], source["dim"]
    if name in _OF_BEHAVIOUR:
        return np.zeros((len(items), width), dtype=np.float32)
    if name != "text" or not (catalog / TFIDF_FILE).is_file():
        raise ValueError(
            f"the catalog's vectors are made of {name!r}, which this bundle cannot make for new "
            "items; give --vectors, made as the old ones were."
        )
    fitted = FittedTfidf.load(catalog / TFIDF_FILE)
    return fitted.encode({name: items.frame[name].to_list() for name in items.text_columns})


def _beside(vectors: Path) -> Path:
    return vectors.with_suffix(f".{TFIDF_FILE}")
