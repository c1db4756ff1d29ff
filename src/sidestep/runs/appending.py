"""New items for a trained bundle: their vectors, and semantic IDs that are still free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from sidestep.data.items import ItemTable
from sidestep.embedding.given import read_given
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import working
from sidestep.runs.text_embedding import new_vectors
from sidestep.tokenizer.choices import FullGroupPolicy

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.tokenizer import appending as code_appending
    from sidestep.tokenizer import kept as kept_tokenizers


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIds:
    """New items with their semantic IDs.

    last_codebook_size: what they need, and no less than the catalog has.
    num_moved: of them, those with another ID than the one nearest to their vector.
    num_empty: of them, those of which nothing is known.
    """

    semantic_ids: Int[np.ndarray, "new all_levels"]
    last_codebook_size: int
    num_moved: int
    num_empty: int


def embedded_items(
    folder: Path,
    kept: kept_tokenizers.KeptTokenizer,
    items: ItemTable,
    *,
    vectors: Path | None,
    sentence: str | None,
) -> Float[np.ndarray, "new dim"]:
    """Vectors of new items, from a file or made as those of a catalog were.

    Args:
        folder: of the catalog.
        kept: the tokenizer beside the catalog.
        items: the new ones.
        vectors: the file; None makes vectors of the texts.
        sentence: where the sentence encoder is now; None where it was.

    Raises:
        ValueError: the vectors cannot be made again, or do not fit.
    """
    if vectors is not None:
        return read_given(vectors, items.item_ids, dim=kept.tokenizer.dim)
    with working("embedding the new items") as report:
        return new_vectors(
            folder,
            kept.record.made_of,
            items,
            sentence=sentence,
            report=lambda done, total: report("", done, total),
        )


def free_ids(
    catalog: catalogs.Catalog,
    kept: kept_tokenizers.KeptTokenizer,
    vectors: Float[np.ndarray, "new dim"],
    full_groups: FullGroupPolicy,
) -> NewIds:
    """Semantic IDs that are free in a catalog, as near to the vectors as may be.

    Args:
        catalog: of the old items.
        kept: the tokenizer that made the semantic IDs of the catalog.
        vectors: of the new items, from the embedding of the old ones.
        full_groups: what becomes of an item whose group has no free last code.

    Raises:
        ValueError: a group has no free last code, and is refused.
    """
    nearest = kept.tokenizer.encode(vectors)
    semantic_ids = _ids_by_policy(catalog.semantic_ids.numpy(), kept, vectors, nearest, full_groups)
    return NewIds(
        semantic_ids=semantic_ids,
        last_codebook_size=max(catalog.codebook_sizes[-1], int(semantic_ids[:, -1].max()) + 1),
        num_moved=int((semantic_ids[:, : nearest.shape[1]] != nearest).any(axis=1).sum()),
        num_empty=int((~vectors.any(axis=1)).sum()),
    )


def _ids_by_policy(
    old: Int[np.ndarray, "old all_levels"],
    kept: kept_tokenizers.KeptTokenizer,
    vectors: Float[np.ndarray, "new dim"],
    nearest: Int[np.ndarray, "new levels"],
    full_groups: FullGroupPolicy,
) -> Int[np.ndarray, "new all_levels"]:
    """Semantic IDs beside those of the catalog, by the policy that it was made with."""
    if kept.record.collisions == "none":
        return nearest
    if kept.record.collisions == "extra":
        return code_appending.append_numbers(old, nearest)
    return code_appending.append_last_codes(
        old,
        nearest,
        kept.tokenizer.last_residuals(vectors, nearest),
        kept.tokenizer.last_codewords,
        full_groups=full_groups,
    )
