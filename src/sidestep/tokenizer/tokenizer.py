"""The protocols of a tokenizer, which learns codes from vectors, and of a fitted tokenizer.

A tokenizer of your own is a class with a `Config` and a `fit`. Its import path may stand wherever
the name of a built-in tokenizer may stand:

    sidestep tokenize DATASET --vectors V.npy --method my_package.my_module:MyTokenizer --out C

The fitted tokenizer, which `fit` returns, is kept beside the semantic IDs and encodes later items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, field_validator

Report = Callable[[str, int, int], None]
"""Called with the progress: name of the step, units done, and number of all units of the step."""


class TokenizerConfig(BaseModel):
    """Configuration that all built-in tokenizers share; others may have any pydantic model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codebook_sizes: tuple[int, ...] = Field((256, 256, 256), min_length=1)
    """Number of codes of each level, from the first to the last."""

    @field_validator("codebook_sizes")
    @classmethod
    def _check_sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if min(sizes) < 2:
            raise ValueError(f"every codebook needs at least 2 codes, got {sizes}.")
        return sizes


@runtime_checkable
class FittedTokenizer(Protocol):
    """A fitted tokenizer: encodes any vector, also vectors of items that came after the fit.

    The squared distances of the last level, |last_residuals - last_codewords|², say how well each
    last code would suit an item. Collisions are resolved by these distances.
    """

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each level."""
        ...

    @property
    def dim(self) -> int:
        """Width of the vectors that can be encoded."""
        ...

    def encode(self, vectors: Float[np.ndarray, "items dim"]) -> Int[np.ndarray, "items levels"]:
        """Encodes vectors. The codes of a vector do not depend on the other vectors.

        Raises:
            ValueError: vectors of another width, or values that are not finite.
        """
        ...

    def reconstruct(
        self, semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items dim"]:
        """The vector that each semantic ID stands for."""
        ...

    def last_residuals(
        self, vectors: Float[np.ndarray, "items dim"], semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items last_dim"]:
        """The vectors that the last level quantises, given the codes before it."""
        ...

    @property
    def last_codewords(self) -> Float[np.ndarray, "codes last_dim"]:
        """The codebook of the last level, in the space of `last_residuals`."""
        ...

    def save(self, path: Path) -> None:
        """Writes one file from which `load` makes the same tokenizer, whole or not at all."""
        ...

    @classmethod
    def load(cls, path: Path) -> "FittedTokenizer":
        """Reads what `save` wrote, without unpickling anything.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, of another kind, or of another schema version.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Result of fitting a tokenizer.

    tokenizer: the fitted tokenizer.
    semantic_ids: semantic IDs of the items of the fit. If a code may take only so many items, they
        may differ from the codes that `encode` gives for the same vectors.
    """

    tokenizer: FittedTokenizer
    semantic_ids: Int[np.ndarray, "items levels"]


@runtime_checkable
class Tokenizer(Protocol):
    """A tokenizer: learns codes from vectors.

    A class attribute `space` may name the code space of the codes, such as "sets" for codes without
    an order; without it, the space is the trie.
    """

    Config: ClassVar[type[BaseModel]]
    """Class of `config`. Its fields are the keys of `--set` and of a configuration file. If it has
    a field `codebook_sizes`, the command line can set the sizes."""

    def __init__(self, config: BaseModel) -> None: ...

    def fit(
        self,
        vectors: Float[np.ndarray, "items dim"],
        *,
        seed: int,
        report: Report | None = None,
    ) -> Fit:
        """Learns codes. On a CPU, equal vectors, seed and number of threads give equal codes.

        Args:
            vectors: one per item, finite, in any unit.
            seed: seed of all random numbers.
            report: called with the progress.

        Raises:
            ValueError: the vectors cannot fill the codebooks; the message says what to change.
        """
        ...
