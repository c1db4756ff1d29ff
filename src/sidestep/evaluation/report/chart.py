"""A chart of a page: curves that share their axes. `chart_drawing` draws the chart."""

from collections import Counter
from dataclasses import dataclass

from sidestep.evaluation.report.table import Entry, Table

NUM_COLOURS = 6
"""Number of colours in the page's stylesheet, named --series-1 and so on, light and dark."""

_MAX_ROWS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a chart, or one point. x never decreases.

    low, high: an interval around every y, or None.
    colour: index of one of the page's colours, from 0, so that a method has the same colour in all
        charts; None takes the index of the curve in its chart.
    is_joined: whether a line joins the points. False draws the points alone, as a cloud.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    colour: int | None = None
    is_joined: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A height that a chart marks by a dashed line from side to side, such as a ceiling.

    colour: colour of the curve to which the level belongs; see `Curve`.
    """

    label: str
    y: float
    colour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves that share their axes.

    caption: one sentence that says what to see.
    x_label, y_label: names of the axes, with the unit if there is one.
    log_x: whether the x axis is logarithmic.
    from_zero: whether the y axis starts at 0, as it should for shares and counts.
    x_names: words to write at x = 0, 1, ... instead of numbers; empty for numbers.
    levels: heights with which the curves are compared.
    """

    title: str
    caption: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    from_zero: bool = False
    x_names: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()

    def table(self) -> Table:
        """The numbers of the chart as a table, for readers who cannot see it or want to copy it."""
        values = [_by_place(curve) for curve in self.curves]
        places = sorted({place for of_curve in values for place in of_curve})
        step = -(-len(places) // _MAX_ROWS)
        shown = [
            place
            for index, place in enumerate(places)
            if index % step == 0 or index == len(places) - 1
        ]
        rows: list[tuple[Entry, ...]] = [
            (self._x_text(place[0]), *(of_curve.get(place) for of_curve in values))
            for place in shown
        ]
        rows += [
            (
                level.label,
                *(level.y if curve.colour == level.colour else None for curve in self.curves),
            )
            for level in self.levels
        ]
        return Table(
            caption=f"{self.title}: {self.y_label}",
            columns=(self.x_label or "group", *(curve.label for curve in self.curves)),
            rows=tuple(rows),
        )

    def _x_text(self, x: float) -> str:
        return self.x_names[int(x)] if self.x_names else f"{x:,.6g}"


def _by_place(curve: Curve) -> dict[tuple[float, int], float]:
    """The heights of a curve, by x and by the number of earlier points at the same x."""
    seen: Counter[float] = Counter()
    by_place = {}
    for x, y in zip(curve.x, curve.y, strict=True):
        by_place[x, seen[x]] = y
        seen[x] += 1
    return by_place
