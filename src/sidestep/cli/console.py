"""What commands print: tables for people, JSON for scripts, one red line for mistakes."""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidestep.evaluation.compare import ComparedMethod

_PIPED_WIDTH = 160

OUT = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
"""Results; in a file or a pipe no table is squeezed into the 80 columns of a terminal."""

ERR = Console(stderr=True)
"""Progress and errors, so that results can be piped."""

_NUMBER = re.compile(r"[-+]?[\d.,e]*(?: ?– ?[\d.]+)?")

SHOWN_METRICS = ("HR@1", "HR@10", "NDCG@10")


def say(sentence: str | Text) -> None:
    """One line on the standard error, left whole so that its paths and commands can be copied."""
    ERR.print(sentence, highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document, and nothing else, on the standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose numbers stand to the right and stay whole; words give way."""
    made = Table(
        title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1)
    )
    for index, column in enumerate(columns):
        cells = [row[index] for row in rows]
        is_numbers = index > 0 and all(_NUMBER.fullmatch(cell) for cell in cells)
        made.add_column(
            Text(column),
            justify="right" if is_numbers else "left",
            no_wrap=is_numbers,
            min_width=max(map(len, [column, *cells])) if is_numbers else None,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*map(Text, row))
    return made


def comparison_table(title: str, methods: Sequence[ComparedMethod], metric: str) -> Table:
    """Means of the main metrics, and of one its interval and the test against the reference."""
    shown = [name for name in SHOWN_METRICS if name in methods[0].estimates]
    shown = [name for name in shown if name != metric]
    rows = []
    for method in methods:
        estimate, test = method.estimates[metric], method.tests.get(metric)
        rows.append(
            [
                method.label,
                *(f"{method.estimates[name].mean:.4f}" for name in shown),
                f"{estimate.mean:.4f}",
                f"{estimate.interval.low:.4f}–{estimate.interval.high:.4f}",
                "" if test is None else f"{test.difference:+.4f}",
                "" if test is None else f"{test.p_value:.4f}",
            ]
        )
    return table(title, ["method", *shown, metric, "95 %", "Δ", "p"], rows)
