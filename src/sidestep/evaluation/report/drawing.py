"""A drawing of a page that is no chart of curves: SVG made by hand, in the page's colours."""

from dataclasses import dataclass

from markupsafe import Markup

from sidestep.evaluation.report.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture with a caption and a table of its numbers.

    caption: what the picture shows, in a sentence or two.
    svg: the drawing; it has an `aria-label`.
    numbers: the content of the picture as a table, folded away.
    is_wide: whether the picture keeps its own width. On a narrower page, readers scroll it.
    """

    title: str
    caption: str
    svg: Markup
    numbers: Table
    is_wide: bool = False


def svg_of(width: float, height: float, label: str, content: Markup, *, is_wide: bool) -> Markup:
    """Makes an SVG element of that size in pixels, or as wide as its place on the page.

    Args:
        width: width of the drawing.
        height: height of the drawing.
        label: description of the drawing for readers who cannot see it.
        content: elements of the drawing.
        is_wide: see `Drawing`.
    """
    own = f' style="width: {width:.0f}px; max-width: none"' if is_wide else ""
    opening = Markup('<svg role="img" viewBox="0 0 {} {}"{} aria-label="{}">').format(
        round(width), round(height), Markup(own), label
    )
    return opening + content + Markup("</svg>")
