"""Rows that a file gives: histories with their targets, joined where one follows the other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sidestep.data.histories import Histories
from sidestep.data.splits import Rows, Split, from_given_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRow:
    """After `history`, oldest first, a user took `target`; both are item indices."""

    user_id: str
    history: tuple[int, ...]
    target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Rows of one user, each of which takes up the history and the target of the one before.

    num_context: items of the first row's history; each item after them is the target of one row.
    """

    user_id: str
    items: list[int]
    num_context: int


def chains(rows: Sequence[GivenRow]) -> list[Chain]:
    """Joins rows that follow each other; a row that follows none is a chain of its own.

    A row follows another of the same user if its history is that one's with its target, or the
    most recent part of it where the longest history of all rows is as long: files cut histories.
    So the targets of all rows are the items after the chains' contexts, no more and no fewer.

    Returns:
        Chains in the order of their first rows.
    """
    longest = max((len(row.history) for row in rows), default=0)
    joined: list[Chain] = []
    waiting: dict[tuple[str, tuple[int, ...]], Chain] = {}
    first_row: dict[int, int] = {}
    # Shorter histories first, because files may be shuffled; equal ones in the file's order.
    for place in sorted(range(len(rows)), key=lambda place: len(rows[place].history)):
        row = rows[place]
        chain = waiting.pop((row.user_id, row.history), None)
        if chain is None:
            chain = Chain(
                user_id=row.user_id, items=list(row.history), num_context=len(row.history)
            )
            first_row[id(chain)] = place
            joined.append(chain)
        chain.items.append(row.target)
        expected = (*row.history, row.target)
        if len(expected) > longest:
            expected = expected[len(expected) - longest :]
        waiting[row.user_id, expected] = chain
    return sorted(joined, key=lambda chain: first_row[id(chain)])


def given_split(
    train: Sequence[GivenRow], validation: Sequence[GivenRow], test: Sequence[GivenRow]
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


def sequences_of(rows: Sequence[GivenRow]) -> dict[str, list[int]]:
    """Every user's sequence, as far as rows tell it; users in the order of their first rows.

    A user's chains are laid end to end. A chain whose context stands in what is known already adds
    its targets alone.
    """
    known: dict[str, list[int]] = {row.user_id: [] for row in rows}
    for chain in chains(rows):
        sequence = known[chain.user_id]
        context = chain.items[: chain.num_context]
        if not sequence or not _contains(sequence, context):
            sequence += context
        sequence += chain.items[chain.num_context :]
    return known


def _contains(sequence: list[int], part: list[int]) -> bool:
    size = len(part)
    return any(sequence[at : at + size] == part for at in range(len(sequence) - size + 1))


def _rows(rows: Sequence[GivenRow]) -> Rows:
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
