"""The numbers of a table that was run, beside the published ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.evaluation.compare import Estimate, compare
from sidestep.evaluation.results import PerUser
from sidestep.reproduction.declarations import Row, Seen, Table
from sidestep.reproduction.planning import Evaluations, Planned
from sidestep.runs.judged_rows import num_users
from sidestep.runs.kept_evaluations import found_evaluations


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One number of a table.

    published: of the source; None where it has none.
    ours: mean over rows and seeds, with its bootstrap interval; None where nothing was run.
    published_gain, our_gain: relative gain over the reference row; None where one of the two
        numbers is not known, or the row is the reference.
    """

    published: float | None
    ours: Estimate | None
    published_gain: float | None = None
    our_gain: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the published one."""
        if self.published is None or self.ours is None:
            return None
        return self.ours.mean - self.published


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """A row of a table, with a number per metric.

    seeds: of the trainings; empty where nothing was run.
    num_users: number of users that were evaluated; 0 where nothing was run.
    """

    row: Row
    numbers: Mapping[str, Number]
    seeds: tuple[int, ...]
    num_users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPart:
    """A part of a table: one data set, with seen items kept or left out."""

    data: str
    seen: Seen
    rows: Sequence[MeasuredRow]

    def as_json(self) -> dict[str, Any]:
        """The part as plain values."""
        return {
            "data": self.data,
            "seen": self.seen,
            "rows": [
                {
                    "method": measured.row.method,
                    "run": measured.row.run,
                    "seeds": list(measured.seeds),
                    "users": measured.num_users,
                    "differs": measured.row.differs,
                    "metrics": {name: _plain(each) for name, each in measured.numbers.items()},
                }
                for measured in self.rows
            ],
        }


def measured_parts(table: Table, planned: Sequence[Planned]) -> list[MeasuredPart]:
    """The parts of a table whose pipelines have been run, in the order of its data sets."""
    return [
        MeasuredPart(data=each.data, seen=seen, rows=_rows(table, each, seen))
        for each in planned
        for seen in table.seen
    ]


def _rows(table: Table, planned: Planned, seen: Seen) -> list[MeasuredRow]:
    """The rows of a part that have a number, published or ours."""
    own = {each.row.method: each for each in planned.evaluations if each.seen == seen}
    rows = []
    for row in table.rows:
        published = row.published.get(planned.data, {}).get(seen)
        if published is None and row.method not in own:
            continue
        evaluations = own.get(row.method)
        runs = [] if evaluations is None else [*_evaluated(evaluations)]
        estimates: Mapping[str, Estimate] = {}
        if runs:
            [method] = compare(runs, metrics=table.metrics)
            estimates = method.estimates
        numbers = published or (None,) * len(table.metrics)
        rows.append(
            MeasuredRow(
                row=row,
                numbers={
                    metric: Number(published=number, ours=estimates.get(metric))
                    for metric, number in zip(table.metrics, numbers, strict=True)
                },
                seeds=tuple(run.seed for run in runs),
                num_users=len({*runs[0].user_ids}) if runs else 0,
            )
        )
    return [*_with_gains(rows, table.reference)]


def _evaluated(evaluations: Evaluations) -> Iterator[PerUser]:
    """The evaluation of each seed.

    A folder may hold one with older settings under the same name. The latest is the right one: its
    step ran when the settings changed last.

    Raises:
        FileNotFoundError: somebody has removed one; says which command makes it.
    """
    for folder, line in zip(evaluations.runs, evaluations.commands, strict=True):
        found = found_evaluations(folder, "test", num_users(evaluations.users) or "all")
        named = [
            (file, run)
            for file, run in found
            if run.method == evaluations.row.name
            and run.setting.exclude_seen == (evaluations.seen == "left-out")
        ]
        if not named:
            raise FileNotFoundError(f"{folder}: an evaluation is gone; make it again: {line}")
        yield max(named, key=lambda pair: _written(pair[0]))[1]


def _written(file: Path) -> int:
    return file.stat().st_mtime_ns


def _with_gains(rows: Sequence[MeasuredRow], reference: str | None) -> Iterator[MeasuredRow]:
    """Rows with the gains of their numbers over those of the reference row, if it is there."""
    base = next((each.numbers for each in rows if each.row.method == reference), None)
    for each in rows:
        if base is None or each.row.method == reference:
            yield each
            continue
        yield MeasuredRow(
            row=each.row,
            numbers={
                metric: Number(
                    published=number.published,
                    ours=number.ours,
                    published_gain=_gain(number.published, base[metric].published),
                    our_gain=_gain(_mean(number.ours), _mean(base[metric].ours)),
                )
                for metric, number in each.numbers.items()
            },
            seeds=each.seeds,
            num_users=each.num_users,
        )


def _gain(value: float | None, base: float | None) -> float | None:
    return value / base - 1 if value is not None and base else None


def _mean(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.mean


def _plain(number: Number) -> dict[str, float | None]:
    ours = number.ours
    return {
        "published": number.published,
        "ours": _mean(ours),
        "low": None if ours is None else ours.interval.low,
        "high": None if ours is None else ours.interval.high,
        "difference": number.difference,
        "published_gain": number.published_gain,
        "our_gain": number.our_gain,
    }
