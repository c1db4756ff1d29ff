"""The tokenizer that a catalog keeps, so that later items can be encoded."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError

from sidestep.files import read_json, write_json
from sidestep.tokenizer.choices import CollisionPolicy
from sidestep.tokenizer.methods import kind_of, load_fitted
from sidestep.tokenizer.tokenizer import FittedTokenizer

SCHEMA_VERSION = 1
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.safetensors")

_RECORD, _TOKENIZER = TOKENIZER_FILES


class VectorsFingerprint(BaseModel):
    """Fingerprint of the vectors that a tokenizer was fitted on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_items: int
    dim: int

    sha256: str
    """Hash of the values as little-endian float32, row by row."""

    @staticmethod
    def of(vectors: Float[np.ndarray, "items dim"]) -> "VectorsFingerprint":
        """The fingerprint of these vectors."""
        values = np.ascontiguousarray(vectors, dtype="<f4")
        return VectorsFingerprint(
            num_items=len(vectors),
            dim=vectors.shape[1],
            sha256=hashlib.sha256(values.data).hexdigest(),
        )


class TokenizerRecord(BaseModel):
    """Record of how the semantic IDs of a catalog were made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["sidestep.tokenizer"] = "sidestep.tokenizer"
    schema_version: int = SCHEMA_VERSION
    method: str
    """Name or import path of the tokenizer."""

    config: dict[str, Any]
    seed: int
    kind: str
    """Kind of the fitted tokenizer, see `methods.kind_of`."""

    collisions: CollisionPolicy
    moved: int | None = None
    """Number of items to which `collisions` gave another last code than the tokenizer, or a number
    above 0; None if it was not counted."""

    vectors: VectorsFingerprint
    made_of: dict[str, Any]
    """Description of the sources of the vectors, as far as they were known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTokenizer:
    """A fitted tokenizer in the folder of the catalog that it made.

    tokenizer: encodes vectors of the same embedding.
    record: record of how the semantic IDs of the catalog were made.
    """

    tokenizer: FittedTokenizer
    record: TokenizerRecord

    @staticmethod
    def of(
        tokenizer: FittedTokenizer,
        vectors: Float[np.ndarray, "items dim"],
        *,
        method: str,
        config: BaseModel,
        seed: int,
        collisions: CollisionPolicy,
        moved: int | None = None,
        made_of: Mapping[str, Any],
    ) -> "KeptTokenizer":
        """Joins the tokenizer and a record of how it was fitted. The arguments fill the record."""
        record = TokenizerRecord(
            method=method,
            config=config.model_dump(mode="json"),
            seed=seed,
            kind=kind_of(tokenizer),
            collisions=collisions,
            moved=moved,
            vectors=VectorsFingerprint.of(vectors),
            made_of=dict(made_of),
        )
        return KeptTokenizer(tokenizer=tokenizer, record=record)

    def save(self, folder: Path) -> None:
        """Writes `TOKENIZER_FILES` into the folder of a catalog."""
        self.tokenizer.save(folder / _TOKENIZER)
        write_json(folder / _RECORD, self.record.model_dump(mode="json"))

    @staticmethod
    def load(folder: Path) -> "KeptTokenizer":
        """Reads what `save` wrote. The class of a user's own tokenizer is imported.

        Raises:
            FileNotFoundError: one of the files is missing, or the catalog keeps no tokenizer: its
                semantic IDs are published ones, or were made by an older version.
            ValueError: a file is damaged, of another schema version, or its class is unknown.
        """
        record = read_record(folder)
        if record is None:
            raise FileNotFoundError(
                f"{folder / _RECORD}: this catalog keeps no tokenizer, so it cannot encode further "
                "items; make it with 'sidestep tokenize DATASET --vectors FILE'."
            )
        tokenizer = load_fitted(record.kind, folder / _TOKENIZER)
        return KeptTokenizer(tokenizer=tokenizer, record=record)

    def check_same_embedding(self, vectors: Float[np.ndarray, "items dim"]) -> None:
        """Refuses vectors whose first rows differ from those that the tokenizer was fitted on.

        Args:
            vectors: vectors of the fitted items, in their order, followed by the vectors of any
                number of new items.

        Raises:
            ValueError: the first rows come from another embedding, or from other items.
        """
        known = self.record.vectors
        # Vectors that are too few or too narrow have another fingerprint too.
        if VectorsFingerprint.of(vectors[: known.num_items]) != known:
            raise ValueError(
                f"the first {known.num_items:,} of {len(vectors):,} vectors of width "
                f"{vectors.shape[1]} are not the ones of width {known.dim} that the catalog was "
                "tokenized from; vectors of another embedding, even of the same width, would be "
                "encoded as nonsense. Give the vectors of the old items followed by those of the "
                "new ones, made in the same way."
            )


def read_record(folder: Path) -> TokenizerRecord | None:
    """Reads the record of how the semantic IDs of a catalog were made.

    Args:
        folder: folder of the catalog.

    Returns:
        The record; None if the catalog has none.

    Raises:
        ValueError: the record is damaged, or of another schema version.
    """
    path = folder / _RECORD
    if not path.is_file():
        return None
    content = read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema version {version}, this version of sidestep reads "
            f"{SCHEMA_VERSION}; run tokenize again."
        )
    try:
        return TokenizerRecord.model_validate(content)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ValueError(
            f"{path}: not the record of a tokenizer ({where}: {error.errors()[0]['msg']}); run "
            "tokenize again."
        ) from error
