"""The users' names of items, and the way from a name to the item's index and back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from sidestep.padding import NO_ITEM

_SMALL, _HASHED_PER_ID = 6_000, 8
"""A hash table over all ids pays off up to so many ids, and so many more per id that is looked up:
measured with 4,000 to 1,000,000 ids."""

_MANY = 40
"""From so many ids on, one binary search for all of them is faster than one search for each."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItemIds:
    """The ids of all items, each once; make it with `build`, or of what was saved.

    strings: an Arrow array, possibly mapped from a file; row i is item i everywhere.
    order: item indices in the order of their ids, to look ids up without a table of them.
    """

    strings: pa.LargeStringArray
    order: Int[np.ndarray, " items"]

    @staticmethod
    def build(strings: pa.LargeStringArray) -> "ItemIds":
        """Sorts the ids.

        Raises:
            ValueError: ids that repeat.
        """
        return ItemIds(strings=strings, order=_distinct_order(strings))

    def __len__(self) -> int:
        return len(self.strings)

    def index_of(self, item_id: str) -> int:
        """The index of an item, by binary search; `NO_ITEM` when there is none."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            # Python orders strings by code point, which is the byte order of UTF-8.
            if self._id_at(int(self.order[middle])) < item_id:
                low = middle + 1
            else:
                high = middle
        if low == len(self):
            return NO_ITEM
        index = int(self.order[low])
        return index if self._id_at(index) == item_id else NO_ITEM

    def indices_of(self, item_ids: Sequence[str]) -> Int[np.ndarray, " ids"]:
        """The index of each item; `NO_ITEM` for ids that are none of these."""
        if len(self) < _SMALL + _HASHED_PER_ID * len(item_ids):
            found = pc.index_in(as_strings(item_ids), value_set=self.strings).fill_null(NO_ITEM)
            return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
        if len(item_ids) < _MANY:
            return np.array([self.index_of(item_id) for item_id in item_ids], dtype=np.int64)
        return self._searched(as_strings(item_ids))

    def of(self, indices: Int[np.ndarray, " n"]) -> list[str]:
        """The ids of items by index."""
        found: list[str] = self.strings.take(pa.array(indices)).to_pylist()
        return found

    def content(self) -> Iterator[memoryview]:
        """Lengths and characters, to be hashed: not how Arrow lays them out."""
        _, offsets_buffer, data = self.strings.buffers()
        first = self.strings.offset
        offsets = np.frombuffer(offsets_buffer, dtype="<i8")[first : first + len(self) + 1]
        yield np.ascontiguousarray(np.diff(offsets)).data
        if data is not None:
            yield memoryview(data)[int(offsets[0]) : int(offsets[-1])]

    def _searched(self, wanted: pa.LargeStringArray) -> Int[np.ndarray, " ids"]:
        """The index of each item, by a binary search for all of them at once."""
        low = np.zeros(len(wanted), dtype=np.int64)
        high = np.full(len(wanted), len(self))
        while (is_open := low < high).any():
            middle = (low + high) // 2
            is_above = is_open & (pc.less(self._in_order(middle), wanted).to_numpy(False))
            low = np.where(is_above, middle + 1, low)
            high = np.where(is_open & ~is_above, middle, high)
        is_found = pc.equal(self._in_order(low), wanted).to_numpy(False) & (low < len(self))
        return np.where(is_found, self.order[np.minimum(low, len(self) - 1)], NO_ITEM)

    def _in_order(self, places: Int[np.ndarray, " n"]) -> pa.LargeStringArray:
        """The ids at places of the order of ids; the last id for places behind it."""
        return self.strings.take(pa.array(self.order[np.minimum(places, len(self) - 1)]))

    def _id_at(self, index: int) -> str:
        item_id: str = self.strings[index].as_py()
        return item_id


def as_strings(item_ids: Sequence[str] | pa.Array) -> pa.LargeStringArray:
    """The ids as Arrow strings.

    Raises:
        TypeError: one of them is not a string.
    """
    try:
        array = pa.array(item_ids) if not isinstance(item_ids, pa.Array) else item_ids
        is_text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
        if not (is_text or len(array) == 0) or array.null_count:
            raise pa.ArrowTypeError(f"got {'nulls' if is_text else array.type}")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise TypeError(
            f"item ids must be strings without exception ({error}); convert them with str()."
        ) from error
    return array.cast(pa.large_string())


def _distinct_order(ids: pa.LargeStringArray) -> Int[np.ndarray, " items"]:
    """Item indices in the order of their ids, which must all differ."""
    series = pl.Series(ids)
    order = series.arg_sort()
    ordered = series.gather(order)
    is_repeat = (ordered == ordered.shift(1)).fill_null(value=False)
    if is_repeat.any():
        first = int(is_repeat.arg_true()[0])
        rows = sorted((int(order[first - 1]), int(order[first])))
        raise ValueError(
            f"item id {ordered[first]!r} stands in rows {rows[0]} and {rows[1]}, "
            f"{int(is_repeat.sum())} ids too many in all; an item may be in a catalog once."
        )
    return order.to_numpy().astype(np.int64 if len(ids) >= 2**31 else np.int32)
