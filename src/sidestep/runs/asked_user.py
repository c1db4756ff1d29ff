"""A user that a command asks for: the history, its times, the moment, and what is known beside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from sidestep.data.clock import timestamp_of, unit_of
from sidestep.data.names import split_names
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note
from sidestep.runs.named_items import KnownUser, named_items

with imported_when_used():
    from sidestep.bundle import columns as user_columns
    from sidestep.bundle import loaded as recommenders


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedUser:
    """One user, as `recommend` and `Request` take the user's values.

    item_ids: of the history, oldest first.
    times: of these items; None where the network reads none or they are unknown.
    moment: when the user is recommended to; None if unknown.
    info: values by column; None where the network reads no columns or nothing is known.
    """

    item_ids: list[str]
    times: list[int] | None
    moment: int | None
    info: Mapping[str, Any] | None

    @staticmethod
    def of_options(
        loaded: recommenders.LoadedRecommender,
        known: tuple[str, KnownUser] | None,
        *,
        history: Sequence[str] | None,
        times: Sequence[str] | None,
        moment: str | None,
        values: Sequence[str],
    ) -> AskedUser:
        """The user that options describe.

        Args:
            loaded: the bundle that is asked; it says what its network reads.
            known: the ID of a user of a dataset, and the user; None where the options give a
                history.
            history: --history, as it stands there.
            times: --times, as it stands there; one per item of the history.
            moment: --moment: a whole number in the unit of the times, or a date.
            values: --user-value, each as `column=value`; they replace those of the dataset.

        Raises:
            ValueError: an option is not written as it should be, nothing reads it, or it does not
                fit the history.
        """
        for option, given in (("--times", times), ("--moment", moment)):
            if given is not None and not loaded.reads_times:
                raise ValueError(
                    f"{option}: this {loaded.kind} reads no times; leave the option out, or train "
                    "with model.times: true."
                )
        if known is not None and times is not None:
            raise ValueError(
                "--times are those of --history, and the dataset has the times of --user; ask "
                "without --times."
            )
        if known is None:
            item_ids = named_items(history or (), loaded.catalog)
            past = None if times is None else _read_times(times, len(item_ids))
        else:
            item_ids = known[1].item_ids
            past = known[1].times if loaded.reads_times else None
        return AskedUser(
            item_ids=item_ids,
            times=past,
            moment=None if moment is None else _read_moment(moment, past, known),
            info=_info(loaded, known, _read_values(loaded, values)),
        )


def _read_times(texts: Sequence[str], num_items: int) -> list[int]:
    """The times of the items of a history."""
    times = []
    for name in split_names(texts):
        if re.fullmatch("[+-]?[0-9]{1,18}", name) is None:
            raise ValueError(
                f"--times: {name!r:.60} is no whole number of up to 18 digits; write times in the "
                "unit of the timestamps that the network was trained on."
            )
        times.append(int(name))
    if len(times) != num_items:
        raise ValueError(
            f"--times: {len(times)} times for {num_items} items of --history; write one per item."
        )
    if any(later < earlier for earlier, later in pairwise(times)):
        raise ValueError("--times must not fall: the items of --history are oldest first.")
    return times


def _read_moment(text: str, times: list[int] | None, known: tuple[str, KnownUser] | None) -> int:
    """The moment, in the unit of the times of the history."""
    if times is None:
        raise ValueError(
            f"--moment {text}: needs the times of the items of --history; give --times, too."
            if known is None
            else f"--moment {text}: the dataset has no times; leave the option out."
        )
    try:
        moment = timestamp_of(text, unit_of(np.array(times, dtype=np.int64)))
    except ValueError as error:
        raise ValueError(f"--moment: {error}") from error
    if abs(moment) >= 10**18:
        raise ValueError(
            f"--moment: {text!r:.60} has more than 18 digits, as no timestamp has; write a number "
            "in the unit of the times, or a date."
        )
    if times and moment < times[-1]:
        raise ValueError(
            f"--moment {text}: is before the last item of the history, at {times[-1]}; give a "
            "later moment."
        )
    return moment


def _read_values(loaded: recommenders.LoadedRecommender, texts: Sequence[str]) -> dict[str, str]:
    """The values of --user-value by column, as the cells of a table of users hold them."""
    columns = loaded.user_columns
    if texts and columns is None:
        raise ValueError(
            f"--user-value {texts[0]}: this {loaded.kind} reads no columns of users; leave the "
            "option out, or train with model.user_columns."
        )
    cells: dict[str, str] = {}
    for text in texts:
        assert columns is not None
        name, sign, value = (part.strip() for part in text.partition("="))
        if not (name and sign and value):
            raise ValueError(f"--user-value {text!r:.80}: write column=value, such as country=DE.")
        if name not in columns:
            raise ValueError(
                f"--user-value {text!r:.80}: the network reads no column {name!r:.60} of users, "
                f"only {', '.join(columns)}."
            )
        separator = columns[name].separator
        if name in cells and separator is None:
            raise ValueError(
                f"--user-value {text!r:.80}: the column {name} has one value per user, and "
                f"{cells[name]!r:.60} was given before; leave one out."
            )
        parts = [value] if separator is None else value.split(separator)
        for part in (part.strip() for part in parts):
            if part not in (columns[name].values or ()):
                note(
                    f"--user-value: no user of the training had the value {part!r:.60} in {name}, "
                    "so the network passes the value over."
                )
        cells[name] = value if name not in cells else f"{cells[name]}{separator}{value}"
    return cells


def _info(
    loaded: recommenders.LoadedRecommender,
    known: tuple[str, KnownUser] | None,
    given: Mapping[str, str],
) -> dict[str, Any] | None:
    """The values of a user by column: those of the dataset, replaced by those that are given."""
    columns = loaded.user_columns
    if columns is None or (known is None and not given):
        return None
    if known is None:
        return dict(given)
    user, found = known
    [row] = user_columns.described_users(found.users, columns).of([user]).drop("user_id").to_dicts()
    return {**row, **given}
