"""`torchrun -m sidestep train`: processes that are killed, interrupted, resumed, and refused."""

import json
import os
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sidestep.training.checkpoint import checkpoints
from tests.cli.commands import refused, run
from tests.cli.launched import Launched

SETTINGS = [
    *("--set", "model.dropout=0"),
    *("--set", "training.epochs=40"),
    *("--set", "training.validate_every=20"),
    *("--set", "training.log_every=1"),
    *("--set", "training.device=cpu"),
    *("--set", "training.learning_rate=1e-3"),
]


@pytest.fixture(scope="module")
def training(files, shop):
    """The arguments of the training, without its folder."""
    return [
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", *SETTINGS),
    ]


def names_in(folder: Path) -> set[str]:
    """Names in a folder of a run, without checkpoints: an interruption leaves one more."""
    return {path.name for path in folder.iterdir()} - {one.name for one in checkpoints(folder)}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes in /proc")
def test_two_processes_that_were_killed_and_interrupted_train_as_one_does(training, tmp_path):
    run(*training, "--out", tmp_path / "one")
    two = tmp_path / "two"

    launched = Launched(tmp_path / "killed", *training, "--out", two)
    launched.wait_for_checkpoint(two)
    os.kill(launched.worker(1), signal.SIGKILL)
    code, said = launched.end()
    assert code != 0
    assert said.count("Error in process") == 1
    assert "Error in process 1 of 2: another process of this launch has ended" in said

    launched = Launched(tmp_path / "interrupted", *training, "--out", two)
    launched.wait_for_checkpoint(two, after=checkpoints(two)[-1])
    launched.process.send_signal(signal.SIGTERM)
    code, said = launched.end()
    assert code != 0
    assert said.count("Interrupted at step") == 1
    assert "Error" not in said.partition("Interrupted at step")[0]
    assert not (two / "bundle").exists()

    code, said = Launched(tmp_path / "finished", *training, "--out", two).end()
    assert code == 0, said
    assert said.count("Wrote ") == 1
    assert names_in(two) == names_in(tmp_path / "one")
    losses = [
        [
            line["loss"]
            for line in map(json.loads, (folder / "log.jsonl").read_text().splitlines())
            if line["kind"] == "step"
        ]
        for folder in (tmp_path / "one", two)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    ours, theirs = (
        load_file(folder / "bundle" / "model.safetensors") for folder in (tmp_path / "one", two)
    )
    assert {name: one.shape for name, one in ours.items()} == {
        name: one.shape for name, one in theirs.items()
    }


def test_a_kind_that_cannot_be_shared_is_refused_once_and_leaves_nothing(shop, tmp_path):
    arguments = ("train", "--set", "kind=popularity", "--dataset", shop / "dataset")
    code, said = Launched(tmp_path / "said", *arguments, "--out", tmp_path / "run").end()
    assert code != 0
    assert said.count("a run of kind popularity trains no network") == 1
    assert not (tmp_path / "run").exists()


def test_a_command_for_one_process_says_so(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    said = refused("evaluate", shop / "beam", "--split", "test")
    assert "'sidestep evaluate' is the work of one process, and 2 were started" in said
