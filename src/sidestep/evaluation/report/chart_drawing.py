"""Draws a chart as SVG that takes the page's colours."""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from sidestep.evaluation.report.chart import NUM_COLOURS, Chart, Curve, Level

# Placeholders: each colour is later replaced by a name, as a page has a light and a dark version.
_INK = "#123456"
_SERIES = tuple(f"#a0000{number}" for number in range(1, NUM_COLOURS + 1))

_DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))
_LEVEL_DASHES = (0, (4, 3))
_SIZE_INCHES = (5.0, 3.1)
_PADDING_INCHES = 0.04
_FONT_POINTS = 10.0
_LABEL_CHARACTERS = 18
_MAX_LOG_TICKS = 8


def drawn(chart: Chart, name: str) -> Markup:
    """Draws the chart as inline SVG.

    Args:
        chart: the chart to draw.
        name: start of every ID within the drawing, so that two drawings of a page share no ID.
    """
    with mpl.rc_context(
        {
            "svg.fonttype": "none",  # text stays text: it is small, and it can be searched
            "svg.hashsalt": name,  # the same page is the same file
            "font.family": "DejaVu Sans",  # matplotlib's own; only measures, as the page has a font
            "font.size": _FONT_POINTS,
            "text.color": _INK,
            "axes.edgecolor": _INK,
            "axes.labelcolor": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "text.parse_math": False,  # labels are not formulas
        }
    ):
        figure = Figure(figsize=_SIZE_INCHES)
        axes = figure.add_subplot()
        labels = [
            _draw(axes, curve, index, _shift(chart, index), _shift(chart, len(chart.curves) - 1))
            for index, curve in enumerate(chart.curves)
        ]
        labels += [_draw_level(axes, level) for level in chart.levels]
        _set_axes(axes, chart)
        _fit(axes, figure)  # only beside fitted axes are the places of the labels known
        _part(labels, figure.dpi / 72)
        _fit(axes, figure)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return Markup(_for_page(buffer.getvalue(), f"{chart.title}. {chart.caption}", name))


def _shift(chart: Chart, index: int) -> float:
    """Shift of a curve to the side, so that the intervals at a named x do not overlap."""
    return 0.06 * (index - (len(chart.curves) - 1) / 2) if chart.x_names else 0.0


def _draw(axes: Axes, curve: Curve, index: int, shift: float, largest_shift: float) -> Annotation:
    """Draws a curve, and its label at the end of the last curve. `_part` moves the label later."""
    xs = [x + shift for x in curve.x]
    colour = _SERIES[(index if curve.colour is None else curve.colour) % NUM_COLOURS]
    if curve.low is not None and curve.high is not None:
        if len(curve.x) <= 4:
            axes.vlines(xs, curve.low, curve.high, color=colour, linewidth=1.2, alpha=0.6)
        else:
            axes.fill_between(xs, curve.low, curve.high, color=colour, alpha=0.14, linewidth=0)
    if curve.is_joined:
        axes.plot(
            xs,
            curve.y,
            color=colour,
            linestyle=_DASHES[index % len(_DASHES)],
            linewidth=1.8,
            marker="o" if len(curve.x) <= 12 else None,
            markersize=6 if len(curve.x) == 1 else 4,
        )
    else:
        axes.plot(xs, curve.y, "o", color=colour, markersize=4, markeredgewidth=0, alpha=0.35)
    return _label(axes, curve.label, (curve.x[-1] + largest_shift, curve.y[-1]), colour)


def _draw_level(axes: Axes, level: Level) -> Annotation:
    """Draws a level, and its label right of the axes. `_part` moves the label later."""
    colour = _SERIES[level.colour % NUM_COLOURS]
    axes.axhline(level.y, color=colour, linestyle=_LEVEL_DASHES, linewidth=1.3)
    right_edge = axes.get_yaxis_transform()
    return _label(axes, level.label, (1.0, level.y), colour, xycoords=right_edge)


def _label(
    axes: Axes, text: str, place: tuple[float, float], colour: str, xycoords: Any = "data"
) -> Annotation:
    """Writes a label to the right of a place, in the colour of its line."""
    return axes.annotate(
        textwrap.fill(text, _LABEL_CHARACTERS),
        place,
        xycoords=xycoords,
        xytext=(7, 0),
        textcoords="offset points",
        verticalalignment="center",
        color=colour,
        fontsize=_FONT_POINTS - 0.5,
        annotation_clip=False,
    )


