"""Quality: metrics of each method with intervals, and tests against the reference."""

from collections.abc import Sequence

from sidestep.evaluation.compare import ComparedMethod, Estimate
from sidestep.evaluation.report.page import Section
from sidestep.evaluation.report.table import Cell, Entry, Table, number, number_range, p_value
from sidestep.evaluation.words import rows_in_words
from sidestep.metrics.statistics import Interval, PairedTest

_MAX_SENTENCES = 4


def quality_section(methods: Sequence[ComparedMethod], *, reference: str | None) -> Section:
    """Shows means with intervals, and the tests against the reference if there are any."""
    asked = rows_in_words(methods[0].num_rows, methods[0].num_users)
    parts = [_one_method(methods[0]) if len(methods) == 1 else _many_methods(methods)]
    tested = [method for method in methods if method.tests]
    if reference is not None and tested:
        parts.append(_tests(tested, reference))
    return Section(
        title="Quality",
        lead=f"{asked}; the whole catalog is ranked for each.",
        parts=parts,
    )


def headline(methods: Sequence[ComparedMethod], *, reference: str | None, metric: str) -> str:
    """Writes the main result in words: the means, and which differences are significant."""
    best = max(methods, key=lambda method: method.estimates[metric].mean)
    estimate = best.estimates[metric]
    mean = f"{number(estimate.mean)} (95% interval {_interval(estimate.interval)})"
    if len(methods) == 1:
        return f"{metric}: {mean}."
    sentences = [f"{best.label} has the highest {metric}: {mean}."]
    for method in sorted(methods, key=lambda method: -method.estimates[metric].mean):
        if metric in method.tests:
            test = method.tests[metric]
            worth = "significant" if test.p_value < 0.05 else "not significant"
            sentences.append(
                f"{method.label} − {reference}: {signed(test.difference)}, {worth} "
                f"({p_value(test.p_value)})."
            )
    return " ".join(sentences[:_MAX_SENTENCES])


def _one_method(method: ComparedMethod) -> Table:
    has_seeds = len(method.seeds) > 1
    rows: list[tuple[Entry, ...]] = []
    for name, estimate in method.estimates.items():
        row: tuple[Entry, ...] = (name, estimate.mean, Cell(text=_interval(estimate.interval)))
        rows.append((*row, estimate.seed_std) if has_seeds else row)
    columns = ("metric", "mean", "95% interval")
    return Table(
        caption=f"{_over(method, has_seeds)}, and its 95% bootstrap interval over users.",
        columns=(*columns, "std of seeds") if has_seeds else columns,
        rows=tuple(rows),
    )


def _many_methods(methods: Sequence[ComparedMethod]) -> Table:
    names = list(methods[0].estimates)
    best = {name: max(method.estimates[name].mean for method in methods) for name in names}
    has_seeds = any(len(method.seeds) > 1 for method in methods)
    return Table(
        caption=f"{_over(methods[0], has_seeds)}; below each its 95% bootstrap interval over "
        "users. Bold: the highest mean, whether or not the difference is significant.",
        columns=("method", *names),
        rows=tuple(
            (
                Cell(text=method.label, notes=(_seeds(method),)),
                *(_estimate(method.estimates[name], best[name]) for name in names),
            )
            for method in methods
        ),
    )


def _tests(methods: Sequence[ComparedMethod], reference: str) -> Table:
    return Table(
        caption=f"Difference from {reference} on the same users (method − {reference}), its 95% "
        "bootstrap interval, and the two-sided p-value of a paired permutation test, not corrected "
        "for the number of tests. Bold: p < .05.",
        columns=("method", *methods[0].tests),
        rows=tuple((method.label, *map(_difference, method.tests.values())) for method in methods),
    )


def _over(method: ComparedMethod, has_seeds: bool) -> str:
    what = "users" if method.num_rows == method.num_users else "rows"
    return f"Mean over {what} and seeds" if has_seeds else f"Mean over {what}"


def _seeds(method: ComparedMethod) -> str:
    return f"{len(method.seeds)} seeds" if len(method.seeds) > 1 else f"seed {method.seeds[0]}"


def _estimate(estimate: Estimate, best: float) -> Cell:
    return Cell(
        text=number(estimate.mean),
        notes=(_interval(estimate.interval),),
        is_best=estimate.mean == best,
    )


def _difference(test: PairedTest) -> Cell:
    low, high = signed(test.interval.low), signed(test.interval.high)
    return Cell(
        text=signed(test.difference),
        notes=(f"{low} to {high}", p_value(test.p_value)),
        is_best=test.p_value < 0.05,
    )


def _interval(interval: Interval) -> str:
    return number_range(interval.low, interval.high)


def signed(value: float) -> str:
    """Writes a difference with a sign; the minus is the typographic one."""
    text = number(abs(value))
    if text == "0":
        return text
    return f"+{text}" if value > 0 else f"−{text}"
