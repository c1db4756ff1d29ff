import gzip
import json
from datetime import date, datetime

import polars as pl
import pytest

from sidestep.data.importers.table import import_table
from sidestep.data.importers.table_rows import Gaps

ROWS = [
    {"reviewer": "ann", "asin": "B1", "day": 20, "kind": "buy", "stars": 5.0},
    {"reviewer": "bob", "asin": "B2", "day": 11, "kind": "view", "stars": None},
    {"reviewer": "ann", "asin": "B2", "day": 10, "kind": None, "stars": 3.5},
]
ITEMS = [
    {"asin": "B2", "title": 'A 5" pipe, long', "price": 3},
    {"asin": "B1", "title": None, "price": 4},
]
NAMES = {"user": "reviewer", "item": "asin", "time": "day", "event": "kind", "value": "stars"}
SUFFIXES = ["csv", "tsv", "jsonl", "parquet"]


def write(path, rows):
    frame = pl.DataFrame(rows)
    if path.suffix in (".csv", ".tsv"):
        frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    elif path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def csv(tmp_path, text):
    path = tmp_path / "log.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_dataset(tmp_path, suffix):
    dataset = import_table(
        write(tmp_path / f"log.{suffix}", ROWS),
        **NAMES,
        items_path=write(tmp_path / f"items.{suffix}", ITEMS),
    ).dataset
    assert dataset.interactions.frame.rows() == [
        ("ann", "B1", 20, "buy", 5.0),
        ("bob", "B2", 11, "view", None),
        ("ann", "B2", 10, None, 3.5),
    ]
    assert dataset.items.frame.rows() == [("B2", 'A 5" pipe, long', "3"), ("B1", None, "4")]
    assert dataset.histories().of(0).tolist() == [0, 1]
    assert dataset.name == "log"
    assert sorted(dataset.sources) == [f"items.{suffix}", f"log.{suffix}"]


def test_only_users_and_items_are_needed(tmp_path):
    dataset = import_table(csv(tmp_path, "user_id,item_id\n7,30\n7,4\n")).dataset
    assert dataset.items.item_ids == ("30", "4")
    assert dataset.interactions.frame["timestamp"].null_count() == 2


def test_items_may_name_their_ids_otherwise_and_texts_be_chosen(tmp_path):
    path = csv(tmp_path, "user_id,item_id\na,x\n")
    rows = [{"sku": "x", "title": "X", "details": {"weight": 1}, "tags": ["a", "b"]}]
    items_path = write(tmp_path / "items.jsonl", rows)
    dataset = import_table(
        path, items_path=items_path, items_item="sku", text_columns=["tags", "title"]
    ).dataset
    assert dataset.items.frame.to_dicts() == [{"item_id": "x", "tags": "a, b", "title": "X"}]
    with pytest.raises(ValueError, match=r"items\.jsonl, line 1: details must be text"):
        import_table(path, items_path=items_path, items_item="sku")


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["5", "-3"], [5, -3]),
        (["964982703.0", "1e3"], [964982703, 1000]),
        (["1970-01-02", "1970-01-01T00:00:01.5"], [86_400_000, 1_500]),
        (["1970-01-01 01:00:00+01:00", "1970-01-01T00:00:02Z"], [0, 2_000]),
        ([date(1970, 1, 2), date(1970, 1, 1)], [86_400_000, 0]),
        ([datetime(1970, 1, 1, 1), datetime(1970, 1, 2)], [3_600_000, 86_400_000]),
        ([3.0, 4.0], [3, 4]),
    ],
)  # fmt: skip
def test_times_are_numbers_or_dates(tmp_path, times, expected):
    path = tmp_path / "log.parquet"
    pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "t": times}).write_parquet(path)
    assert (
        import_table(path, time="t").dataset.interactions.frame["timestamp"].to_list() == expected
    )


