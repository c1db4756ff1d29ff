"""`sidestep compare`: runs side by side, how sure their means are, and whether they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sidestep.cli.console.comparison import print_comparison
from sidestep.cli.console.output import print_json, say
from sidestep.cli.options import AsJson
from sidestep.cli.outputs import refuse_report_at
from sidestep.data.splits import SplitName
from sidestep.evaluation.words import rows_in_words
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.evaluation_page import write_evaluation_page
from sidestep.runs.judged_rows import num_users
from sidestep.training.config import VALIDATION_METRIC

with imported_when_used():
    from sidestep.evaluation import compare as comparing
    from sidestep.runs import kept_evaluations
    from sidestep.runs import told_apart as apart


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Runs' folders, folders of single evaluations, or per_user.parquet."),
    ],
    split: Annotated[
        SplitName, typer.Option(help="Which evaluations of a run to take.")
    ] = "validation",
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
    metric: Annotated[
        str, typer.Option(help="Of intervals and tests in the table.")
    ] = VALIDATION_METRIC,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page of the comparison to this file.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Compare evaluated runs: means, 95 % intervals over users, paired permutation tests.

    Runs that differ in their seed alone are one method. Where two trainings of the same method
    differ in more, the names of their folders tell them apart. All must have been evaluated on the
    same users, so of each run only the evaluations on --users are taken, and only those with, or
    only those without, items of the history in their lists.

    Examples:

      sidestep compare runs/scientific/transformer-0 runs/scientific/sasrec-0 --reference sasrec

      sidestep compare runs/scientific/*-? --report comparison.html

      sidestep compare runs/scientific/*-? --split test --json
    """
    if report is not None:
        refuse_report_at(report)
    wanted: int | Literal["all"] = num_users(users) or "all"
    found = apart.told_apart(
        kept_evaluations.comparable_evaluations(runs, split, wanted, exclude_seen)
    )
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
        write_evaluation_page(report, found, methods, reference=reference, metric=metric)
    if json:
        print_json([method.as_json() for method in methods])
        return
    asked = rows_in_words(methods[0].num_rows, methods[0].num_users)
    title = f"{per_user[0].dataset}, {per_user[0].split}, {asked}"
    print_comparison(title, methods, metric)
    if report is not None:
        say(f"Wrote {report}.")
