"""Reading the log of an alignment run."""

import json

import pytest

from sidestep.evaluation.alignment_history import alignment_history


def step(number, **parts):
    return {"kind": "step", "step": number, "parts": parts, "targets_per_s": 10.0 * number}


def epoch(number, score, **metrics):
    return {"kind": "epoch", "epoch": number, "validation": score, "metrics": metrics}


@pytest.fixture
def read(tmp_path):
    def read(*lines):
        path = tmp_path / "log.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return alignment_history(path)

    return read


def test_steps_and_validations_are_told_apart(read):
    found = read(
        step(2, reward=0.1, candidates=16.0, kl=0.0),
        step(4, reward=0.2, candidates=8.0),
        epoch(1, 0.04, **{"HR@1": 0.01}),
        epoch(2, None),
        epoch(3, 0.05, **{"HR@1": 0.02}),
        epoch(4, 0.05, **{"HR@1": 0.03}),
        {"kind": "stop", "stopped": "limit"},
    )
    assert found.steps == (2, 4)
    assert found.parts == {"reward": (0.1, 0.2), "candidates": (16.0, 8.0)}
    assert found.prompts_per_s == (20.0, 40.0)
    assert found.rollouts_per_s == (320.0, 320.0)
    assert found.epochs == (1, 3, 4)
    assert found.metrics == {"HR@1": (0.01, 0.02, 0.03)}
    assert found.scores == (0.04, 0.05, 0.05)
    assert found.best == 1
    assert found.stopped == "limit"


def test_a_log_without_validations_or_counts_has_none(read):
    found = read(step(2, likelihood=3.0))
    assert (found.epochs, found.best, found.stopped) == ((), None, None)
    assert found.rollouts_per_s is None
    assert read().steps == ()


def test_another_log_is_refused(read, tmp_path):
    with pytest.raises(ValueError, match=r"log.jsonl: a line lacks 'parts'"):
        read({"kind": "step", "step": 1})
    (tmp_path / "log.jsonl").write_text("[1]\n")
    with pytest.raises(ValueError, match=r"log.jsonl, line 1: not a JSON object"):
        alignment_history(tmp_path / "log.jsonl")
