"""TF-IDF and truncated SVD: item texts to vectors offline, without any downloaded model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from jaxtyping import Float
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from sidestep.array_files import ArrayFormat, Stored
from sidestep.embedding.config import TfidfConfig
from sidestep.embedding.vectors import unit_length

_FORMAT = ArrayFormat(name="fitted TF-IDF", version=2, remedy="embed again")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedTfidf:
    """TF-IDF and an SVD that know their terms: they embed texts of further items in the same space.

    config: how it was fitted.
    columns: the text columns, in the order in which they were given.
    terms: the vocabulary.
    idf: how much a term says, one per term.
    directions: of the SVD.
    """

    config: TfidfConfig
    columns: tuple[str, ...]
    terms: tuple[str, ...]
    idf: Float[np.ndarray, " terms"]
    directions: Float[np.ndarray, "dim terms"]

    def encode(self, columns: Mapping[str, Sequence[str | None]]) -> Float[np.ndarray, "items dim"]:
        """Unit vectors of texts; the items it was fitted on get the vectors of the fit.

        Args:
            columns: the texts of the columns it was fitted on; more are not read.

        Returns:
            float32; zeros for an item without a single known term.

        Raises:
            KeyError: a column is missing.
            ValueError: columns of different lengths.
        """
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise KeyError(
                f"the vectors were made of the text columns {list(self.columns)}, but {missing} "
                f"are missing among {list(columns)}."
            )
        # A projection, unlike U · S, leaves the row of an item without a term exactly zero;
        # rounding errors there would become directions of length 1.
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
        """Reads what `save` wrote; the errors are those of `ArrayFormat.read`."""
        stored = _FORMAT.read(path)
        return FittedTfidf(
            config=TfidfConfig(**stored.settings["config"]),
            columns=tuple(stored.settings["columns"]),
            terms=tuple(stored.arrays["terms"].tobytes().decode().split("\n")),
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
    """The vectors of `fit_tfidf` of the items it is fitted on; see there."""
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
        columns: texts per column, all of the same items in the same order; None is no text.
        config: how; its weights name some of the columns.
        seed: of the randomised SVD.
        may_be_narrower: take what the texts allow where that is less than `dim`.

    Raises:
        KeyError: a weight names a column that is not there.
        ValueError: there is no text, or less of it than `dim` needs and it may not be narrower.
    """
    unknown = sorted(set(config.column_weights) - set(columns))
    if unknown:
        raise KeyError(f"column_weights names {unknown}, but the text columns are {list(columns)}.")
    texts = _texts(columns, tuple(columns))
    joined = ["\n".join(row) for row in zip(*texts.values(), strict=True)]
    if not any(text.strip() for text in joined):
        raise ValueError(
            f"no item has any text in the columns {list(columns)}; name other text columns, or "
            "give item vectors of your own or collaborative vectors."
        )
    # Runs of words that span two columns enter the vocabulary here, but are never counted below.
    vectorizer = CountVectorizer(
        strip_accents="unicode",
        ngram_range=(1, config.max_words),
        min_df=min(config.min_items, len(joined)),
        max_features=config.max_terms,
    )
    try:
        vectorizer.fit(joined)
    except ValueError as error:
        raise ValueError(
            f"no term is found in {config.min_items} or more of {len(joined)} items; "
            "lower min_items or name more text columns."
        ) from error
    num_terms = len(vectorizer.vocabulary_)
    limit = min(num_terms, len(joined))
    if config.dim > limit and not may_be_narrower:
        raise ValueError(
            f"dim is {config.dim}, but {len(joined)} items with {num_terms} distinct terms give "
            f"at most {limit} dimensions; lower dim."
        )
    terms = tuple(vectorizer.get_feature_names_out())
    counts = _counts(config, terms, texts)
    idf = TfidfTransformer().fit(counts).idf_
    svd = TruncatedSVD(n_components=min(config.dim, limit), random_state=seed)
    svd.fit(_weighted(config, terms, idf, texts))
    return FittedTfidf(
        config=config,
        columns=tuple(columns),
        terms=terms,
        idf=idf,
        directions=svd.components_,
    )


def _texts(
    columns: Mapping[str, Sequence[str | None]], names: Sequence[str]
) -> dict[str, list[str]]:
    """The texts of some columns, which must be of the same items."""
    lengths = {name: len(columns[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"all text columns must have one row per item, got rows {lengths}.")
    return {name: [text or "" for text in columns[name]] for name in names}


def _counts(
    config: TfidfConfig, terms: Sequence[str], texts: Mapping[str, list[str]]
) -> scipy.sparse.csr_matrix:
    """How often each term stands in each item, weighted by column."""
    counter = CountVectorizer(
        strip_accents="unicode", ngram_range=(1, config.max_words), vocabulary=terms
    )
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
    """Sublinear TF-IDF of each item, of length 1."""
    transformer = TfidfTransformer(sublinear_tf=True)
    transformer.idf_ = idf
    weighted: scipy.sparse.csr_matrix = transformer.transform(_counts(config, terms, texts))
    return weighted
