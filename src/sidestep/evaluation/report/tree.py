"""Draws one user's search tree: depth from left to right, with the fate of every prefix."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from sidestep.catalog.trie import NO_STATE
from sidestep.evaluation.report.drawing import Drawing, svg_of
from sidestep.evaluation.report.table import Table
from sidestep.evaluation.report.users import shortened
from sidestep.evaluation.search_tree import Fate, SearchNode, SearchTree

_LEFT, _TOP = 12.0, 86.0
_COLUMN, _ROW = 150.0, 24.0
_WORDS_WIDTH = 360.0
_WORDS_CHARACTERS = 44
_RADIUS = 5.5

_PLAIN = Markup()
_TARGET = Markup(" font-weight='700' style='fill: var(--good)'")

_FATES: dict[Fate, str] = {
    "expanded": "expanded",
    "kept": "kept",
    "pruned": "pruned",
    "unproposed": "never proposed",
}

Words = Callable[[int], str]
"""Gives the name of the items of a leaf, by its state."""


def tree_drawing(tree: SearchTree, words: Words, *, title: str, num_leaves: int = 6) -> Drawing:
    """Draws the nodes of a search that are worth drawing, see `SearchTree.thinned`.

    Args:
        tree: search tree of one user.
        words: names of the leaves.
        title: title of the drawing.
        num_leaves: number of leaves of the answer that are drawn.
    """
    shown = tree.thinned(num_leaves=num_leaves)
    children: dict[int, list[SearchNode]] = {}
    for node in shown.nodes.values():
        if node.parent != NO_STATE:
            children.setdefault(node.parent, []).append(node)
    places = _placed(shown.nodes[0], children)
    height = _TOP + _ROW * max(1, sum(state not in children for state in shown.nodes)) + 6
    width = _LEFT + _COLUMN * tree.num_levels + _WORDS_WIDTH
    picture = _Picture(tree=tree, places=places, words=words)
    parts = [
        Markup("<g font-size='12' fill='currentColor' font-weight='400'>"),
        _legend(tree.score_kind),
        *(_head(tree, shown, depth) for depth in range(1, tree.num_levels + 1)),
        *(picture.edge(node) for node in shown.nodes.values() if node.parent != NO_STATE),
        *(picture.node(node) for node in shown.nodes.values()),
        Markup("</g>"),
    ]
    caption = (
        f"The {len(shown.nodes) - 1:,} most telling of the {len(tree.nodes) - 1:,} prefixes that "
        f"{tree.name} looked at or that lead to the target: the way to the target, the best "
        f"{num_leaves} leaves of the answer, and the best of what was dropped beside them."
    )
    return Drawing(
        title=title,
        caption=caption,
        svg=svg_of(width, height, f"{title}. {caption}", Markup("\n").join(parts), is_wide=True),
        numbers=_numbers(tree, shown, words),
        is_wide=True,
    )


def _placed(
    root: SearchNode, children: Mapping[int, list[SearchNode]]
) -> dict[int, tuple[float, float]]:
    """Places of the nodes: x by depth, to the right; siblings from the best score downwards."""
    places: dict[int, tuple[float, float]] = {}
    next_row = 0

    def place(node: SearchNode) -> float:
        nonlocal next_row
        below = sorted(children.get(node.state, ()), key=lambda child: -child.score)
        if below:
            rows = [place(child) for child in below]
            row = (rows[0] + rows[-1]) / 2
        else:
            row = float(next_row)
            next_row += 1
        places[node.state] = (_LEFT + _COLUMN * node.depth, _TOP + _ROW * (row + 0.5))
        return row

    place(root)
    return places


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """Nodes and edges of one tree in their places."""

    tree: SearchTree
    places: Mapping[int, tuple[float, float]]
    words: Words

    def edge(self, node: SearchNode) -> Markup:
        """The line from the parent of a node to the node; dashed if the search did not go there."""
        (x0, y0), (x1, y1) = self.places[node.parent], self.places[node.state]
        colour = "var(--good)" if node.is_target else "var(--faint)"
        dashes = " stroke-dasharray='3 3'" if node.fate in ("pruned", "unproposed") else ""
        return Markup(
            "<path d='M{:.1f} {:.1f} C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}' fill='none' "
            "style='stroke: {}; stroke-width: {}; stroke-opacity: .75'{}/>"
        ).format(
            *(x0, y0, x0 + _COLUMN / 2, y0, x1 - _COLUMN / 2, y1, x1, y1),
            colour,
            2.2 if node.is_target else 1,
            Markup(dashes),
        )

    def node(self, node: SearchNode) -> Markup:
        """A node with its label, and details that show when a pointer rests on the node."""
        x, y = self.places[node.state]
        if node.depth == 0:
            return _shape("expanded", x, y, "var(--ink)")
        warmth = self._warmth(node)
        colour = "var(--faint)" if warmth is None else _colour(warmth)
        shape = _shape(node.fate, x, y, colour, ring="var(--good)" if node.is_target else None)
        at = (x + 10, y + 4) if node.depth == self.tree.num_levels else (x + 8, y - 7)
        label = _text(*at, self._label(node), _TARGET if node.is_target else _PLAIN)
        return Markup("<g><title>{}</title>{}{}</g>").format(self._about(node), shape, label)

    def _warmth(self, node: SearchNode) -> int | None:
        """Warmth of the colour: 0 for the worst proposal of the node's depth, 100 for the best."""
        number = self.tree.count(node.depth, "expanded", "kept", "pruned")
        if node.rank is None:
            return None
        return 100 if number < 2 else round(100 * (number - node.rank) / (number - 1))

    def _label(self, node: SearchNode) -> str:
        mark = " ✓" if node.is_target else ""
        if node.depth < self.tree.num_levels:
            return f"{node.code}{mark}"
        return shortened(self.words(node.state), _WORDS_CHARACTERS) + mark

    def _about(self, node: SearchNode) -> str:
        place = "" if node.rank is None else f", place {node.rank} of its depth"
        target = ", on the way to the target" if node.is_target else ""
        return (
            f"code {node.code} at depth {node.depth}: {_FATES[node.fate]}{target}; "
            f"{self.tree.score_kind} {node.score:.3f}{place}; log π {node.log_prob:.3f}"
        )


