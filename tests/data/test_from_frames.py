"""Datasets of frames in memory, which are read in the same way as files."""

import subprocess
import sys
import warnings
from contextlib import nullcontext
from datetime import datetime

import pandas as pd
import polars as pl
import pytest

from sidestep.data.dataset import Dataset
from sidestep.data.events import EventWeights
from sidestep.data.importers.table import import_table
from sidestep.notices import Listener, told_to

LOG = pl.DataFrame(
    {
        "user_id": ["a", "a", "b", "a"],
        "item_id": [1, 2, 1, 3],
        "timestamp": [30, 10, 20, 40],
    }
)
ITEMS = pl.DataFrame({"item_id": [3, 2, 1, 9], "title": ["three", "two", "one", None]})


def rows(dataset):
    return dataset.interactions.frame.select("user_id", "item_id", "timestamp").rows()


@pytest.mark.parametrize(
    "kind",
    [
        lambda frame: frame,
        pl.DataFrame.lazy,
        pl.DataFrame.to_arrow,
        lambda frame: pd.DataFrame(frame.to_dict(as_series=False)),
    ],
)
def test_a_frame_of_any_kind_is_read_in_the_order_of_time(kind):
    dataset = Dataset.from_frames(kind(LOG), kind(ITEMS))
    assert rows(dataset) == [("a", "2", 10), ("a", "1", 30), ("a", "3", 40), ("b", "1", 20)]
    assert dataset.items.item_ids == ("3", "2", "1", "9")
    assert dataset.items.frame["title"].to_list() == ["three", "two", "one", None]


def test_a_frame_is_read_as_its_file_would_be(tmp_path):
    LOG.write_csv(tmp_path / "log.csv")
    ITEMS.write_csv(tmp_path / "items.csv")
    of_file = import_table(
        tmp_path / "log.csv", time="timestamp", items_path=tmp_path / "items.csv"
    ).dataset
    of_frames = Dataset.from_frames(LOG, ITEMS)
    assert sorted(rows(of_file)) == sorted(rows(of_frames))
    assert of_file.items.frame.equals(of_frames.items.frame)


def test_columns_have_any_names_and_rows_without_time_keep_their_order():
    log = LOG.rename({"user_id": "who", "item_id": "sku", "timestamp": "at"})
    items = ITEMS.rename({"item_id": "id"}).with_columns(price=1)
    named = Dataset.from_frames(
        log, items, user="who", item="sku", time="at", items_item="id", text_columns=["title"]
    )
    assert rows(named) == rows(Dataset.from_frames(LOG, ITEMS))
    assert named.items.text_columns == ("title",)
    untimed = Dataset.from_frames(log, user="who", item="sku")
    assert untimed.interactions.frame["item_id"].to_list() == ["1", "2", "3", "1"]
    assert untimed.interactions.frame["timestamp"].null_count() == 4


def test_dates_types_of_events_and_values_are_read():
    log = LOG.with_columns(
        timestamp=pl.Series([datetime(2024, 1, day) for day in (3, 1, 2, 4)]),
        event=pl.Series(["view", "buy", "view", "buy"]),
        rating=pl.Series([1.0, 2.5, None, 4.0]),
    )
    weights = EventWeights(targets={"buy": 1.0})
    dataset = Dataset.from_frames(log, event="event", value="rating", event_weights=weights)
    assert dataset.interactions.frame["event"].to_list() == ["buy", "view", "buy", "view"]
    assert dataset.interactions.frame["value"].to_list() == [2.5, 1.0, 4.0, None]
    assert dataset.histories().target_weights.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        ({}, {"item": "sku"}, ValueError, "interactions: there is no column 'sku'; there are"),
        ({}, {"time": "at"}, ValueError, "interactions: there is no column 'at'.*with time=..."),
        ({}, {"user": "who"}, ValueError, "no column 'who'; there are .*with user=..."),
        (
            {"user_id": [None, "a", "b", "c"]},
            {},
            ValueError,
            "interactions, row 0: user_id is missing, in 1 of 4 rows.*missing_users='drop'",
        ),
        (
            {"timestamp": [1, 2, None, 4]},
            {},
            ValueError,
            "row 2: timestamp .*missing",
        ),
        (
            {"item_id": [1, 2, 7, 3]},
            {"items": ITEMS},
            ValueError,
            "item '7' has no row in items",
        ),
        ({}, {"items": pl.concat([ITEMS, ITEMS])}, ValueError, "items, row 4: item '3' stands in"),
        ({}, {"items": 7}, TypeError, "items is a int; pass a frame of polars, pandas or Arrow"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_row(change, arguments, error, message):
    log = LOG.with_columns(**{name: pl.Series(values) for name, values in change.items()})
    with pytest.raises(error, match=message) as caught:
        Dataset.from_frames(log, **arguments)
    assert "--" not in str(caught.value)


def test_no_frame_is_refused():
    with pytest.raises(TypeError, match="interactions is a list"):
        Dataset.from_frames([("a", 1)])


def test_gaps_are_told_and_doubts_are_warnings():
    log = pl.concat([LOG, LOG.with_columns(user_id=pl.lit(None, pl.String))])
    notes = []
    with told_to(Listener(note=notes.append, warn=notes.append, working=nullcontext)):
        dataset = Dataset.from_frames(log, missing_users="drop")
    assert len(dataset.interactions) == 4
    assert notes[0] == "left out because they lack a user: 4 interactions."
    with pytest.warns(UserWarning, match="the user 'NA', which reads like .*missing_users='drop'"):
        Dataset.from_frames(LOG.with_columns(user_id=pl.Series(["NA", "NA", "b", "c"])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dataset.from_frames(LOG)


def test_times_under_another_name_are_not_passed_over_in_silence():
    with pytest.warns(UserWarning, match=r"in their order; if 'at' holds the times.* time='at'"):
        Dataset.from_frames(LOG.rename({"timestamp": "at"}))


def test_an_empty_frame_and_a_column_of_several_types_are_refused():
    with pytest.raises(ValueError, match="interactions: there is no row"):
        Dataset.from_frames(LOG.clear())
    mixed = pd.DataFrame({"user_id": ["a", 1], "item_id": [1, 2]})
    with pytest.raises(ValueError, match="interactions: a column cannot be read"):
        Dataset.from_frames(mixed)


def test_a_table_of_other_users_is_a_warning():
    with pytest.warns(UserWarning, match="is in the table of users, for example not"):
        Dataset.from_frames(LOG, users=pl.DataFrame({"user_id": ["nobody"]}))


def test_a_misspelt_choice_is_refused_though_no_row_needs_it():
    # In a process of its own: here, the check of annotations would refuse the choice first.
    program = (
        "import polars as pl; from sidestep.data.dataset import Dataset; "
        "Dataset.from_frames(pl.DataFrame({'user_id': ['a'], 'item_id': ['x']}), "
        "missing_users='dorp')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "missing_users is one of refuse, drop, keep, got 'dorp'" in ended.stderr
