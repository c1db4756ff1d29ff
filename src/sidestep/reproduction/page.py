"""The page of a table: published numbers and ours side by side, and the differences in protocol."""

from collections.abc import Mapping, Sequence

from sidestep.evaluation.report.page import Page, Section
from sidestep.evaluation.report.quality import signed
from sidestep.evaluation.report.table import Cell, Entry, number, number_range
from sidestep.evaluation.report.table import Table as PageTable
from sidestep.reproduction.declarations import SEEN_IN_WORDS, Table
from sidestep.reproduction.measured import MeasuredPart, MeasuredRow, Number

SMOKE = (
    "A smoke run: small networks, one epoch, one seed and a few users. The numbers show that every "
    "step works, and nothing else."
)

_OTHER_DATA = "The data are not those of the published numbers (--other-data)."

_NOT_HERE = "not run: the kit has no such method"


def table_page(
    table: Table,
    parts: Sequence[MeasuredPart],
    *,
    is_fast: bool,
    is_other_data: bool,
    facts: Mapping[str, str],
) -> Page:
    """Makes the page of a table that was run.

    Args:
        table: its declaration.
        parts: its numbers.
        is_fast: whether it was a smoke run.
        is_other_data: whether the data were not checked.
        facts: how the page was made, by name.
    """
    said = [SMOKE] if is_fast else []
    if is_other_data:
        said.append(_OTHER_DATA)
    if not table.same_data:
        said.append(
            "The published numbers are of other data than ours, so only the gains over "
            f"{table.reference} can be compared."
        )
    return Page(
        title=table.title,
        summary=" ".join(said),
        sections=[*(_section(table, part) for part in parts), _protocol(table)],
        facts={"Source": table.source, **facts},
    )


def _section(table: Table, part: MeasuredPart) -> Section:
    users = max((row.num_users for row in part.rows), default=0)
    published_as = table.data[part.data]
    shown = part.data if published_as == part.data else f"{part.data} ({published_as})"
    return Section(
        title=f"{shown}, {SEEN_IN_WORDS[part.seen]}",
        parts=[
            PageTable(
                caption=f"Ours: mean over {users:,} users and seeds; below it its 95% bootstrap "
                f"interval over users{_caption_of_differences(table)}.",
                columns=(
                    "method",
                    *(
                        f"{metric}, {whose}"
                        for metric in table.metrics
                        for whose in ("published", "ours")
                    ),
                    "seeds",
                    "difference in protocol",
                ),
                rows=tuple(_row(table, row) for row in part.rows),
            )
        ],
    )


def _caption_of_differences(table: Table) -> str:
    difference = ", and Δ, ours minus the published number" if table.same_data else ""
    gain = "" if table.reference is None else f"; in percent the gain over {table.reference}"
    return difference + gain


def _row(table: Table, measured: MeasuredRow) -> tuple[Entry, ...]:
    return (
        measured.row.method,
        *(
            entry
            for metric in table.metrics
            for entry in _entries(measured.numbers[metric], has_differences=table.same_data)
        ),
        Cell(text=str(len(measured.seeds)) if measured.seeds else ""),
        measured.row.differs if measured.seeds else measured.row.differs or _NOT_HERE,
    )


def _entries(found: Number, *, has_differences: bool) -> tuple[Entry, Entry]:
    published: Entry = None
    if found.published is not None:
        published = Cell(text=number(found.published), notes=_gain(found.published_gain))
    if found.ours is None:
        return published, None
    interval = found.ours.interval
    notes = [number_range(interval.low, interval.high)]
    if has_differences and found.difference is not None:
        notes.append(f"Δ {signed(found.difference)}")
    notes += _gain(found.our_gain)
    return published, Cell(text=number(found.ours.mean), notes=tuple(notes))


def _gain(share: float | None) -> tuple[str, ...]:
    return () if share is None else (f"{share:+.1%}".replace("-", "−"),)


def _protocol(table: Table) -> Section:
    rows = tuple((each.what, each.published, each.ours) for each in table.protocol)
    return Section(
        title="Differences in protocol",
        lead="These differences hold for all rows; a row may have more of its own.",
        parts=[
            PageTable(
                caption="The protocol of the source and ours.",
                columns=("what", "published", "ours"),
                rows=rows,
            )
        ]
        if rows
        else [],
    )
