"""The page of semantic IDs: tables, curves and examples of one or several sets of IDs.

This module shows the results of `id_quality` and `id_examples` in words and drawings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from sidestep.evaluation.id_examples import IdExamples, Step
from sidestep.evaluation.id_quality import IdQuality, PrefixDepth
from sidestep.evaluation.report.chart import Chart, Curve
from sidestep.evaluation.report.examples import Example, WordedList
from sidestep.evaluation.report.id_tables import id_tables
from sidestep.evaluation.report.page import Page, Section


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InspectedIds:
    """One set of semantic IDs with its quality and examples.

    interactions: interactions per item in training.
    """

    quality: IdQuality
    examples: IdExamples
    first_codes: Int[np.ndarray, " items"]
    interactions: Int[np.ndarray, " items"]


def id_page(title: str, facts: Mapping[str, str], inspected: Mapping[str, InspectedIds]) -> Page:
    """Makes the page of sets of semantic IDs over the same items. `inspected` is by name."""
    examples = [
        example if len(inspected) == 1 else replace(example, title=f"{name}: {example.title}")
        for name, ids in inspected.items()
        for example in id_examples_in_words(ids.examples)
    ]
    return Page(
        title=title,
        sections=[
            Section(title="Curves", parts=id_charts(inspected)),
            *id_tables({name: ids.quality for name, ids in inspected.items()}),
            Section(
                title="Prefixes in words",
                lead="The most popular items of each prefix; random ones are drawn with a seed.",
                parts=examples,
            ),
        ],
        facts=facts,
    )


def id_charts(inspected: Mapping[str, InspectedIds]) -> list[Chart]:
    """Draws the curves. A curve without the vectors or interactions it needs is left out."""
    charts = [
        Chart(
            title=title,
            caption=caption,
            x_label="depth (codes)",
            y_label="share",
            from_zero=True,
            curves=_by_depth({name: ids.quality for name, ids in inspected.items()}, value),
        )
        for title, caption, value in _DEPTH_CHARTS
    ]
    for what, counts in (
        ("Items", {name: _ones(ids.first_codes) for name, ids in inspected.items()}),
        ("Training interactions", {name: ids.interactions for name, ids in inspected.items()}),
    ):
        charts.append(
            Chart(
                title=f"{what} over first codes",
                caption=f"Share of the {what.lower()} with one of the n most frequent first codes.",
                x_label="n",
                y_label="share",
                from_zero=True,
                curves=tuple(
                    _spread(name, ids, counts[name])
                    for name, ids in inspected.items()
                    if counts[name].any()
                ),
            )
        )
    return [chart for chart in charts if chart.curves]


def id_examples_in_words(examples: IdExamples) -> list[Example]:
    """Examples of prefixes by kind, and of the way to one item."""
    kinds = (
        ("Largest first codes", examples.largest),
        ("Random first codes", examples.random),
        ("Random prefixes of two codes", examples.deeper),
    )
    return [
        *(
            Example(
                title=title,
                lists=tuple(
                    WordedList(heading=prefix.title, items=prefix.items) for prefix in prefixes
                ),
            )
            for title, prefixes in kinds
            if prefixes
        ),
        Example(
            title=f"The way to {examples.item}",
            note="Its prefix at each depth is marked; beside it are the largest others that might "
            "have followed, each with its most popular item.",
            lists=tuple(
                WordedList(heading=f"Depth {depth}", items=branches_in_words(step), marked=(0,))
                for depth, step in enumerate(examples.way, start=1)
            ),
        ),
    ]


def branches_in_words(step: Step) -> tuple[str, ...]:
    """The chosen prefix, the largest others with one item each, and the number of further ones."""
    omitted = step.num_others - len(step.others)
    return (
        f"{step.chosen.title}: {step.chosen.items[0]}",
        *(f"{other.title}: {other.items[0]}" for other in step.others),
        *([f"{omitted:,} more"] if omitted else []),
    )


def _explained(at: PrefixDepth) -> float | None:
    return None if at.reconstruction is None else at.reconstruction.explained


def _near(at: PrefixDepth) -> float | None:
    return None if at.neighbours is None else at.neighbours.share


def _next(at: PrefixDepth) -> float | None:
    return None if at.next_items is None else at.next_items.share


def _forced(at: PrefixDepth) -> float | None:
    return at.fan_out.forced


_DEPTH_CHARTS: tuple[tuple[str, str, Callable[[PrefixDepth], float | None]], ...] = (
    (
        "Variance explained by the prefix",
        "Share of the variance of the items' vectors between prefixes; 1 if no items share one.",
        _explained,
    ),
    (
        "Neighbours with the same prefix",
        "Share of each item's nearest neighbours by cosine that have its first codes.",
        _near,
    ),
    (
        "Next items with the same prefix",
        "Share of items that follow each other in training and have the same first codes.",
        _next,
    ),
    ("Forced codes", "Share of prefixes that only one code may follow.", _forced),
)


def _by_depth(
    qualities: Mapping[str, IdQuality], value: Callable[[PrefixDepth], float | None]
) -> tuple[Curve, ...]:
    """One curve per set of IDs that has the value."""
    curves = []
    for name, quality in qualities.items():
        points = [(at.depth, y) for at in quality.depths if (y := value(at)) is not None]
        if points:
            depths, values = zip(*points, strict=True)
            curves.append(Curve(label=name, x=tuple(map(float, depths)), y=values))
    return tuple(curves)


def _ones(items: Int[np.ndarray, " items"]) -> Int[np.ndarray, " items"]:
    return np.ones(len(items), dtype=np.int64)


def _spread(name: str, ids: InspectedIds, counts: Int[np.ndarray, " items"]) -> Curve:
    """Makes the curve of the cumulative shares of first codes, the largest first."""
    size = ids.quality.codebook_sizes[0]
    per_code = np.sort(np.bincount(ids.first_codes, weights=counts, minlength=size))[::-1]
    shares = per_code.cumsum() / per_code.sum()
    x = tuple(float(n) for n in range(1, size + 1))
    return Curve(label=name, x=x, y=tuple(shares.tolist()))
