"""Rows from a file: histories with their targets, joined if one row follows another."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Generic, TypeVar

import numpy as np

from sidestep.data.histories import Histories
from sidestep.data.splits import Rows, Split, from_given_rows

ItemT = TypeVar("ItemT", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRow(Generic[ItemT]):
    """One row: a user took `target` after `history`, oldest first. Items are indices or IDs."""

    user_id: str
    history: tuple[ItemT, ...]
    target: ItemT


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain(Generic[ItemT]):
    """Rows of one user: the history of each is the history and the target of the row before.

    num_context: number of items of the first row's history. Each item after these is the target of
        one row.
    rows: index of each row of the chain among all given rows.
    """

    user_id: str
    items: list[ItemT]
    num_context: int
    rows: list[int] = field(default_factory=list)


def chains(rows: Sequence[GivenRow[ItemT]]) -> list[Chain[ItemT]]:
    """Joins rows that follow each other. A row that follows no other row starts its own chain.

    Row B follows row A of the same user if the history of B is the history of A with its target.
    Files cut histories. So B also follows A if the history of B is the most recent part of these
    items, and is as long as the longest history of all rows. The targets of all rows are exactly
    the items after the contexts of the chains.

    Returns:
        Chains in the order of their first rows.
    """
    longest = max((len(row.history) for row in rows), default=0)
    joined: list[Chain[ItemT]] = []
    waiting: dict[tuple[str, tuple[ItemT, ...]], Chain[ItemT]] = {}
    # Shorter histories come first, because files may be shuffled; equal ones in the file's order.
    for place in sorted(range(len(rows)), key=lambda place: len(rows[place].history)):
        row = rows[place]
        chain = waiting.pop((row.user_id, row.history), None)
        if chain is None:
            chain = Chain(
                user_id=row.user_id, items=list(row.history), num_context=len(row.history)
            )
            joined.append(chain)
        chain.items.append(row.target)
        chain.rows.append(place)
        waiting[row.user_id, _expected(row, longest)] = chain
    joined = _linked(joined, rows, waiting)
    return sorted(joined, key=lambda chain: chain.rows[0])


def _expected(row: GivenRow[ItemT], longest: int) -> tuple[ItemT, ...]:
    """The history of the row that follows this one."""
    whole = (*row.history, row.target)
    return whole[max(0, len(whole) - longest) :]


def _linked(
    joined: list[Chain[ItemT]],
    rows: Sequence[GivenRow[ItemT]],
    waiting: dict[tuple[str, tuple[ItemT, ...]], Chain[ItemT]],
) -> list[Chain[ItemT]]:
    """Joins chains that go on with another chain, whose rows a shuffled file named earlier."""
    tail_of = {id(chain): tail for tail, chain in waiting.items()}
    heads: list[Chain[ItemT]] = []
    for chain in joined:
        key = (chain.user_id, rows[chain.rows[0]].history)
        before = waiting.get(key)
        if before is None or before is chain:
            heads.append(chain)
            continue
        del waiting[key]
        before.items.extend(chain.items[chain.num_context :])
        before.rows.extend(chain.rows)
        # `chain` is now a part of `before`, so what follows `chain` from now on follows `before`.
        # A chain has no tail if another chain has the same end and is followed instead.
        tail = tail_of.pop(id(chain), None)
        if tail is not None:
            waiting[tail] = before
            tail_of[id(before)] = tail
    return heads


def given_split(
    train: Sequence[GivenRow[int]],
    validation: Sequence[GivenRow[int]],
    test: Sequence[GivenRow[int]],
) -> Split:
    """Makes the split of three files of rows.

    Training rows that follow each other become one sequence, in which only their targets are
    predicted. A history that was cut gets back the items that the rows before it name.
    """
    sequences = chains(train)
    return from_given_rows(
        training=_histories((chain.user_id, chain.items) for chain in sequences),
        first_target=np.array([chain.num_context for chain in sequences], dtype=np.int64),
        validation=_rows(validation),
        test=_rows(test),
    )


def held_out(
    rows: Sequence[GivenRow[ItemT]],
) -> tuple[list[GivenRow[ItemT]], list[GivenRow[ItemT]]]:
    """Takes rows for validation or test out of training rows: the last row of each user.

    The last row is the one with the longest history. Of several such rows, it is the one that comes
    last in its chain and in the file. A user with one row keeps it. If every user has only one row,
    every tenth row is taken, or the last row if there are fewer than ten.

    Returns:
        The rows that are left, and the rows that are taken, both in the order of the file.
    """
    ends: dict[str, int] = {}
    of_user: dict[str, int] = {}
    for chain in chains(rows):
        last = chain.rows[-1]
        of_user[chain.user_id] = of_user.get(chain.user_id, 0) + len(chain.rows)
        best = ends.setdefault(chain.user_id, last)
        ends[chain.user_id] = max(best, last, key=lambda row: (len(rows[row].history), row))
    taken = {row for user_id, row in ends.items() if of_user[user_id] > 1}
    if not taken and len(rows) > 1:
        taken = set(range(9, len(rows), 10)) or {len(rows) - 1}
    kept = [row for place, row in enumerate(rows) if place not in taken]
    return kept, [row for place, row in enumerate(rows) if place in taken]


def sequences_of(rows: Sequence[GivenRow[ItemT]]) -> dict[str, list[ItemT]]:
    """Rebuilds the sequence of every user from rows; users in the order of their first rows.

    The rows of a user are parts of one sequence, and parts of the sequence may be missing. The
    chains of a user are added one after the other. Items that the sequence already has are not
    added again: the whole chain if the sequence contains it; otherwise its context, if the sequence
    contains that; otherwise the longest start of the context with which the sequence ends. Chains
    that share nothing are laid end to end.
    """
    known: dict[str, list[ItemT]] = {row.user_id: [] for row in rows}
    for chain in chains(rows):
        sequence = known[chain.user_id]
        context = chain.items[: chain.num_context]
        if context and _contains(sequence, chain.items):
            continue
        if context and _contains(sequence, context):
            num_shared = len(context)
        else:
            num_shared = _num_shared(sequence, context)
        sequence += chain.items[num_shared:]
    return known


def num_extending(rows: Sequence[GivenRow[ItemT]]) -> int:
    """Number of rows that continue another row of their user.

    Row B continues row A if B starts with the history and the target of A. If both are as long as
    the longest row, B continues A if it has all items of A but the first, and one more at the end.
    """
    longest = max((len(row.history) for row in rows), default=0) + 1
    wholes = [(row.user_id, (*row.history, row.target)) for row in rows]
    cut = {(user, items[1:]) for user, items in wholes if len(items) == longest > 1}
    num = 0
    ordered = sorted(wholes, key=lambda whole: (whole[0], len(whole[1])))
    for _, of_user in groupby(ordered, key=lambda whole: whole[0]):
        starts: set[tuple[ItemT, ...]] = set()
        lengths: list[int] = []
        for user, items in of_user:
            shorter = (length for length in reversed(lengths) if length < len(items))
            is_longer = any(items[:length] in starts for length in shorter)
            num += is_longer or (len(items) == longest and (user, items[:-1]) in cut)
            starts.add(items)
            if not lengths or lengths[-1] < len(items):
                lengths.append(len(items))
    return num


def _num_shared(sequence: list[ItemT], context: list[ItemT]) -> int:
    """Number of items of the longest start of `context` with which `sequence` ends."""
    sizes = range(min(len(sequence), len(context)), 0, -1)
    return next((size for size in sizes if sequence[-size:] == context[:size]), 0)


def _contains(sequence: list[ItemT], part: list[ItemT]) -> bool:
    size = len(part)
    return any(sequence[at : at + size] == part for at in range(len(sequence) - size + 1))


def _rows(rows: Sequence[GivenRow[int]]) -> Rows:
    return Rows(
        histories=_histories((row.user_id, row.history) for row in rows),
        targets=np.array([row.target for row in rows], dtype=np.int64),
    )


def _histories(sequences: Iterable[tuple[str, Sequence[int]]]) -> Histories:
    users = list(sequences)
    return Histories(
        items=np.array([item for _, items in users for item in items], dtype=np.int64),
        offsets=np.cumsum([0, *(len(items) for _, items in users)]).astype(np.int64),
        user_ids=tuple(user_id for user_id, _ in users),
    )
