"""Cost: what training and recommending cost for each method, and the quality at that cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidestep.evaluation.compare import ComparedMethod
from sidestep.evaluation.report.chart import Chart, Curve
from sidestep.evaluation.report.page import Section
from sidestep.evaluation.report.table import Cell, Entry, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of a method, as means over its seeds. A cost is None if it was not measured.

    train_s: wall-clock seconds of training, with its validation.
    ms_per_user: wall-clock milliseconds of `recommend` per user.
    tokens_per_user: backbone positions spent after the prompt.
    scored_per_user: prefixes that the scorer of the search scored.
    flops_per_user: floating-point operations of matrix products.
    """

    train_s: float | None = None
    ms_per_user: float | None = None
    tokens_per_user: float | None = None
    scored_per_user: float | None = None
    flops_per_user: float | None = None

    @property
    def mflops_per_user(self) -> float | None:
        """Millions of `flops_per_user`."""
        return None if self.flops_per_user is None else self.flops_per_user / 1e6


_COLUMNS = {
    "train_s": "training (s)",
    "ms_per_user": "ms per user",
    "tokens_per_user": "tokens per user",
    "scored_per_user": "prefixes scored per user",
    "mflops_per_user": "MFLOPs per user",
}

_AGAINST = {
    "ms_per_user": "time to answer",
    "mflops_per_user": "computation",
    "train_s": "training time",
}
"""Costs against which quality is drawn, in the words of a title."""


def cost_section(
    costs: Mapping[str, Cost], methods: Sequence[ComparedMethod], *, metric: str
) -> Section:
    """Shows the costs of each method and, if there are several methods, quality against cost."""
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
        "is one position of the backbone after the prompt. A scored prefix is a prefix that the "
        "scorer of the search scored. FLOPs: of matrix products, the history included.",
        columns=("method", *(_COLUMNS[name] for name in names)),
        rows=tuple(rows),
    )
    charts = [_against(name, costs, methods, metric) for name in _AGAINST]
    return Section(title="Cost", parts=[table, *(chart for chart in charts if chart is not None)])


def _entry(value: float | None) -> Entry:
    return None if value is None else Cell(text=f"{value:,.0f}" if value >= 100 else f"{value:.3g}")


def _against(
    name: str, costs: Mapping[str, Cost], methods: Sequence[ComparedMethod], metric: str
) -> Chart | None:
    curves = []
    for method in methods:
        value = getattr(costs[method.label], name) if method.label in costs else None
        if value is None or value <= 0:  # a cost of 0 has no place on a log axis
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
        title=f"Quality against {_AGAINST[name]}",
        caption=f"{metric} with its 95% interval. Up and to the left is better.",
        x_label=f"{_COLUMNS[name]}, log scale",
        y_label=metric,
        curves=tuple(curves),
        log_x=True,
        from_zero=True,
    )
