"""Stacked bars of the depths where searches lose the target: one bar per search.

A bar has two parts per depth.
"""

from collections.abc import Sequence

from markupsafe import Markup

from sidestep.evaluation.report.chart import NUM_COLOURS
from sidestep.evaluation.report.drawing import Drawing, svg_of
from sidestep.evaluation.report.table import Table
from sidestep.evaluation.search_quality import SearchQuality

_WIDTH = 360.0  # the width of charts, so that text has the same size
_BAR = 14.0
_ROW = 40.0
_LINE = 16.0
_FONT = 11


def loss_bars(searches: Sequence[SearchQuality], *, title: str) -> Drawing:
    """Draws the bars of one or more searches of one catalog."""
    depths = [at.depth for at in searches[0].depths]
    parts = [Markup("<g font-size='{}' fill='currentColor'>").format(_FONT)]
    y = 0.0
    for search in searches:
        found = search.depths[-1].kept.mean
        parts.append(_text(0.0, y + 11, f"{search.name}: {found:.1%} kept to the end"))
        x = 0.0
        for at in search.depths:
            for share, opacity in ((at.dropped.mean, 1.0), (at.unproposed.mean, 0.45)):
                parts.append(_bar(x, y + 17, share, _colour(at.depth), opacity))
                x += share * _WIDTH
        parts.append(_bar(x, y + 17, found, "var(--line)", 1.0))
        y += _ROW
    for depth in depths:
        parts.append(_bar(0.0, y, 10 / _WIDTH, _colour(depth), 1.0, height=10.0))
        parts.append(_bar(14.0, y, 10 / _WIDTH, _colour(depth), 0.45, height=10.0))
        parts.append(_text(30.0, y + 9, f"depth {depth}: dropped, and never proposed"))
        y += _LINE
    parts.append(_bar(0.0, y, 24 / _WIDTH, "var(--line)", 1.0, height=10.0))
    parts.append(_text(30.0, y + 9, "kept to the end"))
    parts.append(Markup("</g>"))
    caption = (
        "Every user's target is lost at one depth or kept to the end. Dropped: the search looked "
        "at the target's prefix and kept others. Never proposed: the search kept the target's "
        "prefix of the depth before, but never looked at the one of this depth. For sets of codes, "
        "a state that may still become the target stands for the target's prefix."
    )
    return Drawing(
        title=title,
        caption=caption,
        svg=svg_of(_WIDTH, y + _LINE, f"{title}. {caption}", Markup().join(parts), is_wide=False),
        numbers=_numbers(searches),
    )


def _numbers(searches: Sequence[SearchQuality]) -> Table:
    return Table(
        caption="Share of users whose target was lost at each depth, and kept up to that depth",
        columns=("search", "depth", "dropped", "never proposed", "kept"),
        rows=tuple(
            (search.name, at.depth, at.dropped.mean, at.unproposed.mean, at.kept.mean)
            for search in searches
            for at in search.depths
        ),
    )


def _colour(depth: int) -> str:
    return f"var(--series-{(depth - 1) % NUM_COLOURS + 1})"


def _bar(
    x: float, y: float, share: float, colour: str, opacity: float, height: float = _BAR
) -> Markup:
    if share <= 0:
        return Markup()
    return Markup(
        "<rect x='{:.2f}' y='{:.2f}' width='{:.2f}' height='{:.0f}' style='fill: {}; "
        "fill-opacity: {}; stroke: var(--page); stroke-width: .5'/>"
    ).format(x, y, share * _WIDTH, height, colour, opacity)


def _text(x: float, y: float, words: str) -> Markup:
    return Markup("<text x='{:.2f}' y='{:.2f}'>{}</text>").format(x, y, words)
