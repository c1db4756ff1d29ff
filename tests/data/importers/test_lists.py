import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.importers.lists import import_lists

from .formats import FORMATS

by_name = {source.name: source for source in FORMATS}


def written(tmp_path, cells, *, name="lists.tsv"):
    path = tmp_path / name
    lines = [f"u{row}\t{cell}" for row, cell in enumerate(cells)]
    path.write_text("\n".join(["user_id\titem_ids", *lines]) + "\n", encoding="utf-8")
    return path


def lists_of(done):
    frame = done.dataset.interactions.frame
    return frame.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].to_list()


def rows_of(done):
    return done.dataset.interactions.frame.select("user_id", "item_id", "timestamp").rows()


def test_a_time_may_be_of_the_row_and_a_user_have_several(tmp_path):
    done = import_lists(by_name["lists-csv"].write(tmp_path) / "lists.csv", time="timestamp")
    assert rows_of(done) == [
        *(("u1", "c", 1), ("u1", "a", 1), ("u1", "a", 3), ("u1", "b", 3)),
        ("u2", "b", 2),
    ]


@pytest.mark.parametrize("name", ["lists.tsv", "lists.jsonl", "lists.parquet"])
def test_a_time_may_be_of_each_item(tmp_path, name):
    path = by_name[name.replace(".", "-")].write(tmp_path) / name
    done = import_lists(path, time="timestamp")
    assert rows_of(done) == [("u1", "a", 3), ("u1", "b", 4), ("u2", "b", 2)]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a b", "c"], [["a", "b"], ["c"]]),
        (["a, b", "c d"], [["a", "b"], ["c d"]]),
        (["a|b", "c"], [["a", "b"], ["c"]]),
        (["1 2", "3"], [["1", "2"], ["3"]]),
        (["[1, 2]", "[3]"], [["1", "2"], ["3"]]),
        (["['a', 'b, c']", "[]", "['it\\'s']"], [["a", "b, c"], ["it's"]]),
        (["('a', \"b\")", "('c',)"], [["a", "b"], ["c"]]),
        (["['a' 'b c']", "['d']"], [["a", "b c"], ["d"]]),
        (["[ 1 22  3 ]"], [["1", "22", "3"]]),
        (["", "a"], [["a"]]),
    ],
)
def test_a_list_is_written_in_many_ways(tmp_path, cells, expected):
    assert lists_of(import_lists(written(tmp_path, cells))) == expected


def test_rows_with_an_empty_list_are_counted(tmp_path):
    done = import_lists(written(tmp_path, ["", "a", "[]"]))
    assert done.remarks == ("2 rows have an empty list and are passed over.",)


def test_items_may_have_texts_and_dates(tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text(
        'who,what,at\nann,"[""x"", ""y""]","[""2024-01-02"", ""2024-01-01""]"\n', encoding="utf-8"
    )
    items = tmp_path / "items.csv"
    items.write_text("sku,title\ny,Y\nx,X\nz,Z\n")
    done = import_lists(
        path, user="who", items_column="what", time="at", items_path=items, items_item="sku"
    )
    assert [item for _, item, _ in rows_of(done)] == ["y", "x"]
    assert done.dataset.items.frame.rows() == [("x", "X"), ("y", "Y")]


def test_a_date_with_a_blank_is_one_time(tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text("user_id,item_ids,t\nu,a b,1970-01-01 00:00:01\n")
    assert rows_of(import_lists(path, time="t")) == [("u", "a", 1000), ("u", "b", 1000)]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a", "['b', 'c'"], r"line 3: item_ids \"\['b', 'c'\" is no list"),
        (["a", "['b', f()]"], "line 3: item_ids .* is no list"),
        (["a", "['b' 'c', 'd']"], "line 3: item_ids .* is no list"),
        (["(1 2]"], "line 2: item_ids .* is no list"),
        (["['a' ... 'z']"], "line 2: item_ids .* is no list"),
        (["a,b", "c,,d"], "line 3: item_ids is missing"),
        (["['a']", "[1]"], "line 3: item_ids holds whole numbers such as '1' beside texts"),
        (["[1.0]"], "line 2: item_ids holds 1.0, which is neither a text nor a whole number"),
        (["[true]"], "line 2: item_ids holds true, which is neither"),
        (["[null]"], "line 2: item_ids is missing"),
        (["[[1]]"], r"line 2: item_ids .*'\[1\]' is no item: .* neither lists"),
        (["", "[]"], "every list in 'item_ids' is empty"),
        (["[" * 5000], "line 2: item_ids .* is no list"),
    ],
)  # fmt: skip
def test_bad_lists_are_refused_with_their_line(tmp_path, cells, message):
    path = written(tmp_path, cells)
    with pytest.raises(ValueError, match=message) as refusal:
        import_lists(path)
    assert str(path) in str(refusal.value)