CSV_FAULTS = [
    ("", "log.csv: the file is empty"),
    ("\n\n", "log.csv: the file is empty"),
    ("u,i,t,v\n", "log.csv: there are no rows"),
    ("u,i,v\na,x,1\n", r"log.csv: there is no column 't'; there are \['u', 'i', 'v'\]"),
    ("u,i,t,u\na,x,1,2\n", "line 1: the header names the column 'u' twice"),
    ("u,i,t,\na,x,1,2\n", r"there is no column 'v'; there are \['u', 'i', 't'\] and 1 without"),
    ("u,i,t,v,\na,x,1,2,3\n", "line 1: the header leaves column 5 without a name"),
    ("u,i,t,v\na,x,1,2\nb,y\n", "line 3: 2 fields, the header has 4"),
    ("u,i,t,v\na,x,1,2\nb,y,3,4,5\n", "line 3: 5 fields, the header has 4"),
    ("u,i,t,v\na,x,1,2\n,y,3,4\n", "line 3: u is missing"),
    ("u,i,t,v\na,,1,2\n", "line 2: i is missing"),
    ("u,i,t,v\na,x,1,2\nb,y,,4\n", "line 3: t is missing"),
    ("u,i,t,v\na,x,1,2\nb,y,soon,4\nc,z,late,4\n", "line 3: t 'soon' is not.*'1'.*.1 more"),
    ("u,i,t,v\na,x,1e30,2\n", "line 2: t '1e30' does not fit into 64 bits"),
    ("u,i,t,v\na,x,2024-01-01,2\nb,y,01/02/2024,2\n", "line 3: t '01/02/2024' is neither"),
    ('u,i,t,v\n"a\n\nb",x,1,2\n\nb,y,3,"4,5"\n', "line 6: v '4,5' is not a number"),
    ("u,i,t,v\na,x,1,inf\n", "line 2: v 'inf' is not a number"),
    ('u,i,t,v\na,x,1,2\nb,y,3,"4\n', "after line 2: a quoted text does not end"),
    ('u,i,t,v\na,"x,1,2\nb,y,3,4\n', "after line 1: a quoted text does not end"),
    (b"u,i,t,v\na,x,1,2\n\xe9,y,3,4\n", "line 3: not UTF-8"),
    ("u,i,t,v\na,x,1,2\n".encode("utf-16"), "log.csv: this is UTF-16 text; convert it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), CSV_FAULTS)
def test_bad_csv_is_refused_with_its_line(tmp_path, text, message):
    path = csv(tmp_path, text)
    with pytest.raises(ValueError, match=message) as refusal:
        import_table(path, user="u", item="i", time="t", value="v")
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"u": "a", "i": "x"}', '{"u": "b", "i": 3}'], "line 2: i 3 is a int.*have a str"),
        (['{"u": 1, "i": "x"}', "", '{"u": true, "i": "y"}'], "line 3: u True is a bool"),
        (['{"u": "a", "i": "x"}', '{"u": "b"'], "line 2, column .*: not valid JSON.*cut off"),
        (['{"u": "a", "i": "x"}', '{"u": "b", "u": "c"}'], "line 2: the key 'u' stands twice"),
        (['{"u": "a", "i": "x"}', "[1]"], "line 2: must hold one JSON object"),
        (['{"u": "a", "i": "x"}', '{"u": "b", "i": null}'], "line 2: i is missing"),
        (['{"u": "a", "i": "x"}', '{"u": "b"}'], "line 2: i is missing"),
        (['{"u": "a", "j": "x"}'], r"no column 'i'; there are \['u', 'j'\]"),
        (['{"u": 1.5, "i": "x"}'], "column 'u' is Float64; IDs must be"),
    ],
)  # fmt: skip
def test_bad_json_lines_are_refused_with_their_number(tmp_path, lines, message):
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message) as refusal:
        import_table(path, user="u", item="i")
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"u": [1.5], "i": ["x"]}, "column 'u' is Float64; IDs must be"),
        ({"u": ["a", None], "i": ["x", "y"]}, "row 2: u is missing"),
        ({"u": ["a"], "j": ["x"]}, r"no column 'i'; there are \['u', 'j'\]"),
        ({"u": [], "i": []}, "there are no rows"),
    ],
)
def test_bad_parquet_is_refused_with_its_row(tmp_path, columns, message):
    path = tmp_path / "log.parquet"
    pl.DataFrame(columns).write_parquet(path)
    with pytest.raises(ValueError, match=message):
        import_table(path, user="u", item="i")


def test_times_and_values_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "log.parquet"
    columns = {"user_id": ["a"], "item_id": ["x"], "t": [[1]], "n": [1]}
    pl.DataFrame(columns).write_parquet(path)
    for name in ("time", "value", "event"):
        with pytest.raises(ValueError, match="column 't' is List"):
            import_table(path, **{name: "t"})


def test_a_table_of_an_unknown_kind_is_refused(tmp_path):
    path = tmp_path / "log.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"log\.xlsx: .*known are \.csv"):
        import_table(path)


