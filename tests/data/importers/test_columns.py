"""The reader of tables: a table is the same in all forms in which it can be written."""

import gzip
import io
import json

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.importers.columns import look_at_table, read_table

PLAIN = "user_id,item_id,t\nu1,a,1\nu1,b,2\nu2,a,3\n"
ROWS = [("u1", "a", "1"), ("u1", "b", "2"), ("u2", "a", "3")]

WRITTEN = {
    "blank-last-line.csv": PLAIN + "\n",
    "blank-lines.csv": PLAIN.replace("\n", "\n\n  \n"),
    "carriage-returns.csv": PLAIN.replace("\n", "\r"),
    "windows.csv": PLAIN.replace("\n", "\r\n"),
    "no-last-end.csv": PLAIN.rstrip(),
    "byte-order-mark.csv": "\ufeff" + PLAIN,
    "quoted.csv": '"user_id","item_id","t"\n"u1","a","1"\n"u1","b","2"\n"u2","a","3"\n',
    "quoted-mark.csv": "\ufeff" + '"user_id","item_id","t"\nu1,a,1\nu1,b,2\nu2,a,3\n',
    "semicolons.csv": PLAIN.replace(",", ";"),
    "tabs.csv": PLAIN.replace(",", "\t"),
    "bars.csv": PLAIN.replace(",", "|"),
    "commas.tsv": PLAIN,
    "tabs.tsv": PLAIN.replace(",", "\t"),
    "excel.csv": "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
    "spaces-in-header.csv": PLAIN.replace("user_id,item_id,t", " user_id , item_id , t "),
    "blanks.csv": PLAIN.replace(",", ", "),
    "blanks-and-quotes.csv": PLAIN.replace(",", ", ").replace("u1", '"u1"').replace(" a", ' "a"'),
    "pandas.csv": ",user_id,item_id,t\n0,u1,a,1\n1,u1,b,2\n7,u2,a,3\n",
    "trailing.csv": PLAIN.replace("\n", ",\n"),
    "upper.CSV": PLAIN,
}


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("is_gzipped", [False, True])
def test_every_way_to_write_a_table_gives_the_same(tmp_path, name, is_gzipped):
    data = WRITTEN[name].encode()
    path = tmp_path / (f"{name}.gz" if is_gzipped else name)
    write(path, gzip.compress(data) if is_gzipped else data)
    assert read_table(path).frame.rows() == ROWS
    assert read_table(path, ["t", "user_id"]).frame.rows() == [(t, user) for user, _, t in ROWS]
    assert look_at_table(path, 10).rows() == ROWS


