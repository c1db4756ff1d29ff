import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.importers.amazon import import_amazon
from sidestep.data.importers.log import Thinning

from .formats import (
    FORMATS,
    META_2014,
    REVIEWS_2014,
    REVIEWS_2023,
    gzipped,
    json_lines,
    python_lines,
)

by_name = {source.name: source for source in FORMATS}


def written(path, data):
    path.write_bytes(data)
    return path


def reviewed(tmp_path, rows, **options):
    return import_amazon(written(tmp_path / "Toys.json", json_lines(rows)), **options)


def review(user="A1", item="B1", time=1, **more):
    return {"reviewerID": user, "asin": item, "unixReviewTime": time, **more}


def test_reviews_of_2014_come_in_order_with_plain_texts(tmp_path):
    folder = by_name["amazon-2014"].write(tmp_path)
    done = import_amazon(folder / "reviews_Toys_5.json.gz", folder / "meta_Toys.json.gz")
    assert done.dataset.name == "Toys_5"
    assert done.dataset.interactions.frame.select(
        "user_id", "item_id", "timestamp", "value"
    ).rows() == [
        ("A2B", "B000000001", 86_400, 2.0),
        ("A2B", "0000000042", 3 * 86_400, 5.0),
        ("A1A", "B00000000X", 2 * 86_400, 5.0),
        ("A1A", "B000000001", 3 * 86_400, 4.0),
        ("A1A", "0000000042", 3 * 86_400, 1.0),
    ]
    assert done.dataset.items.frame.to_dicts()[0] == {
        "item_id": "0000000042",
        "title": 'Children\'s "Dice"',
        "brand": None,
        "categories": "Toys & Games, Puzzles, Games, Dice",
        "features": None,
        "description": 'It\'s round , "really" & 1 < 2',
    }
    assert done.dataset.items.item_ids == ("0000000042", "B000000001", "B00000000X")
    assert done.dataset.items.frame["title"].to_list()[1:] == ["Größe", None]
    assert done.left_out == {}
    assert done.remarks == ("1 items have no text.",)


def test_ties_may_go_by_item(tmp_path):
    done = reviewed(tmp_path, REVIEWS_2014, thinning=Thinning(ties="item"))
    assert done.dataset.interactions.frame["item_id"].to_list()[2:] == [
        *("B00000000X", "0000000042", "B000000001")
    ]


def test_metadata_of_2018_lose_scripts_tags_and_repeated_lines(tmp_path):
    folder = by_name["amazon-2018"].write(tmp_path)
    done = import_amazon(folder / "Toys.json.gz", folder / "meta_Toys.json.gz", year="2018")
    first, second, _ = done.dataset.items.frame.to_dicts()
    assert first == {
        "item_id": "0000000042",
        "title": "Dice & More",
        "brand": "Acme",
        "categories": "Toys & Games, Puzzles",
        "features": "Six sides Wood",
        "description": "First part. Second.",
    }
    assert (second["item_id"], second["title"]) == ("B000000001", None)
    assert set(done.remarks) == {
        "1 items have no text.",
        "Metadata: 1 titles are scripts of the web page and left out.",
        "Metadata: 1 repeated lines of an item are left out, the first one counts.",
    }


def test_items_of_2023_are_the_parents_and_times_are_milliseconds(tmp_path):
    folder = by_name["amazon-2023"].write(tmp_path)
    done = import_amazon(folder / "All_Beauty.jsonl", folder / "meta_All_Beauty.jsonl")
    assert done.dataset.interactions.frame.select("user_id", "item_id", "timestamp").rows() == [
        ("AGK", "P02", 1_588_687_728_922),
        ("AGK", "P01", 1_588_687_728_923),
        ("AHV", "P01", 1_588_687_728_923),
    ]
    assert done.dataset.items.frame.row(0, named=True) == {
        "item_id": "P01",
        "title": "Soap",
        "brand": "Howard",
        "categories": "Beauty, Bath",
        "features": "Soft Green",
        "description": "A soap.",
    }


def test_an_item_without_a_parent_goes_by_its_own_number(tmp_path):
    rows = [{**row, "parent_asin": None} for row in REVIEWS_2023]
    assert reviewed(tmp_path, rows).dataset.items.item_ids == ("B01", "B02", "B03")


def test_what_is_left_out_is_counted(tmp_path):
    rows = [review(user=None), review(item=""), {"asin": "B1"}, review(time=None), review()]
    rows += [review(overall=2), review(overall=3.0), review(overall=4), review(user="A2")]
    done = reviewed(tmp_path, rows, thinning=Thinning(min_value=3.0, duplicates="first"))
    assert done.left_out == {
        "lack a user": 2,
        "lack an item": 1,
        "lack a time": 1,
        "have a value below 3 or none": 3,
        "repeat an item of their user": 1,
    }
    assert done.dataset.interactions.frame["value"].to_list() == [3.0]


def test_the_core_is_taken_before_the_metadata_are_read(tmp_path):
    rows = [review(f"A{u}", f"B{i}") for u in range(3) for i in range(3)] + [review("A9", "B9")]
    meta = written(
        tmp_path / "meta.json",
        python_lines([{"asin": "B9", "title": "gone"}]) + b"{'asin': 'B9', 'title': 'never rea\n"
        + python_lines([{"asin": f"B{i}", "title": f"T{i}"} for i in range(3)]),
    )  # fmt: skip
    done = reviewed(tmp_path, rows, meta_path=meta, thinning=Thinning(k_core=3))
    assert done.dataset.items.frame["title"].to_list() == ["T0", "T1", "T2"]
    assert done.left_out == {"are not in the 3-core": 1}


