import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.data.categories import (
    NO_CATEGORY,
    Vocabulary,
    first_categories,
    frequent_first_values,
    recurring_columns,
)

FRAME = pl.DataFrame(
    {
        "item_id": ["a", "b", "c"],
        "genre": ["Comedy|Drama", "Drama", None],
        "brand": ["Acme", " ", "Black Diamond"],
    }
)
COLUMNS = {"genre": "|", "brand": None}


def test_worked_example():
    vocabulary = Vocabulary.of(FRAME, COLUMNS)
    assert vocabulary.values == {"genre": ("Comedy", "Drama"), "brand": ("Acme", "Black Diamond")}
    assert len(vocabulary) == 4
    found = vocabulary.read(FRAME)
    assert found.numbers.tolist() == [[0, 1, 2], [1, -1, -1], [3, -1, -1]]
    assert found.weights.tolist() == [[0.5, 0.5, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


def test_other_rows_are_read_in_the_same_numbers():
    vocabulary = Vocabulary.of(FRAME, COLUMNS)
    later = pl.DataFrame({"item_id": ["d", "e"], "genre": ["Drama | Western|Drama", "Western"]})
    found = vocabulary.read(later)
    assert found.numbers.tolist() == [[1], [NO_CATEGORY]]
    assert found.weights.tolist() == [[1.0], [0.0]]


def test_rare_values_are_left_out():
    assert Vocabulary.of(FRAME, {"genre": "|"}, min_count=2).values == {"genre": ("Drama",)}
    with pytest.raises(ValueError, match="'brand' holds no value that occurs in 2 rows"):
        Vocabulary.of(FRAME, COLUMNS, min_count=2)


def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(KeyError, match=r"no column 'colour'; there are item_id, genre, brand"):
        Vocabulary.of(FRAME, {"colour": None})
    with pytest.raises(ValueError, match="separator is empty"):
        Vocabulary.of(FRAME, {"genre": ""})


@given(
    st.lists(
        st.tuples(
            st.none() | st.text(alphabet="ab|, ", max_size=6), st.none() | st.text(alphabet="xy")
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_value_comes_back_and_columns_count_alike(rows):
    frame = pl.DataFrame(
        {"genre": [row[0] for row in rows], "brand": [row[1] for row in rows]},
        schema={"genre": pl.String, "brand": pl.String},
    )
    try:
        vocabulary = Vocabulary.of(frame, COLUMNS)
    except ValueError:
        return
    again = Vocabulary.from_description(vocabulary.description())
    assert again == vocabulary
    found = vocabulary.read(frame)
    names = [value for values in vocabulary.values.values() for value in values]
    num_genres = len(vocabulary.values["genre"])
    for row, (genres, brand) in enumerate(rows):
        numbers = [number for number in found.numbers[row].tolist() if number != NO_CATEGORY]
        expected = {part.strip() for part in (genres or "").split("|")} - {""}
        assert {names[number] for number in numbers if number < num_genres} == expected
        assert [names[number] for number in numbers if number >= num_genres] == (
            [brand.strip()] if (brand or "").strip() else []
        )
        num_filled = bool(expected) + bool((brand or "").strip())
        assert np.isclose(found.weights[row].sum(), num_filled)


def test_columns_whose_values_recur_are_found_with_their_separator():
    frame = pl.DataFrame(
        {
            "title": [f"The {row}th" for row in range(12)],
            "brand": ["Oak", "Elm", None, "Oak"] * 3,
            "genre": ["War|Sea", "Sea", "War", "Art|War"] * 3,
            "mostly empty": ["Oak", "Elm", *[None] * 10],
            "constant": ["same"] * 12,
            "pairs": [f"{row % 6}" for row in range(12)],
            "number": [1, 2] * 6,
        }
    )
    assert recurring_columns(frame) == {"brand": None, "genre": "|"}
    assert recurring_columns(frame.head(0)) == {}


def test_the_first_value_of_a_cell_is_the_category_of_its_row():
    terms = pl.Series("terms", ["nail color", "nail-polish nail", "nail red", None, " ", "color"])
    values = frequent_first_values(terms, " ", min_count=1)
    assert values == ("color", "nail", "nail-polish")
    assert first_categories(terms, " ", values).tolist() == [1, 2, 1, NO_CATEGORY, NO_CATEGORY, 0]
    frequent = frequent_first_values(terms, " ", min_count=2)
    assert frequent == ("nail",)
    assert first_categories(terms, " ", frequent).tolist() == [0, -1, 0, -1, -1, -1]
    assert frequent_first_values(terms, None) == (
        "color",
        "nail color",
        "nail red",
        "nail-polish nail",
    )
