"""The manifest of a bundle: its kind, its parts, its origin, and the versions that can be read."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from sidestep.bundle.parts import PARTS
from sidestep.files import read_json
from sidestep.import_paths import is_import_path

SCHEMA_VERSION = 14
"""Version 2 added T5 and Hugging Face networks, and tombstones in the catalog; version 3 the number
of new items, the process reward model and the value head; version 4 the ranker: older bundles are
taken to have none. Version 5 added the kind `repeats`, and counts that are sums of weights; version
6 the histories of users, and the search that a bundle recommends by; version 7 has one field for
all parts beside the network, each of which had a field of its own before; version 8
the weights by which items that choose codes read the state of the root; version 9 the kinds
`graph` and `popularity-window`, and rankers without a network; version 10 networks whose items
choose codes by the state after the history alone, and the kinds `rearec`, `lares` and `rpg`;
version 11 bundles that recommend by `item-head`; version 12 the kinds
`diffureason` and `stream-rec`; version 13 language models with an instruction, and their
tokenizer; version 14 the kind `cobra`, and bundles that recommend by `beam-fusion`."""

MANIFEST = "manifest.json"
FORMAT = "sidestep.bundle"

REMEDY = "copy the bundle again, or repeat what wrote it: 'sidestep train' or 'sidestep attach'."
"""The remedy for a bundle that is not whole."""

KINDS = (
    *(
        "semantic-id-transformer",
        "code-set-transformer",
        "semantic-id-t5",
        "code-set-t5",
        "stream-rec",
        "cobra",
        "hugging-face",
        "sasrec",
        "hstu",
        "gru4rec",
        "caser",
        "bert4rec",
        "rearec",
        "lares",
        "diffureason",
        "rpg",
    ),
    *("popularity", "repeats", "popularity-window", "graph"),
)
"""The kinds of Sidestep; a network of a user's own has the import path of its class instead."""


def _check_kind(kind: str) -> str:
    if kind not in KINDS and not is_import_path(kind):
        raise ValueError(f"there is no kind {kind!r:.60}; there are {', '.join(KINDS)}")
    return kind


Kind = Annotated[str, AfterValidator(_check_kind)]

COUNTED = ("popularity", "repeats")
"""Kinds that recommend by counts alone."""

_LIBRARIES = ("sidestep", "torch", "numpy", "safetensors")


