"""The page of test-time scaling: quality against every unit of the budget, under its ceiling."""

from collections.abc import Mapping, Sequence
from operator import itemgetter

from sidestep.evaluation.report.chart import Chart, Curve, Level
from sidestep.evaluation.report.page import Page, Section
from sidestep.evaluation.report.quality import signed
from sidestep.evaluation.report.table import Cell, Entry, Table, number, number_range
from sidestep.evaluation.scaling import (
    EQUAL_UNITS,
    METRICS,
    Scaling,
    ScalingPoint,
    Unit,
    at_equal_cost,
)

_AXES: dict[Unit, tuple[str, str, str]] = {
    "tokens": (
        "Against tokens",
        "tokens per user",
        "A token is one position of the backbone after the prompt. A prefix that is scored and "
        "dropped costs no token, so a guided search can score more without moving to the right.",
    ),
    "ms": (
        "Against wall time",
        "ms per user",
        "Wall-clock time of the whole answer, batch by batch, with the reading of the history.",
    ),
    "flops": (
        "Against FLOPs",
        "MFLOPs per user",
        "Floating-point operations of matrix products, two per multiplication and addition: the "
        "history, the nodes, the heads and the scorers of prefixes.",
    ),
    "scored": (
        "Against scored prefixes",
        "prefixes scored per user",
        "Prefixes that the scorer of the search scored. A search without a scorer is left out.",
    ),
}
"""Per unit the title of the section, the label of the axis, and an explanation."""

_COST_COLUMNS: dict[Unit, str] = {
    "tokens": "tokens",
    "scored": "prefixes scored",
    "flops": "MFLOPs",
    "ms": "ms",
}


def scaling_page(scaling: Scaling, *, title: str, facts: Mapping[str, str]) -> Page:
    """Makes the page: tables of all points, and charts of every metric against every unit.

    Args:
        scaling: the measured searches.
        title: title of the page.
        facts: how the page was made, by name.
    """
    return Page(
        title=title,
        summary=_summary(scaling),
        sections=[
            Section(title="Budgets", parts=[_points(scaling), *_equal_cost(scaling)]),
            *(_section(scaling, unit) for unit in _AXES),
        ],
        facts=facts,
    )


def _summary(scaling: Scaling) -> str:
    """Sentences on the best point of every search, and on its ceiling."""
    metric = scaling.metrics[0]
    sentences = []
    for search, curve in scaling.by_search.items():
        best = max(curve, key=lambda point: point.metrics[metric])
        sentence = f"{search} reaches {metric} {number(best.metrics[metric])} at {best.budget}"
        ceiling = scaling.ceilings.get(search)
        if ceiling is not None:
            sentence += f"; ranking every item would give {number(ceiling.metrics[metric])}"
        sentences.append(f"{sentence}.")
    return " ".join(sentences)


def _points(scaling: Scaling) -> Table:
    ceilings = {point.search: point for point in scaling.ceilings.values()}
    return Table(
        caption="Every search at every budget, on the same users; below a mean its 95% bootstrap "
        "interval over users. Costs are per user.",
        columns=("search", "budget", *scaling.metrics, *_COST_COLUMNS.values()),
        rows=tuple(_row(point, scaling.metrics) for point in [*scaling.points, *ceilings.values()]),
    )


def _row(point: ScalingPoint, metrics: Sequence[str]) -> tuple[Entry, ...]:
    cells: list[Entry] = [point.search, point.budget]
    cells += [_metric(point, name) for name in metrics]
    cells += [_amount(point, unit) for unit in _COST_COLUMNS]
    return tuple(cells)


def _metric(point: ScalingPoint, name: str) -> Entry:
    value, interval = point.metrics.get(name), point.intervals.get(name)
    if value is None or interval is None:
        return value
    return Cell(text=number(value), notes=(number_range(interval.low, interval.high),))


def _amount(point: ScalingPoint, unit: Unit) -> Entry:
    value = _scaled(point, unit)
    return None if value is None else Cell(text=f"{value:,.0f}" if value >= 100 else f"{value:.3g}")


def _scaled(point: ScalingPoint, unit: Unit) -> float | None:
    """The cost of a point in the unit of the axis."""
    value = point.spent(unit)
    return value / 1e6 if unit == "flops" and value is not None else value


def _equal_cost(scaling: Scaling) -> list[Table]:
    """Compares every other search with the first, at equal FLOPs and at equal wall time."""
    (reference, curve), *others = scaling.by_search.items()
    if not others:
        return []
    rows: list[tuple[Entry, ...]] = []
    for _, points in others:
        for point in points:
            cells: list[Entry] = []
            for unit in EQUAL_UNITS:
                for metric in METRICS:
                    theirs = at_equal_cost(
                        curve, unit=unit, amount=point.spent(unit), metric=metric
                    )
                    difference = None if theirs is None else point.metrics[metric] - theirs
                    cells.append(None if difference is None else Cell(text=signed(difference)))
            rows.append((f"{point.search}, {point.budget}", *cells))
    return [
        Table(
            caption=f"Difference from {reference} at equal cost (search − {reference}). Between "
            f"two budgets of {reference}, its metric is interpolated linearly over the logarithm "
            f"of the cost. A dash: {reference} was not measured at that cost.",
            columns=(
                "search",
                *(
                    f"{metric} at equal {'FLOPs' if unit == 'flops' else 'time'}"
                    for unit in EQUAL_UNITS
                    for metric in METRICS
                ),
            ),
            rows=tuple(rows),
        )
    ]


def _section(scaling: Scaling, unit: Unit) -> Section:
    title, _, lead = _AXES[unit]
    charts = [_chart(scaling, unit, metric) for metric in scaling.metrics]
    return Section(title=title, lead=lead, parts=[chart for chart in charts if chart is not None])


def _chart(scaling: Scaling, unit: Unit, metric: str) -> Chart | None:
    """Draws one metric against one unit; None if no search has spent any of this unit."""
    curves: list[Curve] = []
    levels: list[Level] = []
    for colour, (search, points) in enumerate(scaling.by_search.items()):
        spent = [
            (amount, point.metrics[metric]) for point in points if (amount := _scaled(point, unit))
        ]
        spent.sort(key=itemgetter(0))  # points of one amount stay in the order of their budgets
        if not spent:
            continue
        xs, ys = zip(*spent, strict=True)
        curves.append(Curve(label=search, x=xs, y=ys, colour=colour))
        ceiling = scaling.ceilings.get(search)
        # Two searches that rank by the same score have the same ceiling.
        if ceiling is not None and ceiling.search not in {level.label for level in levels}:
            levels.append(Level(label=ceiling.search, y=ceiling.metrics[metric], colour=colour))
    if not curves:
        return None
    _, label, _ = _AXES[unit]
    return Chart(
        title=f"{metric} against {label}",
        caption="Dashed: every item of the catalog, ranked by what the search ranks by."
        if levels
        else "One point per budget.",
        x_label=f"{label}, log scale",
        y_label=metric,
        curves=tuple(curves),
        log_x=True,
        levels=tuple(levels),
    )
