"""A drawing of a page that is no chart of curves: SVG made by hand, in the page's colours."""

from dataclasses import dataclass

from markupsafe import Markup

from sidestep.evaluation.report.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture with what it says in words and numbers.

    caption: what to see, in a sentence or two.
    svg: the drawing; it has an `aria-label`.
    numbers: the same as a table, folded away.
    is_wide: whether it keeps its own width and is scrolled where the page is narrower.
    """

    title: str
    caption: str
    svg: Markup
    numbers: Table
    is_wide: bool = False


def svg_of(width: float, height: float, label: str, content: Markup, *, is_wide: bool) -> Markup:
    """An SVG element of that size in pixels, or as wide as its place.

    Args:
        width: of the drawing.
        height: of the drawing.
        label: says what it shows to those who do not see it.
        content: its elements.
        is_wide: see `Drawing`.
    """
    own = f' style="width: {width:.0f}px; max-width: none"' if is_wide else ""
    opening = Markup('<svg role="img" viewBox="0 0 {} {}"{} aria-label="{}">').format(
        round(width), round(height), Markup(own), label
    )
    return opening + content + Markup("</svg>")
