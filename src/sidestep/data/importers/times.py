"""Times: the moments in a column as whole numbers, fine enough to keep the order of events.

A source writes whole numbers of any unit, numbers with decimals, or dates. Whole numbers do not
change. Numbers with decimals become thousandths of their unit, and dates become milliseconds since
1970. If a moment would lose a digit, the unit becomes finer by another factor of a thousand. So
seconds with two decimals become milliseconds, and dates with microseconds become microseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

import polars as pl

from sidestep.data.clock import DateOrder, Unit, date_order, moments_of, span_of

Kind = Literal["numbers", "dates"]

_LARGEST = 2**63 - 1
_MOST_DECIMALS = 18
_OF_DATES = 3
"""Least number of decimals of a second that dates keep."""
_UNITS: tuple[Unit, ...] = ("s", "ms", "us", "ns")
_IN_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_MOST = 0.99
"""Units are judged only if at least this share of the times lies between 1990 and 2100."""


@dataclass(frozen=True, slots=True)
class Times:
    """Moments in the order of their rows.

    counts: Int64, null if the time is missing.
    decimals: number of decimals of the source's unit that a count keeps: 0, 3, 6 and so on. The
        unit of dates is the second.
    kind: whether the source writes numbers or dates.
    """

    counts: pl.Series
    decimals: int
    kind: Kind


class UnreadableTimesError(Exception):
    """Error for values of a column that are no times. A caller that knows their places adds these.

    is_wrong: mask of the rows whose values are no times.
    why: end of the sentence that begins with the column and the value.
    """

    def __init__(self, is_wrong: pl.Series, why: str) -> None:
        super().__init__(why)
        self.is_wrong = is_wrong
        self.why = why


def times_from_texts(texts: pl.Series) -> Times:
    """Reads texts that are all numbers, or all dates. The first text tells which.

    Args:
        texts: texts without blanks around them, null if missing.

    Raises:
        UnreadableTimesError: some texts are neither, or would lose digits that decide the order.
    """
    whole = texts.cast(pl.Int64, strict=False)
    if whole.null_count() == texts.null_count():
        return Times(whole, 0, "numbers")
    first = texts.drop_nulls()[0]
    if _decimal(first) is not None:
        return _from_numbers(texts, f"is not a number, while the first one, {first!r:.60}, is")
    order = date_order(texts)
    if order is None:
        raise UnreadableTimesError(
            texts.is_not_null(),
            "may be read as day and month or as month and day; write dates as in 2024-02-29",
        )
    return _from_dates(texts, order)


def times_from_floats(numbers: pl.Series) -> Times:
    """Reads floating-point numbers by the shortest decimals that name them; null if missing.

    Raises:
        UnreadableTimesError: some numbers are infinite, or would lose digits that decide the order.
    """
    whole = numbers.cast(pl.Int64, strict=False)
    if (whole.cast(numbers.dtype) == numbers).fill_null(False).sum() == numbers.count():
        return Times(whole, 0, "numbers")
    texts = [None if number is None else repr(number) for number in numbers.to_list()]
    return _from_numbers(pl.Series(texts, dtype=pl.String), "is not a finite number")


def times_from_dates(dates: pl.Series) -> Times:
    """Reads a column of dates, or of dates with times of day, of any precision."""
    if dates.dtype == pl.Date:
        return Times(dates.cast(pl.Int64) * 86_400_000, 3, "dates")
    assert isinstance(dates.dtype, pl.Datetime)
    unit = dates.dtype.time_unit
    counts, decimals = dates.dt.epoch(unit).cast(pl.Int64), {"ms": 3, "us": 6, "ns": 9}[unit]
    while decimals > _OF_DATES and not (counts % 1000 != 0).any():
        counts, decimals = counts // 1000, decimals - 3
    return Times(counts, decimals, "dates")


def joined_times(parts: Sequence[Times]) -> Times:
    """Joins the parts of one column in order, in the finest unit that any part needs.

    Raises:
        ValueError: some parts hold numbers and some dates, or the unit is too fine for 64 bits.
    """
    if len({part.kind for part in parts}) > 1:
        raise ValueError("some times are numbers and some are dates; write all of them alike")
    decimals = max(part.decimals for part in parts)
    columns = []
    for part in parts:
        factor = 10 ** (decimals - part.decimals)
        if factor > 1:
            largest = _largest(part.counts)
            if largest * factor > _LARGEST:
                raise ValueError(
                    f"the time {largest} does not fit into 64 bits beside others that have "
                    f"{decimals} decimals more; write all of them in one unit"
                )
        columns.append(part.counts * factor)
    return Times(pl.concat(columns), decimals, parts[0].kind)


def two_units(times: Times) -> tuple[pl.Series, str] | None:
    """Finds times of different units, for example seconds since 1970 and milliseconds.

    Numbers are judged if nearly all of them name a moment between 1990 and 2100 in one of the units
    s, ms, us and ns. No number names such a moment in two of the units.

    Returns:
        Mask of the times in the unit of fewer rows, and the problem, as in
        `UnreadableTimesError.why`; None if all times have one unit, or if units cannot be told.
    """
    if times.kind == "dates":
        return None
    counts = times.counts
    by_unit = {}
    for unit in _UNITS:
        earliest, latest = span_of(unit)
        by_unit[unit] = counts.is_between(earliest, latest, closed="left").fill_null(False)
    numbers = {unit: int(is_in.sum()) for unit, is_in in by_unit.items() if is_in.any()}
    num_known = counts.count()
    if len(numbers) < 2 or sum(numbers.values()) < _MOST * num_known:
        return None
    rare = min(numbers, key=lambda unit: numbers[unit])
    said = " and ".join(
        f"{number:,} in {_named(unit, times.decimals)}" for unit, number in numbers.items()
    )
    return by_unit[rare], (
        f"is in {_named(rare, times.decimals)}, but the column has times of several units, {said}; "
        "write all of them in one unit"
    )


def _named(unit: Unit, decimals: int) -> str:
    """Unit of the source: the unit of the counts without the decimals that were added."""
    return _IN_WORDS[_UNITS[max(0, _UNITS.index(unit) - decimals // 3)]]


def _largest(counts: pl.Series) -> int:
    largest = counts.cast(pl.Int128).abs().max()  # the smallest Int64 has no absolute value
    return largest if isinstance(largest, int) else 0


def _from_dates(texts: pl.Series, order: DateOrder) -> Times:
    seconds, nanoseconds = moments_of(texts, order)
    is_wrong = texts.is_not_null() & seconds.is_null()
    if is_wrong.any():
        raise UnreadableTimesError(
            is_wrong,
            "is neither a number nor a date as in 2024-02-29 or 2024-02-29T12:00:00.5+02:00",
        )
    decimals = 9
    while decimals > _OF_DATES and not (nanoseconds % 10 ** (9 - decimals + 3) != 0).any():
        decimals -= 3
    factor = 10**decimals
    is_wrong = (seconds.abs() > _LARGEST // factor - 1).fill_null(False)
    if is_wrong.any():
        raise UnreadableTimesError(
            is_wrong,
            f"is too far from 1970 for 64 bits where other times have {decimals} decimals of a "
            "second; correct it",
        )
    return Times(seconds * factor + nanoseconds // 10 ** (9 - decimals), decimals, "dates")


def _from_numbers(texts: pl.Series, remedy: str) -> Times:
    """Reads numbers with decimals exactly: floating point would change the last digits."""
    plain = _without_exponents(texts, remedy)
    parts = plain.str.extract_groups(_PLAIN).struct.unnest()
    whole = parts["whole"].cast(pl.Int64, strict=False)
    is_wrong = whole.is_null() & texts.is_not_null()
    if is_wrong.any():
        raise UnreadableTimesError(is_wrong, "does not fit into 64 bits; correct it")
    digits = parts["fraction"].fill_null("").str.strip_chars_end("0")
    needed = _largest(digits.str.len_bytes().cast(pl.Int64))
    decimals = min(_MOST_DECIMALS, -(-needed // 3) * 3)
    largest = _largest(whole)
    while decimals and (largest + 1) * 10**decimals > _LARGEST:
        decimals -= 3
    # Cutting off digits never reverses the order of two numbers, but may make them equal.
    kept = digits.str.slice(0, decimals).str.pad_end(decimals, "0")
    fractions = kept.cast(pl.Int64) if decimals else pl.zeros(len(kept), pl.Int64, eager=True)
    is_negative = parts["sign"] == "-"
    counts = whole * 10**decimals + fractions
    counts = counts.zip_with(~is_negative.fill_null(False), -counts)
    if needed > decimals:
        exact = pl.DataFrame([is_negative.alias("sign"), whole, digits])
        if counts.n_unique() < exact.n_unique():
            raise UnreadableTimesError(
                texts.is_not_null(), "and others differ by less than 64 bits can tell; round them"
            )
    return Times(counts, decimals, "numbers")


_PLAIN = r"^(?P<sign>[+-]?)(?P<whole>[0-9]+)(?:\.(?P<fraction>[0-9]*))?$"


def _without_exponents(texts: pl.Series, remedy: str) -> pl.Series:
    """Writes numbers as digits with a point: 1e3 becomes 1000."""
    odd = texts.filter(~texts.str.contains(_PLAIN)).unique()
    numbers = {text: _decimal(text) for text in odd if text is not None}
    for wrong, why in (
        ({text for text, number in numbers.items() if number is None}, remedy),
        (
            {text for text, number in numbers.items() if number and _is_rounded(text, number)},
            "is rounded, so that it cannot order events; write all of its digits",
        ),
    ):
        if wrong:
            raise UnreadableTimesError(texts.is_in(list(wrong)).fill_null(False), why)
    if not numbers:
        return texts
    plain = {text: f"{number:f}" for text, number in numbers.items()}
    return texts.replace(plain)


def _decimal(text: str) -> Decimal | None:
    """Reads a finite number; None for anything else."""
    if not text.isascii() or "_" in text or len(text) > 60:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    # No time is smaller or larger than this, and such numbers would have very many digits.
    return number if number.is_finite() and -400 < number.adjusted() < 400 else None


def _is_rounded(text: str, number: Decimal) -> bool:
    """Tells whether a text such as 1.5779e+09 lacks digits down to the unit: it was rounded."""
    exponent = number.as_tuple().exponent
    return "." in text and isinstance(exponent, int) and exponent > 0
