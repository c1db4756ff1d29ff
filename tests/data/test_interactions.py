import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.interactions import (
    SCHEMA,
    Interactions,
    chronological,
    deduplicated,
    k_core,
)

PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("uvwxy")), max_size=25)


def table(*rows):
    """Interactions from (user, item) or (user, item, timestamp)."""
    return Interactions.from_columns(
        user_ids=[row[0] for row in rows],
        item_ids=[row[1] for row in rows],
        timestamps=[row[2] for row in rows] if rows and len(rows[0]) > 2 else None,
    )


def pairs(interactions):
    return interactions.frame.select("user_id", "item_id").rows()


def test_absent_columns_are_filled_with_nulls():
    frame = table(("u", "i")).frame
    assert frame.schema == SCHEMA
    assert frame.row(0) == ("u", "i", None, None, None)


FAULTS = {
    "lack the columns.*event": lambda frame: frame.drop("event"),
    "in this order": lambda frame: frame.select(reversed(frame.columns)),
    "'item_id'.*must be String": lambda frame: frame.with_columns(item_id=pl.lit(1)),
    "user_id is missing in row 0": lambda f: f.with_columns(user_id=pl.lit(None, pl.String)),
    "item_id is missing in row 1": lambda f: f.with_columns(item_id=pl.Series(["i", ""])),
    "1 of 2 rows, first in row 1": lambda f: f.with_columns(timestamp=pl.Series([3, None])),
    "not a finite number in row 0": lambda f: f.with_columns(value=pl.lit(float("nan"))),
}


@pytest.mark.parametrize(("message", "change"), FAULTS.items())
def test_a_frame_against_the_schema_is_refused(message, change):
    frame = table(("u", "i"), ("u", "j")).frame
    with pytest.raises(ValueError, match=message):
        Interactions(change(frame))


@pytest.mark.parametrize("item_ids", [["i", 3], [3, "i"], [3, 4], [True, None]])
def test_other_and_mixed_types_are_refused(item_ids):
    with pytest.raises(ValueError, match="'item_id' must be all String"):
        Interactions.from_columns(user_ids=["u", "u"], item_ids=item_ids)


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        Interactions.from_columns(user_ids=["u"], item_ids=["i", "j"])


def test_order_follows_timestamps_within_users_and_first_appearance_between_them():
    rows = table(("b", "1", 9), ("a", "2", 5), ("b", "3", 4), ("a", "4", 1))
    assert pairs(chronological(rows)) == [("b", "3"), ("b", "1"), ("a", "4"), ("a", "2")]


def test_ties_keep_the_order_of_the_file_or_follow_item_ids():
    rows = table(("a", "z", 7), ("a", "y", 7), ("a", "x", 8))
    assert pairs(chronological(rows)) == [("a", "z"), ("a", "y"), ("a", "x")]
    assert pairs(chronological(rows, "item")) == [("a", "y"), ("a", "z"), ("a", "x")]


def test_without_timestamps_the_order_of_the_file_holds():
    rows = table(("b", "2"), ("a", "9"), ("b", "1"))
    assert pairs(chronological(rows, "item")) == [("b", "2"), ("b", "1"), ("a", "9")]


def test_duplicates_stay_or_leave_by_age():
    rows = table(("a", "x", 5), ("a", "y", 6), ("a", "x", 1), ("b", "x", 9))
    stamps = {
        policy: deduplicated(rows, policy).frame["timestamp"].to_list()
        for policy in ("keep", "first", "last")
    }
    assert stamps == {"keep": [5, 6, 1, 9], "first": [6, 1, 9], "last": [5, 6, 9]}


def test_among_simultaneous_duplicates_the_earlier_row_is_the_older():
    rows = Interactions.from_columns(
        user_ids=["a", "a"], item_ids=["x", "x"], timestamps=[3, 3], events=["view", "buy"]
    )
    assert deduplicated(rows, "first").frame["event"].to_list() == ["view"]
    assert deduplicated(rows, "last").frame["event"].to_list() == ["buy"]


def test_many_simultaneous_interactions_stay_in_order():
    rows = [("a", str(index), index % 2) for index in range(500)]
    expected = [(user, item) for user, item, stamp in sorted(rows, key=lambda row: row[2])]
    assert pairs(chronological(table(*rows))) == expected
    twice = Interactions.from_columns(
        user_ids=["a"] * 500,
        item_ids=[str(index % 250) for index in range(500)],
        timestamps=[index % 2 for index in range(500)],
        values=list(map(float, range(500))),
    )
    assert deduplicated(twice, "last").frame["value"].to_list() == list(range(250, 500))


def test_the_core_is_found_by_repetition():
    # Item z has one interaction. Without z, user c has fewer than two; without c, so has item y.
    rows = table(
        ("a", "x"), ("b", "x"), ("a", "w"), ("b", "w"), ("c", "y"), ("c", "z"), ("a", "y")
    )  # fmt: skip
    assert pairs(k_core(rows, 2)) == [("a", "x"), ("b", "x"), ("a", "w"), ("b", "w")]


@settings(max_examples=40)
@given(PAIRS, st.integers(1, 4))
def test_the_core_is_the_largest_part_with_enough_of_both(rows, k):
    kept = rows
    while True:  # brute force: drop rare users and items until none is left
        users = [user for user, _ in kept]
        items = [item for _, item in kept]
        smaller = [(u, i) for u, i in kept if users.count(u) >= k and items.count(i) >= k]
        if smaller == kept:
            break
        kept = smaller
    assert pairs(k_core(table(*rows), k)) == kept


def test_a_core_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        k_core(table(("u", "i")), 0)
