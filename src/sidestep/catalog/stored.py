"""The files of a saved catalog: which there are, and whether they fit each other."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from sidestep.catalog.flat import FlatTrie, check_bounds
from sidestep.catalog.manifest import MANIFEST, CatalogManifest, check_files, check_names

COMPANIONS = (
    "tokenizer.json",
    "tokenizer.safetensors",
    "codebooks.safetensors",  # of earlier versions
    "tfidf.safetensors",
)
"""Files that the tokenizer and the embedding leave beside the IDs that came of them: with them
items can be appended. They belong to their owners; a catalog carries them along."""

ITEM_IDS = "item_ids.arrow"
TEXTS = "texts.parquet"
TRIE_ARRAYS = ("codes", "child_start", "bucket_start", "bucket_items", "leaf_of")

_REQUIRED = (ITEM_IDS, "semantic_ids.npy", "id_order.npy")
_OF_TRIE = tuple(f"{name}.npy" for name in (*TRIE_ARRAYS, "depth_starts"))
_POSSIBLE = (*_REQUIRED, *_OF_TRIE, "popularity.npy", "is_retired.npy", TEXTS)

CATALOG_FILES = (MANIFEST, *_POSSIBLE, *COMPANIONS)
"""All that the folder of a catalog may hold."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredParts:
    """Arrays of a stored catalog, mapped into memory.

    item_ids: the users' names of the items.
    arrays: those of `.npy` files, by name.
    flat: the trie, of the same arrays; None where the codes span another space.
    """

    item_ids: pa.LargeStringArray
    arrays: Mapping[str, np.ndarray]
    flat: FlatTrie | None


def read_stored(path: Path, manifest: CatalogManifest, *, verify: bool) -> StoredParts:
    """Maps the files that a manifest lists.

    Their names, lengths and bounds are checked, so that no walk leaves the arrays that it begins
    in.

    Args:
        path: the folder.
        manifest: of the catalog in it.
        verify: also compares the hash of every file.

    Raises:
        FileNotFoundError: a file is gone.
        ValueError: the manifest lists too little or too much, or the files do not fit it or each
            other.
    """
    required = _REQUIRED if manifest.space is not None else (*_REQUIRED, *_OF_TRIE)
    check_names(path, manifest.files, required=required, possible=_POSSIBLE)
    check_names(path, manifest.companions, required=(), possible=COMPANIONS)
    check_files(path, {**manifest.files, **manifest.companions}, verify=verify)
    with told_damage(path):
        arrays = {
            file.stem: _array(file)
            for file in (path / name for name in manifest.files)
            if file.suffix == ".npy"
        }
        with pa.memory_map(str(path / ITEM_IDS)) as source:
            item_ids = pa.ipc.open_file(source).read_all()["item_id"].combine_chunks()
        _check_shapes(arrays, item_ids, manifest)
        flat = None
        if manifest.space is None:
            flat = FlatTrie(
                depth_starts=tuple(arrays["depth_starts"].tolist()),
                **{name: arrays[name] for name in TRIE_ARRAYS},
            )
            check_bounds(flat, manifest.codebook_sizes)
    return StoredParts(item_ids=item_ids, arrays=arrays, flat=flat)


@contextmanager
def told_damage(path: Path) -> Iterator[None]:
    """Says of which catalog the files are that do not fit each other."""
    try:
        yield
    except (ValueError, KeyError, IndexError, pa.ArrowException) as error:
        raise ValueError(
            f"{path}: damaged: its files do not fit {MANIFEST} or each other ({error}); tokenize "
            "again."
        ) from error


def _array(file: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(file, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{file.name}: {error}") from error
    return array


def _check_shapes(
    arrays: Mapping[str, np.ndarray], item_ids: pa.Array, manifest: CatalogManifest
) -> None:
    """Raises a `ValueError` unless every array is as long as it must be, and of its type."""
    num_items, num_levels = manifest.num_items, len(manifest.codebook_sizes)
    if not pa.types.is_large_string(item_ids.type) or item_ids.null_count:
        raise ValueError("item_ids holds something else than text")
    if len(item_ids) != num_items:
        raise ValueError(f"item_ids holds {len(item_ids)} items instead of {num_items}")
    wanted = {
        "semantic_ids": ((num_items, num_levels), "i"),
        "id_order": ((num_items,), "i"),
        "popularity": ((num_items,), "iu"),
        "is_retired": ((num_items,), "b"),
    }
    if manifest.space is None:
        starts = arrays["depth_starts"]
        _check_shape("depth_starts", starts, (num_levels + 2,), "i")
        *_, num_inner, num_nodes = starts.tolist()
        wanted |= {
            "codes": ((num_nodes,), "iu"),
            "child_start": ((num_inner + 1,), "i"),
            "bucket_start": ((num_nodes - num_inner + 1,), "i"),
            "bucket_items": ((num_items,), "i"),
            "leaf_of": ((num_items,), "i"),
        }
    for name, (shape, kinds) in wanted.items():
        if name in arrays:
            _check_shape(name, arrays[name], shape, kinds)


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...], kinds: str) -> None:
    if array.shape != shape or array.dtype.kind not in kinds:
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape} instead of {shape}")
