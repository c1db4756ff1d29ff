"""TF-IDF and truncated SVD: item texts to vectors offline, without any downloaded model."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from sidestep.embedding.vectors import unit_length


class TfidfConfig(BaseModel):
    """How item texts become vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(128, ge=1)
    """Width of the vectors."""

    max_terms: int = Field(50_000, ge=2)
    """The most frequent terms that are kept."""

    min_items: int = Field(2, ge=1)
    """A term in fewer items than this is dropped: it says nothing about any other item."""

    max_words: int = Field(2, ge=1, le=3)
    """Terms are single words up to runs of this many words."""

    column_weights: dict[str, float] = Field(default_factory=dict)
    """How many times an occurrence in a column counts; at least 1, and 1 for columns not named."""

    @model_validator(mode="after")
    def _check_weights(self) -> "TfidfConfig":
        for column, weight in self.column_weights.items():
            # Below 1, the logarithm of a count would turn a term that is there into less than
            # one that is not.
            if weight < 1:
                raise ValueError(
                    f"column_weights[{column!r}] must be at least 1, got {weight}; "
                    "raise the weights of the other columns instead."
                )
        return self


def tfidf_svd(
    columns: Mapping[str, Sequence[str | None]],
    config: TfidfConfig,
    *,
    seed: int,
    may_be_narrower: bool = False,
) -> Float[np.ndarray, "items dim"]:
    """Turns texts into unit vectors: sublinear TF-IDF, then a randomised truncated SVD.

    All columns share one vocabulary. Source: latent semantic analysis, Deerwester et al. 1990.

    Args:
        columns: texts per column, all of the same items in the same order; None is no text.
        config: how; its weights name some of the columns.
        seed: of the randomised SVD.
        may_be_narrower: take what the texts allow where that is less than `dim`.

    Returns:
        float32; rows of length 1, but zeros for an item without a single known term.

    Raises:
        KeyError: a weight names a column that is not there.
        ValueError: there is no text, or less of it than `dim` needs and it may not be narrower.
    """
    unknown = sorted(set(config.column_weights) - set(columns))
    if unknown:
        raise KeyError(f"column_weights names {unknown}, but the text columns are {list(columns)}.")
    lengths = {name: len(texts) for name, texts in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"all text columns must have one row per item, got rows {lengths}.")
    texts = {name: [text or "" for text in column] for name, column in columns.items()}
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
    counts = sum(
        vectorizer.transform(column).astype(np.float32) * config.column_weights.get(name, 1.0)
        for name, column in texts.items()
    )
    weighted = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    svd = TruncatedSVD(n_components=min(config.dim, limit), random_state=seed)
    # A projection, unlike U · S, leaves the row of an item without a term exactly zero; rounding
    # errors there would become directions of length 1.
    vectors = svd.fit(weighted).transform(weighted).astype(np.float32)
    return unit_length(vectors)
