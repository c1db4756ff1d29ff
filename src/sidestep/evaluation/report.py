"""The report: one HTML file that shows what was compared, without reaching outside itself.

It draws and words what it is given; numbers are computed in `compare` and `evaluator`.
"""

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Int
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sidestep.data.histories import Histories
from sidestep.evaluation.compare import ComparedMethod
from sidestep.evaluation.results import PerUser
from sidestep.files import whole_file
from sidestep.metrics.ranking import hit_rate
from sidestep.step import NO_ITEM

_INK = "#123456"
"""Drawn for text and axes, then replaced by the page's own colour, light or dark."""

# Okabe & Ito's colours, as far as they can be told from both white and black.
_COLOURS = ("#0080c8", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a chart; x ascends."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves that share their axes.

    caption: one sentence that says what to see.
    log_x: whether equal ratios of x are equally far apart.
    """

    title: str
    caption: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log_x: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WordedList:
    """What one method recommended to one user, best first; `hit` is the target's place or None."""

    label: str
    items: tuple[str, ...]
    hit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WordedUser:
    """One user in words: the history, oldest first, what followed, and what was recommended."""

    user_id: str
    history: tuple[str, ...]
    target: str
    lists: tuple[WordedList, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a report shows, in this order; empty parts are left out.

    facts: name and value, such as the dataset, the users and the machine.
    methods: the rows of the quality table, as `compare` gave them.
    reference: the label that `methods` are tested against, or None.
    beyond: further metrics and costs by method, such as coverage and ms_per_user.
    """

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    methods: Sequence[ComparedMethod] = ()
    reference: str | None = None
    beyond: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    charts: Sequence[Chart] = ()
    users: Sequence[WordedUser] = ()


def write_report(path: Path, report: Report) -> None:
    """Writes the report as one HTML file, whole or not at all."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    page = environment.get_template("report.html").render(
        report=report,
        metrics=list(report.methods[0].estimates) if report.methods else [],
        beyond_names=list(dict.fromkeys(name for row in report.beyond.values() for name in row)),
        charts=[(chart, _svg(chart, index)) for index, chart in enumerate(report.charts)],
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def hit_rate_chart(runs: Mapping[str, PerUser]) -> Chart:
    """HR@K against K, per label; a random list would rise in proportion to K."""
    return Chart(
        title="Hit rate by length of the list",
        caption="Share of users whose next item is among the first K.",
        x_label="K",
        y_label="HR@K",
        log_x=True,
        curves=tuple(
            Curve(
                label=label,
                x=tuple(float(k) for k in range(1, run.k + 1)),
                y=tuple(
                    float(hit_rate(run.rank_before, run.bucket_size, k).mean())
                    for k in range(1, run.k + 1)
                ),
            )
            for label, run in runs.items()
        ),
    )


def prefix_recall_chart(metrics: Mapping[str, Mapping[str, float]]) -> Chart | None:
    """HRecall against depth, per label; None if no label has it."""
    curves = []
    for label, values in metrics.items():
        for among in dict.fromkeys(
            found[2] for name in values if (found := re.fullmatch(r"HRecall@(\d+)@(\w+)", name))
        ):
            depths = sorted(
                int(found[1])
                for name in values
                if (found := re.fullmatch(rf"HRecall@(\d+)@{among}", name))
            )
            curves.append(
                Curve(
                    label=f"{label}, all evaluated" if among == "evaluated" else label,
                    x=tuple(map(float, depths)),
                    y=tuple(values[f"HRecall@{depth}@{among}"] for depth in depths),
                )
            )
    if not curves:
        return None
    return Chart(
        title="Where the search loses the target",
        caption="Share of users whose target's first codes are among the leaves found, by depth.",
        x_label="depth (codes)",
        y_label="HRecall",
        curves=tuple(curves),
    )


def training_chart(
    logs: Mapping[str, Path], *, y: str, title: str, caption: str, x: str = "epoch"
) -> Chart | None:
    """One value of JSONL training logs, per label; None if no log has it.

    Args:
        logs: a file per label; lines without both fields, and lines of another kind, are skipped.
        y: the field to draw, such as "loss" or "validation".
        title: of the chart.
        caption: of the chart.
        x: the field to draw it against; also the kind of line to read.

    Raises:
        ValueError: if a line is no JSON object, naming file and line.
    """
    curves = []
    for label, path in logs.items():
        points = [
            (float(line[x]), float(line[y]))
            for line in _lines(path)
            if line.get("kind") == x and line.get(x) is not None and line.get(y) is not None
        ]
        if points:
            xs, ys = zip(*points, strict=True)
            curves.append(Curve(label=label, x=xs, y=ys))
    if not curves:
        return None
    return Chart(title=title, caption=caption, x_label=x, y_label=y, curves=tuple(curves))


def worded_users(
    runs: Mapping[str, PerUser],
    histories: Histories,
    words: Sequence[str],
    rows: Int[np.ndarray, " chosen"],
    *,
    num_items: int = 5,
    num_past: int = 6,
) -> list[WordedUser]:
    """Some users' pasts and recommendations in words.

    Args:
        runs: by label; all over the rows of `histories`.
        histories: of all rows.
        words: what to call each item.
        rows: the rows to show.
        num_items: how much of each list to show.
        num_past: how many of the most recent items to show.
    """
    users = []
    for row in rows.tolist():
        target = int(next(iter(runs.values())).targets[row])
        lists = []
        for label, run in runs.items():
            items = [item for item in run.items[row, :num_items].tolist() if item != NO_ITEM]
            lists.append(
                WordedList(
                    label=label,
                    items=tuple(words[item] for item in items),
                    hit=items.index(target) if target in items else None,
                )
            )
        past = histories.of(row)
        users.append(
            WordedUser(
                user_id=histories.user_ids[row],
                history=tuple(words[item] for item in past[max(len(past) - num_past, 0) :]),
                target=words[target],
                lists=tuple(lists),
            )
        )
    return users


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not valid JSON ({error.msg}).") from error
        if not isinstance(line, dict):
            raise ValueError(f"{path}, line {number}: not a JSON object.")
        lines.append(line)
    return lines


def _number(value: float) -> str:
    """Four decimals for shares, fewer for what is large, none for nothing."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 1.5:
        return f"{value:.2f}"
    return "0" if abs(value) < 0.00005 else f"{value:.4f}"


def _svg(chart: Chart, index: int) -> Markup:
    """The chart as inline SVG; its IDs start with its number, so that no two charts share one."""
    with mpl.rc_context(
        {
            "svg.fonttype": "none",  # text stays text: it is small, and it can be read aloud
            "svg.hashsalt": str(index),  # the same report is the same file
            "font.family": "sans-serif",
            "font.size": 9.5,
            "text.color": _INK,
            "axes.edgecolor": _INK,
            "axes.labelcolor": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "text.parse_math": False,  # labels are not formulas
        }
    ):
        figure = Figure(figsize=(4.2, 2.8), layout="constrained")
        axes = figure.add_subplot()
        for number, curve in enumerate(chart.curves):
            axes.plot(
                curve.x,
                curve.y,
                label=curve.label,
                color=_COLOURS[number % len(_COLOURS)],
                linestyle=_DASHES[number % len(_DASHES)],
                linewidth=1.8,
                marker="o" if len(curve.x) <= 12 else None,
                markersize=3.5,
            )
        if chart.log_x:
            axes.set_xscale("log")
            ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= chart.curves[0].x[-1]]
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.minorticks_off()
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(chart.x_label)
        axes.set_ylabel(chart.y_label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.15, color=_INK)
        axes.legend(frameon=False, fontsize=8)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(_INK, "currentColor")
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>chart{index}-", drawing)
    # The page decides how wide it is; the view box keeps its proportions.
    drawing = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", drawing, count=1)
    return Markup(drawing.replace("<svg", '<svg aria-hidden="true"', 1))
