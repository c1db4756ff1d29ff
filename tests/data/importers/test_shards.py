import errno
import os
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from sidestep.data.importers import shards
from sidestep.data.importers.imported import thinned
from sidestep.data.importers.log import Thinning
from sidestep.data.importers.shard_rows import streamed
from sidestep.data.importers.shards import read_core
from sidestep.data.importers.table import import_table
from sidestep.data.importers.table_rows import Columns, Gaps
from sidestep.data.splits import leave_one_out
from sidestep.data.windows import training_windows, window_batch

from .shards_contract import NAMES, ShardEngineContract, fingerprints, in_shards, log


class TestStreamed(ShardEngineContract):
    @pytest.fixture
    def engine(self):
        return streamed


@dataclass(frozen=True)
class OnePieceAFile:
    """Rows whose pieces are the files: a plain form of what an engine of many processes does."""

    frames: list

    def then(self, step):
        return OnePieceAFile([step(frame) for frame in self.frames])

    def kept(self):
        return OnePieceAFile([frame.collect().lazy() for frame in self.frames])

    def pieces(self):
        return (frame.collect() for frame in self.frames)


@contextmanager
def one_piece_a_file(parts, columns):
    frames, first = [], 0
    for part in parts:
        frame = pl.read_parquet(part).lazy().select(*columns)
        frames.append(frame.with_row_index("row", offset=first))
        first += pl.read_parquet(part).height
    yield OnePieceAFile(frames)


class TestPieces(ShardEngineContract):
    @pytest.fixture
    def engine(self):
        return one_piece_a_file


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
        counted.extend(piece.schema for piece in rows.pieces())
        return count(rows, k)

    monkeypatch.setattr(shards, "_core", seen)
    folder = in_shards(tmp_path / "log", log())
    import_table(folder, user="who", item="what", thinning=Thinning(k_core=2))
    assert counted == [pl.Schema({"row": pl.UInt32, "user": pl.UInt32, "item": pl.UInt32})]
    assert [*(tmp_path / "scratch").iterdir()] == []


def test_an_interrupted_import_leaves_nothing_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    written = []

    def interrupted(rows, k):
        written.extend((tmp_path / "scratch").rglob("*.parquet"))
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "_core", interrupted)
    folder = in_shards(tmp_path / "log", log())
    with pytest.raises(KeyboardInterrupt):
        import_table(folder, **NAMES, thinning=Thinning(k_core=2))
    assert len(written) == 1
    assert [*(tmp_path / "scratch").iterdir()] == []


def test_an_engine_that_has_ended_is_no_reason_to_read_the_whole_table(tmp_path, monkeypatch):
    @contextmanager
    def ended(parts, columns):
        raise ConnectionError("the cluster has ended")
        yield

    folder = in_shards(tmp_path / "log", log())
    monkeypatch.setattr("sidestep.data.importers.table.read_table", None)
    with pytest.raises(ConnectionError, match="the cluster has ended"):
        import_table(folder, **NAMES, thinning=Thinning(k_core=2), engine=ended)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(self, file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = in_shards(tmp_path / "log", log())
    monkeypatch.setattr(pl.LazyFrame, "sink_parquet", full)
    with pytest.raises(ValueError, match=r"log: the disk of .* is too full.*TMPDIR"):
        import_table(folder, **NAMES, thinning=Thinning(k_core=2))


def by_name(dataset):
    """Windows and targets by the names of users and items in place of their numbers."""
    split, names = leave_one_out(dataset.histories()), dataset.items.item_ids
    windows = training_windows(split.train, max_history=4)
    batch = window_batch(windows, np.arange(len(windows)))
    read = [
        (split.train.histories.user_ids[user], [names[item] for item in items[:length]], targets)
        for user, items, length, targets in zip(
            windows.users,
            batch.items.tolist(),
            batch.lengths.tolist(),
            batch.is_target.tolist(),
            strict=True,
        )
    ]
    asked = {
        user: names[target]
        for user, target in zip(split.test.histories.user_ids, split.test.targets, strict=True)
    }
    return sorted((user, items, targets[: len(items)]) for user, items, targets in read), asked


def test_files_in_another_order_give_the_same_windows_under_other_numbers(tmp_path):
    frame = log().with_columns(at=1_600_000_000 + pl.int_range(pl.len()).shuffle(seed=1))
    thinning = Thinning(k_core=5)
    folder = in_shards(tmp_path / "log", frame, 6)
    first = import_table(folder, **NAMES, thinning=thinning).dataset
    for number, part in enumerate(sorted(folder.glob("*.parquet"), reverse=True)):
        part.rename(folder / f"renamed-{number}.parquet")
    second = import_table(folder, **NAMES, thinning=thinning).dataset
    assert by_name(second) == by_name(first)
    assert second.items.item_ids != first.items.item_ids
    assert {*second.items.item_ids} == {*first.items.item_ids}
