"""Guesses about columns of tables as real shops have them."""

import polars as pl
import pytest

from sidestep.data.importers.columns import read_table
from sidestep.data.importers.guessing import Sample, guess_columns, sample_of

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
    columns = guess_columns(events.drop("overall"), Sample(frame=items))
    assert (columns.item.column, columns.items_id.column) == ("what", "key")
    assert "100% of its values stand in 'key'" in columns.item.why
    assert columns.texts == ["name"]


def test_an_item_that_stands_in_two_rows_does_not_hide_the_column_of_ids():
    names = [f"B{number}" for number in range(20)]
    events = pl.DataFrame({"Kunde": ["K1"] * 20, "Artikel": names, "Menge": ["1"] * 20})
    items = pl.DataFrame({"Artikel": [*names, "B0"], "Name": ["Zelt"] * 21})
    columns = guess_columns(events, Sample(frame=items), user="Kunde")
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
        ("household_key", "UPC", "TRANS_TIME"),
        ("Shopper No.", "StockCode", "InvoiceDate"),
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
            "with a comma": ["3,50", "1.299,00"],
            "with a currency": ["3,50 €", "$5"],
            "with a code": ["EUR 3.50", "5 USD"],
            "discount": ["10%", "2.5 %"],
            "image": ["https://a/b.jpg", "https://a/c.jpg"],
            "empty": ["", None],
        }
    )
    assert guess_columns(EVENTS, Sample(frame=items)).texts == ["title"]


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
        guess_columns(EVENTS, Sample(frame=items))


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
    assert sample_of(path).frame.equals(EVENTS)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.docx", "a", "no known kind"),
        ("x.csv", "", "x.csv: the file is empty"),
        ("x.parquet", "a", "not a"),
        ("x.csv", "u,i\na,b\na,b,c\n", "x.csv, line 3: 3 fields, the header has 2"),
        ("x.jsonl", '{"u": 1}\n' * 200 + '{"u":\n', "x.jsonl, line 201, column .*: not valid JSON"),
    ],
)
def test_what_is_no_table_is_refused_as_the_import_does(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=expected) as looked:
        sample_of(path)
    with pytest.raises(ValueError, match=expected) as read:
        read_table(path)
    assert str(looked.value) == str(read.value)


def test_a_key_that_comes_late_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("sidestep.data.importers.guessing.SAMPLED_ROWS", 10)
    path = tmp_path / "x.jsonl"
    late = '{"u": "a", "description": "red"}\n'
    path.write_text('{"u": "a"}\n' * 200 + late)
    frame = sample_of(path).frame
    assert frame.columns == ["u", "description"]
    assert frame["description"].drop_nulls().to_list() == ["red"]


def test_the_ids_of_a_large_table_of_items_are_all_compared(tmp_path, monkeypatch):
    monkeypatch.setattr("sidestep.data.importers.guessing.SAMPLED_ROWS", 10)
    path = tmp_path / "items.csv"
    rows = "".join(f"B{number},Tent {number}\n" for number in range(13))
    path.write_text("key,name\n" + rows)
    events = pl.DataFrame({"user": ["u"] * 3, "what": ["B10", "B11", "B12"]})
    columns = guess_columns(events, sample_of(path))
    assert (columns.item.column, columns.items_id.column) == ("what", "key")


def test_a_column_of_users_may_have_gaps():
    events = pl.DataFrame(
        {
            "receipt": ["r1", "r2", "r3"],
            "sku": ["s1", "s2", "s3"],
            "at": ["2031-05-06 07:08:00", "2031-05-06 07:09:00", "2031-05-06 07:10:00"],
            "customer": ["c1", "", "c2"],
        }
    )
    assert guess_columns(events, None).user.column == "customer"


def test_row_numbers_name_nobody():
    events = pl.DataFrame({"row": ["0", "1", "2"], "who": ["b", "a", "b"], "sku": ["x", "y", "x"]})
    assert guess_columns(events, None).user.column == "who"


@pytest.mark.parametrize("name", ["kind", "event_type", "Action", "behavior_type", "eventName"])
def test_a_column_of_event_types_is_seen(name):
    kinds = pl.Series(["view", "buy", "view"])
    events = EVENTS.with_columns(kinds.alias(name), event_id=pl.Series(["1", "2", "3"]))
    columns = guess_columns(events, None)
    assert columns.event.column == name
    assert columns.user.column == "reviewerID"


def test_what_never_comes_again_is_no_event_type():
    events = EVENTS.with_columns(event=pl.Series(["e1", "e2", "e3"]))
    assert guess_columns(events, None).event.column is None


def test_lists_are_no_item_ids():
    events = pl.DataFrame({"user": ["a", "b"], "item_ids": ["['x', 'y']", "['y']"]})
    with pytest.raises(ValueError, match="import lists --items-column item_ids"):
        guess_columns(events, None)
    with pytest.raises(ValueError, match="import lists --items-column item_ids"):
        guess_columns(events.with_columns(item_ids=pl.Series([["x"], ["y"]])), None)
    beside = events.with_columns(sku=pl.Series(["x", "y"]))
    assert guess_columns(beside, None).item.column == "sku"


def test_times_are_known_by_their_values_where_no_name_says_so():
    events = EVENTS.rename({"unixReviewTime": "Datum"})
    assert guess_columns(events, None).time.column == "Datum"
    twice = events.with_columns(Zeit=pl.Series(["1.2.2024", "13.2.2024", "3.2.2024"]))
    guess = guess_columns(twice, None).time
    assert guess.column is None
    assert guess.why == "several columns hold moments: Datum, Zeit"
    assert guess_columns(EVENTS, None, time="none").time.column is None


def test_the_user_is_told_why_a_column_called_like_a_time_is_none():
    events = EVENTS.drop("unixReviewTime").with_columns(date=pl.lit("long ago"))
    assert (
        "'date' is called like one, but 'long ago' is no time"
        in guess_columns(events, None).time.why
    )


def test_sessions_beside_users_are_told_of():
    events = EVENTS.with_columns(sessionId=pl.Series(["1", "2", "2"]))
    columns = guess_columns(events, None)
    assert columns.user.column == "reviewerID"
    assert columns.other_users == ["sessionId"]
