"""Items that somebody names: in a file, in an option, and those that a list could hold."""

from dataclasses import replace

import numpy as np
import pytest

from sidestep.catalog.catalog import Catalog
from sidestep.runs.named_items import named_items, num_candidates, read_ids


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


def test_candidates_are_available_not_left_out_and_not_retired(catalog):
    assert num_candidates(catalog, None, []) == 4
    assert num_candidates(catalog, None, ["C3", "none"]) == 3
    assert num_candidates(catalog, ["C3", "D4", "none"], ["C3"]) == 1
    retired = replace(catalog, is_retired=np.array([False, False, False, True]))
    assert num_candidates(retired, None, ["C3"]) == 2
    assert num_candidates(retired, ["D4"], []) == 0
