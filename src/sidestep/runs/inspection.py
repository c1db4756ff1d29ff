"""Inspection of semantic IDs: their quality and examples, before a model is trained on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sidestep.data.splits import TrainingPart
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note
from sidestep.runs.provenance import resolution_of

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.evaluation import id_examples as examples
    from sidestep.evaluation import id_quality as quality
    from sidestep.evaluation.report import ids as ids_report
    from sidestep.tokenizer import codebooks as residual
    from sidestep.tokenizer import kept as kept_tokenizers
    from sidestep.tokenizer import opq


def inspected_ids(
    path: Path,
    catalog: catalogs.Catalog,
    training: TrainingPart,
    vectors: Float[np.ndarray, "items dim"] | None,
    *,
    window: int,
    num_neighbours: int,
    item: str | None,
    seed: int,
) -> ids_report.InspectedIds:
    """Measures the semantic IDs of a catalog, and draws examples.

    Args:
        path: the folder of the catalog, which may hold the codebooks.
        catalog: as it was loaded.
        training: the training part of a dataset with the same items.
        vectors: one per item, to compare the IDs with; None leaves out what only vectors tell.
        window: items so far apart in a history belong together.
        num_neighbours: nearest neighbours of each item.
        item: the ID of the item whose way is shown; None takes the most popular.
        seed: of the random examples.

    Raises:
        KeyError: the catalog has no such item.
    """
    semantic_ids = catalog.semantic_ids.numpy()
    every = np.arange(catalog.num_items)
    words = catalog.ids_of(every) if catalog.texts is None else catalog.titles_of(every)
    interactions = np.bincount(training.histories.items, minlength=catalog.num_items)
    return ids_report.InspectedIds(
        quality=quality.id_quality(
            semantic_ids,
            catalog.codebook_sizes,
            training=training,
            vectors=vectors,
            reconstructions=_reconstructions(path, catalog, vectors),
            window=window,
            num_neighbours=num_neighbours,
            resolution=resolution_of(catalog),
        ),
        examples=examples.id_examples(
            semantic_ids,
            words,
            interactions,
            item=None if item is None else catalog.index_of(item),
            seed=seed,
        ),
        first_codes=semantic_ids[:, 0],
        interactions=interactions,
    )


def _reconstructions(
    path: Path, catalog: catalogs.Catalog, vectors: Float[np.ndarray, "items dim"] | None
) -> Iterator[Float[np.ndarray, "items dim"]]:
    """Reconstructions from the first b codes, for every b, by the codebooks beside a catalog.

    What a latent code stands for without the later ones, no RQ-VAE can say.
    """
    if vectors is None or not (path / kept_tokenizers.TOKENIZER_FILES[0]).is_file():
        return
    codebooks = kept_tokenizers.KeptTokenizer.load(path).tokenizer
    if not isinstance(codebooks, residual.ResidualCodebooks | opq.ProductCodebooks):
        return
    if codebooks.dim != vectors.shape[1]:
        note(
            f"the codebooks of {path} were fitted on other vectors (of width "
            f"{codebooks.dim}, not {vectors.shape[1]}); their error is left out."
        )
        return
    if codebooks.codebook_sizes != catalog.codebook_sizes:  # of items numbered by an extra code
        return
    semantic_ids = catalog.semantic_ids.numpy()
    for depth in range(1, len(codebooks.levels) + 1):
        yield codebooks.reconstruct_first(semantic_ids, depth)