def test_bad_item_tables_are_refused(tmp_path):
    path = csv(tmp_path, "user_id,item_id\na,x\nb,y\nb,z\n")
    items_path = tmp_path / "items.csv"
    items_path.write_text("item_id,title\nx,X\n")
    with pytest.raises(ValueError, match=r"log\.csv, line 3: item 'y' has no row in .*\(2 such"):
        import_table(path, items_path=items_path)
    items_path.write_text("item_id,title\nx,X\ny,Y\nz,Z\nx,X\n")
    with pytest.raises(
        ValueError, match=r"items\.csv, line 5: item 'x' stands in an earlier row as well, line 2"
    ):
        import_table(path, items_path=items_path)
    items_path.write_text("sku,item_id\nx,1\ny,2\nz,3\n")
    with pytest.raises(ValueError, match="column 'item_id' is not the one of the IDs, 'sku'"):
        import_table(path, items_path=items_path, items_item="sku")
    with pytest.raises(ValueError, match=r"items\.csv: there is no column 'title'"):
        import_table(path, items_path=items_path, items_item="sku", text_columns=["title"])


GAPPY = "user_id,item_id,t\nann,x,3\n,y,2\nNA,,4\nbob,x,0\n , z,\nbob,y,1\n"
DROP = Gaps(users="drop", items="drop", times="drop")


def rows_of(done):
    return done.dataset.interactions.frame.select("user_id", "item_id", "timestamp").rows()


def test_gaps_are_refused_with_their_number_and_the_option(tmp_path):
    path = csv(tmp_path, GAPPY)
    with pytest.raises(ValueError, match="--missing-users drop") as refusal:
        import_table(path, time="t")
    assert str(refusal.value) == (
        f"{path}, line 3: user_id is missing, in 2 of 6 rows. Correct the rows, or leave them out "
        "with --missing-users drop."
    )
    with pytest.raises(ValueError, match=r"line 4: item_id is missing, in 1 of 6.*--missing-items"):
        import_table(path, time="t", gaps=Gaps(users="drop"))
    with pytest.raises(ValueError, match="line 3: user_id is missing, in 3 of 6 rows"):
        import_table(path, time="t", gaps=Gaps(words=["NA"]))


def test_gaps_are_left_out_and_counted(tmp_path):
    done = import_table(csv(tmp_path, GAPPY), time="t", gaps=DROP)
    assert rows_of(done) == [("ann", "x", 3), ("bob", "x", 0), ("bob", "y", 1)]
    assert done.left_out == {"lack a user": 2, "lack an item": 1}
    gappy = csv(tmp_path, GAPPY.replace(", z,", "cat, z,"))
    done = import_table(gappy, time="t", gaps=Gaps(users="drop", items="drop", times="drop"))
    assert done.left_out == {"lack a user": 1, "lack an item": 1, "lack a time": 1}
    with pytest.raises(ValueError, match="line 6: t is missing"):
        import_table(gappy, time="t", gaps=Gaps(users="drop", items="drop"))


def test_rows_with_gaps_may_stay(tmp_path):
    items_path = tmp_path / "items.csv"
    items_path.write_text("item_id,title\nx,X\ny,Y\n z,Z\n")
    keep = Gaps(users="keep", items="keep", words=["NA"])
    done = import_table(csv(tmp_path, GAPPY), items_path=items_path, gaps=keep)
    frame = done.dataset.interactions.frame
    assert frame["user_id"].to_list() == [
        "ann",
        "missing-1",
        "missing-2",
        "bob",
        "missing-3",
        "bob",
    ]
    assert frame["item_id"].to_list() == ["x", "y", "missing", "x", " z", "y"]
    assert done.dataset.items.frame.rows()[-1] == ("missing", None)
    assert done.left_out == {}
    assert len(done.remarks) == 2
    taken = csv(tmp_path, GAPPY.replace("bob", "missing-2"))
    with pytest.raises(ValueError, match="without an ID cannot be called so"):
        import_table(taken, gaps=keep)


def test_nothing_left_is_refused(tmp_path):
    path = csv(tmp_path, "user_id,item_id,t\n,x,\n,y,\n")
    with pytest.raises(ValueError, match="no row is left: 2 lack a user"):
        import_table(path, gaps=DROP)
    path = csv(tmp_path, "user_id,item_id,t\na,x,\nb,y,\n")
    with pytest.raises(ValueError, match="no row has a time in 't'"):
        import_table(path, time="t", gaps=DROP)