class KeptSearch(BaseModel):
    """The search that a bundle recommends by, unless another is given.

    name: `beam`; `item-beam`, which is guided by the item head and the ranker; `item-head`, which
        ranks all items by the item head and the ranker; or `beam-fusion`, see `BeamFusion`.
    likelihood_weight: λ of y + λ · log π; of `item-beam` alone.
    tau, psi, among: see `BeamFusion`; of `beam-fusion` alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["beam", "item-beam", "item-head", "beam-fusion"] = "beam"
    likelihood_weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    tau: float = Field(1.0, gt=0, allow_inf_nan=False, exclude_if=lambda tau: tau == 1)
    psi: float = Field(1.0, gt=0, allow_inf_nan=False, exclude_if=lambda psi: psi == 1)
    among: Literal["all", "prefix"] = Field("all", exclude_if=lambda among: among == "all")

    @property
    def options(self) -> dict[str, float | str]:
        """The options that make the search, beside those that all searches share."""
        if self.name != "beam-fusion":
            return {}
        return {"tau": self.tau, "psi": self.psi, "among": self.among}

    @property
    def in_words(self) -> str:
        """The name, with the options that differ from the defaults."""
        defaults = KeptSearch(name=self.name).options
        told = [
            f"{name}={value}" for name, value in self.options.items() if value != defaults[name]
        ]
        return " ".join([self.name, *told])


class Manifest(BaseModel):
    """The description of a bundle and its origin.

    model: configuration of the network, empty where there is none.
    training: a summary, for people and results files.
    data: name and hashes of the dataset.
    files: SHA-256 by path within the bundle.
    max_history: most recent items that are shown to the network.
    num_new_items: items that were appended after the training: the last ones of the catalog.
    parts: the entries of the parts beside the network, by name; see `sidestep.bundle.parts`.
    search: that the bundle recommends by, unless another is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["sidestep.bundle"]
    schema_version: Literal[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    kind: Kind
    model: dict[str, Any]
    max_history: int = Field(ge=1)
    num_new_items: int = Field(0, ge=0)
    parts: dict[str, SerializeAsAny[BaseModel]] = Field(default_factory=dict)
    search: KeptSearch = KeptSearch()
    seed: int
    training: dict[str, Any]
    data: dict[str, Any]
    catalog_version: str
    libraries: dict[str, str]
    files: dict[str, str]

    @property
    def first_training(self) -> dict[str, Any]:
        """The summary of the first training, below those that improved its network."""
        training = self.training
        while "backbone" in training:
            training = training["backbone"]
        return training

    @model_validator(mode="before")
    @classmethod
    def _with_parts(cls, content: Any) -> Any:
        """Moves the parts of a manifest of an older version to the field that has all parts."""
        if not isinstance(content, dict) or content.get("schema_version") not in range(1, 7):
            return content
        older = {name: content[name] for name in PARTS if content.get(name) is not None}
        rest = {name: value for name, value in content.items() if name not in PARTS}
        return {**rest, "parts": older}

    @field_validator("parts", mode="before")
    @classmethod
    def _entries(cls, parts: Any) -> Any:
        """Reads each entry as that of its part."""
        if not isinstance(parts, dict):
            return parts
        unknown = parts.keys() - PARTS.keys()
        if unknown:
            raise ValueError(f"there is no part {min(unknown)!r:.60}; there are {', '.join(PARTS)}")
        read = _ENTRIES.model_validate(parts)
        return {name: getattr(read, name) for name in parts}


_FIELDS: dict[str, Any] = {name: (part.entry | None, None) for name, part in PARTS.items()}

_ENTRIES = create_model("Entries", **_FIELDS)
"""The entries of all parts, so that a message about one of them names its part and its field."""


def bundle_folder(path: Path) -> Path:
    """The folder of a bundle: `path`, that of a run, or that of what `fit` and `train` left.

    Raises:
        FileNotFoundError: neither is one.
    """
    for folder in (path, path / "bundle", path / "run" / "bundle"):
        if (folder / MANIFEST).is_file():
            return folder
    runs = sorted(file.parent.parent for file in path.glob(f"*/bundle/{MANIFEST}"))
    if runs:
        remedy = f"name one of the runs in it, such as {runs[0]}."
    elif (path / "run.json").is_file():
        remedy = (
            "the training of this run has not ended; give the same 'sidestep train' command again, "
            "which continues it."
        )
    else:
        remedy = "train first, or name the folder of a finished run."
    raise FileNotFoundError(f"{path}: no bundle here, {MANIFEST} is missing; {remedy}")


def read_manifest(file: Path) -> Manifest:
    """Reads a manifest.

    Raises:
        ValueError: it is of a newer Sidestep, or damaged; says what to do.
    """
    try:
        content = read_json(file)
    except ValueError as error:
        raise ValueError(f"{error} {REMEDY[0].upper()}{REMEDY[1:]}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{file}: this does not describe a bundle; {REMEDY}")
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ValueError(
            f"{file}: schema version {version}; this version of Sidestep reads up to "
            f"{SCHEMA_VERSION}. Install a newer Sidestep, or train the bundle again."
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}; {REMEDY}"
        ) from error


def differing_data(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], *, reads_users: bool = True
) -> list[str]:
    """The parts in which two datasets differ: names, items, users, interactions, weights, splits.

    Args:
        ours: the data of a manifest, or a fingerprint; nothing differs from an empty one, whose
            dataset is not known. In an older manifest the data do not name users.
        theirs: the same of the other dataset.
        reads_users: whether the tables of users count.
    """
    if not ours or not theirs:
        return []
    names = ["interactions", "items", "events", "split", "name"]
    if reads_users and "users" in ours and "users" in theirs:
        names.append("users")
    return [name for name in names if ours.get(name) != theirs.get(name)]


def library_versions(kind: str) -> dict[str, str]:
    """The versions of the libraries behind a bundle of this kind."""
    more = ("transformers",) if kind == "hugging-face" else ()
    return {name: _installed_version(name) for name in (*_LIBRARIES, *more)}


def _installed_version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
