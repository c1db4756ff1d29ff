"""New items in a trained recommender: their vectors, and semantic IDs that are still free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from sidestep.bundle.choices import NewRows
from sidestep.bundle.parts import VECTORS_SHA256
from sidestep.data.items import ItemTable
from sidestep.embedding.given import read_given
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import working
from sidestep.runs.text_embedding import new_vectors
from sidestep.tokenizer.choices import FullGroupPolicy

with imported_when_used():
    from sidestep.bundle import appending as bundle_appending
    from sidestep.bundle import loaded as bundles
    from sidestep.catalog import catalog as catalogs
    from sidestep.catalog import own_space
    from sidestep.tokenizer import appending as code_appending
    from sidestep.tokenizer import collisions, set_collisions
    from sidestep.tokenizer import kept as kept_tokenizers


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """A recommender with new items.

    grown: the recommender; the old one stays as it is.
    num_moved: new items with another semantic ID than the one nearest to their vector.
    num_empty: new items of which nothing is known.
    """

    grown: bundles.LoadedRecommender
    num_moved: int
    num_empty: int

    @property
    def num_shared(self) -> int:
        """Items, old and new, that share the semantic ID of another one before them."""
        catalog = self.grown.catalog
        return catalog.num_items - collisions.num_distinct(catalog.semantic_ids.numpy())


def append_table(
    loaded: bundles.LoadedRecommender,
    items: ItemTable,
    *,
    folder: Path,
    vectors: Path | None = None,
    sentence: str | None = None,
    full_groups: FullGroupPolicy = "refuse",
    new_rows: NewRows = "siblings",
) -> Appended:
    """Appends new items to a recommender; nothing is trained.

    Args:
        loaded: the recommender.
        items: the new items, with their texts.
        folder: of the catalog that lies in the bundle, with the tokenizer beside it.
        vectors: a file of vectors of the new items, from the embedding of the old ones; None makes
            vectors of the texts.
        sentence: where the sentence encoder of the old vectors is now; None where it was.
        full_groups: what becomes of an item whose group has no free last code.
        new_rows: see `append_items`.

    Raises:
        ValueError: an item is known already, the codes of the catalog span a user's own space, the
            vectors do not fit or cannot be made, or a group has no free last code and is refused.
    """
    if loaded.catalog.space != own_space.SETS:
        loaded.catalog.refuse_own_space("appending items")
    loaded.catalog.refuse_known(items.item_ids)
    coded, known = None, None
    if not bundle_appending.has_item_codes(loaded.catalog):
        kept = kept_tokenizers.KeptTokenizer.load(folder)
        embedded = _embedded(folder, kept, items, vectors=vectors, sentence=sentence)
        of = kept.record.vectors.sha256
        known = bundle_appending.NewVectors(values=embedded, of=of)
        with working("semantic IDs of the new items"):
            coded = _coded(loaded.catalog, kept, embedded, full_groups)
    elif vectors is not None and loaded.fitted is not None:
        values = read_given(vectors, items.item_ids)
        of = loaded.manifest.training.get(VECTORS_SHA256, "")
        known = bundle_appending.NewVectors(values=values, of=of)
    grown = bundle_appending.append_items(
        loaded,
        items.item_ids,
        None if coded is None else coded.semantic_ids,
        texts=items.frame.drop("item_id"),
        vectors=known,
        new_rows=new_rows,
        last_codebook_size=None if coded is None else coded.last_codebook_size,
    )
    return Appended(
        grown=grown,
        num_moved=0 if coded is None else coded.num_moved,
        num_empty=0 if coded is None else coded.num_empty,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coded:
    """New items with their semantic IDs.

    last_codebook_size: what they need, and no less than the catalog has.
    num_moved: of them, those with another ID than the one nearest to their vector.
    num_empty: of them, those of which nothing is known.
    """

    semantic_ids: Int[np.ndarray, "new all_levels"]
    last_codebook_size: int
    num_moved: int
    num_empty: int


def _embedded(
    folder: Path,
    kept: kept_tokenizers.KeptTokenizer,
    items: ItemTable,
    *,
    vectors: Path | None,
    sentence: str | None,
) -> Float[np.ndarray, "new dim"]:
    """Vectors of new items, from a file or made as those of the catalog in `folder` were."""
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


def _coded(
    catalog: catalogs.Catalog,
    kept: kept_tokenizers.KeptTokenizer,
    vectors: Float[np.ndarray, "new dim"],
    full_groups: FullGroupPolicy,
) -> _Coded:
    """Semantic IDs that are free in a catalog, as near to the vectors as may be."""
    nearest = kept.tokenizer.encode(vectors)
    semantic_ids = _free_ids(catalog, kept, vectors, nearest, full_groups)
    return _Coded(
        semantic_ids=semantic_ids,
        last_codebook_size=max(catalog.codebook_sizes[-1], int(semantic_ids[:, -1].max()) + 1),
        num_moved=int((semantic_ids[:, : nearest.shape[1]] != nearest).any(axis=1).sum()),
        num_empty=int((~vectors.any(axis=1)).sum()),
    )


def _free_ids(
    catalog: catalogs.Catalog,
    kept: kept_tokenizers.KeptTokenizer,
    vectors: Float[np.ndarray, "new dim"],
    nearest: Int[np.ndarray, "new levels"],
    full_groups: FullGroupPolicy,
) -> Int[np.ndarray, "new all_levels"]:
    """Semantic IDs beside those of the catalog, by the policy that it was made with."""
    old = catalog.semantic_ids.numpy()
    if kept.record.collisions == "none":
        return nearest
    if kept.record.collisions == "extra":
        return code_appending.append_numbers(old, nearest)
    tokenizer = kept.tokenizer
    is_unordered = catalog.space == own_space.SETS
    if is_unordered and isinstance(tokenizer, set_collisions.ParallelCodebooks):
        return set_collisions.reassign_one_code(
            nearest,
            tokenizer.quantised(vectors),
            tokenizer.levels,
            existing=old,
            full_groups=full_groups,
        )
    return code_appending.append_last_codes(
        old,
        nearest,
        kept.tokenizer.last_residuals(vectors, nearest),
        kept.tokenizer.last_codewords,
        full_groups=full_groups,
    )
