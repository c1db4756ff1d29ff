"""TF-IDF and truncated SVD: turns item texts into vectors offline, without a downloaded model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse
from jaxtyping import Float
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from sidestep.array_files import ArrayFormat, Stored
from sidestep.embedding.config import TfidfConfig
from sidestep.embedding.vectors import unit_length
from sidestep.embedding.words import folded, has_marks_that_matter, is_of_other_script, words

_ELSEWHERE = (
    "read more or other text columns (--columns), or take another source of vectors: what users do "
    "(--collaborative), or vectors of your own (--given)"
)
"""Remedies, for messages, if texts do not tell items apart."""

_ALIKE = 1e-6
"""Weights that differ by less than this are equal. Weights are at most 1, in float32 or finer."""

_FORMAT = ArrayFormat(name="fitted TF-IDF", version=2, remedy="embed again")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedTfidf:
    """Fitted TF-IDF and SVD, which can embed texts of further items in the same space.

    config: settings of the fit; `latin_marks` is never None.
    columns: the text columns, in the order in which they were given.
    terms: the vocabulary.
    idf: inverse document frequency of each term.
    directions: directions of the SVD.
    """

    config: TfidfConfig
    columns: tuple[str, ...]
    terms: tuple[str, ...]
    idf: Float[np.ndarray, " terms"]
    directions: Float[np.ndarray, "dim terms"]

    def encode(self, columns: Mapping[str, Sequence[str | None]]) -> Float[np.ndarray, "items dim"]:
        """Makes unit vectors of texts. Texts of the fit get the vectors of the fit.

        Args:
            columns: texts of the columns of the fit; other columns are not read.

        Returns:
            Vectors in float32; zeros for an item without a known term.

        Raises:
            KeyError: a column is missing.
            ValueError: the columns have different lengths.
        """
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise KeyError(
                f"the vectors were made of the text columns {list(self.columns)}, but {missing} "
                f"are missing among {list(columns)}."
            )
        # A projection, unlike U · S, leaves the row of an item without a term exactly zero.
        # Otherwise, rounding errors in such a row would become a vector of length 1.
        weighted = _weighted(self.config, self.terms, self.idf, _texts(columns, self.columns))
        return unit_length((weighted @ self.directions.T).astype(np.float32))

    def save(self, path: Path) -> None:
        """Writes one safetensors file, whole or not at all."""
        settings = {"config": self.config.model_dump(mode="json"), "columns": self.columns}
        arrays = {
            # No term holds a line break: terms are words, and runs of words with blanks between.
            "terms": np.frombuffer("\n".join(self.terms).encode(), dtype=np.uint8),
            "idf": self.idf,
            "directions": self.directions,
        }
        _FORMAT.write(path, Stored(arrays=arrays, settings=settings))

    @staticmethod
    def load(path: Path) -> "FittedTfidf":
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: see `ArrayFormat.read`; or an older version wrote the file, which read words
                of other scripts than the Latin one in another way.
        """
        stored = _FORMAT.read(path)
        config = TfidfConfig(**stored.settings["config"])
        terms = tuple(stored.arrays["terms"].tobytes().decode().split("\n"))
        if config.latin_marks is None and any(map(is_of_other_script, terms)):
            raise ValueError(
                f"{path}: written by a version of Sidestep that took the marks off the letters of "
                "all scripts, so that it reads other words than this version; embed again, and "
                "tokenize and train on these vectors."
            )
        return FittedTfidf(
            config=config,
            columns=tuple(stored.settings["columns"]),
            terms=terms,
            idf=stored.arrays["idf"],
            directions=stored.arrays["directions"],
        )


def tfidf_svd(
    columns: Mapping[str, Sequence[str | None]],
    config: TfidfConfig,
    *,
    seed: int,
    may_be_narrower: bool = False,
) -> Float[np.ndarray, "items dim"]:
    """Vectors of the items on which `fit_tfidf` is fitted; see there."""
    fitted = fit_tfidf(columns, config, seed=seed, may_be_narrower=may_be_narrower)
    return fitted.encode(columns)