def test_times_of_nothing_leave_with_the_missing_ones(tmp_path):
    times = [0, 1_600_000_000, -1, 1_600_000_001, ""]
    text = "user_id,item_id,t\n" + "".join(f"a,x{row},{t}\n" for row, t in enumerate(times))
    done = import_table(csv(tmp_path, text), time="t", gaps=DROP)
    assert [row[1] for row in rows_of(done)] == ["x1", "x3"]
    assert done.left_out == {"lack a time": 1, "have the time 0 or -1": 2}


def test_seconds_and_milliseconds_are_refused_with_the_line(tmp_path):
    path = csv(tmp_path, "user_id,item_id,t\na,x,1600000000\na,y,1600000001\na,z,1600000002000\n")
    with pytest.raises(ValueError, match=r"log\.csv, line 4: t '1600000002000' is in milliseconds"):
        import_table(path, time="t")


MICROSECONDS = [
    "2024-01-01T00:00:00.000900",
    "2024-01-01T00:00:00.000600",
    "2024-01-01T00:00:00.0001",
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_events_within_a_millisecond_keep_their_order(tmp_path, suffix):
    rows = [
        {"user_id": "a", "item_id": item, "t": time}
        for item, time in zip(["third", "second", "first"], MICROSECONDS, strict=True)
    ]
    if suffix == "parquet":
        rows = [
            {**row, "t": datetime.fromisoformat(row["t"] + "00"[: 26 - len(row["t"])])}
            for row in rows
        ]
    histories = import_table(write(tmp_path / f"log.{suffix}", rows), time="t").dataset.histories()
    assert histories.of(0).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("used", "known", "expected"),
    [
        (["41.0", "42.0"], ["41", "42"], ["41", "42"]),
        (["41", "42"], ["41.0", "42.0"], ["41", "42"]),
        (["B1.0", "B2.0"], ["B1", "B2"], ["B1", "B2"]),
        (["B1", "B2"], ["B1.0", "B2.0"], ["B1", "B2"]),
        (["1.0", "1"], ["1", "1.0"], None),
    ],
)
def test_ids_that_became_decimals_in_one_table_are_the_same(tmp_path, used, known, expected):
    path = csv(tmp_path, "user_id,item_id\n" + "".join(f"u,{item}\n" for item in used))
    items_path = tmp_path / "items.csv"
    items_path.write_text("item_id,title\n" + "".join(f"{item},T\n" for item in known))
    if expected is None:  # two rows of one item
        with pytest.raises(ValueError, match="stands in an earlier row"):
            import_table(path, items_path=items_path)
        return
    done = import_table(path, items_path=items_path)
    assert done.dataset.interactions.frame["item_id"].to_list() == expected
    assert [*done.dataset.items.item_ids] == expected
    if used[0].endswith(".0"):
        assert ".0" in " ".join(done.remarks)


def test_versions_are_not_numbers(tmp_path):
    path = csv(tmp_path, "user_id,item_id\na,v1.0\na,v1\n")
    assert import_table(path).dataset.items.item_ids == ("v1.0", "v1")


def test_a_column_of_lists_is_no_column_of_items(tmp_path):
    path = csv(tmp_path, "user_id,item_id\na,\"['x', 'y']\"\nb,['z']\n")
    with pytest.raises(
        ValueError, match=r"line 2: item_id \"\['x', 'y'\]\" is a list.*import lists"
    ):
        import_table(path)


def test_an_id_in_braces_is_no_list(tmp_path):
    guid = "{550e8400-e29b-11d4-a716-446655440000}"
    path = csv(tmp_path, f"user_id,item_id\na,{guid}\n")
    assert import_table(path).dataset.items.item_ids == (guid,)


def test_a_table_may_be_gzipped_or_a_folder_and_is_named_after_it(tmp_path):
    folder = tmp_path / "ev.parquet"
    folder.mkdir()
    write(folder / "part-0.parquet", ROWS[:2])
    write(folder / "part-1.parquet", ROWS[2:])
    (folder / "_SUCCESS").touch()
    dataset = import_table(folder, **NAMES).dataset
    assert len(dataset.interactions) == 3
    assert dataset.name == "ev"
    assert sorted(dataset.sources) == ["ev.parquet/part-0.parquet", "ev.parquet/part-1.parquet"]
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"user_id,item_id\na,x\n"))
    assert import_table(path).dataset.name == "log"