def test_as_many_times_as_items(tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text("user_id,item_ids,t\nu,a b,1 2\nu,a b,3\n")
    with pytest.raises(ValueError, match=r"lists\.csv, line 3: 2 items but 1 times"):
        import_lists(path, time="t")


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (["view buy", "buy"], ["view", "buy", "buy"]),
        (["['view', 'buy']", "['buy']"], ["view", "buy", "buy"]),
        (["view", "buy"], ["view", "view", "buy"]),  # of the whole row
        (["add to cart", "buy"], ["add to cart", "add to cart", "buy"]),
    ],
)
def test_a_type_of_event_may_be_of_the_row_or_of_each_item(tmp_path, types, expected):
    path = tmp_path / "lists.tsv"
    rows = zip("uv", ["a b", "c"], types, strict=True)
    lines = ["user_id\titem_ids\twhat", *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    frame = import_lists(path, event="what").dataset.interactions.frame
    assert frame["item_id"].to_list() == ["a", "b", "c"]
    assert frame["event"].to_list() == expected


def test_as_many_types_of_events_as_items_and_none_for_windows(tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text("user_id,item_ids,what\nu,a b,view buy\nu,a b,view buy view\n")
    with pytest.raises(ValueError, match=r"lists\.csv, line 3: 2 items but 3 types of events"):
        import_lists(path, event="what")
    with pytest.raises(ValueError, match="windows say nothing of types of events"):
        import_lists(path, event="what", rows="windows")


def test_columns_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "lists.parquet"
    pl.DataFrame({"user_id": ["u"], "item_ids": [[1.5]]}).write_parquet(path)
    with pytest.raises(ValueError, match=r"column 'item_ids' is List\(Float64\); it must hold"):
        import_lists(path)


SO_FAR = ["a", "a b", "a b c", "x", "x y"]
"""Items that two users had taken at five moments: three of the first user, two of the second."""


def so_far(tmp_path, cells=SO_FAR, users="uuuvv"):
    path = tmp_path / "windows.csv"
    lines = [f"{user},{cell}" for user, cell in zip(users, cells, strict=True)]
    path.write_text("\n".join(["user_id,item_ids", *lines]) + "\n")
    return path


def test_windows_over_one_history_are_told_from_sessions(tmp_path):
    path = so_far(tmp_path)
    done = import_lists(path)
    assert len(done.dataset.interactions) == 9
    [remark] = done.remarks
    assert "3 of 5 lists repeat another list of their user" in remark
    assert "As sessions they are 9 interactions, as windows 5." in remark
    assert "--rows windows" in remark
    assert import_lists(path, rows="sessions").remarks == ()
    windows = import_lists(path, rows="windows")
    assert lists_of(windows) == [["a", "b", "c"], ["x", "y"]]
    assert windows.left_out == {"stand in several windows of their user": 4}
    assert windows.remarks == ()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a b c", "a b", "a", "x y", "x"], [["a", "b", "c"], ["x", "y"]]),  # newest first
        (["a b c", "b c d", "c d e", "x", "x y"], [["a", "b", "c", "d", "e"], ["x", "y"]]),  # cut
        (["c d e", "a b c", "b c d", "x", "x y"], [["a", "b", "c", "d", "e"], ["x", "y"]]),
        (["a", "a b c", "a b c d e", "x", "z"], [["a", "b", "c", "d", "e"], ["x", "z"]]),  # gaps
        (["a b", "a b a", "b a b", "x", "x x"], [["a", "b", "a", "b"], ["x", "x"]]),  # repeats
    ],
)
def test_windows_are_joined_where_they_overlap(tmp_path, cells, expected):
    assert lists_of(import_lists(so_far(tmp_path, cells), rows="windows")) == expected


def test_sessions_that_share_little_are_not_taken_for_windows(tmp_path):
    assert import_lists(so_far(tmp_path, ["a b", "a b c", "d a", "x", "y x"])).remarks == ()


def test_windows_with_a_time_per_item_are_its_distinct_events(tmp_path):
    path = tmp_path / "l.jsonl"
    rows = [(["a"], [1]), (["a", "b"], [1, 5]), (["a", "b", "a"], [1, 5, 9])]
    lines = [json.dumps({"user_id": "u", "item_ids": i, "t": t}) for i, t in rows]
    path.write_text("\n".join(lines) + "\n")
    done = import_lists(path, time="t", rows="windows")
    assert rows_of(done) == [("u", "a", 1), ("u", "b", 5), ("u", "a", 9)]
    path.write_text('{"user_id": "u", "item_ids": ["a"], "t": 1}\n')
    with pytest.raises(ValueError, match="holds a time per row"):
        import_lists(path, time="t", rows="windows")


def test_times_of_a_parquet_file_may_be_moments(tmp_path):
    path = tmp_path / "l.parquet"
    moments = pl.Series([[2, 1]], dtype=pl.List(pl.Datetime("ms")))
    pl.DataFrame({"user_id": ["u"], "item_ids": [["a", "b"]], "t": moments}).write_parquet(path)
    assert rows_of(import_lists(path, time="t")) == [("u", "b", 1), ("u", "a", 2)]


def test_items_may_be_json(tmp_path):
    items = tmp_path / "items.json"
    items.write_text('{"a": {"title": "A"}, "c": {"title": "C"}}')
    done = import_lists(so_far(tmp_path), rows="windows", items_path=items)
    assert done.dataset.items.frame.rows()[:3] == [("a", "A"), ("b", None), ("c", "C")]


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


@settings(max_examples=40)
@given(st.lists(st.lists(ids, min_size=1, max_size=4), min_size=1, max_size=4))
@pytest.mark.parametrize("kind", ["jsonl", "json", "python", "parquet"])
def test_no_element_is_lost_or_changed(tmp_path_factory, kind, lists):
    folder = tmp_path_factory.mktemp("lists")
    users = [f"u{row}" for row in range(len(lists))]
    if kind == "jsonl":
        path = folder / "l.jsonl"
        rows = [{"user_id": u, "item_ids": items} for u, items in zip(users, lists, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "parquet":
        path = folder / "l.parquet"
        pl.DataFrame({"user_id": users, "item_ids": lists}).write_parquet(path)
    else:
        path = folder / "l.csv"
        cells = [json.dumps(items) if kind == "json" else repr(items) for items in lists]
        pl.DataFrame({"user_id": users, "item_ids": cells}).write_csv(path)
    assert lists_of(import_lists(path)) == lists
