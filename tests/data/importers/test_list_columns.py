from pathlib import Path

import polars as pl
import pytest

from sidestep.data.importers.columns import Table
from sidestep.data.importers.list_columns import looks_like_lists, read_lists


def read(cells):
    frame = pl.DataFrame({"ids": cells})
    table = Table(path=Path("t.csv"), frame=frame, place_of=lambda row: f"line {row + 2}")
    return read_lists(table, "ids")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["nan", "None", "{}", "", None, "a,b"], [[], [], [], [], [], ["a", "b"]]),
        (["a, b", "c d"], [["a", "b"], ["c d"]]),
        (["a|1,b|2", "c|3"], [["a|1", "b|2"], ["c|3"]]),
        (["[a, b]", "[New York]"], [["a", "b"], ["New York"]]),
        (["c(1, 5)", "1:3", "7L", "integer(0)"], [["1", "5"], ["1", "2", "3"], ["7"], []]),
        (["[1, B2]", "[7, 8]"], [["1", "B2"], ["7", "8"]]),
        (['{7,"a b"}', "{8}"], [["7", "a b"], ["8"]]),
        (["a，b", "c"], [["a", "b"], ["c"]]),
        ([["a", "b"], []], [["a", "b"], []]),
    ],
)
def test_the_cells_of_a_column_are_read_alike(cells, expected):
    assert read(cells).cells == expected


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["B01, B02", "B02;B03"], "line 3: ids holds 'B02;B03' with ';'"),
        (["B01|B02;B03", "B04;B05"], "line 2: ids holds .*'|'"),
        (["B01, B02, B03", "B02 B03"], "line 3: ids holds 'B02 B03', whose parts are elements"),
        (["[1, 2]", "[3 4]"], "line 3: ids has blanks between its elements"),
        (["['a']", "[1]"], "line 3: ids holds whole numbers such as '1' beside texts"),
        (["{'a', 1}"], "line 2: ids holds whole numbers such as '1' beside texts"),
        (["[1.0, 2]"], "line 2: ids holds 1.0, which is neither"),
        (["a", '["\\ud800"]'], "line 3: ids holds half of a character"),
        (["c(1)", "1:9999999"], "line 3: ids '1:9999999' is no list .* range of R"),
    ],
)
def test_cells_that_do_not_fit_the_others_are_refused_with_their_line(cells, why):
    with pytest.raises(ValueError, match=why):
        read(cells)


def test_what_may_not_be_meant_is_said():
    assert read(["nan", "nan", "a,b"]).remarks == [
        "The column 'ids' says 'nan' in 2 rows, which was read as an empty list."
    ]
    assert "has a set in 1 rows" in read(["{'a', 'b'}", "{'a'}"]).remarks[0]
    assert "no list of more than one element" in read(["a>b", "c>d"]).remarks[0]
    assert read(["['a']", "['b']"]).remarks == []


@pytest.mark.parametrize(
    "cells",
    [
        ["['a', 'b']", "['c']"],
        ["{B01,B02}", "{}", "nan"],
        ["B01,B02", "B03", "B04,B05,B06"],
        ["1 2 3", "4 5"],
        ["['a']", "['b']"],
        [["a"], ["b"]],
    ],
)
def test_lists_are_known(cells):
    assert looks_like_lists(pl.Series(cells))


@pytest.mark.parametrize(
    "cells",
    [
        ["B01", "B02", "B03"],
        ["B,1", "C3", "D4", "E5"],
        ["red,1", "red,2", "blue,3"],
        ["Tape, 1.88 x 35", "Glue", "Saw, big, red"],
        ["Ann Smith", "Bob", "Mary Ann Lee"],
        ["", None],
        [1, 2],
        ["(500) Days", "[REC]", "{x"],
        ["{550e8400-e29b-11d4}", "{550e8400-e29b-11d5}"],
    ],
)
def test_single_ids_and_titles_are_no_lists(cells):
    assert not looks_like_lists(pl.Series(cells))
