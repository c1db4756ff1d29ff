"""`sidestep demo`: the command; what it does stands in `demo`."""

from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console.comparison import print_comparison
from sidestep.cli.console.output import OUT, print_json
from sidestep.cli.options import AsJson
from sidestep.cli.reports import METRIC
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.cli import demo as demos


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
    outcome = demos.run_demo(demos.QUICK if quick else demos.FULL, folder)
    if json:
        print_json(
            {
                "methods": [method.as_json() for method in outcome.methods],
                "report": str(outcome.report),
                "seconds": outcome.seconds,
            }
        )
        return
    print_comparison("Synthetic shop, test", outcome.methods, METRIC)
    OUT.print(
        f"Δ and p: against sasrec, paired by user. Took {outcome.seconds:.0f} s.", highlight=False
    )
    OUT.print(f"Report: {outcome.report.resolve()}", highlight=False, soft_wrap=True)
