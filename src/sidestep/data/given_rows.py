"""Rows that a file gives: histories with their targets, joined where one follows the other."""

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
    """After `history`, oldest first, a user took `target`; items are indices or IDs."""

    user_id: str
    history: tuple[ItemT, ...]
    target: ItemT


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain(Generic[ItemT]):
    """Rows of one user, each of which takes up the history and the target of the one before.

    num_context: items of the first row's history; each item after them is the target of one row.
    rows: the place of each of its rows among those it was made from.
    """

    user_id: str
    items: list[ItemT]
    num_context: int
    rows: list[int] = field(default_factory=list)


def chains(rows: Sequence[GivenRow[ItemT]]) -> list[Chain[ItemT]]:
    """Joins rows that follow each other; a row that follows none is a chain of its own.

    A row follows another of the same user if its history is that one's with its target, or the
    most recent part of it where the longest history of all rows is as long: files cut histories.
    So the targets of all rows are the items after the chains' contexts, no more and no fewer.

    Returns:
        Chains in the order of their first rows.
    """
    longest = max((len(row.history) for row in rows), default=0)
    joined: list[Chain[ItemT]] = []
    waiting: dict[tuple[str, tuple[ItemT, ...]], Chain[ItemT]] = {}
    # Shorter histories first, because files may be shuffled; equal ones in the file's order.
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
    """The chains, some of which go on with others that a shuffled file named before them."""
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
        # Who waits for what follows this chain is from now on the one that it is a part of. A
        # chain has no tail where another one ends alike and is followed instead.
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
    """The split that three files of rows make.

    Training rows that follow each other become one sequence, of which nothing is predicted but
    their targets; a history that was cut grows back to what the rows before it say.
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
    """Takes from training rows those to choose or to judge by: the last one of each user.

    The last row is the one with the longest history, and of several such the one that stands last
    in its chain and in the file. Users of one row keep it; where every user has but one, every
    tenth row is taken, and the last one of fewer than ten.

    Returns:
        The rows that are left, and those that are taken, both in the order of the file.
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
    """Every user's sequence, as far as rows tell it; users in the order of their first rows.

    The rows of a user are parts of one sequence, between which some may be missing. What a chain
    shares with what the chains before it tell is not added again: all of it where that is known,
    the context where that is known, and else the longest start of the context with which what is
    known ends. Chains that share nothing are laid end to end.
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
    """Rows that repeat another one of their user, history and target, and go on from there.

    The other is the start of the row or, where both are as long as the longest row, differs from
    it by its first item and the row's last.
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
    """Items of the longest start of `context` with which `sequence` ends."""
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
