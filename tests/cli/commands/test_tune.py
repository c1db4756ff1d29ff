"""`sidestep tune`: what it prints and leaves, and that a killed process loses no trial."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sidestep.evaluation.results import read as read_lines
from sidestep.training.checkpoint import checkpoints
from tests.cli.commands import call, refused, run

TINY = (
    *("--set", "model.num_layers=1", "--set", "training.epochs=2", "--set", "training.device=cpu"),
    *("--only", "--space", "training.learning_rate=log:1e-3..1e-2", "--space", "model.dim=8,16"),
)


def tune(shop, out, *more, trials=3):
    given = ("tune", "sasrec", "--dataset", shop / "dataset", "--out", out, "--trials", trials)
    return (*given, *TINY, *more)


@pytest.fixture(scope="module")
def done(shop, tmp_path_factory):
    """The folder of a study, and what the command said of it."""
    out = tmp_path_factory.mktemp("tuned") / "study"
    said = call(*tune(shop, out, "--no-prune"))
    assert said.exit_code == 0, (said.output, said.exception)
    return out, said


def trials_of(out):
    """The trials without their times, which differ from process to process."""
    told = json.loads((out / "tune.json").read_text())["trials"]
    return [{**trial, "seconds": None} for trial in told]


def test_the_table_has_the_best_trial_first_and_progress_is_elsewhere(done):
    out, said = done
    trials = sorted(trials_of(out), key=lambda trial: -trial["score"])
    rows = [line.split() for line in said.stdout.splitlines() if " finished " in line]
    assert [row[0] for row in rows] == [str(trial["number"]) for trial in trials]
    assert rows[0][2] == f"{trials[0]['score']:.4f}"
    assert "Trial 2 (3 of 3): training.learning_rate " in said.stderr
    assert "trial 2: epoch 2/2" in said.stderr
    assert "Trial 2 finished: validation NDCG@10 " in said.stderr


def test_the_next_line_trains_the_best_with_three_seeds(done, shop, tmp_path):
    """As a shell takes the line; and evaluate knows the number of trials without being told."""
    out, said = done
    [line] = [line for line in said.stderr.splitlines() if " Next: " in line]
    line = line.partition(" Next: ")[2]
    loop = line.replace("for seed in 0 1 2;", "for seed in 1;")
    assert loop != line
    program = f"{sys.executable} -m sidestep"
    subprocess.run(loop.replace("do sidestep", f"do {program}"), shell=True, check=True)
    trained = out.with_name("study-best-1")
    lines = tmp_path / "quality.jsonl"
    run("evaluate", trained, "--users", 20, "--results", lines)
    run("evaluate", trained, "--users", 20, "--results", lines, "--trials", 5)
    assert [line.trials for line in read_lines(lines)] == [3, 5]
    assert [line.seed for line in read_lines(lines)] == [1, 1]
    message = refused("evaluate", trained, "--users", 20, "--results", lines, "--trials", 2)
    assert "chose the settings of this run by 3 trials" in message


def test_a_killed_process_loses_no_trial_and_counts_none_twice(done, shop, tmp_path):
    out = tmp_path / "study"
    slow = ("--set", "training.checkpoint_every_s=0.000001")
    words = [str(word) for word in tune(shop, out, "--no-prune", *slow)]
    process = subprocess.Popen([sys.executable, "-m", "sidestep", *words], stderr=subprocess.PIPE)
    try:
        # In the middle of the second trial: after a step of it, and before its end.
        while not checkpoints(out / "trials" / "1"):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "tune.json").exists()
    assert not (out / "trials" / "1" / "bundle").exists()

    said = call(*words)
    assert said.exit_code == 0, (said.output, said.exception)
    assert "Trial 0 (1 of 3)" not in said.stderr
    assert "Trial 1 (2 of 3)" in said.stderr
    assert trials_of(out) == trials_of(done[0])
    assert sorted(path.name for path in (out / "trials").iterdir()) == ["0", "1", "2"]


def test_more_trials_are_added_as_json(done, shop):
    out, _ = done
    told = json.loads(run(*tune(shop, out, "--no-prune", "--json", trials=4)))
    assert told["num_trials"] == 4
    assert told["config"] == str(out / "best.yaml")
    assert told["then"].startswith("for seed in 0 1 2; do sidestep train --config ")


def test_a_dry_run_lists_the_space_and_writes_nothing(shop, files, tmp_path):
    out = tmp_path / "study"
    given = ("--dataset", shop / "dataset", "--catalog", shop / "catalog", "--out", out)
    plan = json.loads(run("tune", files / "config.yaml", *given, "--dry-run", "--json"))
    assert plan["trials"] == 8
    assert plan["training.learning_rate"] == "log:0.0005..0.005"
    assert plan["model.dropout"] == "0.05..0.5"
    assert plan["estimated_seconds"] > 0
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sasrek",), "is neither a configuration file nor a kind of run; did you mean sasrec?"),
        (("gone.yaml",), "gone.yaml: there is no such configuration file"),
        (("popularity",), "a run of kind popularity has no settings"),
        (("sasrec", "--trials", 0), "greater than or equal to 1"),
        (("sasrec", "--only"), "--only: no --space names a setting"),
        (("sasrec", "--space", "model.dims=1,2"), "unknown key 'model.dims'; did you mean 'dim'?"),
        (("sasrec", "--space", "model.dim"), "write it as key=values"),
        (("sasrec", "--space", "model.dim=8", "--set", "model.dim=8"), "--set fixes model.dim"),
        (("transformer",), "a run of kind transformer needs semantic IDs"),
        (("process-reward", "--set", "backbone=gone"), "backbone: there is no gone"),
    ],
)
def test_mistakes_are_explained_before_the_work(shop, tmp_path, words, message):
    out = tmp_path / "study"
    said = refused("tune", *words, "--dataset", shop / "dataset", "--out", out)
    assert message in " ".join(said.replace("│", " ").split())
    assert not out.exists()


def test_the_folder_of_another_study_is_refused(done, shop):
    message = refused(*tune(shop, done[0], "--no-prune", "--seed", 1))
    assert "belongs to another study: seed was 0 and is 1" in message


def test_the_folder_of_a_run_is_refused(shop):
    message = refused(*tune(shop, shop / "beam"))
    assert "exists and is not a study's folder" in message


def test_a_graph_is_tuned_and_its_next_line_names_no_seed(shop, tmp_path):
    out = tmp_path / "study"
    said = call("tune", "graph", "--dataset", shop / "dataset", "--out", out, "--trials", 2)
    assert said.exit_code == 0, (said.output, said.exception)
    assert "Trial 1 finished: validation NDCG@10 " in said.stderr
    assert "after epoch" not in said.stderr
    [line] = [line for line in said.stderr.splitlines() if " Next: " in line]
    assert f"--config {out}/best.yaml" in line
    assert "seed" not in line
