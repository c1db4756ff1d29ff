"""What commands print: tables for people, JSON for scripts, one red line for mistakes."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sidestep.evaluation.compare import ComparedMethod

OUT = Console()
"""Results."""

ERR = Console(stderr=True)
"""Progress and errors, so that results can be piped."""

SHOWN_METRICS = ("HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR")


def print_json(value: Any) -> None:
    """One JSON document, and nothing else, on the standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose first column is text and whose others are numbers."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in rows:
        made.add_row(*row)
    return made


def comparison_table(title: str, methods: Sequence[ComparedMethod], metric: str) -> Table:
    """Means of every metric, and of one its interval, seeds and test against the reference."""
    metrics = [name for name in SHOWN_METRICS if name in methods[0].estimates]
    rows = []
    for method in methods:
        estimate = method.estimates[metric]
        test = method.tests.get(metric)
        interval = f"{estimate.interval.low:.4f} – {estimate.interval.high:.4f}"
        rows.append(
            [
                method.label,
                *(f"{method.estimates[name].mean:.4f}" for name in metrics),
                interval,
                str(len(method.seeds)),
                "" if test is None else f"{test.difference:+.4f}",
                "" if test is None else f"{test.p_value:.4f}",
            ]
        )
    columns = [
        "method",
        *metrics,
        f"{metric}, 95 %",
        "seeds",
        f"Δ {metric}",
        "p",
    ]
    return table(title, columns, rows)
