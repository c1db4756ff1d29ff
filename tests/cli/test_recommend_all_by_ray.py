"""Lists for all users by actors of Ray: the lists of one process, and the rest after a kill."""

import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'sidestep[ray]'")


def command(shop, out, *more):
    words = [sys.executable, "-m", "sidestep", "recommend-all", shop / "beam", "--out", out]
    words += ["--dataset", shop / "dataset", "--shard-users", 2, "--k", 3, *more]
    return [*map(str, words)]


def shards(folder):
    return {file.name: pl.read_parquet(file) for file in folder.glob("part-*.parquet")}


BY_RAY = ("--engine", "ray", "--ray-actors", 2)


def test_actors_make_the_shards_of_one_process_also_after_a_kill(shop, tmp_path):
    subprocess.run(command(shop, tmp_path / "local"), check=True, capture_output=True)
    killed = subprocess.Popen(
        command(shop, tmp_path / "ray", *BY_RAY), stderr=subprocess.DEVNULL, start_new_session=True
    )
    end = time.monotonic() + 240
    while not [*(tmp_path / "ray").glob("part-*")] and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    before = shards(tmp_path / "ray")
    done = subprocess.run(
        command(shop, tmp_path / "ray", *BY_RAY), check=True, capture_output=True, text=True
    )
    found, right = shards(tmp_path / "ray"), shards(tmp_path / "local")
    assert {*found} == {*right}
    assert len(before) > 0
    assert f"{len(right) - len(before)} of" in done.stderr or len(before) == len(right)
    for name, frame in right.items():
        other = found[name]
        assert other.drop("score").equals(frame.drop("score")), name
        assert (other["score"] - frame["score"]).abs().max() < 1e-4


def test_an_actor_that_fails_says_why(shop, tmp_path):
    pl.DataFrame({"user_id": ["u", "u"], "history": [["a"], ["b"]]}).write_parquet(
        tmp_path / "in.parquet"
    )
    words = [sys.executable, "-m", "sidestep", "recommend-all", shop / "beam", "--engine", "ray"]
    words += ["--histories", tmp_path / "in.parquet", "--out", tmp_path / "out"]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "the user 'u' stands there twice" in " ".join(done.stderr.split())
    assert not [*(tmp_path / "out").glob("part-*")]
