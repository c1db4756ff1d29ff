"""Progress of a training on a terminal: a bar, and above it the watched parts of the objective."""

import io

import pytest
from rich.console import Console

from sidestep.cli.console import output, training_bar
from sidestep.training.progress import Progress


def progress_at(step: int, **changes) -> Progress:
    known = {
        "epoch": 1,
        "num_epochs": 1,
        "step": step,
        "num_steps": 20,
        "learning_rate": 1e-4,
        "loss": 0.25,
        "targets_per_s": 1234.0,
        "parts": {},
        "score": 0.0871,
        "best_score": 0.0871,
        "best_epoch": 1,
        "metrics": {"HR@1": 0.05, "HR@50": 0.23},
        "seconds": 3.0,
    }
    return Progress(**{**known, **changes})


@pytest.fixture
def terminal(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(training_bar, "ERR", console)
    return console


def test_the_bar_of_eighty_columns_holds_loss_rate_and_validation(terminal):
    with training_bar.progress_bar("transformer") as report:
        report(progress_at(20))
    shown = terminal.file.getvalue()
    for words in ("transformer", "━", "loss 0.250", "1,234 targets/s", "NDCG@10 0.0871", "0:00"):
        assert words in shown
    assert "HR@1" not in shown


def test_a_line_of_an_epoch_without_validation_repeats_no_old_one(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(output, "ERR", Console(file=file, width=200))
    report = training_bar._epoch_lines("transformer")
    for epoch, validated in ((1, 1), (2, 1), (3, 3)):
        told = progress_at(
            10 * epoch,
            epoch=epoch,
            validated_epoch=validated,
            parts={"kl": 0.5},
        )
        report(told)  # the last step, and the end of the epoch
        report(told)
    lines = file.getvalue().splitlines()
    assert [("NDCG@10" in line, "HR@1" in line) for line in lines] == [
        (True, True),
        (False, False),
        (True, True),
    ]


def test_what_is_watched_stands_above_the_bar_once_for_each_line_of_the_log(terminal):
    watched = {"candidates": 16.0, "zero_advantage": 0.625, "kl": 0.0123}
    with training_bar.progress_bar("align") as report:
        report(progress_at(10, parts=watched))
        report(progress_at(11, parts=watched))
        report(progress_at(20, parts={**watched, "kl": 0.02}))
    text = " ".join(terminal.file.getvalue().split())
    first = "align: step 10 · 19,744 rollouts/s · zero advantage 0.625 · kl 0.0123 · HR@1 0.0500"
    assert text.count(first) == 1
    assert "step 11 ·" not in text
    assert "align: step 20 ·" in text
