"""The figure of a dataset: lengths of sequences, popularity of items, interactions over time.

The figure is a file for papers and slides, on white. Charts that take the colours of a page are in
`report`. The figure is not in `data`: every layer imports `data`, so `data` must not draw.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sidestep.data.clock import moment, unit_of

_INK = "#333333"
_FAINT = "#8a8a8a"
_BLUE = "#0072b2"  # Okabe & Ito
_PALE_BLUE = "#8fc1de"
_VERMILLION = "#d55e00"
_NUM_BINS = 40
_SHOWN_SHARE = 0.99
"""Share of the users in the panel of lengths: the few longest sequences would squeeze the rest."""

_SIZE_INCHES = (11.0, 3.2)
_WHOLE = FuncFormatter(lambda value, _: f"{value:,.0f}")
_DOTS_PER_INCH = 160


def write_data_figure(
    path: Path,
    *,
    lengths: Int[np.ndarray, " users"],
    item_counts: Int[np.ndarray, " items"],
    timestamps: Int[np.ndarray, " interactions"] | None,
    title: str,
    marks: Mapping[str, int] | None = None,
) -> None:
    """Draws three panels and writes them in the format of the suffix, such as .png or .svg.

    Args:
        path: file of the figure.
        lengths: interactions per user.
        item_counts: interactions per item.
        timestamps: one per interaction; None leaves the panel of times without a drawing.
        title: title over the panels.
        marks: moments to mark in the panel of times, by name.
    """
    with mpl.rc_context(
        {
            "font.family": "sans-serif",
            "font.size": 9.5,
            "text.color": _INK,
            "axes.edgecolor": _FAINT,
            "axes.labelcolor": _INK,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "xtick.color": _INK,
            "ytick.color": _INK,
            "svg.fonttype": "none",
            "svg.hashsalt": "data",  # the same data is the same file
            "text.parse_math": False,  # names are not formulas
        }
    ):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize=11)
        panels: Sequence[Axes] = figure.subplots(1, 3)
        _draw_lengths(panels[0], lengths)
        _draw_popularity(panels[1], item_counts)
        _draw_time(panels[2], timestamps, marks or {})
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
        # With a date, the same data would give a different file each time.
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=_DOTS_PER_INCH, metadata=metadata)


def _draw_lengths(axes: Axes, lengths: Int[np.ndarray, " users"]) -> None:
    """Draws users by length of their sequence, without the longest sequences."""
    axes.set_title("Users by length of their sequence")
    axes.set_xlabel("interactions of the user")
    axes.set_ylabel("users")
    if not len(lengths):
        return
    low = int(lengths.min())
    high = int(np.quantile(lengths, _SHOWN_SHARE, method="higher"))
    step = -(-(high - low + 1) // _NUM_BINS)
    # Bins are centred on whole numbers, and all bins hold equally many of them.
    edges = np.arange(low, high + step + 1, step) - 0.5
    axes.hist(lengths, bins=edges.tolist(), color=_BLUE, edgecolor="white", linewidth=0.4)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    median = float(np.median(lengths))
    axes.axvline(median, color=_VERMILLION, linewidth=1.2)
    axes.annotate(
        f"median {median:g}",
        (median, 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(5, 0),
        textcoords="offset points",
        color=_VERMILLION,
        verticalalignment="top",
    )
    num_longer = int((lengths > edges[-1]).sum())
    if num_longer:
        _remark(axes, f"{num_longer:,} longer, up to {lengths.max():,}")
    _count_upwards(axes)


def _draw_popularity(axes: Axes, item_counts: Int[np.ndarray, " items"]) -> None:
    """Draws count against rank, both logarithmic: a power law is a straight line."""
    axes.set_title("Items by popularity")
    axes.set_xlabel("rank of the item")
    axes.set_ylabel("interactions of the item")
    counts = np.sort(item_counts[item_counts > 0])[::-1]
    if not len(counts):
        return
    axes.loglog(np.arange(1, len(counts) + 1), counts, color=_BLUE, linewidth=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(_WHOLE)
    axes.grid(alpha=0.15, color=_INK)
    num_untouched = len(item_counts) - len(counts)
    if num_untouched:
        _remark(axes, f"{num_untouched:,} more without any")


def _draw_time(
    axes: Axes, timestamps: Int[np.ndarray, " interactions"] | None, marks: Mapping[str, int]
) -> None:
    """Draws interactions over time, with the moments at which the parts of a split begin."""
    axes.set_title("Interactions over time")
    if timestamps is None or not len(timestamps):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no times are known", ha="center", color=_FAINT)
        return
    unit = unit_of(timestamps)
    counts, edges = np.histogram(timestamps, bins=_NUM_BINS)
    places: Sequence[float | datetime] = edges.tolist()
    if unit is not None:
        places = [moment(int(edge), unit) for edge in edges]
        locator = mdates.AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        formatter = mdates.ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_formatter(formatter)
    else:
        axes.set_xlabel("timestamp")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.stairs(counts, places, fill=True, color=_PALE_BLUE)  # type: ignore[arg-type]
    axes.set_ylabel("interactions")
    _count_upwards(axes)
    if marks:
        axes.set_ylim(top=1.18 * counts.max())  # room for their names
    for number, (name, timestamp) in enumerate(marks.items()):
        place = timestamp if unit is None else moment(timestamp, unit)
        is_last = number == len(marks) - 1
        axes.axvline(place, color=_VERMILLION, linewidth=1.2)  # type: ignore[arg-type]
        axes.annotate(
            f"{name} →" if is_last else name,
            (place, 0.98),
            xycoords=("data", "axes fraction"),
            xytext=(4 if is_last else -4, 0),
            textcoords="offset points",
            horizontalalignment="left" if is_last else "right",
            verticalalignment="top",
            color=_VERMILLION,
        )


def _remark(axes: Axes, text: str) -> None:
    """Writes a note on what is not drawn into the empty corner at the right."""
    axes.annotate(
        text,
        (0.97, 0.8),
        xycoords="axes fraction",
        horizontalalignment="right",
        color=_FAINT,
    )


def _count_upwards(axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(_WHOLE)
