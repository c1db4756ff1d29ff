"""The entry point: all commands, and what happens when something goes wrong.

Exit codes: 0 done, 1 a bug of ours, 2 a mistake that the message explains, 130 stopped by Ctrl-C.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from sidestep.cli.console.output import note, say, say_wrong, warn
from sidestep.cli.entry import INTERRUPTED
from sidestep.cli.errors import message_of_mistake, place_of_bug
from sidestep.cli.lazy import LazyCommand
from sidestep.launch import Launch
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import Listener, told_to
from sidestep.version import __version__

with imported_when_used():  # needs more of rich than a list of commands
    from sidestep.cli.console import working as bars
    from sidestep.training import failures

BUG = 1
"""Exit code of what should never happen."""

MISTAKE = 2
"""Exit code of a mistake that the message explains."""

_COMMANDS = [
    ("import", "importing:app", "Import interactions and item texts into a dataset folder."),
    ("data", "data:app", "Describe a dataset, split it, and make a smaller one."),
    (
        "embed",
        "embed:embed",
        "Turn item texts, co-occurrence or your own vectors into one vector per item.",
    ),
    ("tokenize", "tokenize:tokenize", "Give every item a semantic ID and write the catalog."),
    (
        "inspect",
        "inspect:inspect",
        "Report the quality of semantic IDs: use of codes, collisions, prefixes, agreement, "
        "balance.",
    ),
    (
        "train",
        "train:train",
        "Train a recommender. The same command again continues where it was interrupted.",
    ),
    (
        "tune",
        "tune:tune",
        "Try settings of a run; validation chooses. Every kind gets the same number of trials.",
    ),
    (
        "align",
        "align:align",
        "Improve a trained run by reinforcement learning on what a search finds.",
    ),
    (
        "prefer",
        "align:prefer",
        "Teach a trained run to prefer what came next to what it would recommend.",
    ),
    (
        "evaluate",
        "evaluate:evaluate",
        "Measure a run on validation or test rows, by ranking the whole catalog.",
    ),
    (
        "compare",
        "compare:compare",
        "Compare evaluated runs: means, 95 % intervals over users, paired permutation tests.",
    ),
    (
        "diagnose",
        "diagnose:diagnose",
        "Look behind the lists of runs: what scores of prefixes are worth, where targets are lost.",
    ),
    (
        "scale",
        "scale:scale",
        "Measure what a run's searches make of a larger budget, and what they could make of any.",
    ),
    (
        "new",
        "new:new",
        "Write a commented pipeline for your tables, which 'sidestep run' then runs.",
    ),
    (
        "run",
        "run:run",
        "Run a pipeline: import, embed, tokenize, train, evaluate, compare, recommend.",
    ),
    (
        "reproduce",
        "reproduce:reproduce",
        "Run a table of a paper again, and write it beside the published numbers.",
    ),
    ("recommend", "recommend:recommend", "Recommend items after a history."),
    (
        "recommend-all",
        "recommend_all:recommend_all",
        "Recommend items to all users, into parquet files.",
    ),
    ("serve", "serve:serve", "Answer requests over HTTP."),
    (
        "attach",
        "attach:attach",
        "Put a SASRec or a graph beside a trained recommender; nothing is trained.",
    ),
    (
        "append",
        "append:append",
        "Add new items to a trained bundle; nothing that it knows changes, and nothing is trained.",
    ),
    (
        "retire",
        "retire:retire",
        "Put tombstones on items: never recommended, but known where a history holds them.",
    ),
    (
        "export",
        "export:export",
        "Write a bundle as a Hugging Face causal language model, its tokenizer and the catalog.",
    ),
    (
        "adopt",
        "export:adopt",
        "Make a bundle of a Hugging Face causal language model that writes semantic IDs.",
    ),
    (
        "push",
        "push:push",
        "Share a bundle with its model card: on the Hugging Face hub, or in a folder.",
    ),
    (
        "pull",
        "pull:pull",
        "Fetch a bundle from the Hugging Face hub or a folder, and check every file.",
    ),
    (
        "demo",
        "demo:demo",
        "Run everything on an invented shop: embed, tokenize, train, evaluate, compare, report.",
    ),
]
"""Name, place within `sidestep.cli.commands`, and the first line of its docstring."""


_SHARED = ("train", "align", "prefer")
"""The commands whose work several processes of a launch can share."""

_LISTENER = Listener(note=note, warn=warn, working=lambda title: bars.working(title))  # noqa: PLW0108
"""Shows what the library tells."""


class _Commands(TyperGroup):
    """Lists all commands, loads the one that is called, and explains what went wrong in it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, place, summary in _COMMANDS:
            self.add_command(LazyCommand(name, f"sidestep.cli.commands.{place}", summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command; refuses one that the processes of a launch cannot share."""
        name, command, rest = super().resolve_command(ctx, args)
        launch = Launch.of_environment()
        if launch.is_shared and name not in _SHARED:
            raise ValueError(
                f"'sidestep {name}' is the work of one process, and {launch.count} were started; "
                "start it without torchrun."
            )
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            with told_to(_LISTENER):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            say("Stopped.")
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise  # typer's own ways out; the last one: who reads our output has left
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            if not Launch.of_environment().is_shared:
                raise _told(error) from None
            if not failures.is_first_to_fail():
                raise typer.Exit(MISTAKE) from None
            told = _told(error)
            failures.say_that_it_is_told()
            raise told from None


def _told(error: Exception) -> Exception:
    """Says what went wrong; returns the way out of the process."""
    if isinstance(error, TyperException):
        return error  # typer says it
    if (told := message_of_mistake(error)) is not None:
        say_wrong("Error", told)
        return typer.Exit(MISTAKE)
    say_wrong("Bug", place_of_bug(error))
    return typer.Exit(BUG)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Generative recommendation with semantic IDs, searched step by step.\n\n"
        "The way of a dataset: import, embed, tokenize, train, evaluate, compare, recommend. "
        "For a whole dataset in one command: sidestep new, then sidestep run. "
        "To see all of it on a small invented shop: sidestep demo.\n\n"
        "Whatever was interrupted goes on when the same command is given again.\n\n"
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
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; goes before the command.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of all commands."""
    del debug, version  # read where errors are shown, and called back


def command_named(*names: str) -> Any:
    """A command of the command line, loaded: "import", "table" is that of 'sidestep import table'.

    Raises:
        KeyError: there is none; lists those there are.
    """
    found: Any = typer.main.get_command(app)
    for name in names:
        if name not in found.commands:
            raise KeyError(f"{name!r} is none of {', '.join(found.commands)}.")
        found = found.commands[name]
        found = found.loaded() if isinstance(found, LazyCommand) else found
    return found


def main() -> None:
    """Runs the command line."""
    app(prog_name="sidestep")
