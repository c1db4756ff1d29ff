"""Collisions of parallel codes: items with equal sets of codes get different ones.

Codes in an order collide, and the last code changes (`collisions`). Codes without an order have no
last code. So an item changes one code, in the codebook in which the change costs least.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from sidestep.tokenizer.choices import FullGroupPolicy
from sidestep.tokenizer.equal_codes import groups_of
from sidestep.tokenizer.tokenizer import Report


@runtime_checkable
class ParallelCodebooks(Protocol):
    """A fitted tokenizer in which no code depends on another."""

    @property
    def levels(self) -> tuple[Float[np.ndarray, "_ _"], ...]:
        """The codewords of each codebook."""
        ...

    def quantised(self, vectors: Float[np.ndarray, "items dim"]) -> list[Float[np.ndarray, "_ _"]]:
        """The vectors of the items that each codebook quantises, in the space of its codewords."""
        ...


def reassign_one_code(
    semantic_ids: Int[np.ndarray, "items levels"],
    quantised: Sequence[Float[np.ndarray, "items _"]],
    levels: Sequence[Float[np.ndarray, "_ _"]],
    *,
    existing: Int[np.ndarray, "old levels"] | None = None,
    full_groups: FullGroupPolicy = "refuse",
    report: Report | None = None,
) -> Int[np.ndarray, "items levels"]:
    """Gives items with equal codes different codes, at the least squared distance.

    The items with equal codes are a bucket. Buckets are solved one after the other, in the order of
    their codes. Each item keeps its codes or changes one of them, so that no other item has the
    codes. The choice minimises the growth of the sum of |quantised - codeword|² (a linear
    assignment, solved exactly for each bucket).

    Args:
        semantic_ids: codes from the tokenizer, with or without collisions.
        quantised: the vectors that each codebook quantises.
        levels: the codewords of each codebook.
        existing: codes of other items, which nobody else may have; they never change.
        full_groups: policy for a bucket with more items than free sets. With `share`, the items
            without a free set stay in one bucket.
        report: called with the progress.

    Returns:
        New codes, all different unless items share. At most one code of an item is changed.

    Raises:
        ValueError: a bucket has more items than there are free sets one code away.
    """
    resolved = semantic_ids.copy()
    old = {row.tobytes() for row in _rows(existing)} if existing is not None else set()
    taken = old | {row.tobytes() for row in _rows(semantic_ids)}
    order, starts = groups_of(semantic_ids)
    ends = np.append(starts[1:], len(order))
    colliding = [
        order[start:end]
        for start, end in zip(starts, ends, strict=True)
        if end - start > 1 or _rows(semantic_ids[order[start]][None])[0].tobytes() in old
    ]
    for done, items in enumerate(colliding):
        if report is not None:
            report("sets that collide", done, len(colliding))
        codes = _rows(semantic_ids[items[:1]])[0]
        growth = np.concatenate(
            [
                _growth(part[items], codewords, code)
                for part, codewords, code in zip(quantised, levels, codes.tolist(), strict=True)
            ],
            axis=1,
        )
        choices = _Choices(codes=codes, growth=growth, sizes=[len(level) for level in levels])
        columns = choices.free(taken, keeps_own=codes.tobytes() not in old)
        if len(columns) < len(items) and full_groups == "refuse":
            raise ValueError(_full_message(codes, len(items), len(columns)))
        rows, chosen = linear_sum_assignment(growth[:, columns])
        for row, column in zip(rows, columns[chosen].tolist(), strict=True):
            changed = choices.codes_of(column)
            resolved[items[row]] = changed
            taken.add(changed.tobytes())
    return resolved


class _Choices:
    """The sets that differ from the codes of a bucket in one code: a column per code and codebook.

    Some columns change nothing, because the bucket has that code already. Such a column stands for
    the bucket's own codes.
    """

    def __init__(
        self,
        codes: Int[np.ndarray, " levels"],
        growth: Float[np.ndarray, "items columns"],
        sizes: Sequence[int],
    ) -> None:
        self.codes = codes
        self.growth = growth
        self.levels = np.repeat(np.arange(len(sizes)), sizes)
        self.code_of = np.concatenate([np.arange(size) for size in sizes])

    def codes_of(self, column: int) -> Int[np.ndarray, " levels"]:
        """The codes that a column means."""
        changed = self.codes.copy()
        changed[self.levels[column]] = self.code_of[column]
        return changed

    def free(self, taken: set[bytes], *, keeps_own: bool) -> Int[np.ndarray, " columns"]:
        """The columns that an assignment needs to look at.

        For each item these are its cheapest free columns, as many as there are items. So a column
        is left for the item, whatever the other items take.
        """
        num_items = len(self.growth)
        is_own = self.code_of == self.codes[self.levels]
        # Each codebook has one column that stands for the bucket's own codes: take the first.
        is_free = dict.fromkeys(np.flatnonzero(is_own).tolist(), False)
        is_free[int(is_own.argmax())] = keeps_own
        found: set[int] = set()
        for costs in self.growth:
            num_found = 0
            for column in costs.argsort(kind="stable").tolist():
                if num_found == num_items:
                    break
                if column not in is_free:
                    is_free[column] = self.codes_of(column).tobytes() not in taken
                if is_free[column]:
                    found.add(column)
                    num_found += 1
        return np.array(sorted(found), dtype=np.int64)


def _growth(
    quantised: Float[np.ndarray, "items width"],
    codewords: Float[np.ndarray, "codes width"],
    own: int,
) -> Float[np.ndarray, "items codes"]:
    """The growth of each item's squared distance when the item takes another code."""
    # float64: rounding errors of |v - c|² must not decide between two codes.
    vectors, centres = quantised.astype(np.float64), codewords.astype(np.float64)
    distances = np.square(centres).sum(axis=1) - 2 * vectors @ centres.T
    growth: np.ndarray = distances - distances[:, [own]]
    return growth


def _rows(codes: Int[np.ndarray, "items levels"]) -> Int[np.ndarray, "items levels"]:
    """The codes in one layout, so that equal rows are equal bytes."""
    return np.ascontiguousarray(codes, dtype=np.int32)


def _full_message(codes: Int[np.ndarray, " levels"], num_items: int, num_free: int) -> str:
    return (
        f"{num_items} items have the codes {tuple(codes.tolist())}, and only {num_free} sets one "
        "code away are free. Enlarge the codebooks, add a codebook, or let items share "
        'their codes (collisions "none" or "extra"). Items with equal vectors, such as items of '
        "which nothing is known, have equal codes."
    )
