"""Trackers repeat the log; the tests read tracked values with the trackers' own readers."""

import importlib.util
import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_toy import Head, NextInRing, ring_windows

from sidestep.training.checkpoint import checkpoints
from sidestep.training.config import TrainingConfig
from sidestep.training.loop import train
from sidestep.training.trackers import Trackers, mlflow_store, refuse_missing_trackers


def trained(folder, *trackers, epochs=2, **others):
    objective = NextInRing()
    config = TrainingConfig(
        epochs=epochs, batch_size=10, log_every=2, trackers=trackers, device="cpu"
    )
    return train(
        objective,
        ring_windows(40),
        config,
        folder=folder,
        seed=7,
        validate=Head(objective),
        **others,
    )


def lines_of(folder, kind):
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def board_of(folder):
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return board


def points(board, name):
    return [(event.step, event.value) for event in board.Scalars(name)]


def test_tensorboard_shows_the_numbers_of_the_log(tmp_path):
    trained(tmp_path, "tensorboard")
    board = board_of(tmp_path)
    for kind, key in (("step", "loss"), ("step", "learning_rate"), ("epoch", "validation")):
        logged = [(line["step"], line[key]) for line in lines_of(tmp_path, kind)]
        assert points(board, f"{kind}/{key}") == [(s, pytest.approx(v)) for s, v in logged]
    assert "step/parts/hits" in board.Tags()["scalars"]
    assert "step/step" not in board.Tags()["scalars"]


def test_a_resumed_run_goes_on_where_the_checkpoint_was(tmp_path):
    class KilledError(Exception):
        pass

    def kill(progress):
        if progress.step == 7:  # the line of step 6 was reported, the checkpoint is of step 4
            raise KilledError

    with pytest.raises(KilledError):
        trained(tmp_path, "tensorboard", report=kill)
    assert len(checkpoints(tmp_path)) == 1
    trained(tmp_path, "tensorboard", resume=True)
    steps = [step for step, _ in points(board_of(tmp_path), "step/loss")]
    assert steps == [2, 4, 6, 8]


def test_trackers_change_no_step_and_may_come_later(tmp_path):
    def stop(progress):
        if progress.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", report=stop)
    resumed = trained(tmp_path / "parts", "tensorboard", resume=True)
    assert trained(tmp_path / "whole").best_score == resumed.best_score
    assert (tmp_path / "parts" / "tensorboard").is_dir()


def test_without_trackers_there_is_the_log_alone(tmp_path):
    trained(tmp_path)
    assert (tmp_path / "log.jsonl").is_file()
    assert not (tmp_path / "trackers.json").exists()


def test_a_missing_package_is_told_with_the_extra_before_anything_is_written(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "wandb" else real(name)
    )
    with pytest.raises(ImportError, match=r"wandb.*pip install 'sidestep\[track\]'") as caught:
        trained(tmp_path / "run", "tensorboard", "wandb")
    assert caught.value.name is None  # so that the command line calls it a mistake, not a bug
    assert not (tmp_path / "run").exists()
    refuse_missing_trackers(["tensorboard"])


def test_mlflow_keeps_one_run_in_the_folder_over_a_resume(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not part of the development extra")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    trained(tmp_path / "run", "mlflow")
    run_id = json.loads((tmp_path / "run" / "trackers.json").read_text())["mlflow"]
    trackers = Trackers(["mlflow"], tmp_path / "run", step=8, about={})
    trackers.write({"kind": "step", "step": 9, "loss": 0.25})
    trackers.close()
    assert not mlflow.is_tracking_uri_set()
    client = mlflow.MlflowClient(mlflow_store(tmp_path / "run"))
    told = client.get_metric_history(run_id, "step/loss")
    assert [metric.step for metric in told] == [2, 4, 6, 8, 9]
    assert client.get_run(run_id).data.params["config/epochs"] == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_weights_and_biases_keeps_one_offline_run_over_a_resume(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="Weights & Biases is not part of the development extra")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    trained(tmp_path / "run", "wandb")
    known = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]
    trackers = Trackers(["wandb"], tmp_path / "run", step=8, about={})
    trackers.write({"kind": "step", "step": 9, "loss": 0.25})
    trackers.close()
    runs = list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert {path.name.rpartition("-")[2] for path in runs} == {known}
