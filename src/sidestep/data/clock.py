"""The clock: the moments that texts and whole numbers name. Models use only their order."""

from datetime import UTC, datetime
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Int

Unit = Literal["s", "ms", "us", "ns"]

DateOrder = Literal["ymd", "dmy", "mdy"]
"""The order of year, month and day in a text: 2024-02-29, 29.2.2024 or 2/29/2024."""

_PER_SECOND: dict[Unit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()

_DATES: dict[DateOrder, str] = {
    "ymd": r"(?P<year>[0-9]{4})[-/.](?P<month>[0-9]{1,2})[-/.](?P<day>[0-9]{1,2})",
    "dmy": r"(?P<day>[0-9]{1,2})[-/.](?P<month>[0-9]{1,2})[-/.](?P<year>[0-9]{4})",
    "mdy": r"(?P<month>[0-9]{1,2})[-/.](?P<day>[0-9]{1,2})[-/.](?P<year>[0-9]{4})",
}
_COMPACT = r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
_TIME_OF_DAY = (
    r"(?:(?:T|,? +)(?P<hour>[0-9]{1,2}):?(?P<minute>[0-9]{2})"
    r"(?::?(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9})0*)?)?"
    r" ?(?P<half>[AaPp][Mm])?)?"
)
_ZONE = (
    r" ?(?:Z|UTC|GMT|(?P<sign>[+-])(?P<zone_hour>[0-9]{2}):?(?P<zone_minute>[0-9]{2})?(?: UTC)?)?"
    r"(?:\[[A-Za-z0-9_/+-]+\])?"
)
_DAY = 86_400
_SLICE = 100_000


def moments_of(texts: pl.Series, order: DateOrder = "ymd") -> tuple[pl.Series, pl.Series]:
    """Reads the moments that texts name as dates, with or without a time of day.

    A time of day may have up to nine decimals of a second, and a zone: an offset such as +02:00, or
    one of Z, UTC and GMT. A text without a zone is taken as UTC.

    Args:
        texts: dates such as 2024-02-29, 2024-02-29T12:00:00.000001+02:00 or 20240229T120000Z.
        order: order of year, month and day.

    Returns:
        Whole seconds since 1970 and the nanoseconds after them, as Int64. Both are null if a text
        is no such date, or names a day or an hour that does not exist.
    """
    # In slices, because the parts of a text take many times the memory of the text.
    parts = [_slice_of_moments(part, order) for part in texts.to_frame().iter_slices(_SLICE)]
    if not parts:
        return _slice_of_moments(texts.to_frame(), order)
    seconds, nanoseconds = zip(*parts, strict=True)
    return pl.concat(seconds), pl.concat(nanoseconds)


def _slice_of_moments(part: pl.DataFrame, order: DateOrder) -> tuple[pl.Series, pl.Series]:
    texts = part.to_series()
    seconds, nanoseconds = _moments(texts, _DATES[order])
    if order == "ymd" and seconds.null_count() > texts.null_count():
        is_known = seconds.is_not_null()
        more_seconds, more_nanoseconds = _moments(texts, _COMPACT)
        seconds = seconds.zip_with(is_known, more_seconds)
        nanoseconds = nanoseconds.zip_with(is_known, more_nanoseconds)
    return seconds, nanoseconds


def _moments(texts: pl.Series, date_pattern: str) -> tuple[pl.Series, pl.Series]:
    pattern = f"^{date_pattern}{_TIME_OF_DAY}{_ZONE}$"
    parts = texts.str.extract_groups(pattern).struct.unnest()
    number = {
        name: pl.col(name).cast(pl.Int64)
        for name in ("hour", "minute", "second", "zone_hour", "zone_minute")
    }
    date = pl.concat_str("year", "month", "day", separator="-").str.to_date(
        "%Y-%m-%d", strict=False
    )
    half = pl.col("half").str.to_lowercase()
    hour = (
        pl.when(half.is_null()).then(number["hour"])
        .when(~number["hour"].is_between(1, 12)).then(None)
        .otherwise(number["hour"] % 12 + 12 * (half == "pm").cast(pl.Int64))
    )  # fmt: skip
    within_day = (
        hour.fill_null(0) * 3600
        + number["minute"].fill_null(0) * 60
        + number["second"].fill_null(0)
    )
    offset = number["zone_hour"].fill_null(0) * 3600 + number["zone_minute"].fill_null(0) * 60
    offset = pl.when(pl.col("sign") == "-").then(-offset).otherwise(offset)
    is_real = pl.col("hour").is_null() | hour.is_between(0, 23) & number["minute"].is_between(
        0, 59
    ) & number["second"].fill_null(0).is_between(0, 59)
    is_real &= number["zone_hour"].fill_null(0) <= 15
    is_real &= number["zone_minute"].fill_null(0) <= 59
    seconds = date.cast(pl.Int64) * _DAY + within_day - offset
    nanoseconds = pl.col("fraction").str.pad_end(9, "0").cast(pl.Int64).fill_null(0)
    frame = parts.select(
        seconds=pl.when(is_real.fill_null(False)).then(seconds), nanoseconds=nanoseconds
    ).with_columns(nanoseconds=pl.when(pl.col("seconds").is_not_null()).then("nanoseconds"))
    return frame["seconds"].cast(pl.Int64), frame["nanoseconds"].cast(pl.Int64)


def date_order(texts: pl.Series) -> DateOrder | None:
    """The order of year, month and day in all texts; None if the texts leave it open.

    A text that begins with the year decides the order. A number above 12 at the place of a month
    decides it too. Dots between the numbers mean day, month, year.
    """
    numbers = texts.str.extract_groups(r"^([0-9]{1,2})([-/.])([0-9]{1,2})[-/.][0-9]{4}")
    first = numbers.struct.field("1").cast(pl.Int64)
    second = numbers.struct.field("3").cast(pl.Int64)
    if not first.count() or texts.str.contains("^[0-9]{4}").any():
        return "ymd"
    has_dots = bool((numbers.struct.field("2") == ".").all())
    if has_dots or (first > 12).any():
        return "dmy"
    return "mdy" if (second > 12).any() else None


def unit_of(timestamps: Int[np.ndarray, " interactions"]) -> Unit | None:
    """The unit in which all timestamps, counted from 1970, lie between 1990 and 2100.

    At most one unit fits, because the last of these years is less than a thousand times as far from
    1970 as the first. The unit is None if no unit fits.
    """
    if not len(timestamps):
        return None
    first, last = int(timestamps.min()), int(timestamps.max())
    for unit in _PER_SECOND:
        earliest, latest = span_of(unit)
        if earliest <= first and last < latest:
            return unit
    return None


def ticks_per_day(unit: Unit) -> int:
    """The number of timestamps of one unit within a day."""
    return _DAY * _PER_SECOND[unit]


def span_of(unit: Unit) -> tuple[int, int]:
    """The first timestamp of the years 1990 to 2100, and the first timestamp after these years."""
    return int(_EARLIEST) * _PER_SECOND[unit], int(_LATEST) * _PER_SECOND[unit]


def moment(timestamp: int, unit: Unit) -> datetime:
    """The moment of a timestamp, in UTC, to the microsecond."""
    seconds, rest = divmod(timestamp, _PER_SECOND[unit])
    microseconds = rest * 10**6 // _PER_SECOND[unit]
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


def timestamp_of(text: str, unit: Unit | None) -> int:
    """The timestamp that a whole number or a date names.

    Args:
        text: a whole number in the unit of the timestamps, or a date such as 2018-09-30 or
            2018-09-30T12:00:00. A date without a zone is in UTC.
        unit: unit of the timestamps; None if they count something else. Then no date is allowed.

    Raises:
        ValueError: the text is neither of these.
    """
    try:
        return int(text)
    except ValueError:
        pass
    seconds, nanoseconds = moments_of(pl.Series([text.strip()]))
    if seconds[0] is None:
        raise ValueError(f"{text!r} is neither a whole number nor a date as in 2018-09-30.")
    if unit is None:
        raise ValueError(
            f"{text!r} is a date, but the timestamps are no seconds since 1970 nor parts of them; "
            "write a whole number in their unit."
        )
    per_second = _PER_SECOND[unit]
    return int(seconds[0]) * per_second + int(nanoseconds[0]) * per_second // 10**9
