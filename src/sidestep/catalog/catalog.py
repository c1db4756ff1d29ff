"""The catalog: items, their semantic IDs and what these span, under one version.

In a folder it is a manifest, Arrow and `.npy` files that are memory-mapped when loaded, and
optionally the items' texts as parquet.
"""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.catalog.flat import check_content, first_out_of_range, is_permutation
from sidestep.catalog.item_ids import ItemIds, as_strings
from sidestep.catalog.latest import LatestAnswers
from sidestep.catalog.manifest import (
    FORMAT,
    MANIFEST,
    CatalogManifest,
    described_files,
    is_catalog,
    read_manifest,
)
from sidestep.catalog.own_space import SETS, OwnSpace
from sidestep.catalog.space import HasFeatures, ListsCandidates
from sidestep.catalog.stored import (
    COMPANIONS,
    ITEM_IDS,
    TEXTS,
    TRIE_ARRAYS,
    read_stored,
    told_damage,
)
from sidestep.catalog.trie import Trie
from sidestep.files import check_replaceable, whole_folder, write_json
from sidestep.padding import NO_ITEM

_CONTENTS = (MANIFEST, "*.npy", "*.arrow", "*.parquet", *COMPANIONS)
TITLE_COLUMNS = ("title", "name", "terms")
"""Columns of texts that may be titles, the best first."""
_NO_TEXTS = "this catalog has no item texts; build it with `texts`."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Catalog:
    """Everything that can be recommended; make it with `build` or `load`.

    ids: the user's names of the items.
    semantic_ids: codes of each item, int32.
    spanned: all ways to the items: the trie of the semantic IDs, or another code space, which the
        catalog names.
    popularity: interactions per item in training, which order the items of a bucket.
    texts: one row per item, to show, and for networks that read columns of items.
    version: sha256 of the ids, the codes, the codebook sizes and the name of the space: equal
        catalogs, equal versions. Weights fit one version; a tombstone keeps the version.
    parent_version: of the catalog that this one was appended to; None where it is the first.
    is_retired: tombstones: items that keep their place and may stand in histories, but are never
        recommended; None where there are none.
    companions: files of `COMPANIONS` beside the saved catalog; `save` copies them.
    """

    ids: ItemIds
    semantic_ids: Int[Tensor, "items levels"]
    spanned: Trie | OwnSpace
    popularity: Int[np.ndarray, " items"] | None
    texts: pl.LazyFrame | None
    version: str
    parent_version: str | None = None
    is_retired: Bool[np.ndarray, " items"] | None = None
    companions: tuple[Path, ...] = field(default=(), repr=False)
    _titles: LatestAnswers[pl.Series] = field(
        default_factory=lambda: LatestAnswers(1), init=False, repr=False
    )

    @staticmethod
    def build(
        item_ids: Sequence[str] | pa.Array,
        semantic_ids: Int[np.ndarray, "items levels"] | Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
        *,
        popularity: Int[np.ndarray, " counts"] | None = None,
        texts: pl.DataFrame | None = None,
        space: str | None = None,
    ) -> "Catalog":
        """Checks that the parts belong together, and builds the trie, or another space.

        Args:
            item_ids: of all items.
            semantic_ids: row i is item i.
            codebook_sizes: codes per level.
            popularity: orders the items that share their codes.
            texts: one row per item.
            space: "sets", or the import path of the class of the code space, see `MadeOfCodes`;
                None is the trie.

        Raises:
            TypeError: an item id is not a string.
            ValueError: ids that repeat, parts of different lengths, codes out of range, or a space
                that cannot be imported or that the codes do not span.
        """
        strings = as_strings(item_ids)
        codes = semantic_ids.cpu().numpy() if isinstance(semantic_ids, Tensor) else semantic_ids
        _check_lengths(len(strings), codes, popularity, texts)
        if len(strings) == 0:
            raise ValueError("a catalog needs at least one item, got none.")
        if codes.shape[1] == len(codebook_sizes):  # the trie refuses the contrary
            _check_codes(strings, codes, codebook_sizes)
        codes = np.ascontiguousarray(codes, dtype=np.int32)
        ids = ItemIds.build(strings)
        return Catalog(
            ids=ids,
            semantic_ids=torch.from_numpy(codes),
            spanned=_spanned(space, torch.from_numpy(codes), codebook_sizes, popularity),
            popularity=popularity,
            texts=None if texts is None else texts.lazy(),
            version=_version(ids, codes, codebook_sizes, space),
        )

    def appended(
        self,
        item_ids: Sequence[str] | pa.Array,
        semantic_ids: Int[np.ndarray, "new levels"],
        *,
        texts: pl.DataFrame | None = None,
        codebook_sizes: tuple[int, ...] | None = None,
    ) -> "Catalog":
        """A catalog with more items behind the old ones, which keep their indices and codes.

        New items have no popularity; a text column that `texts` lacks is empty for them, and one
        that only `texts` has is left out.

        Args:
            item_ids: of the new items.
            semantic_ids: their codes; see `sidestep.tokenizer.appending`.
            texts: one row per new item.
            codebook_sizes: larger codebooks, where a code is an item; None keeps the old ones.

        Raises:
            TypeError: an item id is not a string.
            ValueError: no new items, ids that the catalog has or that repeat, codes out of range,
                or a catalog over a user's own space, which need not keep the meaning of old states.
        """
        if self.space != SETS:
            self.refuse_own_space("appending items")
        new_ids = as_strings(item_ids)
        self.refuse_known(new_ids.to_pylist())
        old_texts = None if self.texts is None else self.texts.collect()
        grown = Catalog.build(
            pa.concat_arrays([self.item_ids, new_ids]),
            np.concatenate([self.semantic_ids.cpu().numpy(), semantic_ids.astype(np.int32)]),
            codebook_sizes or self.codebook_sizes,
            popularity=_extended(self.popularity, len(new_ids)),
            texts=None if old_texts is None else _more_texts(old_texts, texts, len(new_ids)),
            space=self.space,
        )
        return replace(
            grown.to(self.semantic_ids.device),
            parent_version=self.version,
            is_retired=_extended(self.is_retired, len(new_ids)),
            companions=self.companions,
        )

    def refuse_known(self, item_ids: Sequence[str]) -> None:
        """Raises a `ValueError` unless there are items and all of them are new."""
        if not len(item_ids):
            raise ValueError("there are no new items to append.")
        is_known = self.indices_of(item_ids) != NO_ITEM
        if is_known.any():
            raise ValueError(
                f"{int(is_known.sum())} of {len(item_ids)} new items are in the catalog already, "
                f"the first is {item_ids[int(is_known.argmax())]!r}; leave them out: an item keeps "
                "its semantic ID."
            )

    def retired(self, item_ids: Sequence[str]) -> "Catalog":
        """A copy with tombstones on items.

        Raises:
            KeyError: the catalog has no such item.
            ValueError: every item would be retired.
        """
        is_retired = self._tombstones()
        is_retired[self._indices_of_known(item_ids)] = True
        if is_retired.all():
            raise ValueError(
                f"all {self.num_items} items would be retired, and nothing left to recommend."
            )
        return self._with_tombstones(is_retired)

    def restored(self, item_ids: Sequence[str]) -> "Catalog":
        """A copy without the tombstones of items; items without a tombstone stay as they are.

        Raises:
            KeyError: the catalog has no such item.
        """
        is_retired = self._tombstones()
        is_retired[self._indices_of_known(item_ids)] = False
        return self._with_tombstones(is_retired)

    def recounted(self, popularity: Int[np.ndarray, " items"]) -> "Catalog":
        """A copy with other counts, which order the items of buckets."""
        _check_lengths(self.num_items, self.semantic_ids.numpy(), popularity, None)
        spanned = _spanned(self.space, self.semantic_ids, self.codebook_sizes, popularity)
        return replace(self, popularity=popularity, spanned=spanned)

    @property
    def space(self) -> str | None:
        """The name or the import path of the code space; None is the trie."""
        return self.spanned.path if isinstance(self.spanned, OwnSpace) else None

    @property
    def trie(self) -> Trie:
        """All legal prefixes, with the items of every leaf.

        Raises:
            ValueError: the codes span another space.
        """
        self.refuse_own_space("this call")
        assert isinstance(self.spanned, Trie)
        return self.spanned

    @property
    def lists_items(self) -> bool:
        """Whether the space tells the items beyond each state, as a trie and sets of codes do."""
        spanned = self.spanned
        return isinstance(spanned, Trie) or isinstance(spanned.space, ListsCandidates)

    @property
    def has_features(self) -> bool:
        """Whether the space describes its states by features, as a trie and sets of codes do."""
        spanned = self.spanned
        return isinstance(spanned, Trie) or isinstance(spanned.space, HasFeatures)

    def refuse_own_space(self, what: str) -> None:
        """Raises a `ValueError` where the codes span another space than a trie.

        Args:
            what: would need the trie, for the error.
        """
        if self.space is not None:
            raise ValueError(
                f"{what} needs the trie of semantic IDs, but the codes of this catalog span the "
                f"space {self.space}; use a catalog that was tokenized with --space trie."
            )

    @property
    def item_ids(self) -> pa.LargeStringArray:
        """The user's names of the items; row i is item i everywhere."""
        return self.ids.strings

    @property
    def num_items(self) -> int:
        """Items, available or not."""
        return len(self.ids)

    @property
    def num_retired(self) -> int:
        """Items with a tombstone."""
        return 0 if self.is_retired is None else int(self.is_retired.sum())

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return self.spanned.codebook_sizes

    @property
    def num_levels(self) -> int:
        """Codes of a semantic ID."""
        return len(self.codebook_sizes)

    def to(self, device: torch.device | str) -> "Catalog":
        """A copy with its semantic IDs, and the trie or the space, on `device`."""
        codes, spanned = self.semantic_ids.to(device), self.spanned
        if isinstance(spanned, Trie):
            return replace(self, semantic_ids=codes, spanned=spanned.to(device))
        if codes.device != spanned.device:
            spanned = OwnSpace.of(spanned.path, codes, self.codebook_sizes, self.popularity)
        return replace(self, semantic_ids=codes, spanned=spanned)

    def index_of(self, item_id: str) -> int:
        """The index of an item.

        Raises:
            KeyError: the catalog has no such item.
        """
        index = self.ids.index_of(item_id)
        if index == NO_ITEM:
            raise KeyError(
                f"no item {item_id!r} among the {self.num_items} items of the catalog (version "
                f"{self.version[:12]}); ids are strings such as {self.item_ids[0].as_py()!r}."
            )
        return index

    def indices_of(self, item_ids: Sequence[str]) -> Int[np.ndarray, " ids"]:
        """The index of each item; `NO_ITEM` for items that are not in the catalog."""
        return self.ids.indices_of(item_ids)

    def ids_of(self, indices: Int[np.ndarray, " n"]) -> list[str]:
        """The ids of items by index."""
        return self.ids.of(indices)

    def texts_of(self, indices: Int[np.ndarray, " n"]) -> pl.DataFrame:
        """The texts of items by index, in that order.

        Raises:
            ValueError: the catalog was built without texts.
        """
        if self.texts is None:
            raise ValueError(_NO_TEXTS)
        rows = pl.LazyFrame({"_row": indices}, schema={"_row": pl.UInt32})
        indexed = self.texts.with_row_index("_row")
        return (
            rows.join(indexed, on="_row", how="left", maintain_order="left").drop("_row").collect()
        )

    def titles_of(self, indices: Int[np.ndarray, " n"]) -> list[str]:
        """Titles of items: their title, name or terms, else their first text.

        The ID stands in where an item has no such text.

        Raises:
            ValueError: the catalog was built without texts.
        """
        found = self.titles.gather(indices)
        return [text or item for text, item in zip(found, self.ids_of(indices), strict=True)]

    @property
    def titles(self) -> pl.Series:
        """The column of titles, see `titles_of`; null where an item has none.

        It is read once: lists need titles at every request.

        Raises:
            ValueError: the catalog was built without texts.
        """
        texts = self.texts
        if texts is None:
            raise ValueError(_NO_TEXTS)
        return self._titles.get("titles", lambda: _title_column(texts))

    @staticmethod
    def check_place(path: Path) -> None:
        """Raises a `ValueError` where `save` would not write: something else stands there."""
        check_replaceable(path, "a catalog", is_catalog, _CONTENTS)

    def save(self, path: Path, *, write_companions: Callable[[Path], None] | None = None) -> None:
        """Writes the catalog as a folder, whole or not at all; replaces an older catalog there.

        Args:
            path: of the folder.
            write_companions: writes files of `COMPANIONS` into the folder that it is given, where
                they are not on disk yet.

        Raises:
            ValueError: `path` holds something else than a catalog.
        """
        self.check_place(path)
        with whole_folder(path) as folder:
            table = pa.table({"item_id": self.item_ids})
            with pa.ipc.new_file(str(folder / ITEM_IDS), table.schema) as writer:
                writer.write_table(table)
            for name, array in self._arrays().items():
                np.save(folder / f"{name}.npy", array, allow_pickle=False)
            if self.texts is not None:
                self.texts.collect().write_parquet(folder / TEXTS)
            files = described_files(folder)
            for companion in self.companions:
                shutil.copyfile(companion, folder / companion.name)
            if write_companions is not None:
                write_companions(folder)
            companions = {
                name: file for name, file in described_files(folder).items() if name not in files
            }
            manifest = CatalogManifest(
                version=self.version,
                parent_version=self.parent_version,
                num_items=self.num_items,
                codebook_sizes=self.codebook_sizes,
                space=self.space,
                files=files,
                companions=companions,
            )
            write_json(folder / MANIFEST, manifest.model_dump(mode="json"))

    @staticmethod
    def load(path: Path, *, verify: bool = False) -> "Catalog":
        """Maps a saved catalog into memory; pages are read when they are touched.

        Args:
            path: the folder.
            verify: also reads every file and compares its hash, the version, and the trie with the
                semantic IDs.

        Raises:
            FileNotFoundError: there is no catalog at `path`, or one of its files is gone.
            ValueError: the catalog has another schema version, is damaged, or names a space that
                cannot be imported.
        """
        manifest = read_manifest(path)
        stored = read_stored(path, manifest, verify=verify)
        arrays = stored.arrays
        codes, sizes = torch.from_numpy(arrays["semantic_ids"]), manifest.codebook_sizes
        popularity = arrays.get("popularity")
        spanned: Trie | OwnSpace
        if stored.flat is not None:
            spanned = Trie.from_flat(stored.flat, sizes)
        else:
            try:
                spanned = _spanned(manifest.space, codes, sizes, popularity)
            except ValueError as error:
                raise ValueError(f"{path / MANIFEST}: the code space: {error}") from error
        catalog = Catalog(
            ids=ItemIds(strings=stored.item_ids, order=arrays["id_order"]),
            semantic_ids=codes,
            spanned=spanned,
            popularity=popularity,
            texts=pl.scan_parquet(path / TEXTS) if TEXTS in manifest.files else None,
            version=manifest.version,
            parent_version=manifest.parent_version,
            is_retired=arrays.get("is_retired"),
            companions=tuple(path / name for name in COMPANIONS if (path / name).is_file()),
        )
        if verify:
            catalog.refuse_damage(path)
        return catalog

    def refuse_damage(self, path: Path) -> None:
        """Reads everything but the texts, and raises a `ValueError` where it does not fit.

        Args:
            path: of the folder, for the error.
        """
        codes = self.semantic_ids.numpy()
        if _version(self.ids, codes, self.codebook_sizes, self.space) != self.version:
            raise ValueError(f"{path / MANIFEST}: does not describe its files; tokenize again.")
        with told_damage(path):
            if isinstance(self.spanned, Trie):
                check_content(self.spanned.flat(), self.codebook_sizes, codes)
            order = self.ids.order
            if not is_permutation(order):
                raise ValueError("id_order does not hold every item once")
            ordered = pl.Series(self.item_ids).gather(order)
            if not (ordered[1:] > ordered[:-1]).all():
                raise ValueError("id_order is not the order of the item IDs")

    def _tombstones(self) -> Bool[np.ndarray, " items"]:
        """A copy of the tombstones, to be changed."""
        if self.is_retired is None:
            return np.zeros(self.num_items, dtype=bool)
        return np.array(self.is_retired)

    def _with_tombstones(self, is_retired: Bool[np.ndarray, " items"]) -> "Catalog":
        """A copy with other tombstones, which shares the titles that were read."""
        made = replace(self, is_retired=is_retired if is_retired.any() else None)
        object.__setattr__(made, "_titles", self._titles)
        return made

    def _indices_of_known(self, item_ids: Sequence[str]) -> Int[np.ndarray, " ids"]:
        """The index of each item; a `KeyError` names the first that the catalog lacks."""
        if isinstance(item_ids, str):
            raise TypeError(f"item_ids is a list of item IDs, got a text; pass [{item_ids!r:.60}].")
        indices = self.indices_of(item_ids)
        if (indices == NO_ITEM).any():
            self.index_of(item_ids[int((indices == NO_ITEM).argmax())])  # raises
        return indices

    def _arrays(self) -> dict[str, np.ndarray]:
        """Every array that is stored as `.npy`, by the name of its file."""
        arrays = {"semantic_ids": self.semantic_ids.cpu().numpy(), "id_order": self.ids.order}
        if isinstance(self.spanned, Trie):
            flat = self.spanned.flat()
            arrays |= {name: getattr(flat, name) for name in TRIE_ARRAYS}
            arrays["depth_starts"] = np.array(flat.depth_starts, dtype=np.int64)
        if self.popularity is not None:
            arrays["popularity"] = self.popularity
        if self.is_retired is not None:
            arrays["is_retired"] = self.is_retired
        return arrays


