import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.catalog.filters import filter_key, matching

GENRES = [
    "Drama",
    "Drama|War",
    "Comedy; Drama",
    "a, War ,b",
    None,
    "drama",
    "War movies",
    "C++ (a.b)",
]
TEXTS = pl.LazyFrame(
    {"genre": GENRES, "year": ["1999", "2000", "1999", "2000", "1999", "1999", "1999", "2001"]}
)


def found(**where):
    return matching(TEXTS, filter_key(where)).nonzero()[0].tolist()


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ("Drama", [0, 1, 2]),
        ("War", [1, 3]),  # blanks around it aside; part of a word is none
        (" War ", [1, 3]),
        ("Drama|War", [1]),  # the cell itself
        ("C++ (a.b)", [7]),  # signs mean themselves
        (["drama", "War"], [1, 3, 5]),
        (("War", "gone"), [1, 3]),
    ],
)
def test_an_item_has_the_value_of_its_cell_and_those_that_the_cell_lists(value, items):
    assert found(genre=value) == items


def test_an_item_must_pass_every_column():
    assert found(genre="Drama", year="1999") == [0, 2]
    assert found(genre=["Drama", "War"], year=["2000", "2001"]) == [1, 3]
    assert found(genre="Drama", year="2001") == []


@given(
    cells=st.lists(st.none() | st.text("ab|;, ", max_size=6), min_size=1),
    values=st.lists(st.text("ab", min_size=1, max_size=2), min_size=1),
)
def test_the_values_of_a_cell_are_what_its_signs_divide(cells, values):
    def listed(cell):
        return {
            part.strip() for part in (cell or "").replace(";", ",").replace("|", ",").split(",")
        }

    expected = [not listed(cell).isdisjoint(values) for cell in cells]
    texts = pl.LazyFrame({"genre": cells}, schema={"genre": pl.String})
    if any(expected):
        assert matching(texts, filter_key({"genre": values})).tolist() == expected
    else:
        with pytest.raises(KeyError, match="no item has"):
            matching(texts, filter_key({"genre": values}))


def test_columns_that_are_no_texts_are_read_as_texts():
    texts = pl.LazyFrame({"year": [1999, 2000, None]})
    assert matching(texts, filter_key({"year": "1999"})).tolist() == [True, False, False]


def test_filters_that_say_the_same_have_one_key():
    ours = filter_key({"genre": ["War", "Drama"], "year": "1999"})
    assert ours == filter_key({"year": ("1999 ",), "genre": {"Drama", "War"}})
    assert ours != filter_key({"genre": "War", "year": "1999"})
    assert filter_key({}) == ()


@pytest.mark.parametrize(
    ("where", "error", "words"),
    [
        ({"gnre": "Drama"}, KeyError, r"no column 'gnre'; there are genre, year"),
        ({"genre": "Dramma"}, KeyError, r"no item has 'Dramma' in the column 'genre'; .*'Drama'"),
        ({"genre": ["x", "y"]}, KeyError, "no item has 'x' or 'y'"),
        ({"genre": "Drama", "year": "3000"}, KeyError, "no item has '3000' in the column 'year'"),
        ({"year": 1999}, TypeError, "got int 1999 for the column 'year'; pass '1999'"),
        ({"year": [1999]}, TypeError, "got int 1999"),
        ({"genre": " "}, ValueError, "value of the column 'genre' is empty"),
        ({"genre": []}, ValueError, "column 'genre' has no value"),
        ({1: "x"}, TypeError, "a column is named by a text, got 1"),
        ("genre=Drama", TypeError, "where names columns and values"),
    ],
)
def test_filters_that_cannot_be_meant_are_refused_with_what_there_is(where, error, words):
    with pytest.raises(error, match=words):
        matching(TEXTS, filter_key(where))


def test_items_without_texts_have_no_columns():
    with pytest.raises(KeyError, match="no column 'genre'; its items have no texts"):
        matching(None, filter_key({"genre": "Drama"}))
