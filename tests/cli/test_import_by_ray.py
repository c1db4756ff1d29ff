"""The import of shards by Ray: the files that one process writes, to the hash."""

import subprocess
import sys

import polars as pl
import pytest

pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'sidestep[ray]'")


def test_ray_writes_the_dataset_of_one_process(tmp_path):
    users, items = [n % 17 for n in range(600)], [n * n % 43 for n in range(600)]
    log = pl.DataFrame({"user_id": users, "item_id": items, "time": [n % 90 for n in range(600)]})
    (tmp_path / "log").mkdir()
    for number, part in enumerate(log.iter_slices(200)):
        part.write_parquet(tmp_path / "log" / f"part-{number}.parquet")
    for engine in ("local", "ray"):
        words = ("import", "table", "log", "--time", "time", "--k-core", 20)
        command = [sys.executable, "-m", "sidestep", *words, "--engine", engine, "--out", engine]
        subprocess.run([*map(str, command)], check=True, capture_output=True, cwd=tmp_path)
    local, ray = (tmp_path / engine for engine in ("local", "ray"))
    assert (ray / "dataset.json").read_text() == (local / "dataset.json").read_text()
    assert 0 < pl.read_parquet(ray / "interactions.parquet").height < 600
    for name in ("interactions.parquet", "items.parquet"):
        assert pl.read_parquet(ray / name).equals(pl.read_parquet(local / name))