def _title_column(texts: pl.LazyFrame) -> pl.Series:
    """The column by which items are called: the first one of `TITLE_COLUMNS`, else the first."""
    names = texts.collect_schema().names()
    named = [name for name in TITLE_COLUMNS if name in names]
    return texts.select((named or names)[0]).collect().to_series()


def _extended(values: np.ndarray | None, num_new: int) -> np.ndarray | None:
    """The values with zeros behind them."""
    return None if values is None else np.concatenate([values, np.zeros(num_new, values.dtype)])


def _more_texts(old: pl.DataFrame, new: pl.DataFrame | None, num_new: int) -> pl.DataFrame:
    """The columns of `old`, with rows for new items."""
    given = {} if new is None else new.to_dict()
    rows = {
        name: given.get(name, pl.Series([None] * num_new)).cast(dtype)
        for name, dtype in old.schema.items()
    }
    return pl.concat([old, pl.DataFrame(rows)])


def _check_lengths(
    num_items: int,
    semantic_ids: Int[np.ndarray, "rows levels"],
    popularity: Int[np.ndarray, " entries"] | None,
    texts: pl.DataFrame | None,
) -> None:
    for name, part in (
        ("semantic_ids", semantic_ids),
        ("popularity", popularity),
        ("texts", texts),
    ):
        if part is not None and len(part) != num_items:
            raise ValueError(
                f"{name} has {len(part)} rows for {num_items} items; give one row per item, in the "
                "order of item_ids."
            )


