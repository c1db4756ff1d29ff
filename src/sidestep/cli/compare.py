"""`sidestep compare`: runs side by side, how sure their means are, and whether they differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from sidestep.cli.console import OUT, print_json, say, table
from sidestep.cli.options import AsJson, num_users
from sidestep.cli.reports import METRIC, refuse_report_at, write_report
from sidestep.data.splits import SplitName
from sidestep.evaluation.words import rows_in_words
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.evaluation import compare as comparing
    from sidestep.runs import kept_evaluations

_WIDE = 1000

SHOWN_METRICS = ("HR@1", "HR@10", METRIC)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Runs' folders, folders of single evaluations, or per_user.parquet."),
    ],
    split: Annotated[SplitName, typer.Option(help="Which evaluations of a run to take.")] = "test",
    users: Annotated[
        str, typer.Option(help="And on which users: 'all', or so many fixed random ones.")
    ] = "all",
    exclude_seen: Annotated[
        bool | None,
        typer.Option(
            "--exclude-seen/--include-seen",
            help="And whether lists leave out items of the history; default: what all runs have.",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="The method to test the others against; default: the first."),
    ] = None,
    metric: Annotated[str, typer.Option(help="Of intervals and tests in the table.")] = METRIC,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page of the comparison to this file.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Compare evaluated runs: means, 95 % intervals over users, paired permutation tests.

    Runs that differ in their seed alone are one method. All must have been evaluated on the same
    users, so of each run only the evaluations on --users are taken, and only those with, or only
    those without, items of the history in their lists.

    Examples:

      sidestep compare runs/scientific/transformer-0 runs/scientific/sasrec-0 --reference sasrec

      sidestep compare runs/scientific/*-? --report comparison.html

      sidestep compare runs/scientific/*-? --split validation --json
    """
    if report is not None:
        refuse_report_at(report)
    wanted: int | Literal["all"] = num_users(users) or "all"
    found = kept_evaluations.comparable_evaluations(runs, split, wanted, exclude_seen)
    per_user = [run for _, run in found]
    reference = (
        comparing.labels_of(per_user)[0]
        if reference is None
        else comparing.label_named(per_user, reference)
    )
    methods = comparing.compare(per_user, reference=reference)
    if metric not in methods[0].estimates:
        raise ValueError(
            f"--metric {metric!r} is unknown; there are {', '.join(methods[0].estimates)}."
        )
    if report is not None:
        write_report(report, found, methods, reference=reference, metric=metric)
    if json:
        print_json([method.as_json() for method in methods])
        return
    asked = rows_in_words(methods[0].num_rows, methods[0].num_users)
    title = f"{per_user[0].dataset}, {per_user[0].split}, {asked}"
    print_comparison(title, methods, metric)
    if report is not None:
        say(f"Wrote {report}.")


def print_comparison(title: str, methods: Sequence[comparing.ComparedMethod], metric: str) -> None:
    """Means of the main metrics, and of one its interval and the test against the reference.

    In two tables where the terminal is too narrow for one.
    """
    shown = [name for name in SHOWN_METRICS if name in methods[0].estimates and name != metric]
    labels = [[method.label] for method in methods]
    means = [[f"{method.estimates[name].mean:.4f}" for name in shown] for method in methods]
    sure = [_how_sure(method, metric) for method in methods]
    columns = [metric, "95 %", "Δ", "p"]
    whole = _joined(title, ["method", *shown, *columns], labels, means, sure)
    wide = OUT.options.update(width=_WIDE)  # or it would be measured as it is squeezed
    if OUT.measure(whole, options=wide).minimum <= OUT.width:
        OUT.print(whole)
        return
    OUT.print(_joined(title, ["method", *shown], labels, means))
    OUT.print(_joined(metric, ["method", *columns], labels, sure))


def _how_sure(method: comparing.ComparedMethod, metric: str) -> list[str]:
    """The mean of a metric, its interval, and the difference from the reference with its p."""
    estimate, test = method.estimates[metric], method.tests.get(metric)
    return [
        f"{estimate.mean:.4f}",
        f"{estimate.interval.low:.4f}–{estimate.interval.high:.4f}",
        "" if test is None else f"{test.difference:+.4f}",
        "" if test is None else f"{test.p_value:.4f}",
    ]


def _joined(title: str, columns: list[str], *parts: list[list[str]]) -> Table:
    """One table of parts that stand beside each other."""
    return table(title, columns, [list(chain(*row)) for row in zip(*parts, strict=True)])
