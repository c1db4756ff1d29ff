"""Doubts: sentences on odd interactions whose rows are all readable."""

import re
from collections.abc import Iterator

import polars as pl

from sidestep.data.clock import Unit, moment, span_of
from sidestep.data.interactions import Interactions
from sidestep.data.users import UserTable

_UNITS: tuple[Unit, ...] = ("s", "ms", "us", "ns")
_NOBODY = re.compile(
    r"n/?a|#n/?a|nan|nat|null|none|nil|undefined|unknown|anonymous|anonym|guest|not set"
    r"|-1|\\n|-+|\?+|0{8}-0{4}-0{4}-0{4}-0{12}"
)
"""Words that mean an unknown ID, in lower case and without brackets."""

_CROWD = 0.1
"""A user with at least this share of the interactions may stand for many people."""
_FEWEST = 20
"""A user with fewer interactions is never taken for many people."""
_MOST = 0.5
"""Other times count as odd if at least this share of the times lies between 1990 and 2100."""

_COPIED = 1 / 3
"""A log with at least this share of copied rows may have been read twice."""
_COPIES_USERS = 10_000
"""Users whose rows are searched for copies."""


def doubts_about(interactions: Interactions, users: UserTable | None = None) -> list[str]:
    """Sentences that a user should read before a model is trained on the interactions.

    Args:
        interactions: the interactions.
        users: the table that describes the users; None if there is none.
    """
    frame = interactions.frame
    if not frame.height:
        return []
    found = [*_nobodies(frame, "user"), *_nobodies(frame, "item"), *_crowd(frame["user_id"])]
    if frame["timestamp"].null_count() == 0:
        found += [*_odd_times(frame["timestamp"]), *_copies(frame)]
    if users is not None:
        found += doubts_about_users(users, interactions)
    return found


def doubts_about_users(users: UserTable, interactions: Interactions) -> list[str]:
    """A sentence if the table of users describes no user of the interactions, else none."""
    user_ids = interactions.frame["user_id"]
    if not len(user_ids) or user_ids.is_in(users.frame["user_id"].implode()).any():
        return []
    return [
        f"none of the {user_ids.n_unique():,} users of the interactions is in the table of users, "
        f"for example not {user_ids[0]!r:.60}; the IDs of users may be in another column of the "
        "table."
    ]


def is_nobody(identifier: str) -> bool:
    """Tells whether an ID reads like a word for "not known", such as NA, null or -1."""
    return _NOBODY.fullmatch(identifier.strip(" ()<>[]").lower()) is not None


def _nobodies(frame: pl.DataFrame, what: str) -> Iterator[str]:
    """Warns of IDs in several rows that are words for "not known"."""
    counts = frame[f"{what}_id"].value_counts(sort=True)
    for identifier, number in counts.filter(pl.col("count") > 1).iter_rows():
        if is_nobody(identifier):
            yield (
                f"{_of(number, frame.height)} interactions have the {what} {identifier!r:.60}, "
                f"which reads like a word for a {what} that is not known. All of them count as one "
                f"{what}. A table is imported without them by --missing-words "
                f"{identifier!r:.60} --missing-{what}s drop."
            )


def _crowd(user_ids: pl.Series) -> Iterator[str]:
    """Warns of a user with so many interactions that they may come from many people."""
    counts = user_ids.value_counts(sort=True)
    user, number = counts.row(0)
    is_large = number >= _FEWEST and number >= _CROWD * len(user_ids)
    typical = counts["count"].median()
    assert isinstance(typical, float)
    if is_large and number >= 10 * typical and not is_nobody(user):
        yield (
            f"{_of(number, len(user_ids))} interactions have the user {user!r:.60}; this may be "
            "everyone who is not known, or a test account. All of them count as one user. A table "
            f"is imported without them by --missing-words {user!r:.60} --missing-users drop."
        )


def _copies(frame: pl.DataFrame) -> Iterator[str]:
    """Warns of a log of which many rows stand in an earlier row as well, as in a log read twice."""
    users = frame["user_id"].unique(maintain_order=True).head(_COPIES_USERS)
    some = frame.filter(pl.col("user_id").is_in(users.implode()))
    number = some.height - some.n_unique()
    if number >= _FEWEST and number >= _COPIED * some.height:
        yield (
            f"{_of(number, some.height)} interactions are copies of an earlier row, with the same "
            "user, item and time. Each copy counts. The log may have been read twice; if so, give "
            "each row once."
        )


def is_missing_time(times: pl.Series) -> pl.Series:
    """Mask of the times 0 and -1, if most other times lie between 1990 and 2100."""
    is_zero = ((times == 0) | (times == -1)).fill_null(False)
    if not is_zero.any() or _unit_of_most(times.filter(~is_zero)) is None:
        return pl.repeat(False, len(times), eager=True)
    return is_zero


def _odd_times(times: pl.Series) -> Iterator[str]:
    """Warns of times that mean a missing time, and of times far from the others."""
    is_missing = is_missing_time(times)
    if is_missing.any():
        yield (
            f"{_of(int(is_missing.sum()), len(times))} interactions have the time 0 or -1, which "
            "reads like a missing one. They come first in their users' histories. A table is "
            "imported without them by --missing-times drop."
        )
    rest = times.filter(~is_missing)
    unit = _unit_of_most(rest)
    if unit is None:
        if len(rest) > 1 and rest.n_unique() == 1:
            yield "All interactions have the same time, so the order of the rows decides."
        return
    earliest, latest = span_of(unit)
    far = rest.filter((rest < earliest) | (rest >= latest))
    if len(far):
        yield (
            f"{_of(len(far), len(times))} interactions lie before 1990 or after 2100, such as "
            f"{_shown(int(far[0]), unit)}; correct these times if they are wrong."
        )


def _unit_of_most(times: pl.Series) -> Unit | None:
    """The unit in which most times lie between 1990 and 2100; None if there is none."""
    for unit in _UNITS:
        earliest, latest = span_of(unit)
        if times.is_between(earliest, latest, closed="left").sum() > _MOST * len(times):
            return unit
    return None


def _shown(time: int, unit: Unit) -> str:
    try:
        return moment(time, unit).date().isoformat()
    except (OverflowError, ValueError):
        return f"{time:,}"


def _of(number: int, total: int) -> str:
    return f"{number:,} of {total:,} ({number / total:.1%})"