def _set_axes(axes: Axes, chart: Chart) -> None:
    left, right = axes.dataLim.x0, axes.dataLim.x1
    if chart.log_x:
        ticks = _log_ticks(left, right)
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        margin = (ticks[-1] / ticks[0]) ** 0.03
        axes.set_xlim(min(ticks[0], left) / margin, max(ticks[-1], right) * margin)
    else:
        if chart.x_names:
            axes.set_xticks(range(len(chart.x_names)), chart.x_names)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        # Labels are right of the axes, where no line crosses them. A single x gets room for the
        # whole numbers at both sides; otherwise the ticks would be fractions.
        span = right - left
        axes.set_xlim(left - (0.05 * span or 1), right + (0.02 * span or 1))
    if chart.from_zero:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set_xlabel(chart.x_label)
    # Above the axis and level, where it can be read without turning the head.
    axes.set_title(chart.y_label, loc="left", y=1.0, fontsize=_FONT_POINTS, pad=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", alpha=0.18, color=_INK, linewidth=0.8)


def _log_ticks(left: float, right: float) -> list[float]:
    """Round numbers from left to right. If these are few, one more at each side."""
    first, last = math.floor(math.log10(left)) - 1, math.ceil(math.log10(right)) + 1
    rounds = [
        step * 10.0**exponent for exponent in range(first, last + 1) for step in (1.0, 2.0, 5.0)
    ]
    between = [tick for tick in rounds if left <= tick <= right * (1 + 1e-9)]
    if len(between) >= 3:
        return between[:: -(-len(between) // _MAX_LOG_TICKS)]
    below = max(tick for tick in rounds if tick < left)
    return [below, *between, min(tick for tick in rounds if tick > right)]


def _part(labels: Sequence[Annotation], per_point: float) -> None:
    """Moves labels up and down until none covers another."""
    boxes = [label.get_window_extent() for label in labels]
    centres = [(box.y0 + box.y1) / 2 for box in boxes]
    for label, centre, moved in zip(
        labels, centres, parted(centres, [box.height + 2 * per_point for box in boxes]), strict=True
    ):
        label.set_position((7, (moved - centre) / per_point))


def _fit(axes: Axes, figure: Figure) -> None:
    """Moves the edges of the axes so that the words around the axes stay within the figure.

    The labels shift with the curves, so another call may move the edges again, though less. This
    takes less time than `layout="constrained"`, with which matplotlib draws a figure three times.
    """
    inner, outer = axes.get_window_extent(), axes.get_tightbbox(for_layout_only=True)
    assert outer is not None
    padding = _PADDING_INCHES * figure.dpi
    edges = Bbox.from_extents(
        inner.x0 - outer.x0 + padding,
        inner.y0 - outer.y0 + padding,
        figure.bbox.x1 - (outer.x1 - inner.x1) - padding,
        figure.bbox.y1 - (outer.y1 - inner.y1) - padding,
    )
    axes.set_position(edges.transformed(figure.transFigure.inverted()))


def parted(centres: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Moves things of these heights so that none overlaps; returns their new centres.

    Things that overlap form a group, placed around the mean of their old centres. Groups that then
    overlap are joined. The order of the things is kept.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(centres)), key=lambda index: centres[index]):
        groups.append([index])
        while len(groups) > 1 and _top(groups[-2], centres, heights) > _bottom(
            groups[-1], centres, heights
        ):
            last = groups.pop()
            groups[-1] += last
    found = [0.0] * len(centres)
    for group in groups:
        edge = _bottom(group, centres, heights)
        for index in group:
            found[index] = edge + heights[index] / 2
            edge += heights[index]
    return found


def _bottom(group: Sequence[int], centres: Sequence[float], heights: Sequence[float]) -> float:
    middle = sum(centres[index] for index in group) / len(group)
    return middle - sum(heights[index] for index in group) / 2


def _top(group: Sequence[int], centres: Sequence[float], heights: Sequence[float]) -> float:
    return _bottom(group, centres, heights) + sum(heights[index] for index in group)


def _for_page(drawing: str, description: str, name: str) -> str:
    """Adapts a drawing to a page: removes the parts of a file, adds colours and a description."""
    drawing = drawing[drawing.index("<svg") :].replace(_INK, "currentColor")
    for number, colour in enumerate(_SERIES, start=1):
        drawing = drawing.replace(colour, f"var(--series-{number})")
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", drawing)
    # The page decides the width of the drawing; the view box keeps the proportions.
    for _ in ("width", "height"):
        drawing = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", drawing, count=1)
    label = Markup.escape(description)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
