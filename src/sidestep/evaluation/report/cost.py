"""Cost: what a method takes to train and to ask, and what quality that buys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidestep.evaluation.compare import ComparedMethod
from sidestep.evaluation.report.chart import Chart, Curve
from sidestep.evaluation.report.page import Section
from sidestep.evaluation.report.table import Cell, Entry, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Means over the seeds of a method; None where nobody measured.

    train_s: wall-clock seconds of training, with its validation.
    ms_per_user: wall-clock milliseconds of `recommend` per user.
    tokens_per_user: backbone positions spent after the prompt.
    """

    train_s: float | None = None
    ms_per_user: float | None = None
    tokens_per_user: float | None = None


_COLUMNS = {
    "train_s": "training (s)",
    "ms_per_user": "ms per user",
    "tokens_per_user": "tokens per user",
}


def cost_section(
    costs: Mapping[str, Cost], methods: Sequence[ComparedMethod], *, metric: str
) -> Section:
    """What was measured of each method, and quality against it where there are several."""
    names = [
        name for name in _COLUMNS if any(getattr(cost, name) is not None for cost in costs.values())
    ]
    if not names:
        return Section(title="Cost", parts=[])
    rows = [
        (label, *(_entry(getattr(cost, name)) for name in names))
        for label, cost in costs.items()
        if cost != Cost()
    ]
    table = Table(
        caption="Means over seeds, as measured when the runs were trained and evaluated. A token "
        "is one position of the backbone after the prompt.",
        columns=("method", *(_COLUMNS[name] for name in names)),
        rows=tuple(rows),
    )
    charts = [_against(name, costs, methods, metric) for name in ("ms_per_user", "train_s")]
    return Section(title="Cost", parts=[table, *(chart for chart in charts if chart is not None)])


def _entry(value: float | None) -> Entry:
    return None if value is None else Cell(text=f"{value:,.0f}" if value >= 100 else f"{value:.3g}")


def _against(
    name: str, costs: Mapping[str, Cost], methods: Sequence[ComparedMethod], metric: str
) -> Chart | None:
    curves = []
    for method in methods:
        value = getattr(costs[method.label], name) if method.label in costs else None
        if value is None or value <= 0:  # what costs nothing has no place on a log axis
            continue
        estimate = method.estimates[metric]
        curves.append(
            Curve(
                label=method.label,
                x=(float(value),),
                y=(estimate.mean,),
                low=(estimate.interval.low,),
                high=(estimate.interval.high,),
            )
        )
    if len(curves) < 2:
        return None
    return Chart(
        title=f"Quality against {'time to answer' if name == 'ms_per_user' else 'training time'}",
        caption=f"{metric} with its 95% interval. Up and to the left is better.",
        x_label=f"{_COLUMNS[name]}, log scale",
        y_label=metric,
        curves=tuple(curves),
        log_x=True,
        from_zero=True,
    )
