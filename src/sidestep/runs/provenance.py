"""Provenance: whether vectors and catalogs were learned from the training part that is used now.

Vectors of behaviour (co-occurrence, the item table of a SASRec) hold what users did in a training
part. Under another split these may be rows that are held out: a co-occurrence after the cut would
reach the semantic IDs, and with them every network. Vectors of texts know no split. The description
of vectors keeps the fingerprint of the training part (`TrainingPart.fingerprint`); a catalog keeps
the description of its vectors in the record of its tokenizer. Bundles are compared by all of their
dataset instead (`refuse_other_data`), because the rows that chose their weights count, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sidestep.bundle.manifest import differing_data
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import fingerprint, split_of
from sidestep.data.splits import Split
from sidestep.embedding.config import BEHAVIOUR
from sidestep.embedding.vectors import (
    described_vectors,
    info_file,
    items_sha256,
    load_vectors,
    vectors_info,
)
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import warn
from sidestep.runs.catalogs import popularity_of, refuse_other_items

with imported_when_used():
    from sidestep.bundle import loaded as bundles
    from sidestep.catalog import catalog as catalogs
    from sidestep.evaluation import id_collisions
    from sidestep.tokenizer import kept as kept_tokenizers

TRAINING_PART = "training_part"
"""The key of the fingerprint within what vectors were made of."""

_OF_TEXTS = ("text", "sentence")
"""Sources of vectors that know no split."""


def refuse_other_data(loaded: bundles.LoadedRecommender, dataset: Dataset) -> None:
    """Raises a `ValueError` unless a bundle was trained on this dataset and split.

    The table of users counts where the bundle reads columns of users. The semantic IDs must have
    been learned from the same training part, too. In two cases only the items must be the same: the
    bundle does not know its dataset, because its network came from elsewhere; or the dataset has no
    training part, because it serves to evaluate alone.
    """
    if dataset.split is not None and not len(dataset.split.train):
        refuse_other_items(loaded.catalog, dataset)
        return
    refuse_other_training_of(loaded.catalog, dataset, "the catalog of this bundle")
    now, reads_users = fingerprint(dataset), loaded.user_columns is not None
    if loaded.ranker_use is not None:
        differing = differing_data(loaded.ranker_use.data, now, reads_users=reads_users)
        if differing:
            raise ValueError(
                f"the ranker beside this bundle was trained on another dataset than this "
                f"{dataset.name}: different {' and '.join(differing)}; attach one that was "
                "trained on it."
            )
    trained_on = loaded.manifest.data
    if not trained_on:
        refuse_other_items(loaded.catalog, dataset)
        return
    differing = differing_data(trained_on, now, reads_users=reads_users)
    if differing:
        raise ValueError(
            f"the bundle was trained on another dataset than this {dataset.name} "
            f"({trained_on.get('name')!r}, or an older state or another split of it): different "
            f"{' and '.join(differing)}; give the one it was trained on, or train again."
            + _way_to_judge_new_items(loaded)
        )


def _way_to_judge_new_items(loaded: bundles.LoadedRecommender) -> str:
    """The advice for a bundle to which items were appended; empty for another bundle."""
    if loaded.catalog.parent_version is None:
        return ""
    return (
        " Items were appended after the training. To judge lists by what followed these items, "
        "write rows of histories and targets, and import them by 'sidestep import rows' as test "
        f"rows alone, with a table of the bundle's {loaded.catalog.num_items} items in their order."
    )


def is_of_behaviour(made_of: Mapping[str, Any]) -> bool:
    """Whether something of a training part is in vectors that were made of this."""
    return TRAINING_PART in made_of or any(_behaviour(made_of))


def made_of_given(file: Path, dataset: Dataset) -> dict[str, Any]:
    """The description of given vectors, where `sidestep embed` wrote one beside them.

    Raises:
        ValueError: they hold what users did in another training part, or are of other items.
    """
    info = described_vectors(file)
    if info is None:
        return {}
    if info.items_sha256 != items_sha256(dataset.items.item_ids):
        raise ValueError(
            f"{file}: {info_file(file).name} says that these are vectors of other items than those "
            f"of {dataset.name}, or of these in another order; run 'sidestep embed' on this "
            "dataset."
        )
    refuse_other_training(info.made_of, dataset, str(file))
    return info.made_of


def refuse_other_training(made_of: Mapping[str, Any], dataset: Dataset, what: str) -> None:
    """Refuses vectors, or what was made of them, that know another training part.

    Args:
        made_of: see `VectorsInfo`; empty where nothing is known.
        dataset: whose split decides what may be known.
        what: names them in the message.

    Raises:
        ValueError: they hold what users did in another training part than the dataset's; says what
            to do.
    """
    if not is_of_behaviour(made_of):
        return
    if TRAINING_PART in made_of:
        is_other = made_of[TRAINING_PART] != training_fingerprint(dataset)
    else:  # an older description: it tells interactions and split, not what of them was learned
        differing = differing_data(made_of.get("dataset", {}), fingerprint(dataset))
        is_other = bool({"interactions", "split"}.intersection(differing))
    if is_other:
        sources = ", ".join(dict.fromkeys(_behaviour(made_of))) or "behaviour"
        raise ValueError(
            f"{what}: made of what users did ({sources}) in another training part than "
            f"{dataset.name} has now, so that it may know the rows that are held out; make the "
            "vectors again with 'sidestep embed', then the catalog with 'sidestep tokenize'. "
            "Vectors of texts alone do not depend on the split."
        )


def load_item_vectors(path: Path, dataset: Dataset) -> Float[np.ndarray, "items dim"]:
    """The vectors of a dataset's items, if they know nothing but its training part.

    Raises:
        FileNotFoundError: there are none.
        ValueError: see `load_vectors` and `refuse_other_training`.
    """
    vectors = load_vectors(path, item_ids=dataset.items.item_ids)
    refuse_other_training(vectors_info(path).made_of, dataset, str(path))
    return vectors


def named_item_vectors(file: str, dataset: Dataset) -> Float[np.ndarray, "items dim"]:
    """The vectors of a dataset's items that the key `embeddings` of a configuration names.

    Raises:
        FileNotFoundError: there are none.
        ValueError: they are of other items, or know another training part.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(
            f"embeddings: {path}: no vectors here; make them with 'sidestep embed'."
        )
    return load_item_vectors(path, dataset)


