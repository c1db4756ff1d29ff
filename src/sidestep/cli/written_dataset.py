"""The end of every import: the folder of the dataset, and the report of what is in it."""

from dataclasses import asdict, replace
from pathlib import Path

from sidestep.cli.console.next_step import embedding_of
from sidestep.cli.console.output import OUT, print_json, say, table, warn
from sidestep.cli.console.plan import tell_plan
from sidestep.cli.console.reading_bar import shown_working
from sidestep.data.dataset import Dataset
from sidestep.data.events import (
    EventWeights,
    doubt_about_types,
    event_counts,
    listed_counts,
    listed_weights,
)
from sidestep.data.importers.imported import Imported
from sidestep.data.names import plain_name
from sidestep.data.own_split import split_of
from sidestep.pipelines.rehearsal import would_write
from sidestep.runs.judged_rows import warn_of_leak, warn_of_no_rows
from sidestep.runs.needed_rows import check_judged, is_split_later


def write_dataset(
    done: Imported, out: Path, name: str | None, *, dry_run: bool, json: bool
) -> None:
    """Saves a dataset, and says how large it is and which rows of its source were left out.

    A dry run writes nothing. It has read and checked the whole source, because nothing else finds a
    broken line.

    Args:
        done: the import.
        out: the folder to write.
        name: of the dataset; None takes the one of the import.
        dry_run: writes nothing.
        json: prints JSON for scripts instead of tables.

    Raises:
        ValueError: the dataset has no rows that a pipeline could judge by.
    """
    dataset = replace(done.dataset, name=name or plain_name(done.dataset.name))
    stats = asdict(dataset.stats())
    counts, weights = _events_of(dataset)
    check_judged(dataset, out)
    doubts = list(done.doubts)
    if weights == EventWeights() and (doubt := doubt_about_types(counts)):
        doubts.append(doubt)
    for doubt in doubts:
        warn(doubt)
    warn_of_no_rows(dataset, out)
    if not is_split_later():
        warn_of_leak(split_of(dataset), out)
    if dry_run:
        would_write(dataset)
        tell_plan(out, {"name": dataset.name, **stats, **done.left_out}, json=json)
        for remark in done.remarks:
            say(remark)
        return
    shown_working(dataset.save, "writing")(out)
    if json:
        left = {
            "left_out": dict(done.left_out),
            "remarks": list(done.remarks),
            "doubts": doubts,
        }
        if counts:
            left |= {"events": counts, "event_weights": weights.description()}
        print_json({"name": dataset.name, "path": str(out), **stats, **left})
        return
    rows = [
        [key.replace("_", " "), f"{number:,}" if isinstance(number, int) else f"{number:.4g}"]
        for key, number in stats.items()
    ]
    if counts:
        rows.append(["types of events", listed_counts(counts)])
    for what, given in (("target events", weights.targets), ("input events", weights.inputs)):
        if given is not None:
            rows.append([what, listed_weights(given)])
    OUT.print(table(dataset.name, ["", ""], rows))
    for why, number in done.left_out.items():
        say(f"Left out because they {why}: {number:,} interactions.")
    for remark in done.remarks:
        say(remark)
    say(f"Wrote {out}.", then=embedding_of(dataset, out))


def _events_of(dataset: Dataset) -> tuple[dict[str, int], EventWeights]:
    """Interactions by type, empty where no type is known, and the weights of the types."""
    counts = event_counts(dataset.interactions.frame["event"])
    return (counts if any(counts) else {}), dataset.event_weights
