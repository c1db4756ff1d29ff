"""The table of a comparison: means, an interval and a test per method."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from rich.table import Table

from sidestep.cli.console.output import OUT, table
from sidestep.lazy_imports import imported_when_used
from sidestep.training.config import VALIDATION_METRIC

with imported_when_used():
    from sidestep.evaluation import compare as comparing

_WIDE = 1000
_SHOWN_METRICS = ("HR@1", "HR@10", VALIDATION_METRIC)


def print_comparison(title: str, methods: Sequence[comparing.ComparedMethod], metric: str) -> None:
    """Prints means of the main metrics, and of one its interval and the test against the reference.

    In two tables where the terminal is too narrow for one.
    """
    shown = [name for name in _SHOWN_METRICS if name in methods[0].estimates and name != metric]
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
