"""Facts for the card of a bundle: what its folder says, and what evaluations have measured.

The facts hold no path of a machine and nothing of a user. Text from a manifest that may hold such a
thing is left out, see `plain`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors import safe_open

from sidestep.bundle.layout import CATALOG, USERS, WEIGHTS
from sidestep.bundle.manifest import MANIFEST, Manifest, read_manifest
from sidestep.catalog import manifest as catalog_manifests
from sidestep.catalog.stored import ITEM_IDS
from sidestep.files import file_sha256

_PLAIN = re.compile(r"[\w.,:;()%+=@ -]{1,120}")
"""Text that stands in a card as it is: no path, no address, no markup."""

_EXAMPLES = 2
"""Items of the history in the examples of a card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardMetric:
    """A mean over rows with its bootstrap interval over users, in the unit of the metric."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CardResult:
    """One evaluation of the bundle.

    dataset: its name.
    split: `validation` or `test`.
    method: the name of the method in results files.
    setting: the search and its settings, in words.
    excludes_seen: whether lists left out the items of the history.
    num_rows, num_users: of the rows that were judged.
    metrics: by the names of results files.
    """

    dataset: str
    split: str
    method: str
    setting: str
    excludes_seen: bool
    num_rows: int
    num_users: int
    metrics: Mapping[str, CardMetric]


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """The facts that the folder of a bundle tells.

    manifest: of the bundle.
    manifest_sha256: the hash of its file, which stands for the whole bundle.
    num_items, num_retired: of the catalog.
    codebook_sizes: of its levels.
    space: see `Catalog.space`.
    num_weights: numbers in the file of weights.
    has_users: whether the bundle holds histories of known users.
    example_ids: IDs of items that can stand in a command as they are; may be empty.
    """

    manifest: Manifest
    manifest_sha256: str
    num_items: int
    num_retired: int
    codebook_sizes: tuple[int, ...]
    space: str | None
    num_weights: int
    has_users: bool
    example_ids: tuple[str, ...]

    @property
    def dataset(self) -> str | None:
        """The name of the dataset; None where the bundle does not tell it."""
        return plain(self.manifest.data.get("name"))


def facts_of(folder: Path) -> CardFacts:
    """Reads the facts in the folder of a bundle, without its weights.

    Raises:
        FileNotFoundError: a file is gone.
        ValueError: the bundle is damaged.
    """
    manifest = read_manifest(folder / MANIFEST)
    catalog = catalog_manifests.read_manifest(folder / CATALOG)
    return CardFacts(
        manifest=manifest,
        manifest_sha256=file_sha256(folder / MANIFEST),
        num_items=catalog.num_items,
        num_retired=_num_retired(folder / CATALOG / "is_retired.npy"),
        codebook_sizes=catalog.codebook_sizes,
        space=catalog.space,
        num_weights=_num_weights(folder / WEIGHTS),
        has_users=USERS in manifest.files,
        example_ids=_example_ids(folder / CATALOG / ITEM_IDS),
    )


def plain(value: object) -> str | None:
    """A short text that can stand in a card as it is; None for a path, markup or anything else."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.strip():
        return value
    return None


def _num_retired(file: Path) -> int:
    if not file.is_file():
        return 0
    return int(np.load(file, mmap_mode="r", allow_pickle=False).sum())


def _num_weights(file: Path) -> int:
    with safe_open(file, framework="numpy") as opened:
        shapes = [opened.get_slice(name).get_shape() for name in opened.keys()]  # noqa: SIM118
    return sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)


def _example_ids(file: Path) -> tuple[str, ...]:
    with pa.memory_map(str(file)) as source:
        first = pa.ipc.open_file(source).read_all()["item_id"][:_EXAMPLES].to_pylist()
    is_plain = all(re.fullmatch(r"[\w.-]{1,40}", item_id) for item_id in first)
    return tuple(first) if is_plain and not any(item[0] == "-" for item in first) else ()
