"""`sidestep demo`: the command; what it does stands in `runs.demo`."""

from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console.comparison import print_comparison
from sidestep.cli.console.output import ERR, OUT, print_json
from sidestep.cli.console.training_bar import progress_bar
from sidestep.cli.entry import INTERRUPTED
from sidestep.cli.options import AsJson
from sidestep.lazy_imports import imported_when_used
from sidestep.training.config import VALIDATION_METRIC

with imported_when_used():
    from sidestep.runs import demo as demos


def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The folder to write; default: demo, or demo-quick."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tiny shop, hardly trained: only to see it run.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Run everything on an invented shop: embed, tokenize, train, evaluate, compare, report.

    The same command again continues an interrupted demo.

    Example: sidestep demo --out demo
    """
    folder = out or Path("demo-quick" if quick else "demo")
    shown = demos.Shown(
        part=lambda sentence: _say(f"[bold]•[/] {sentence}"),
        result=lambda sentence: _say(f"  {sentence}"),
        training=progress_bar,
    )
    outcome = demos.run_demo(demos.QUICK if quick else demos.FULL, folder, shown=shown)
    if outcome is None:
        _say("[bold]•[/] Interrupted; run the same command again to continue.")
        raise typer.Exit(INTERRUPTED)
    if json:
        print_json(
            {
                "methods": [method.as_json() for method in outcome.methods],
                "report": str(outcome.report),
                "seconds": outcome.seconds,
            }
        )
        return
    print_comparison("Synthetic shop, test", outcome.methods, VALIDATION_METRIC)
    OUT.print(
        f"Δ and p: against sasrec, paired by user. Took {outcome.seconds:.0f} s.", highlight=False
    )
    OUT.print(f"Report: {outcome.report.resolve()}", highlight=False, soft_wrap=True)


def _say(text: str) -> None:
    ERR.print(text, highlight=False)
