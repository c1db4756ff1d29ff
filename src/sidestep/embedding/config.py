"""Configurations of item vectors. This file does not import scikit-learn."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

BEHAVIOUR = ("collaborative", "sasrec")
"""Sources of vectors that are learned from the interactions of a training part."""


class TfidfConfig(BaseModel):
    """Settings of TF-IDF vectors of item texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(128, ge=1)
    """Width of the vectors."""

    max_terms: int = Field(50_000, ge=2)
    """Largest number of terms; the most frequent terms are kept."""

    min_items: int = Field(2, ge=1)
    """A term in fewer items than this is dropped: it says nothing about any other item."""

    max_words: int = Field(2, ge=1, le=3)
    """A term is a single word, or a run of at most so many words. `words` defines a word."""

    latin_marks: Literal["fold", "keep"] | None = None
    """Whether café is read as cafe ("fold") or not ("keep"). None keeps marks if at least one text
    in ten is Vietnamese, and folds otherwise. Marks of other scripts are always kept."""

    column_weights: dict[str, float] = Field(default_factory=dict)
    """Weight of an occurrence of a term, by column; at least 1. Other columns have weight 1."""

    @model_validator(mode="after")
    def _check_weights(self) -> "TfidfConfig":
        for column, weight in self.column_weights.items():
            # With a weight below 1, the logarithm of the count of an occurring term could be less
            # than that of a term that does not occur.
            if weight < 1:
                raise ValueError(
                    f"column_weights[{column!r}] must be at least 1, got {weight}; "
                    "raise the weights of the other columns instead."
                )
        return self


class SentenceConfig(BaseModel):
    """Settings of a sentence encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    """Folder of a model, or a name such as sentence-transformers/all-MiniLM-L6-v2."""

    batch_size: int = Field(32, ge=1)
    """Number of texts that go through the network together, padded to the longest text."""


class CollaborativeConfig(BaseModel):
    """Settings of vectors from co-occurrence in users' sequences."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(64, ge=1)
    """Width of the vectors."""

    window: int = Field(5, ge=1)
    """The largest distance, in positions, at which two items of one user co-occur."""

    shift: float = Field(1.0, ge=1.0)
    """Only pairs count that co-occur so many times more often than by chance; log(shift) is
    subtracted."""

    smoothing: float = Field(0.75, gt=0, le=1)
    """Exponent on the item counts. Below 1, it prevents extreme scores of rare items."""
