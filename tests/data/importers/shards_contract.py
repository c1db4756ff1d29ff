"""The laws that every engine of shards must pass: `ShardEngineContract`, for a test class.

A subclass gives the fixture `engine`. A slow engine may test fewer `CASES`.
"""

from functools import partial

import numpy as np
import polars as pl
import pytest

from sidestep.data.frames import content_sha256
from sidestep.data.global_time import global_time, periods_by_share
from sidestep.data.importers.imported import thinned
from sidestep.data.importers.log import Thinning
from sidestep.data.importers.shard_rows import collected, merged
from sidestep.data.importers.shards import read_core
from sidestep.data.importers.table import import_table
from sidestep.data.importers.table_rows import Columns, Gaps
from sidestep.data.splits import leave_one_out
from sidestep.data.windows import training_windows

NAMES = {"user": "who", "item": "what", "time": "at", "event": "kind", "value": "stars"}
DROP = Gaps(users="drop", items="drop", times="drop", words=("NA",))


def log(num_rows=900, seed=0):
    """Rows with few users and many items, so that dropping goes on for several turns."""
    random = np.random.default_rng(seed)
    users, items = random.integers(0, 60, num_rows), random.geometric(0.02, num_rows)
    return pl.DataFrame(
        {
            "who": [f"u{user}" for user in users],
            "other": ["never read"] * num_rows,
            "what": [f"i{item}" for item in items],
            "at": 1_600_000_000 + random.integers(0, 50, num_rows),
            "kind": random.choice(["buy", "view", "", "rare"], num_rows, p=[0.5, 0.4, 0.09, 0.01]),
            "stars": random.integers(1, 6, num_rows).astype(float),
        }
    )


def with_gaps(frame):
    row = pl.int_range(pl.len())
    return frame.with_columns(
        who=pl.when(row % 17 == 3)
        .then(None)
        .when(row % 17 == 4)
        .then(pl.lit(" "))
        .otherwise("who"),
        what=pl.when(row % 19 == 3).then(pl.lit("NA")).otherwise("what"),
        at=pl.when(row % 23 == 3).then(None).when(row % 23 == 4).then(0).otherwise("at"),
        stars=pl.when(row % 5 == 0).then(None).otherwise("stars"),
    )


