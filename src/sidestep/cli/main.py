"""The entry point: all commands, and what happens when something goes wrong.

Exit codes: 0 done, 1 a bug of ours (with its traceback), 2 a mistake that the message explains,
130 stopped by Ctrl-C.
"""

from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.text import Text
from typer.core import TyperGroup

from sidestep import __version__
from sidestep.cli import importing
from sidestep.cli.compare import compare
from sidestep.cli.config import plain_problem
from sidestep.cli.console import say
from sidestep.cli.demo import demo
from sidestep.cli.embed import embed
from sidestep.cli.evaluate import evaluate
from sidestep.cli.recommend import recommend
from sidestep.cli.tokenize import tokenize
from sidestep.cli.train import INTERRUPTED, train

MISTAKE = 2
"""Exit code of a mistake that the message explains."""


class _Commands(TyperGroup):
    """Turns the mistakes of users into one message, for every command in one place."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except (ValueError, KeyError, OSError, FloatingPointError) as error:
            if ctx.params.get("debug"):
                raise
            say(Text("Error: ", style="bold red") + Text(_message(error), style="red"))
        except KeyboardInterrupt:
            say("Stopped.")
            raise typer.Exit(INTERRUPTED) from None
        raise typer.Exit(MISTAKE)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Generative recommendation with semantic IDs, searched step by step.\n\n"
        "The way of a dataset: import, embed, tokenize, train, evaluate, compare, recommend. "
        "To see all of it on a small invented shop: sidestep demo.\n\n"
        "Exit codes: 0 done, 1 a bug, 2 a mistake that the message explains, 130 interrupted."
    ),
)


def _print_version(is_asked: bool) -> bool:
    if is_asked:
        typer.echo(f"sidestep {__version__}")
        raise typer.Exit
    return is_asked


@app.callback()
def _options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of mistakes.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of all commands."""
    del debug, version  # read where errors are shown, and called back


app.add_typer(importing.app, name="import")
app.command()(embed)
app.command()(tokenize)
app.command()(train)
app.command()(evaluate)
app.command()(compare)
app.command()(recommend)
app.command()(demo)


def main() -> None:
    """Runs the command line."""
    app()


def _message(error: BaseException) -> str:
    """What an exception says, in one line."""
    if isinstance(error, ValidationError):
        problems = (
            f"{'.'.join(map(str, problem['loc'])) or error.title}: {plain_problem(problem)}"
            for problem in error.errors()
        )
        return "; ".join(problems)
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # str() of a KeyError is its repr
    return str(error) or type(error).__name__
