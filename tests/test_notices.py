"""Notices go to a listener if there is one, otherwise to logging and warnings."""

import logging
import re
import warnings
from contextlib import contextmanager

import pytest
import typer

import sidestep
from sidestep.cli.main import app
from sidestep.notices import Listener, in_python, naming_arguments, note, told_to, warn, working


def test_a_listener_is_given_everything():
    told = []

    @contextmanager
    def shown(title):
        told.append(title)
        yield lambda what, done, total: told.append((what, done, total))

    with told_to(Listener(note=told.append, warn=told.append, working=shown)):
        note("a note.")
        warn("a warning.")
        with working("long work") as report:
            report("half", 1, 2)
    assert told == ["a note.", "a warning.", "long work", ("half", 1, 2)]


def test_without_a_listener_notes_are_logged_and_warnings_warn(caplog):
    with caplog.at_level(logging.INFO, logger="sidestep"):
        note("a note.")
    assert caplog.messages == ["a note."]
    with pytest.warns(UserWarning, match="a warning"):
        warn("a warning.")
    with working("long work") as report:
        report("half", 1, 2)
    with (
        warnings.catch_warnings(),
        told_to(Listener(note=print, warn=lambda _: None, working=working)),
    ):
        warnings.simplefilter("error")
        warn("nobody is warned.")


@pytest.mark.parametrize(
    ("of_commands", "of_functions"),
    [
        ("leave them out with --missing-users drop.", "leave them out with missing_users='drop'."),
        ("lower --codebook-sizes.", "lower codebook_sizes."),
        ("give --catalog, from 'sidestep tokenize'.", "give catalog, from sidestep.tokenize."),
        (
            "--catalog is another; leave the option out.",
            "catalog is another; leave the argument out.",
        ),
        ("raise it, or lower --beams or --budget", "raise it, or lower beams or budget"),
        ("--search-option: there is no 'x'", "options: there is no 'x'"),
        ("name it: 'sidestep evaluate --method'.", "name it: sidestep.evaluate(method=...)."),
    ],
)
def test_options_become_arguments(of_commands, of_functions):
    assert in_python(of_commands) == of_functions
    with pytest.raises(ValueError, match=re.escape(of_functions)) as caught, naming_arguments():
        raise ValueError(of_commands)
    assert str(caught.value) == of_functions


@pytest.mark.parametrize(
    "sentence",
    [
        "a well-kept list",
        "runs/my--shop: is a file; choose a folder.",
        "there is no item '--missing-users drop'.",
        "put a SASRec beside this one with 'sidestep attach'.",
        "split by time with 'sidestep data split DATASET --strategy global-time'.",
        "launch them with `torchrun --nproc-per-node 2`.",
    ],
)
def test_what_is_no_option_of_a_function_stays(sentence):
    assert in_python(sentence) == sentence


def test_commands_that_are_functions_are_named_as_functions():
    for name in typer.main.get_command(app).commands:
        is_function = in_python(f"'sidestep {name}'") == f"sidestep.{name}"
        assert is_function == (name in sidestep.__all__)
