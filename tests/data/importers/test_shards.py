import errno
import os

import numpy as np
import polars as pl
import pytest

from sidestep.data.frames import content_sha256
from sidestep.data.importers import shards
from sidestep.data.importers.imported import thinned
from sidestep.data.importers.log import Thinning
from sidestep.data.importers.shards import read_core
from sidestep.data.importers.table import import_table
from sidestep.data.importers.table_rows import Columns, Gaps

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


@pytest.mark.parametrize(("frame", "options", "thinning"), CASES)
def test_shards_give_the_dataset_of_one_table_in_memory(
    tmp_path, monkeypatch, frame, options, thinning
):
    folder = in_shards(tmp_path / "log", frame)
    whole = tmp_path / "log.parquet"
    frame.write_parquet(whole)
    expected = thinned(import_table(whole, **NAMES, **options), thinning)
    monkeypatch.setattr("sidestep.data.importers.table.read_table", None)  # whole tables
    for path in (folder, folder / "*.parquet", whole):
        done = import_table(path, **NAMES, **options, thinning=thinning)
        assert fingerprints(done) == fingerprints(expected)
        assert sum(done.left_out.values()) == sum(expected.left_out.values()) > 0
        if thinning.duplicates == "keep":
            assert done.left_out == expected.left_out
        assert done.dataset.name == "log"
        assert done.doubts == expected.doubts


def test_items_with_texts_stay_in_the_order_of_their_table(tmp_path):
    frame = log()
    items_path = tmp_path / "items.csv"
    ids = frame["what"].unique().sort(descending=True)
    pl.DataFrame({"what": ids, "title": ids}).write_csv(items_path)
    frame.write_parquet(tmp_path / "log.parquet")
    options = {**NAMES, "items_path": items_path}
    expected = thinned(import_table(tmp_path / "log.parquet", **options), Thinning(k_core=5))
    folder = in_shards(tmp_path / "log", frame)
    done = import_table(folder, **options, thinning=Thinning(k_core=5))
    assert fingerprints(done) == fingerprints(expected)
    pl.DataFrame({"what": ids[1:], "title": ids[1:]}).write_csv(items_path)
    with pytest.raises(ValueError, match=rf"item '{ids[0]}' has no row in"):
        import_table(folder, **options, thinning=Thinning(k_core=5))


ODD = {
    "an ID is a float": pl.col("what").str.slice(1) + ".0",
    "an ID was a rounded number": pl.lit("1.23E+11").alias("what"),
    "IDs are categories": pl.col("who").cast(pl.Categorical),
    "times are texts": pl.from_epoch("at").dt.strftime("%Y-%m-%d"),
    "a time has microseconds": pl.from_epoch("at").cast(pl.Datetime("us"))
    + pl.duration(microseconds=(pl.int_range(pl.len()) == 7).cast(pl.Int64)),
    "a user is missing": pl.lit(None, pl.String).alias("who"),
}


@pytest.mark.parametrize("odd", ODD)
def test_oddities_are_left_to_the_reader_of_whole_tables(tmp_path, odd):
    folder = in_shards(tmp_path / "log", log().with_columns(ODD[odd]))
    assert read_core(folder, Columns(**NAMES), None, Gaps(), Thinning(k_core=2)) is None


def test_a_row_outside_the_core_is_refused_with_its_place(tmp_path):
    row = pl.int_range(pl.len()) == 500
    faults = {
        "what": (pl.when(row).then(None).otherwise("what").alias("what"), "what is missing"),
        "at": (pl.when(row).then(None).otherwise("at").alias("at"), "at is missing"),
        "ms": (pl.when(row).then(1_600_000_000_000).otherwise("at").alias("at"), "milliseconds"),
        "stars": (pl.when(row).then(np.inf).otherwise("stars").alias("stars"), "not a number"),
    }
    lonely = pl.when(row).then(pl.lit("lonely")).otherwise("who").alias("who")
    for name, (fault, message) in faults.items():
        folder = in_shards(tmp_path / name, log().with_columns(lonely, fault))
        with pytest.raises(ValueError, match=rf"{name}, part-1\.parquet, row 201: .*{message}"):
            import_table(folder, **NAMES, thinning=Thinning(k_core=5))


def test_no_core_a_damaged_shard_and_an_unknown_event_are_refused(tmp_path):
    folder = in_shards(tmp_path / "log", log())
    with pytest.raises(ValueError, match="log has no 99-core; choose a smaller k"):
        import_table(folder, **NAMES, thinning=Thinning(k_core=99))
    with pytest.raises(ValueError, match="--events: no interaction is of the type 'sell'"):
        import_table(folder, **NAMES, thinning=Thinning(k_core=2, events=("sell",)))
    with pytest.raises(FileNotFoundError, match=r"part-9\*: no file has such a name"):
        import_table(folder / "part-9*", **NAMES)
    damaged = folder / "part-1.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"part-1\.parquet: not a readable parquet file"):
        import_table(folder, **NAMES, thinning=Thinning(k_core=2))


def test_only_numbers_are_counted_and_nothing_stays_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    counted, count = [], shards._core

    def seen(rows, k):
        counted.append(rows.collect_schema())
        return count(rows, k)

    monkeypatch.setattr(shards, "_core", seen)
    folder = in_shards(tmp_path / "log", log())
    import_table(folder, user="who", item="what", thinning=Thinning(k_core=2))
    assert counted == [pl.Schema({"row": pl.UInt32, "user": pl.UInt32, "item": pl.UInt32})]
    assert [*(tmp_path / "scratch").iterdir()] == []


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(self, file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = in_shards(tmp_path / "log", log())
    monkeypatch.setattr(pl.LazyFrame, "sink_parquet", full)
    with pytest.raises(ValueError, match=r"log: the disk of .* is too full.*TMPDIR"):
        import_table(folder, **NAMES, thinning=Thinning(k_core=2))
