"""Guesses about columns of tables as they are found in the wild."""

import polars as pl
import pytest

from sidestep.cli.guess import SAMPLED_ROWS, guess_columns, sample_of, table_size

EVENTS = pl.DataFrame(
    {
        "reviewerID": ["A1", "A1", "A2"],
        "asin": ["B0", "B1", "B1"],
        "overall": ["5.0", "3.0", "4.0"],
        "unixReviewTime": ["1404000000", "1404000001", "1404000002"],
    }
)


def test_the_names_of_amazon_are_understood():
    columns = guess_columns(EVENTS, None)
    assert (columns.user.column, columns.item.column) == ("reviewerID", "asin")
    assert columns.time.column == "unixReviewTime"
    assert columns.items_id is None


def test_values_tell_the_item_where_names_mislead():
    events = EVENTS.rename({"asin": "what", "reviewerID": "user"}).with_columns(item=pl.lit("web"))
    items = pl.DataFrame({"rank": ["1", "2"], "key": ["B0", "B1"], "name": ["Tent", "Stove"]})
    columns = guess_columns(events.drop("overall"), items)
    assert (columns.item.column, columns.items_id.column) == ("what", "key")
    assert "100% of its values stand in 'key'" in columns.item.why
    assert columns.texts == ["name"]


def test_an_item_that_stands_in_two_rows_does_not_hide_the_column_of_ids():
    names = [f"B{number}" for number in range(20)]
    events = pl.DataFrame({"Kunde": ["K1"] * 20, "Artikel": names, "Menge": ["1"] * 20})
    items = pl.DataFrame({"Artikel": [*names, "B0"], "Name": ["Zelt"] * 21})
    columns = guess_columns(events, items, user="Kunde")
    assert columns.items_id is not None
    assert (columns.item.column, columns.items_id.column) == ("Artikel", "Artikel")
    assert "100% of its values" in columns.item.why


@pytest.mark.parametrize(
    ("user", "item", "time"),
    [
        ("user_id", "item_id", "timestamp"),
        ("userId", "movieId", "timestamp"),
        ("UserID", "ProductId", "Time"),
        ("customer_id", "sku", "created_at"),
        ("visitorid", "itemid", "event_time"),
    ],
)
def test_common_headers(user, item, time):
    names = {"reviewerID": user, "asin": item, "unixReviewTime": time}
    columns = guess_columns(EVENTS.rename(names), None)
    assert [columns.user.column, columns.item.column, columns.time.column] == [user, item, time]


def test_numbers_and_addresses_are_no_texts():
    items = pl.DataFrame(
        {
            "asin": ["B0", "B1"],
            "title": ["Tent", "Stove"],
            "price": ["3.5", ""],
            "image": ["https://a/b.jpg", "https://a/c.jpg"],
            "empty": ["", None],
        }
    )
    assert guess_columns(EVENTS, items).texts == ["title"]


def test_what_is_said_is_taken():
    columns = guess_columns(EVENTS, None, user="asin", item="reviewerID", time="overall")
    assert [columns.user.column, columns.item.column] == ["asin", "reviewerID"]
    assert columns.time.why == "as you said"


def test_what_cannot_be_guessed_is_asked_for():
    events = pl.DataFrame({"a": ["x"], "b": ["y"], "c": ["z"]})
    with pytest.raises(ValueError, match=r"names the user; say it with --user.*a, b, c"):
        guess_columns(events, None, item="a")
    with pytest.raises(ValueError, match="names the item"):
        guess_columns(events, None, user="b")
    with pytest.raises(KeyError, match="--time 'when': the columns are a, b, c"):
        guess_columns(events, None, time="when")
    items = pl.DataFrame({"id": ["1", "2"]})
    with pytest.raises(ValueError, match="--items-id"):
        guess_columns(EVENTS, items)


def test_times_are_numbers_or_dates():
    dates = ["2024-02-29", "2024-03-01", "2024-03-02"]
    texts = EVENTS.with_columns(unixReviewTime=pl.Series(dates), date=pl.Series(["a", "b", "c"]))
    assert guess_columns(texts, None).time.column == "unixReviewTime"
    words = EVENTS.with_columns(unixReviewTime=pl.lit("long ago"))
    assert guess_columns(words, None).time.column is None


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_every_kind_of_table_is_looked_at(tmp_path, suffix):
    path = tmp_path / f"events.{suffix}"
    write = {
        "csv": EVENTS.write_csv,
        "tsv": lambda file: EVENTS.write_csv(file, separator="\t"),
        "parquet": EVENTS.write_parquet,
        "jsonl": EVENTS.write_ndjson,
    }
    write[suffix](path)
    assert sample_of(path).equals(EVENTS)
    assert table_size(path, "reviewerID", "asin") == (3, 2, 2)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.docx", "a", "no known kind"),
        ("x.csv", "", "not a readable"),
        ("x.parquet", "a", "not a"),
        ("x.csv", "u,i\na,b\na,b,c\n", "x.csv: not a readable table .* export it again"),
        ("x.jsonl", '{"u": 1}\n' * 200 + '{"u":\n', "x.jsonl: not a readable table"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=expected):
        sample_of(tmp_path / name)


def test_damage_behind_the_sample_is_told_when_the_table_is_counted(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("u,i\n" + "a,b\n" * SAMPLED_ROWS + "a,b,c\n")
    with pytest.raises(ValueError, match=r"x\.csv: not a readable table"):
        table_size(path, "u", "i")
