"""Several processes train as one does: the same losses and weights, and the same run folder."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import shared_runs
import torch
from safetensors.torch import load_file
from shared_runs import RUNS, SHARDINGS, STOPPED, ring, stop_at
from training_toy import NextInRing, ring_windows

from sidestep.model.config import HstuConfig
from sidestep.model.hstu import Hstu
from sidestep.notices import Listener, told_to
from sidestep.training.checkpoint import checkpoints
from sidestep.training.fully_sharded import parts_of
from sidestep.training.loop import train
from sidestep.training.next_item import NextItemObjective
from sidestep.training.objective_config import NextItemConfig

NUM_PROCESSES = 2


@pytest.fixture(scope="module")
def of_one(tmp_path_factory):
    """The runs of one process, and in `to-resume` those that two processes finish."""
    folder = tmp_path_factory.mktemp("one")
    for name, run in RUNS.items():
        run(folder / name)
    for sharding in SHARDINGS:
        stopped = ring(
            folder / "to-resume" / f"one-{sharding}",
            stop=stop_at(STOPPED, 0),
            sharding=sharding,
            log_every=4,
        )
        assert stopped[1].stopped == "interrupted"
    return folder


@pytest.fixture(scope="module")
def of_two(tmp_path_factory, of_one):
    """The runs of two processes."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, shared_runs.__file__, str(folder), str(of_one / "to-resume")],
            env=os.environ
            | {
                "RANK": str(index),
                "LOCAL_RANK": str(index),
                "WORLD_SIZE": str(NUM_PROCESSES),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
            },
        )
        for index in range(NUM_PROCESSES)
    ]
    try:
        # Only against a deadlock: on a busy machine, the imports alone may take a minute.
        assert [process.wait(timeout=600) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return folder


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses_of(folder: Path, name: str = "loss") -> list[float]:
    return [line[name] for line in lines_of(folder) if line["kind"] == "step"]


def assert_same_training(one: Path, other: Path) -> None:
    for name in ("loss", "grad_norm"):
        assert losses_of(one, name)
        assert losses_of(one, name) == pytest.approx(losses_of(other, name), rel=1e-4)
    assert_same_weights(one, other)
    validations = [
        [line["validation"] for line in lines_of(folder) if line["kind"] == "epoch"]
        for folder in (one, other)
    ]
    if validations[0][0] is not None:
        assert validations[0] == pytest.approx(validations[1], rel=1e-4)


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (weights_that_matter(folder) for folder in (one, other))
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        torch.testing.assert_close(weights, theirs[name], atol=1e-5, rtol=1e-4, msg=name)


def weights_that_matter(folder: Path) -> dict[str, torch.Tensor]:
    """The weights at the end, without biases of keys.

    Such a bias changes no attention. Its gradient is rounding, of which Adam makes steps.
    """
    weights = load_file(folder / "weights.safetensors")
    for name in weights:
        if name.endswith("self_attn.in_proj_bias"):
            queries, _, values = weights[name].chunk(3)
            weights[name] = torch.cat([queries, values])
    return weights


@pytest.mark.parametrize("name", [name for name in RUNS if name != "dropout"])
def test_two_processes_train_as_one_does(of_one, of_two, name):
    assert_same_training(of_one / name, of_two / name)


def test_each_process_drops_out_on_its_own(of_one, of_two):
    """The random draws of two processes are not those of one; the training is still good."""
    ours, theirs = (losses_of(folder / "dropout") for folder in (of_one, of_two))
    assert ours != pytest.approx(theirs, rel=1e-3)
    assert theirs[-1] < theirs[0]


def test_figures_of_layers_are_those_of_all_processes(of_one, of_two):
    ours, theirs = (
        [
            line["layers"]["head"]["trace"]
            for line in lines_of(folder / "adaptive")
            if line["kind"] == "precision"
        ]
        for folder in (of_one, of_two)
    )
    assert len(ours) == 12
    assert min(ours) > 0
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_signal_to_one_process_stops_both_and_both_go_on(of_one, of_two, sharding):
    folder = of_two / f"stopped-{sharding}"
    assert (folder / "stopped-at").read_text() == str(STOPPED)
    # A line of the log spans the interruption.
    assert_same_training(of_one / "rarely-told", folder)


def test_each_process_goes_on_with_its_own_draws(of_two):
    assert_same_training(of_two / "dropout", of_two / "dropout-stopped")


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_two_processes_finish_a_run_of_one(of_one, of_two, sharding):
    assert_same_training(of_one / "rarely-told", of_one / "to-resume" / f"one-{sharding}")


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_one_process_finishes_a_run_of_two_and_says_what_is_not_the_same(of_two, of_one, sharding):
    folder = of_two / f"left-{sharding}"
    notes = []
    listener = Listener(note=notes.append, warn=notes.append, working=lambda title: None)
    with told_to(listener):
        _, result = ring(folder, resume=True, sharding=sharding, log_every=4)
    assert result.stopped == "finished"
    assert_same_training(of_one / "rarely-told", folder)
    (sentence,) = notes
    assert sentence.startswith("The checkpoint was written by 2 processes, and 1 go on.")


def test_a_sharded_checkpoint_has_a_part_of_each_weight_from_each_process(of_two):
    newest = checkpoints(of_two / "sharded")[-1]
    shards = sorted(newest.glob("shard-*.safetensors"))
    assert len(shards) == NUM_PROCESSES
    rows = [load_file(shard)["weights.embedding.weight"].shape[0] for shard in shards]
    assert rows == [5, 5]  # of ten items
    assert not (newest / "weights.safetensors").exists()
    damaged = shards[0]
    damaged.write_bytes(damaged.read_bytes()[:-8])
    with pytest.raises(ValueError, match=rf"{newest.name} is damaged \({damaged.name} is not"):
        ring(of_two / "sharded", resume=True, sharding="full")


def test_a_loss_that_compares_examples_is_refused_by_each_process(of_two):
    for index in range(NUM_PROCESSES):
        refusal = (of_two / f"refusal-{index}").read_text()
        assert refusal.startswith("2 processes cannot share the batches of this training: NextInR")
    assert not (of_two / "refused").exists()


def test_one_process_trains_any_objective(tmp_path):
    train(NextInRing(), ring_windows(8), shared_runs.RUN, folder=tmp_path, seed=0)


def test_layers_are_parts_of_shards_unless_an_objective_searches():
    torch.manual_seed(0)
    hstu = Hstu(HstuConfig(dim=8, num_layers=2, num_heads=2, max_items=7), 12)
    assert parts_of(NextItemObjective(hstu, NextItemConfig())) == list(hstu.layers)[::-1]
    assert parts_of(NextInRing()) == []