def fit_tfidf(
    columns: Mapping[str, Sequence[str | None]],
    config: TfidfConfig,
    *,
    seed: int,
    may_be_narrower: bool = False,
) -> FittedTfidf:
    """Learns to turn texts into unit vectors: sublinear TF-IDF, then a randomised truncated SVD.

    All columns share one vocabulary. Source: latent semantic analysis, Deerwester et al. 1990.

    Args:
        columns: texts per column, of the same items in the same order; None is no text.
        config: settings; its weights name some of the columns.
        seed: seed of the randomised SVD.
        may_be_narrower: whether vectors may have fewer than `dim` dimensions if the texts do not
            allow more.

    Raises:
        KeyError: a weight names a column that does not exist.
        ValueError: there is no text; items share no word; all texts have the same words; or there
            is too little text for `dim`, and the vectors may not be narrower.
    """
    unknown = sorted(set(config.column_weights) - set(columns))
    if unknown:
        raise KeyError(f"column_weights names {unknown}, but the text columns are {list(columns)}.")
    texts = _texts(columns, tuple(columns))
    joined = ["\n".join(row) for row in zip(*texts.values(), strict=True)]
    if not any(text.strip() for text in joined):
        raise ValueError(f"no item has any text in the columns {list(columns)}; {_ELSEWHERE}.")
    if config.latin_marks is None:
        kept: Literal["fold", "keep"] = "keep" if has_marks_that_matter(joined) else "fold"
        config = config.model_copy(update={"latin_marks": kept})
    # Runs of words across two columns are in this vocabulary, but are never counted below.
    counter = _counter(config, min_df=min(config.min_items, len(joined)))
    try:
        occurrences = counter.fit_transform(joined)
    except ValueError as error:
        raise ValueError(
            f"no word stands in the texts of {min(config.min_items, len(joined))} or more of the "
            f"{len(joined):,} items, so that no text says anything about another item; "
            f"{_ELSEWHERE}; in Python, TfidfConfig.min_items = 1 takes every word."
        ) from error
    terms = _most_frequent(counter.get_feature_names_out(), occurrences, config.max_terms)
    counts = _counts(config, terms, texts)
    idf = TfidfTransformer().fit(counts).idf_
    weighted = _weighted(config, terms, idf, texts)
    _refuse_alike(weighted, terms)
    limit = min(len(terms), len(joined))
    if config.dim > limit and not may_be_narrower:
        raise ValueError(
            f"dim is {config.dim}, but {len(joined)} items with {len(terms)} distinct terms give "
            f"at most {limit} dimensions; lower dim."
        )
    return FittedTfidf(
        config=config,
        columns=tuple(columns),
        terms=terms,
        idf=idf,
        directions=_directions(weighted, min(config.dim, limit), seed=seed),
    )


def _most_frequent(
    terms: np.ndarray, occurrences: scipy.sparse.csr_matrix, most: int | None
) -> tuple[str, ...]:
    """At most `most` of the terms, those that occur most often, in the order of `terms`.

    Of terms that occur equally often, the first are taken, so that every processor takes the same.
    scikit-learn's own `max_features` leaves the choice to a sort that differs between processors.
    """
    totals = np.asarray(occurrences.sum(axis=0)).ravel()
    return tuple(terms[np.sort(np.argsort(-totals, kind="stable")[:most])])


def _refuse_alike(weighted: scipy.sparse.csr_matrix, terms: Sequence[str]) -> None:
    """Raises a `ValueError` if all items have the same words, so that texts tell no items apart."""
    num_items = weighted.shape[0]
    first = weighted[np.zeros(num_items, dtype=np.int64)]
    if num_items > 1 and abs(weighted - first).max() < _ALIKE:
        shown = ", ".join(map(repr, terms[:3])) + (", …" if len(terms) > 3 else "")
        raise ValueError(
            f"the texts of all {num_items:,} items are alike: of the words that several items "
            f"share ({shown}), each item has the same, so that texts tell no item from another; "
            f"{_ELSEWHERE}."
        )


def _directions(
    weighted: scipy.sparse.csr_matrix, dim: int, *, seed: int
) -> Float[np.ndarray, "dim terms"]:
    """The directions in which the items differ most, of length 1."""
    num_items, num_terms = weighted.shape
    if num_items == 1 or num_terms == 1:  # there is only one direction; scikit-learn needs more
        only: np.ndarray = weighted.toarray() if num_items == 1 else np.ones((1, 1))
        return only
    svd = TruncatedSVD(n_components=dim, random_state=seed)
    directions: np.ndarray = svd.fit(weighted).components_
    return directions


def _texts(
    columns: Mapping[str, Sequence[str | None]], names: Sequence[str]
) -> dict[str, list[str]]:
    """The texts of some columns. All columns must be of the same items."""
    lengths = {name: len(columns[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"all text columns must have one row per item, got rows {lengths}.")
    return {name: [text or "" for text in columns[name]] for name in names}


def _counter(config: TfidfConfig, **settings: Any) -> CountVectorizer:
    """Makes a counter of terms."""
    return CountVectorizer(
        preprocessor=partial(folded, keep_latin_marks=config.latin_marks == "keep"),
        tokenizer=words,
        token_pattern=None,
        ngram_range=(1, config.max_words),
        **settings,
    )


def _counts(
    config: TfidfConfig, terms: Sequence[str], texts: Mapping[str, list[str]]
) -> scipy.sparse.csr_matrix:
    """Number of occurrences of each term in each item, weighted by column."""
    counter = _counter(config, vocabulary=terms)
    counts: scipy.sparse.csr_matrix = sum(
        counter.transform(column).astype(np.float32) * config.column_weights.get(name, 1.0)
        for name, column in texts.items()
    )
    return counts


def _weighted(
    config: TfidfConfig,
    terms: Sequence[str],
    idf: Float[np.ndarray, " terms"],
    texts: Mapping[str, list[str]],
) -> scipy.sparse.csr_matrix:
    """Sublinear TF-IDF of each item, scaled to length 1."""
    transformer = TfidfTransformer(sublinear_tf=True)
    transformer.idf_ = idf
    weighted: scipy.sparse.csr_matrix = transformer.transform(_counts(config, terms, texts))
    return weighted
