"""The reproduction of a table: what is missing is run, and a page compares it with the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.data.dataset import Dataset
from sidestep.files import write_json
from sidestep.lazy_imports import imported_when_used
from sidestep.pipelines.commands import FindCommand
from sidestep.pipelines.work import Tell, outlook, work
from sidestep.reproduction.data_check import refuse_other_data
from sidestep.reproduction.declarations import Fingerprint, Row, Table, read_kit, read_table
from sidestep.reproduction.planning import Planned, plan_table
from sidestep.runs.environment import command_line, git_commit, machine
from sidestep.version import __version__

with imported_when_used():  # the page is for the end
    from sidestep.evaluation.report import page as pages
    from sidestep.reproduction import measured, page


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A reproduction that is asked for.

    table: the name of the table.
    data: the folder that holds a folder for each data set.
    out: the folder to work in; tables share the steps that they have in common.
    only: our names of the data sets to do; empty takes all of the table.
    methods: rows to do, by the name of the method or of the run; empty takes all of the table.
    num_seeds: trainings of every run that learns; None takes the number of the table.
    is_fast: whether everything is small, so that the numbers mean nothing.
    is_other_data: whether the data may be others than those of the published numbers.
    """

    table: str
    data: Path
    out: Path
    only: Sequence[str] = ()
    methods: Sequence[str] = ()
    num_seeds: int | None = None
    is_fast: bool = False
    is_other_data: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """The outcome of a reproduction.

    page: the file of the page.
    results: the same numbers as JSON.
    steps: name, command and state of each step by data set, as JSON.
    parts: the numbers, as JSON.
    """

    page: Path
    results: Path
    steps: Mapping[str, list[dict[str, Any]]]
    parts: list[dict[str, Any]]


def reproduce(asked: Asked, *, find: FindCommand, tell: Tell) -> Reproduced:
    """Runs what is missing of a table, and writes its page. The same call again continues.

    Args:
        asked: the table, the data, and where to work.
        find: finds the commands that the steps call.
        tell: is given a sentence about every step.

    Raises:
        FileNotFoundError: a data set is not there.
        ValueError: there is no such table or data set, or the data are others than the table's.
    """
    table, planned = _plan(asked, find)
    steps = {}
    for each in planned:
        tell(f"{each.data}:")
        check = None if asked.is_other_data else _checking(each.data)
        steps[each.data] = work(each.pipeline, tell=tell, check=check).steps
    parts = measured.measured_parts(table, planned)
    file, results = (asked.out / f"{asked.table}.{kind}" for kind in ("html", "json"))
    told = [part.as_json() for part in parts]
    write_json(results, {"table": asked.table, "fast": asked.is_fast, "parts": told})
    pages.write_page(
        file,
        page.table_page(
            table,
            parts,
            is_fast=asked.is_fast,
            is_other_data=asked.is_other_data,
            facts={
                "Data": "not checked" if asked.is_other_data else "those of the table, by content",
                "Page by": command_line(),
                "Version": f"sidestep {__version__}, commit {git_commit() or 'unknown'}",
                "Machine": machine(),
            },
        ),
    )
    return Reproduced(page=file, results=results, steps=steps, parts=told)


def outlook_of(asked: Asked, *, find: FindCommand, tell: Tell) -> dict[str, list[dict[str, Any]]]:
    """Says which steps of a table would run, and why; nothing is run or written.

    Raises:
        FileNotFoundError, ValueError: see `reproduce`.
    """
    steps = {}
    for each in _plan(asked, find)[1]:
        tell(f"{each.data}:")
        steps[each.data] = outlook(each.pipeline, tell=tell)
    return steps


def _plan(asked: Asked, find: FindCommand) -> tuple[Table, list[Planned]]:
    """The table, and its plan on every data set that is asked for."""
    table, kit = _asked_rows(read_table(asked.table), asked), read_kit()
    strangers = [name for name in asked.only if name not in table.data]
    if strangers:
        raise ValueError(
            f"--only {strangers[0]}: table {asked.table} has the data sets {', '.join(table.data)}."
        )
    names = [name for name in table.data if not asked.only or name in asked.only]
    missing = [name for name in names if not (asked.data / name).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{asked.data / missing[0]}: does not exist. The folder of --data must hold a folder "
            f"for each data set of the table: {', '.join(names)}. --only NAME does one alone."
        )
    return table, [
        plan_table(
            asked.table,
            table,
            kit,
            name,
            source=asked.data / name,
            out=asked.out / name,
            num_seeds=1 if asked.is_fast else asked.num_seeds or table.seeds,
            is_fast=asked.is_fast,
            find=find,
        )
        for name in names
    ]


def _asked_rows(table: Table, asked: Asked) -> Table:
    """The table with the rows that are asked for, and the row over which gains are told."""
    if not asked.methods:
        return table
    there = {name for row in table.rows for name in (row.method, row.run) if name is not None}
    for name in asked.methods:
        if name not in there:
            raise ValueError(
                f"--method {name!r:.60}: table {asked.table} has no such row; there are "
                f"{', '.join(str(row.run or row.method) for row in table.rows)}."
            )

    def is_asked(row: Row) -> bool:
        return not {row.method, row.run}.isdisjoint(asked.methods)

    rows = tuple(
        row if is_asked(row) else row.model_copy(update={"run": None})
        for row in table.rows
        if is_asked(row) or row.method == table.reference
    )
    return table.model_copy(update={"rows": rows})


def _checking(data: str) -> Callable[[Dataset], None]:
    """The check of an imported dataset."""
    declared: Fingerprint = read_kit().data[data].fingerprint
    return lambda dataset: refuse_other_data(dataset, declared)
