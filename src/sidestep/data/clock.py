"""The clock: what whole numbers mean as moments, for people; computing needs their order alone."""

from datetime import UTC, datetime
from typing import Literal

import numpy as np
from jaxtyping import Int

Unit = Literal["s", "ms", "us", "ns"]

_PER_SECOND: dict[Unit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


def unit_of(timestamps: Int[np.ndarray, " interactions"]) -> Unit | None:
    """The unit in which all of them count from 1970 and lie between 1990 and 2100; None for none.

    At most one unit fits: the span is less than a factor of a thousand.
    """
    if not len(timestamps):
        return None
    first, last = int(timestamps.min()), int(timestamps.max())
    for unit, per_second in _PER_SECOND.items():
        if _EARLIEST * per_second <= first and last < _LATEST * per_second:
            return unit
    return None


def moment(timestamp: int, unit: Unit) -> datetime:
    """The moment of a timestamp, in UTC, to the microsecond."""
    seconds, rest = divmod(timestamp, _PER_SECOND[unit])
    microseconds = rest * 10**6 // _PER_SECOND[unit]
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


def timestamp_of(text: str, unit: Unit | None) -> int:
    """The timestamp that a whole number or a date names.

    Args:
        text: a whole number in the unit of the timestamps, or a date as in 2018-09-30 or
            2018-09-30T12:00:00, in UTC where it names no zone.
        unit: of the timestamps; None if they count something else, so that no date names one.

    Raises:
        ValueError: for anything else.
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is neither a whole number nor a date as in 2018-09-30."
        ) from error
    if unit is None:
        raise ValueError(
            f"{text!r} is a date, but the timestamps are no seconds since 1970 nor parts of them; "
            "write a whole number in their unit."
        )
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    seconds, microseconds = int(found.replace(microsecond=0).timestamp()), found.microsecond
    per_second = _PER_SECOND[unit]
    return seconds * per_second + microseconds * per_second // 10**6
