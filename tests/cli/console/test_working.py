"""Long work shows its progress: a bar on a terminal, otherwise lines, with the time left."""

import io
import time

import pytest
from rich.console import Console

from sidestep.cli.console import working as module
from sidestep.cli.console.working import duration, working


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when a test says so."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (89.0, "89 s"),
        (91.0, "2 min"),
        (3600.0, "60 min"),
        (7200.0, "2 h"),
        (7800.0, "2 h 10 min"),
    ],
)
def test_times_are_said_as_people_say_them(seconds, words):
    assert duration(seconds) == words


def test_a_line_tells_how_far_the_work_is_and_what_is_left(clock):
    going = module._Going("opq")
    clock[0] += 10
    assert going.line() == "opq · 10 s so far."
    going.told("levels", 0, 8)
    clock[0] += 20
    going.told("levels", 2, 8)  # 10 s each, 6 levels are left
    assert going.line() == "opq: levels · 2 of 8 · 30 s so far · about 60 s left."
    going.told("groups that collide", 0, 100)
    assert going.line() == "opq: groups that collide · 0 of 100 · 30 s so far."


def test_what_an_earlier_run_left_does_not_speed_up_what_is_left(clock):
    going = module._Going("embedding")
    going.told("sentence", 500, 1000)
    clock[0] += 10
    going.told("sentence", 600, 1000)
    assert going.line().endswith("600 of 1,000 · 10 s so far · about 40 s left.")


def test_silent_work_says_now_and_then_that_it_goes_on(monkeypatch):
    said = []
    monkeypatch.setattr(module, "LINES_S", 0.01)
    monkeypatch.setattr(module, "say", said.append)
    monkeypatch.setattr(module, "ERR", Console(file=io.StringIO()))
    with working("reading"):
        while not said:
            time.sleep(0.01)
    assert said[0].startswith("reading · ")
    num_said = len(said)
    time.sleep(0.05)
    assert len(said) == num_said


def test_a_terminal_gets_a_bar_that_leaves_nothing(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(module, "ERR", console)
    with working("opq") as report:
        report("levels", 1, 2)
    shown = console.file.getvalue()
    assert "opq: levels" in shown
    assert "━" in shown
