"""Configurations of item vectors, in a file that needs no scikit-learn."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

BEHAVIOUR = ("collaborative", "sasrec")
"""Sources of vectors that hold what users did in a training part."""


class TfidfConfig(BaseModel):
    """Settings of TF-IDF vectors of item texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(128, ge=1)
    """Width of the vectors."""

    max_terms: int = Field(50_000, ge=2)
    """The most frequent terms that are kept."""

    min_items: int = Field(2, ge=1)
    """A term in fewer items than this is dropped: it says nothing about any other item."""

    max_words: int = Field(2, ge=1, le=3)
    """Terms are single words up to runs of this many words; see `words` for what a word is."""

    latin_marks: Literal["fold", "keep"] | None = None
    """Whether café is cafe. None: keep where one text in ten or more is Vietnamese, else fold.
    Marks of other scripts are always kept."""

    column_weights: dict[str, float] = Field(default_factory=dict)
    """Weights of an occurrence by column; at least 1, and 1 for columns not named."""

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


class SentenceConfig(BaseModel):
    """The encoder of the texts, and its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    """A folder, or a name such as sentence-transformers/all-MiniLM-L6-v2."""

    batch_size: int = Field(32, ge=1)
    """Texts that go through the network together; they are padded to the longest."""


class CollaborativeConfig(BaseModel):
    """Settings of vectors of co-occurrence in users' sequences."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(64, ge=1)
    """Width of the vectors."""

    window: int = Field(5, ge=1)
    """The largest distance, in positions, at which two items of one user co-occur."""

    shift: float = Field(1.0, ge=1.0)
    """Pairs must co-occur this many times more often than by chance; log(shift) is subtracted."""

    smoothing: float = Field(0.75, gt=0, le=1)
    """Exponent on the item counts: below 1 it keeps rare items from having extreme scores."""