@pytest.mark.parametrize("name", ["log.jsonl", "log.ndjson", "log.json", "log.jsonl.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
def test_json_lines_end_as_they_like(tmp_path, name, end):
    lines = [json.dumps({"u": "ann", "n": number}) for number in (1, 2)]
    data = end.join(lines).encode()
    path = write(tmp_path / name, gzip.compress(data) if name.endswith(".gz") else data)
    assert read_table(path).frame.rows() == [("ann", 1), ("ann", 2)]


def test_an_array_of_objects_is_a_table(tmp_path):
    path = write(tmp_path / "log.json", '[{"u": "a", "n": 1},\n {"u": "b"}]')
    table = read_table(path)
    assert table.frame.rows() == [("a", 1), ("b", None)]
    assert table.place(1) == f"{path}, entry 2"
    write(path, '[{"u": "a"}, 3]')
    with pytest.raises(ValueError, match=r"log\.json, entry 2: must be a JSON object"):
        read_table(path)


def parquet(frame):
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def test_a_folder_of_parts_is_one_table(tmp_path):
    folder = tmp_path / "ev.parquet"
    folder.mkdir()
    one = pl.DataFrame({"u": ["a", "b"], "t": [1, 2], "__index_level_0__": [0, 1]})
    write(folder / "part-00000.snappy.parquet", parquet(one))
    write(folder / "part-00001.snappy.parquet", parquet(one.head(1).cast({"t": pl.Int32})))
    write(folder / "_SUCCESS", "")
    write(folder / ".part-00000.snappy.parquet.crc", "x")
    table = read_table(folder)
    assert table.frame.rows() == [("a", 1), ("b", 2), ("a", 1)]
    assert table.place(2) == f"{folder}, part-00001.snappy.parquet, row 1"
    assert look_at_table(folder, 10).rows() == table.frame.rows()


def test_parts_may_be_csv_and_empty_ones_are_passed_over(tmp_path):
    write(tmp_path / "part-0.csv", PLAIN)
    write(tmp_path / "part-1.csv", "")
    write(tmp_path / "part-2.csv", "t,item_id,user_id\n4,c,u3\n")
    table = read_table(tmp_path)
    assert table.frame.rows() == [*ROWS, ("u3", "c", "4")]
    assert table.place(3) == f"{tmp_path}, part-2.csv, line 2"


def test_parts_that_differ_are_refused(tmp_path):
    write(tmp_path / "a.parquet", parquet(pl.DataFrame({"u": ["a"], "t": [1]})))
    write(tmp_path / "b.parquet", parquet(pl.DataFrame({"u": ["a"], "t": [[1]]})))
    with pytest.raises(ValueError, match=r"column 't' is Int64 in a\.parquet and List"):
        read_table(tmp_path)
    write(tmp_path / "b.parquet", parquet(pl.DataFrame({"u": ["a"]})))
    with pytest.raises(ValueError, match=r"b\.parquet: there is no column 't'"):
        read_table(tmp_path, ["u", "t"])
    with pytest.raises(ValueError, match=r"a\.parquet has the column 't' and b\.parquet has not"):
        read_table(tmp_path)
    write(tmp_path / "c.csv", PLAIN)
    with pytest.raises(ValueError, match=r"a\.parquet and c\.csv are of different kinds"):
        read_table(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no file in this folder"):
        read_table(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_table(tmp_path / "nowhere.csv")


def test_damaged_and_foreign_archives_are_refused(tmp_path):
    packed = gzip.compress(PLAIN.encode())
    with pytest.raises(ValueError, match=r"log\.csv\.gz: the gzipped file is cut off"):
        read_table(write(tmp_path / "log.csv.gz", packed[:-9]))
    with pytest.raises(ValueError, match=r"log\.csv: this is a zip archive"):
        read_table(write(tmp_path / "log.csv", b"PK\x03\x04 and so on"))


@pytest.mark.parametrize(
    "text",
    [
        'u,i,t\nu1,"a,1\nu2,b,2\nu3,"c,3\n',
        'u,i,t\nu1,a,1\nu1,"b,2\nu2,b,2\nu2,c,2\nu3,c","3\n',
        'u,i\n"a,1\nb,2\n"c,3\n',
    ],
)
def test_two_stray_quotes_do_not_swallow_the_rows_between(tmp_path, text):
    path = write(tmp_path / "log.csv", text)
    with pytest.raises(ValueError, match=r"log\.csv, (after )?line .*quote"):
        read_table(path)


def test_texts_may_have_several_lines(tmp_path):
    text = 'item,title,brand\nx,"Tent, green\nand ""light""",A\ny,Stove,B\n'
    table = read_table(write(tmp_path / "items.csv", text))
    assert table.frame["title"].to_list() == ['Tent, green\nand "light"', "Stove"]
    assert table.place(1).endswith("line 4")


def test_header_names_that_are_blank_or_twice_are_refused(tmp_path):
    with pytest.raises(ValueError, match="names the column 'u' twice"):
        read_table(write(tmp_path / "a.csv", "u, u,i\na,b,c\n"))
    with pytest.raises(ValueError, match="leaves column 2 without a name"):
        read_table(write(tmp_path / "a.csv", "u,,i\na,b,c\n"))
    twice = pl.DataFrame({"u": ["a"]}).to_arrow()
    twice = twice.append_column("u", twice["u"])
    pyarrow.parquet.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="two columns are called 'u'"):
        read_table(tmp_path / "a.parquet")


IDS = [
    (pl.Series([41.0, None, 42.0]), ["41", None, "42"]),
    (pl.Series([41.0, float("nan")]), ["41", None]),
    (pl.Series([True, False]), "is Boolean; IDs must be"),
    (pl.Series([1.5]), "1.5 is no ID; the column 'u' is Float64; IDs must be"),
    (pl.Series([2.0**53]), "below 2 "),
    (pl.Series([2**64 - 1], dtype=pl.UInt64), ["18446744073709551615"]),
    (pl.Series(["41.0", "", "42"]), ["41", None, "42"]),
    (pl.Series(["007", "7.0"]), ["007", "7"]),
    (pl.Series(["1.0", "1.5"]), ["1.0", "1.5"]),
    (pl.Series(["v1.0", "v1"]), ["v1.0", "v1"]),
    (pl.Series(["1.23457E+11", "5"]), "is a number without its last digits"),
    (pl.Series(["12e4", "5e6"]), ["12e4", "5e6"]),
    (pl.Series(["  ", " a"]), [None, " a"]),
    (pl.Series([b"ab"]), ["ab"]),
    (pl.Series([b"\xff"]), "is Binary; IDs must be"),
    (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
    (pl.Series([None, None], dtype=pl.Null), [None, None]),
]


@pytest.mark.parametrize(("column", "expected"), IDS)
def test_ids_of_every_type_are_read_or_refused(tmp_path, column, expected):
    path = tmp_path / "log.parquet"
    pl.DataFrame({"u": column}).write_parquet(path)
    table = read_table(path)
    if isinstance(expected, list):
        assert table.ids("u", may_lack=True).to_list() == expected
    else:
        with pytest.raises(ValueError, match=expected):
            table.ids("u", may_lack=True)


def test_large_whole_numbers_stay_whole_among_decimals(tmp_path):
    rows = '{"u": 9007199254740993, "t": 1588687728923000001}\n{"u": 7.0, "t": 2.0}\n'
    table = read_table(write(tmp_path / "log.jsonl", rows + f'{{"u": {10**30}}}\n'))
    assert table.ids("u").to_list() == ["9007199254740993", "7", str(10**30)]
    assert table.moments("t").counts.to_list() == [1588687728923000001, 2, None]


@settings(max_examples=40)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "a": st.none() | st.integers(-(2**70), 2**70),
                "b": st.none() | st.text(max_size=3),
                "c": st.none() | st.booleans(),
            },
        ),
        min_size=1,
        max_size=8,
    ).filter(any),
    st.integers(1, 60),
)
def test_json_lines_read_the_same_in_blocks_of_any_size(tmp_path_factory, rows, block_size):
    path = tmp_path_factory.mktemp("blocks") / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sidestep.data.importers.lines.BLOCK_SIZE", block_size)
        frame = read_table(path).frame
    whole = [row.get("a") for row in rows]
    if "a" in frame.columns:
        assert [None if v is None else int(v) for v in frame["a"].to_list()] == whole
    for name in {"b", "c"} & {*frame.columns}:
        assert frame[name].to_list() == [row.get(name) for row in rows]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_threads_that_read_ahead_never_ask_python_for_bytes(tmp_path, monkeypatch, suffix):
    """A thread that outlives a refusal would abort the process while Python shuts down."""
    given = []
    opened = pyarrow.csv.open_csv

    def watched(file, **options):
        given.append(file)
        return opened(file, **options)

    monkeypatch.setattr(pyarrow.csv, "open_csv", watched)
    text = b"user_id,item_id\nu,i\n"
    path = tmp_path / f"log.csv{suffix}"
    path.write_bytes(gzip.compress(text) if suffix else text)
    assert read_table(path, ["user_id"]).frame["user_id"].to_list() == ["u"]
    [file] = given
    assert isinstance(file, pa.NativeFile)
    assert not isinstance(file, pa.PythonFile)