def _shape(fate: Fate, x: float, y: float, colour: str, *, ring: str | None = None) -> Markup:
    """Full circle if expanded, square if kept, hollow circle if pruned, dashed if not proposed."""
    fill = "var(--page)" if fate in ("pruned", "unproposed") else colour
    style = f"fill: {fill}; stroke: {ring or colour}; stroke-width: {2.5 if ring else 2}"
    if fate == "kept":
        return Markup("<rect x='{:.1f}' y='{:.1f}' width='10' height='10' style='{}'/>").format(
            x - 5, y - 5, style
        )
    dashes = Markup(" stroke-dasharray='2 2'" if fate == "unproposed" else "")
    return Markup("<circle cx='{:.1f}' cy='{:.1f}' r='{}' style='{}'{}/>").format(
        x, y, _RADIUS, style, dashes
    )


def _colour(warmth: int) -> str:
    """A mix of the page's first two colours, from cold to warm."""
    return f"color-mix(in oklab, var(--series-2) {warmth}%, var(--series-1))"


def _head(tree: SearchTree, shown: SearchTree, depth: int) -> Markup:
    """Heading of a column: how many prefixes the search saw and kept, and how many are drawn."""
    proposed = tree.count(depth, "expanded", "kept", "pruned")
    drawn = shown.count(depth, "expanded", "kept", "pruned")
    kept = proposed - tree.count(depth, "pruned")
    x = _LEFT + _COLUMN * depth - (20 if depth < tree.num_levels else 5)
    return Markup(
        "<text x='{0:.1f}' y='58' font-weight='600'>depth {1}</text>"
        "<text x='{0:.1f}' y='73' font-size='11' style='fill: var(--faint)'>{2}</text>"
    ).format(x, depth, f"{proposed:,} seen, {kept:,} kept, {drawn:,} here")


def _legend(score_kind: str) -> Markup:
    """Two lines that explain shapes and colours."""
    parts, x = [], _LEFT
    for fate, words in _FATES.items():
        colour = "var(--faint)" if fate == "unproposed" else _colour(50)
        parts.append(_shape(fate, x, 12.0, colour))
        parts.append(_text(x + 10, 16.0, words))
        x += 28 + 7 * len(words)
    parts.append(_text(x, 16.0, "✓ the target", _TARGET))
    for place in range(9):
        parts.append(
            Markup("<rect x='{:.1f}' y='27' width='8' height='10' style='fill: {}'/>").format(
                _LEFT - 5 + 8 * place, _colour(round(100 * place / 8))
            )
        )
    parts.append(
        _text(_LEFT + 74, 36.0, f"place among its depth by {score_kind}, from last to first")
    )
    return Markup().join(parts)


def _text(x: float, y: float, words: str, more: Markup = _PLAIN) -> Markup:
    return Markup("<text x='{:.1f}' y='{:.1f}'{}>{}</text>").format(x, y, more, words)


def _numbers(tree: SearchTree, shown: SearchTree, words: Words) -> Table:
    """Table of the drawn nodes; leaves are named by their items."""
    rows = []
    for node in shown.nodes.values():
        if node.depth == 0:
            continue
        name = f"{node.code}{' ✓' if node.is_target else ''}"
        if node.depth == tree.num_levels:
            name = f"{name}: {shortened(words(node.state), _WORDS_CHARACTERS)}"
        rows.append((name, node.depth, _FATES[node.fate], node.rank, node.score, node.log_prob))
    rows.sort(key=lambda row: (row[1], -row[4]))
    return Table(
        caption=f"The drawn prefixes of {tree.name}, by depth and score",
        columns=("code", "depth", "fate", "place", tree.score_kind, "log π"),
        rows=tuple(rows),
    )