def in_shards(folder, frame, num_shards=3):
    folder.mkdir()
    size = -(-frame.height // num_shards)
    for shard, part in enumerate(frame.iter_slices(size)):
        part.write_parquet(folder / f"part-{shard}.parquet", row_group_size=50)
    (folder / "_SUCCESS").touch()
    return folder


def fingerprints(done):
    dataset = done.dataset
    return content_sha256(dataset.interactions.frame), content_sha256(dataset.items.frame)


CASES = [
    (log(), {}, Thinning(k_core=5)),
    (log(), {}, Thinning(k_core=2, ties="item")),
    (log(), {}, Thinning(k_core=3, events=("buy", "rare"), min_value=2.0)),
    (log(), {}, Thinning(k_core=3, duplicates="last", by_type=True)),
    (log(2_000), {}, Thinning(k_core=4, duplicates="first", min_value=3.0)),
    (with_gaps(log()), {"gaps": DROP}, Thinning(k_core=4)),
    (with_gaps(log()), {"gaps": DROP}, Thinning(k_core=3, min_value=3.0, ties="item")),
    (log().with_columns(pl.col("who").hash(), pl.col("what").str.slice(1).cast(pl.Int32)), {},
     Thinning(k_core=5)),
    (log().with_columns(pl.from_epoch("at")), {}, Thinning(k_core=5)),
    (log().with_columns(pl.from_epoch("at").dt.date()), {}, Thinning(k_core=5)),
]  # fmt: skip


def prepared(dataset):
    """Fingerprints of all that a training reads: splits, their training parts, and windows."""
    histories = dataset.histories()
    periods = periods_by_share(histories.timestamps, validation=0.1, test=0.1)
    found = []
    for split in (leave_one_out(histories), global_time(histories, periods)):
        windows = training_windows(split.train, max_history=4)
        # Windows are places in the histories: a batch, and nothing before it, copies items.
        assert np.shares_memory(windows.items, split.train.histories.items)
        found += [split.fingerprint(), split.train.fingerprint(), windows.fingerprint()]
    return found


def counted(rows):
    return rows.group_by("user").len()


def summed(counts):
    return counts.group_by("user").agg(pl.col("len").sum())


def with_less(stars, rows):
    return rows.filter(pl.col("value") < stars)


class ShardEngineContract:
    """Inherit, and define the fixture `engine`."""

    cases = CASES

    def opened(self, engine, tmp_path, frame):
        """The rows of a frame in three files."""
        folder = in_shards(tmp_path / "log", frame)
        columns = [pl.col("who").alias("user"), pl.col("stars").alias("value")]
        return engine(sorted(folder.glob("*.parquet")), columns)

    def test_rows_are_numbered_over_all_files_and_stay_in_order(self, engine, tmp_path):
        frame = log(100)
        expected = frame.select(user="who", value="stars").with_row_index("row")
        few = expected.filter(pl.col("value") < 3)
        with self.opened(engine, tmp_path, frame) as rows:
            assert collected(rows).equals(expected)
            kept = rows.then(partial(with_less, 3)).kept()
            assert collected(kept).equals(few)
            assert collected(kept.then(partial(with_less, 2))).equals(few.filter(value=1))
            assert collected(rows).equals(expected)  # a step makes other rows

    def test_a_step_that_leaves_nothing_leaves_the_columns(self, engine, tmp_path):
        with self.opened(engine, tmp_path, log(100)) as rows:
            nothing = rows.then(partial(with_less, 0)).kept()
            schema = {"row": pl.UInt32, "user": pl.String, "value": pl.Float64}
            assert collected(nothing).schema == schema
            assert collected(nothing).is_empty()
            assert merged(nothing.then(counted), summed).is_empty()

    def test_counts_of_pieces_become_counts_of_all_rows(self, engine, tmp_path):
        frame = log(300)
        with self.opened(engine, tmp_path, frame) as rows:
            counts = merged(rows.then(counted), summed)
        expected = frame.group_by(user="who").len()
        assert counts.sort("user").equals(expected.sort("user"))

    def test_shards_give_the_dataset_of_one_table_in_memory(self, engine, tmp_path, monkeypatch):
        for number, (frame, options, thinning) in enumerate(self.cases):
            place = tmp_path / f"case-{number}"
            place.mkdir()
            folder, whole = in_shards(place / "log", frame), place / "log.parquet"
            frame.write_parquet(whole)
            expected = thinned(import_table(whole, **NAMES, **options), thinning)
            with monkeypatch.context() as within:
                within.setattr("sidestep.data.importers.table.read_table", None)  # whole tables
                for path in (folder, folder / "*.parquet", whole)[: self.ways_to_name_the_log]:
                    done = import_table(path, **NAMES, **options, thinning=thinning, engine=engine)
                    assert fingerprints(done) == fingerprints(expected), number
                    assert sum(done.left_out.values()) == sum(expected.left_out.values()) > 0
                    if thinning.duplicates == "keep":
                        assert done.left_out == expected.left_out
                    assert done.dataset.name == "log"
                    assert done.doubts == expected.doubts

    ways_to_name_the_log = 3

    def test_splits_and_windows_are_those_of_one_file_in_any_number_of_shards(
        self, engine, tmp_path
    ):
        thinning = Thinning(k_core=5)
        log().write_parquet(tmp_path / "one.parquet")
        expected = thinned(import_table(tmp_path / "one.parquet", **NAMES), thinning).dataset
        for number in self.numbers_of_shards:
            folder = in_shards(tmp_path / f"in-{number}", log(), number)
            done = import_table(folder, **NAMES, thinning=thinning, engine=engine)
            assert prepared(done.dataset) == prepared(expected)

    numbers_of_shards = (1, 2, 7)

    def test_one_odd_id_in_one_file_is_left_to_the_reader_of_whole_tables(self, engine, tmp_path):
        is_last = pl.int_range(pl.len()) == pl.len() - 1
        odd = pl.when(is_last).then(pl.lit("41.0")).otherwise("what").alias("what")
        folder = in_shards(tmp_path / "log", log().with_columns(odd))
        thinning = Thinning(k_core=2)
        assert read_core(folder, Columns(**NAMES), None, Gaps(), thinning, engine) is None

    def test_a_damaged_shard_is_named(self, engine, tmp_path):
        folder = in_shards(tmp_path / "log", log())
        damaged = folder / "part-1.parquet"
        content = bytearray(damaged.read_bytes())
        content[4:400] = b"\0" * 396  # within the pages: the description of the columns is whole
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match=r"part-1\.parquet: not a readable parquet file"):
            import_table(folder, **NAMES, thinning=Thinning(k_core=2), engine=engine)
