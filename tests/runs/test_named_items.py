"""Items that somebody names: in a file, in an option, and those that a list could hold."""

import numpy as np
import pytest

from sidestep.catalog.catalog import Catalog
from sidestep.runs.named_items import (
    known_user,
    named_items,
    num_candidates,
    read_ids,
    wanted_values,
)


@pytest.fixture
def catalog():
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int32)
    return Catalog.build(["B,1", " B 2 ", "C3", "D4"], codes, (2, 2))


def test_an_id_with_a_comma_is_one_name_where_the_catalog_has_it(catalog):
    assert named_items(["B,1", "C3,D4"], catalog) == ["B,1", "C3", "D4"]


def test_a_file_holds_an_id_per_line_as_it_stands_or_in_quotes(catalog, tmp_path):
    file = tmp_path / "ids.txt"
    file.write_text(' B 2 \n\n" B 2 "\n C3\nnone\n')
    assert read_ids(file, catalog) == [" B 2 ", " B 2 ", "C3", "none"]
    file.write_text("\n")
    with pytest.raises(ValueError, match="there is no item ID in it"):
        read_ids(file, catalog)


def test_candidates_are_eligible_and_not_left_out(catalog):
    assert num_candidates(catalog, None, []) == 4
    assert num_candidates(catalog, None, ["C3", "none"]) == 3
    is_eligible = np.array([False, False, True, True])
    assert num_candidates(catalog, is_eligible, ["C3", "B,1"]) == 1
    assert is_eligible.tolist() == [False, False, True, True]


def test_filters_name_columns_and_values_as_names_are_given():
    assert wanted_values([]) == {}
    asked = ["genre=Drama, War", "year=1999", 'genre="Sci-Fi, Fantasy"', "sum = a=b"]
    assert wanted_values(asked) == {
        "genre": ["Drama", "War", "Sci-Fi, Fantasy"],
        "year": ["1999"],
        "sum": ["a=b"],
    }


@pytest.mark.parametrize("text", ["genre", "genre=", "=Drama", "genre= ,"])
def test_a_filter_without_a_column_or_a_value_is_refused(text):
    with pytest.raises(ValueError, match="write column=value, such as genre=Drama"):
        wanted_values([text])


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder; name a run or a bundle"):
        known_user(tmp_path / "nosuch", "u0", None)
    (tmp_path / "bundle").mkdir()
    with pytest.raises(ValueError, match="needs --dataset"):
        known_user(tmp_path / "bundle", "u0", None)