def test_values_of_the_metadata_that_are_no_text_are_counted(tmp_path):
    meta = [{"asin": "B1", "title": {"a": 1}, "brand": True, "description": [1, [2.5, [["x"]]]]}]
    done = reviewed(
        tmp_path, [review()], meta_path=written(tmp_path / "meta.json", json_lines(meta))
    )
    assert done.dataset.items.frame.row(0) == ("B1", None, None, None, None, "1 2.5")
    assert sorted(done.remarks) == [
        f"Metadata: 1 values of {name} are no text and left out."
        for name in ("brand", "description", "title")
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Toys.json: the file is empty"),
        (b"\n \n", "Toys.json: the file is empty"),
        (json_lines([review()]) + b'{"asin": "B1"', "line 2: not valid JSON.*cut off"),
        (json_lines([review()]) + b"[1]", "line 2: must hold one JSON object"),
        (json_lines([review()]) + b"\n{'asin': f()}", "line 3: neither JSON nor a Python literal"),
        (json_lines([review()]) + b'{"asin": "\xe9"}', "line 2: not UTF-8.*iconv"),
        (json_lines([review(), review(user=7)]), "line 2: reviewerID 7 is a int and not a text"),
        (json_lines([review(), review(time="1")]), "line 2: unixReviewTime '1' is a str"),
        (json_lines([review(), review(time=1.5)]), "line 2: unixReviewTime 1.5 is a float"),
        (json_lines([review(), review(time=True)]), "line 2: unixReviewTime True is a bool"),
        (json_lines([review(), review(overall="5")]), "line 2: overall '5' is a str"),
        (json_lines([review(time=2**63)]), "line 1: unixReviewTime 9223372036854775808"),
        (json_lines(META_2014), r"no 'reviewerID' in its first 3 lines; the first has \['asin'"),
        (json_lines([review(user="")]), "no interaction with user, item and time: 1 lack a user"),
        ("größe".encode("utf-16"), "this is UTF-16 text; convert"),
        (b"PK\x03\x04...", "this is a zip archive; convert"),
        (gzipped(json_lines([review()] * 99))[:-9], "from line 1 on: .*cut off"),
        (gzipped(json_lines([review()] * 99)) + b"more", "from line 1 on: .*damaged"),
    ],
)  # fmt: skip
def test_bad_reviews_are_refused_with_their_line(tmp_path, data, message):
    path = written(tmp_path / "Toys.json", data)
    with pytest.raises(ValueError, match=message) as refusal:
        import_amazon(path)
    assert str(path) in str(refusal.value)


def test_another_year_and_another_shop_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no 'user_id' in its first 1 lines"):
        reviewed(tmp_path, [review()], year="2023")
    meta = written(tmp_path / "meta.json", json_lines([{"asin": "B2", "title": "T"}]))
    with pytest.raises(ValueError, match=r"meta\.json: none of the 1 items of .*not 'B1'"):
        reviewed(tmp_path, [review()], meta_path=meta)
    with pytest.raises(ValueError, match=r"Toys\.json has no 2-core"):
        reviewed(tmp_path, [review()], thinning=Thinning(k_core=2))
    with pytest.raises(ValueError, match="no values that could be at least 4"):
        reviewed(tmp_path, [review()], thinning=Thinning(min_value=4.0))


ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=3) | st.none()


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.builds(
            review,
            ids,
            ids,
            st.none() | st.integers(-3, 3),
            overall=st.none() | st.integers(1, 5),
        ),
        min_size=1,
        max_size=12,
    ),
    block_size=st.sampled_from([1, 7, 100, 1 << 20]),
    is_gzipped=st.booleans(),
)
def test_every_review_is_in_the_dataset_or_counted(tmp_path_factory, rows, block_size, is_gzipped):
    path = tmp_path_factory.mktemp("amazon") / "Toys.json"
    data = json_lines(rows)
    path.write_bytes(gzipped(data) if is_gzipped else data)
    whole = [r for r in rows if r["reviewerID"] and r["asin"] and r["unixReviewTime"] is not None]
    reported = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sidestep.data.importers.lines.BLOCK_SIZE", block_size)
        if not whole:
            with pytest.raises(ValueError, match="no interaction with user"):
                import_amazon(path)
            return
        done = import_amazon(path, on_progress=reported.append)
    frame = done.dataset.interactions.frame
    assert len(frame) + sum(done.left_out.values()) == len(rows)
    users = list(dict.fromkeys(row["reviewerID"] for row in whole))
    expected = sorted(whole, key=lambda r: (users.index(r["reviewerID"]), r["unixReviewTime"]))
    assert frame.select("user_id", "item_id", "timestamp", "value").rows() == [
        (row["reviewerID"], row["asin"], row["unixReviewTime"], row["overall"]) for row in expected
    ]
    assert reported[-1].bytes_read == reported[-1].bytes_total == path.stat().st_size
    assert reported[-1].num_lines == len(rows)
    assert np.all(np.diff([reading.num_lines for reading in reported]) >= 0)


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sidestep.data.importers.lines.BLOCK_SIZE", 10)
    monkeypatch.setattr("sidestep.data.importers.lines.LONGEST_LINE", 100)
    path = written(tmp_path / "Toys.json", json.dumps([review()] * 9).encode())
    with pytest.raises(ValueError, match=r"line 1: longer than .*one large JSON array"):
        import_amazon(path)
