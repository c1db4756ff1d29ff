"""The tokenizer protocol: what learns codes from vectors, and what remains of it when it has.

A tokenizer of your own is a class with a `Config` and a `fit`, named by its import path wherever
the name of a built-in one may stand:

    sidestep tokenize DATASET --vectors V.npy --method my_package.my_module:MyTokenizer --out C

What its `fit` returns is kept beside the semantic IDs and encodes items that come later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, field_validator

Report = Callable[[str, int, int], None]
"""Called now and then with what is being done, how much of it is done, and how much there is."""


class TokenizerConfig(BaseModel):
    """What every built-in tokenizer is told; others may have any pydantic model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codebook_sizes: tuple[int, ...] = Field((256, 256, 256), min_length=1)
    """Codes per level, from the first to the last."""

    @field_validator("codebook_sizes")
    @classmethod
    def _check_sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if min(sizes) < 2:
            raise ValueError(f"every codebook needs at least 2 codes, got {sizes}.")
        return sizes


@runtime_checkable
class FittedTokenizer(Protocol):
    """Codes of any vector, also of items that were not there when it was fitted.

    The squared distances of the last level, |last_residuals - last_codewords|², say how well each
    of its codes would suit an item; collisions are resolved by them.
    """

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        ...

    @property
    def dim(self) -> int:
        """Width of the vectors that can be encoded."""
        ...

    def encode(self, vectors: Float[np.ndarray, "items dim"]) -> Int[np.ndarray, "items levels"]:
        """The codes of each vector, which do not depend on the other vectors.

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
        """What the last level quantises, given the codes before it."""
        ...

    @property
    def last_codewords(self) -> Float[np.ndarray, "codes last_dim"]:
        """The codebook of the last level, in the space of `last_residuals`."""
        ...

    def save(self, path: Path) -> None:
        """Writes one file from which `load` makes the same again, whole or not at all."""
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
    """What a tokenizer learned.

    tokenizer: encodes vectors.
    semantic_ids: of the items it was fitted on. They may differ from what `encode` gives for the
        same vectors where codes are limited in how many items they take.
    """

    tokenizer: FittedTokenizer
    semantic_ids: Int[np.ndarray, "items levels"]


@runtime_checkable
class Tokenizer(Protocol):
    """Learns codes from vectors."""

    Config: ClassVar[type[BaseModel]]
    """What `config` must be; its fields are the keys of `--set` and of a configuration file. With a
    field `codebook_sizes` it also takes the sizes from the command line."""

    def __init__(self, config: BaseModel) -> None: ...

    def fit(
        self,
        vectors: Float[np.ndarray, "items dim"],
        *,
        seed: int,
        report: Report | None = None,
    ) -> Fit:
        """Learns; the same vectors, seed and number of threads give the same codes on a CPU.

        Args:
            vectors: one per item, finite, in any unit.
            seed: of everything that is drawn.
            report: of progress.

        Raises:
            ValueError: the vectors cannot fill the codebooks; says what to change.
        """
        ...