def refuse_other_training_of(catalog: catalogs.Catalog, dataset: Dataset, what: str) -> None:
    """Refuses a catalog whose semantic IDs were learned from another training part.

    Published semantic IDs pass, for nothing is known of them.

    Args:
        catalog: to be used on the dataset.
        dataset: whose split decides what may be known.
        what: names the catalog in the message.

    Raises:
        ValueError: see `refuse_other_training`.
    """
    refuse_other_training(catalog_made_of(catalog), dataset, what)


def counted_catalog(catalog: catalogs.Catalog, dataset: Dataset, split: Split) -> catalogs.Catalog:
    """A catalog whose counts are those of the split's training part.

    Semantic IDs that were learned from texts alone serve any split; popularity, which orders the
    items of a bucket, does not. Where nobody knows what the IDs were learned from, as of published
    ones, counts of another training part are a reason to warn.

    Raises:
        ValueError: the catalog has other items, or its semantic IDs were learned from another
            training part.
    """
    refuse_other_items(catalog, dataset)
    refuse_other_training_of(catalog, dataset, "the catalog")
    counts = popularity_of(split, len(dataset.items))
    if catalog.popularity is None or np.array_equal(catalog.popularity, counts):
        return catalog
    if not _is_of_texts(catalog_made_of(catalog)):
        warn(
            f"the catalog was made from another training part of {dataset.name} than "
            f"{split.strategy} has, and does not say what its semantic IDs were learned from: "
            "targets may have shaped its codes. Where they were learned from what users did, make "
            "the catalog again."
        )
    return catalog.recounted(counts)


def catalog_made_of(catalog: catalogs.Catalog) -> Mapping[str, Any]:
    """The description of the vectors behind a catalog; empty where it has none."""
    record = _record_of(catalog)
    return {} if record is None else record.made_of


def resolution_of(catalog: catalogs.Catalog) -> id_collisions.Resolution | None:
    """The resolution of a catalog's collisions; None where the catalog does not say."""
    record = _record_of(catalog)
    if record is None or record.moved is None:
        return None
    return id_collisions.Resolution(policy=record.collisions, items=record.moved)


def _record_of(catalog: catalogs.Catalog) -> kept_tokenizers.TokenizerRecord | None:
    records = (kept_tokenizers.read_record(file.parent) for file in catalog.companions)
    return next((record for record in records if record is not None), None)


def training_fingerprint(dataset: Dataset) -> str:
    """The fingerprint of the training part of a dataset, whatever `min_context` a run has."""
    return split_of(dataset).train.fingerprint()


def _is_of_texts(made_of: Mapping[str, Any]) -> bool:
    """Whether vectors are known to be made of texts and nothing else."""
    sources = [source["source"] for source in made_of.get("sources", ())]
    return bool(sources) and all(name in _OF_TEXTS for name in sources)


def _behaviour(made_of: Mapping[str, Any]) -> Iterator[str]:
    """The sources of behaviour among those of vectors, also of given ones that are described."""
    for source in made_of.get("sources", ()):
        if source["source"] in BEHAVIOUR:
            yield source["source"]
        yield from _behaviour(source.get("made_of", {}))
