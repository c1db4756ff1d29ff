"""Times: the import keeps the order of events, whatever a source writes."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sidestep.data.importers.times import (
    Times,
    UnreadableTimesError,
    joined_times,
    times_from_dates,
    times_from_floats,
    times_from_texts,
    two_units,
)


def read(texts):
    return times_from_texts(pl.Series(texts, dtype=pl.String))


def refused(texts):
    with pytest.raises(UnreadableTimesError) as error:
        read(texts)
    return error.value.is_wrong.to_list(), str(error.value)


@pytest.mark.parametrize(
    ("texts", "counts", "decimals"),
    [
        (["5", None, "-3"], [5, None, -3], 0),
        (["964982703.0", "1e3"], [964_982_703, 1000], 0),
        (["1577836800.25", "1577836801"], [1_577_836_800_250, 1_577_836_801_000], 3),
        (["1.0000005", "-.5"], [1_000_000_500, -500_000_000], 9),
        (["1588687728923002.5", "1588687728923001"], [1588687728923002500, 1588687728923001000], 3),
        (["9000000000000000002.5", "9000000000000000001"], [9 * 10**18 + 2, 9 * 10**18 + 1], 0),
        (["2024-02-29", "2024-02-29 00:00:01.5"], [1_709_164_800_000, 1_709_164_801_500], 3),
        (["1970-01-01T00:00:00.000900", "1970-01-01T00:00:00.0001"], [900, 100], 6),
        (["1970-01-01T00:00:00.000000001", "1969-12-31T23:59:59"], [1, -(10**9)], 9),
        (["1970-01-01 00:00:02 UTC", "1970-01-01 01:00:00+01:00"], [2000, 0], 3),
        (["1970-01-01T00:00:01Z", "19700101T000002Z"], [1000, 2000], 3),
        (["1970-01-01 00:00:00 -0130", "1970-01-01T01:00+01[Europe/Rome]"], [5_400_000, 0], 3),
        (["13.1.1970", "1.2.1970 1:00"], [12 * 86_400_000, 31 * 86_400_000 + 3_600_000], 3),
        (["1/2/1970 12:30 AM", "1/13/1970"], [86_400_000 + 1_800_000, 12 * 86_400_000], 3),
    ],
)  # fmt: skip
def test_worked_examples(texts, counts, decimals):
    times = read(texts)
    assert times.counts.to_list() == counts
    assert times.decimals == decimals


@pytest.mark.parametrize(
    ("texts", "is_wrong", "why"),
    [
        (["1", "soon", None], [False, True, False], "while the first one, '1', is"),
        (["2024-01-01", "01/02/2024"], [False, True], "neither a number nor a date"),
        (["2024-02-30"], [True], "neither a number nor a date"),
        (["2024-01-01 25:00"], [True], "neither a number nor a date"),
        (["2024-01-01 10:00 EST"], [True], "neither a number nor a date"),
        (["1/2/2024", "3/4/2024"], [True, True], "day and month or as month and day"),
        (["13/1/2024", "1/13/2024"], [False, True], "neither a number nor a date"),
        (["1.57e+09", "5"], [True, False], "is rounded"),
        (["5", "1e30"], [False, True], "64 bits"),
        (["5", "99999999999999999999"], [False, True], "64 bits"),
        (["٣"], [True], "neither a number nor a date"),
        (["1577836800.1000000000001", "1577836800.1000000000002"], [True] * 2, "64 bits can tell"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_by_row(texts, is_wrong, why):
    rows, said = refused(texts)
    assert rows == is_wrong
    assert why in said


moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))


@given(st.lists(st.tuples(moments, st.integers(0, 999)), min_size=1, max_size=6), st.data())
def test_dates_keep_their_order_to_the_nanosecond(drawn, data):
    exact = [
        ((at - datetime(1970, 1, 1)) // timedelta(microseconds=1)) * 1000 + nanoseconds
        for at, nanoseconds in drawn
    ]
    form = data.draw(st.sampled_from(["%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f"]))
    texts = [f"{at.strftime(form)}{nanoseconds:03}" for at, nanoseconds in drawn]
    times = read(texts)
    assert [count * 10 ** (9 - times.decimals) for count in times.counts] == exact


@given(st.lists(st.decimals(-(10**10), 10**10, places=7), min_size=1, max_size=6))
def test_decimals_keep_their_order(numbers):
    counts = read([f"{number:f}" for number in numbers]).counts.to_list()
    order = sorted(range(len(numbers)), key=lambda row: (numbers[row], row))
    assert order == sorted(range(len(numbers)), key=lambda row: (counts[row], row))
    assert len(set(counts)) == len(set(numbers))


@given(st.lists(st.floats(-(2.0**40), 2.0**40), min_size=1, max_size=6))
def test_floating_point_numbers_keep_their_order(numbers):
    try:
        counts = times_from_floats(pl.Series(numbers, dtype=pl.Float64)).counts.to_list()
    except UnreadableTimesError:
        assume(False)  # so fine a time beside one so large does not fit
    order = sorted(range(len(numbers)), key=lambda row: (numbers[row], row))
    assert order == sorted(range(len(numbers)), key=lambda row: (counts[row], row))
    assert len(set(counts)) == len(set(numbers))


def test_columns_of_dates_keep_what_they_know():
    at = datetime(1970, 1, 1, 0, 0, 1, 5)
    micro = times_from_dates(pl.Series([at, datetime(1970, 1, 1)], dtype=pl.Datetime("us")))
    assert (micro.counts.to_list(), micro.decimals) == ([1_000_005, 0], 6)
    whole = times_from_dates(pl.Series([datetime(1970, 1, 1, 1)], dtype=pl.Datetime("ns")))
    assert (whole.counts.to_list(), whole.decimals) == ([3_600_000], 3)
    nano = times_from_dates(pl.Series([7, 8]).cast(pl.Datetime("ns")))
    assert (nano.counts.to_list(), nano.decimals) == ([7, 8], 9)
    days = times_from_dates(pl.Series([date(1970, 1, 2)]))
    assert (days.counts.to_list(), days.decimals) == ([86_400_000], 3)


def test_parts_of_a_column_get_the_finest_unit_of_all():
    joined = joined_times([read(["1"]), read(["2.25"]), read(["3.0000005"])])
    assert joined.counts.to_list() == [10**9, 2_250_000_000, 3_000_000_500]
    with pytest.raises(ValueError, match="some times are numbers and some are dates"):
        joined_times([read(["1"]), read(["1970-01-01"])])
    with pytest.raises(ValueError, match="does not fit into 64 bits beside others"):
        joined_times([read(["9000000000000000000"]), read(["1.5"])])


def test_seconds_and_milliseconds_in_one_column_are_told_apart():
    times = Times(pl.Series([1_600_000_000, 1_600_000_010_000, 1_600_000_020]), 0, "numbers")
    is_rare, why = two_units(times)
    assert is_rare.to_list() == [False, True, False]
    assert "is in milliseconds" in why
    assert "2 in seconds and 1 in milliseconds" in why


@pytest.mark.parametrize(
    ("counts", "kind"),
    [
        ([1_600_000_000, 1_600_000_001], "numbers"),
        ([0, 10**6, 10**9, 10**12], "numbers"),
        ([1_600_000_000, 1_600_000_010_000], "dates"),
        ([], "numbers"),
    ],
)
def test_one_unit_or_none_that_can_be_told_is_no_mixture(counts, kind):
    assert two_units(Times(pl.Series(counts, dtype=pl.Int64), 0, kind)) is None