def _check_codes(
    ids: pa.LargeStringArray,
    semantic_ids: Int[np.ndarray, "items levels"],
    codebook_sizes: tuple[int, ...],
) -> None:
    bad = first_out_of_range(semantic_ids, codebook_sizes)
    if bad is not None:
        item, level = bad
        raise ValueError(
            f"item {ids[item].as_py()!r} (row {item}) has code {int(semantic_ids[item, level])} at "
            f"level {level + 1}, outside 0..{codebook_sizes[level] - 1}; mend the codes or the "
            "codebook size."
        )


def _spanned(
    space: str | None,
    semantic_ids: Int[Tensor, "items levels"],
    codebook_sizes: tuple[int, ...],
    popularity: Int[np.ndarray, " items"] | None,
) -> Trie | OwnSpace:
    """The trie of the codes, or the space of a name."""
    if space is None:
        return Trie.build(semantic_ids, codebook_sizes, popularity=popularity)
    return OwnSpace.of(space, semantic_ids, codebook_sizes, popularity)


def _version(
    ids: ItemIds,
    semantic_ids: Int[np.ndarray, "items levels"],
    codebook_sizes: tuple[int, ...],
    space: str | None,
) -> str:
    """A hash of what the catalog means, not of how Arrow or numpy lay it out."""
    spanned = "" if space is None else f" {space}"
    digest = hashlib.sha256(f"{FORMAT} {codebook_sizes} {len(ids)}{spanned}\n".encode())
    for part in ids.content():
        digest.update(part)
    digest.update(np.ascontiguousarray(semantic_ids, dtype="<i4").data)
    return digest.hexdigest()
