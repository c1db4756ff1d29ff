"""Calls commands as a shell would."""

from typing import Any

from typer.testing import CliRunner

from sidestep.cli.main import app


def call(*arguments: object) -> Any:
    """Runs a command, whether it succeeds or not."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run(*arguments: object) -> str:
    """Runs a command that must succeed, and returns its printed result."""
    done = call(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def refused(*arguments: object) -> str:
    """Runs a command that must be refused as a mistake, and returns the message as one line."""
    done = call(*arguments)
    assert done.exit_code == 2, (done.output, done.exception)
    assert "Traceback" not in done.output
    return " ".join(done.stderr.split())
