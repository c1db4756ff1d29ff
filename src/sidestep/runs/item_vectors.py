"""Item vectors: those of texts, of a user's own, of co-occurrence and of a SASRec, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sidestep.bundle.manifest import differing_data
from sidestep.data.dataset import Dataset
from sidestep.data.importers.sources import sha256_of
from sidestep.data.own_split import fingerprint, split_of
from sidestep.embedding.config import CollaborativeConfig, SentenceConfig, TfidfConfig
from sidestep.embedding.encoding import encode_texts
from sidestep.embedding.given import read_given
from sidestep.embedding.vectors import concatenated, save_vectors, unit_length
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import Report, note
from sidestep.runs.catalogs import refuse_other_items
from sidestep.runs.inputs import load_bundle
from sidestep.runs.provenance import (
    TRAINING_PART,
    is_of_behaviour,
    made_of_given,
    training_fingerprint,
)
from sidestep.runs.text_embedding import save_text_embedding
from sidestep.version import __version__

with imported_when_used():
    from sidestep.embedding import collaborative as collaborating
    from sidestep.embedding import sentence as sentences
    from sidestep.embedding import tfidf as tfidfs
    from sidestep.model import sasrec as networks

NAMES = ("text", "sentence", "given", "collaborative", "sasrec")
"""The sources, in the order in which their vectors stand side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The sources of vectors; None is a source left out.

    columns: text columns, read by `text` and `sentence`.
    text: TF-IDF of the texts.
    may_be_narrower: whether text vectors may have fewer dimensions than `text.dim`, where the texts
        allow no more. Otherwise that is an error.
    sentence: a pretrained encoder of the texts.
    given: a file of the user's own vectors.
    collaborative: co-occurrence in the training part.
    sasrec: the run or bundle of a SASRec that was trained on the dataset.
    weights: of sources, 1 where not named; only a source beside others has a weight.
    """

    columns: Sequence[str] = ()
    text: TfidfConfig | None = None
    may_be_narrower: bool = False
    sentence: SentenceConfig | None = None
    given: Path | None = None
    collaborative: CollaborativeConfig | None = None
    sasrec: Path | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def used(self) -> tuple[str, ...]:
        """The names of the sources that are not left out."""
        return tuple(name for name in NAMES if getattr(self, name) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemVectors:
    """Vectors of all items of a dataset, in their order.

    vectors: one row per item.
    made_of: sources, weights, models, seed and data, as JSON.
    tfidf: the fitted TF-IDF, which embeds the texts of further items, where `text` is a source.
    """

    vectors: Float[np.ndarray, "items dim"]
    made_of: dict[str, Any]
    tfidf: tfidfs.FittedTfidf | None = None

    @property
    def num_empty(self) -> int:
        """The number of items of which nothing is known: their vectors are zero."""
        return int((~self.vectors.any(axis=1)).sum())

    def save(self, path: Path | str, item_ids: Sequence[str]) -> None:
        """Writes the vectors, the description of their sources, and the fitted TF-IDF.

        Args:
            path: of the .npy file; the other files lie beside it.
            item_ids: the IDs of the dataset's items, in their order.
        """
        path = Path(path)
        save_text_embedding(path, self.tfidf)
        save_vectors(path, self.vectors, item_ids=item_ids, made_of=self.made_of)


@dataclass(frozen=True, slots=True)
class _Part:
    """The vectors of one source, and the entry about the source in `ItemVectors.made_of`."""

    vectors: Float[np.ndarray, "items dim"]
    about: dict[str, Any]
    tfidf: tfidfs.FittedTfidf | None = None


def item_vectors(
    dataset: Dataset,
    sources: Sources,
    *,
    seed: int,
    unfinished: Path | None = None,
    report: Report | None = None,
) -> ItemVectors:
    """Vectors of all items of a dataset.

    Args:
        dataset: whose items.
        sources: at least one.
        seed: of the factorisations.
        unfinished: a folder for finished parts of long work, see `encode_texts`.
        report: is told which source is made, and of a sentence encoder how many of how many texts
            are encoded.

    Raises:
        ValueError: no source, weights of sources that are not used or stand alone, or a source
            that does not fit the dataset.
        KeyError: an unknown text column, or an item without a given vector.
    """
    _check_weights(sources)
    makers: dict[str, Callable[[], _Part]] = {
        "text": lambda: _text(dataset, sources, seed),
        "sentence": lambda: _sentence(dataset, sources, unfinished, report),
        "given": lambda: _given(dataset, sources),
        "collaborative": lambda: _collaborative(dataset, sources, seed),
        "sasrec": lambda: _sasrec(dataset, sources),
    }
    # The slowest comes last: whatever else is wrong is known before it starts.
    order = sorted(sources.used, key=lambda name: name == "sentence")
    parts = {}
    for name in order:
        if report is not None:
            report(name, 0, 0)
        parts[name] = makers[name]()
    weights = {name: sources.weights.get(name, 1.0) for name in sources.used}
    if len(parts) == 1:
        # Vectors of one's own alone are left as they are, lengths included.
        vectors = parts[sources.used[0]].vectors
    else:
        vectors = concatenated(
            [parts[name].vectors for name in sources.used], weights=list(weights.values())
        )
    made_of = {
        "dataset": fingerprint(dataset),
        "sources": [
            {
                "source": name,
                "weight": weights[name],
                "dim": parts[name].vectors.shape[1],
                **parts[name].about,
            }
            for name in sources.used
        ],
        "seed": seed,
        "sidestep": __version__,
    }
    if is_of_behaviour(made_of):
        made_of[TRAINING_PART] = training_fingerprint(dataset)
    return ItemVectors(
        vectors=vectors,
        tfidf=parts["text"].tfidf if "text" in parts else None,
        made_of=made_of,
    )


def check_sources(dataset: Dataset, sources: Sources) -> None:
    """Raises what `item_vectors` would, as far as that is known without the long work."""
    _check_weights(sources)
    if sources.text is not None or sources.sentence is not None:
        _check_columns(dataset, sources.columns)
    if sources.given is not None:
        _given(dataset, sources)
    if sources.sasrec is not None:
        _sasrec(dataset, sources)
    if sources.sentence is not None:
        sentences.check_sentence_encoder(sources.sentence)


def _check_weights(sources: Sources) -> None:
    if not sources.used:
        raise ValueError(f"nothing to embed: name a source, one or more of {', '.join(NAMES)}.")
    strangers = [name for name in sources.weights if name not in sources.used]
    if strangers:
        raise ValueError(
            f"a weight for {', '.join(strangers)}, but the vectors are made of "
            f"{', '.join(sources.used)}; leave the weight out, or add the source."
        )
    if sources.weights and len(sources.used) == 1:
        raise ValueError(
            f"a weight for {sources.used[0]}, which stands alone; weights are between sources."
        )


def _text(dataset: Dataset, sources: Sources, seed: int) -> _Part:
    config = sources.text
    assert config is not None
    _check_columns(dataset, sources.columns)
    texts = {name: dataset.items.frame[name].to_list() for name in sources.columns}
    fitted = tfidfs.fit_tfidf(texts, config, seed=seed, may_be_narrower=True)
    vectors = fitted.encode(texts)
    width = vectors.shape[1]
    if width < config.dim and not sources.may_be_narrower:
        raise ValueError(
            f"--dim {config.dim}: the texts of {dataset.name} allow at most {width} "
            "dimensions; lower it or leave it out."
        )
    if width < config.dim:
        note(f"the texts allow {width} dimensions, not {config.dim}.")
    about = {"columns": list(sources.columns), "config": fitted.config.model_dump(mode="json")}
    return _Part(vectors, about, fitted)


def _sentence(
    dataset: Dataset, sources: Sources, unfinished: Path | None, report: Report | None
) -> _Part:
    assert sources.sentence is not None
    _check_columns(dataset, sources.columns)
    texts = dataset.items.texts(sources.columns)
    encoder = sentences.load_sentence_encoder(sources.sentence)
    told = None if report is None else partial(report, "sentence")
    encoded = encode_texts(encoder, texts, unfinished=unfinished, report=told)
    if encoded.num_resumed:
        note(f"Continued: {encoded.num_resumed:,} texts had been encoded before.")
    if encoded.num_empty:
        note(f"{encoded.num_empty:,} items have no text; their vectors are zero.")
    return _Part(
        unit_length(encoded.vectors),
        {
            "columns": list(sources.columns),
            "empty_texts": encoded.num_empty,
            "model_sha256": encoder.sha256,
            "config": sources.sentence.model_dump(mode="json"),
        },
    )


def _given(dataset: Dataset, sources: Sources) -> _Part:
    assert sources.given is not None
    vectors = read_given(sources.given, dataset.items.item_ids)
    made_of = made_of_given(sources.given, dataset)
    return _Part(
        vectors, {"sha256": sha256_of(sources.given), **({"made_of": made_of} if made_of else {})}
    )


def _collaborative(dataset: Dataset, sources: Sources, seed: int) -> _Part:
    config = sources.collaborative
    assert config is not None
    # The training part alone: the targets of validation and test must not shape the codes.
    train = split_of(dataset).train.histories
    vectors = collaborating.cooccurrence_svd(
        train.items,
        train.offsets,
        config,
        num_items=len(dataset.items),
        seed=seed,
        weights=train.largest_weights,  # what neither is predicted nor read is not there
    )
    return _Part(vectors, {"config": config.model_dump(mode="json")})


def _sasrec(dataset: Dataset, sources: Sources) -> _Part:
    assert sources.sasrec is not None
    loaded = load_bundle(sources.sasrec, device="cpu")
    if not isinstance(loaded.network, networks.SasRec):
        raise ValueError(
            f"{sources.sasrec}: holds a {loaded.kind}, not a SASRec; train one with kind: sasrec."
        )
    # The fingerprint knows the split: a table that was trained on targets stops here.
    trained_on = loaded.manifest.data
    reads_users = loaded.user_columns is not None
    if not trained_on or differing_data(trained_on, fingerprint(dataset), reads_users=reads_users):
        raise ValueError(
            f"{sources.sasrec}: trained on another dataset or split than this {dataset.name} "
            f"({trained_on.get('name')!r}, or another state of it), so its items are "
            "others, or it has seen what must not be known; train SASRec on this dataset."
        )
    refuse_other_items(loaded.catalog, dataset)
    train = split_of(dataset).train.histories
    counts = np.bincount(train.items, minlength=len(dataset.items))
    table = loaded.network.catalog_vectors().numpy()
    about = {
        "run": str(sources.sasrec),
        "weights_sha256": loaded.manifest.files["model.safetensors"],
        "run_seed": loaded.manifest.seed,
    }
    return _Part(collaborating.item_table_vectors(table, counts), about)


def _check_columns(dataset: Dataset, columns: Sequence[str]) -> None:
    known = list(dataset.items.text_columns)
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise KeyError(f"{dataset.name} has no text columns {unknown}; there are {known}.")
    if not columns:
        raise ValueError(
            f"no text column to read; those of {dataset.name} are {known}. Name them with "
            f"--columns, or another source: {', '.join(NAMES)}."
        )
