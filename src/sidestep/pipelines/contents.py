"""The contents of a user's tables, and the options with which a pipeline imports them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sidestep.data.clock import Unit, moment, unit_of
from sidestep.data.dataset import Dataset
from sidestep.data.events import EventWeights, event_counts, likely_targets, listed_counts
from sidestep.data.global_time import SHARE, global_time, periods_by_share
from sidestep.data.histories import Histories
from sidestep.data.importers.doubts import is_nobody
from sidestep.data.importers.guessing import Columns
from sidestep.data.importers.imported import Imported, thinned
from sidestep.data.importers.log import Thinning
from sidestep.data.importers.table import import_table
from sidestep.data.importers.table_rows import ZERO_TIME, Gaps, lacking
from sidestep.data.splits import leave_one_out
from sidestep.evaluation.data_profile import Profile, profile, repeat_target_share

_MOST = 0.5
"""Share of the test targets that may stand in their history before some types are not read."""

_MANY_REPEATS = 0.01
"""The share of repeats from which a pipeline takes account of them, see `TableContents.repeats`."""

_UNITS: Mapping[Unit, str] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContents:
    """The contents of a user's tables, imported with some options.

    dataset: the imported dataset.
    profile: of the dataset and its leave-one-out split.
    needs_split: whether leave-one-out has no test rows, as nobody has three interactions, and a
        split by time has some.
    gaps: the options that make the import leave out what it would refuse.
    words: IDs that read like words for "not known" and are left out, with their rows.
    left_out: interactions that are left out, by reason.
    events: rows of each type of event, the most frequent first; empty without such a column.
    event_weights: of the types to be predicted and read, on which the profile rests.
    known_targets: share of the test targets that would stand in their history if all types were
        read; None where there are not several types, or no test rows.
    unit: of the times; None without times, or if they do not count from 1970.
    doubts: what is odd, in sentences.
    remarks: what was done to the tables, in sentences.
    """

    dataset: Dataset
    profile: Profile
    needs_split: bool
    gaps: Gaps
    words: Mapping[str, int]
    left_out: Mapping[str, int]
    events: Mapping[str, int]
    event_weights: EventWeights
    known_targets: float | None
    unit: Unit | None
    doubts: Sequence[str]
    remarks: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """The fields that `sidestep new --json` prints."""
        seen = self.profile
        times = None if seen.times is None else {"unit": self.unit, **asdict(seen.times)}
        return {
            "interactions": seen.interactions,
            "users": seen.users,
            "items": seen.items,
            "left_out": dict(self.left_out),
            "import": options_of(self.gaps),
            "test_rows": seen.test_rows,
            "split_by_time": self.needs_split,
            "repeat_share": seen.repeat_share,
            "times": times,
            "repeat_target_share": seen.repeat_target_share,
            "events": dict(self.events),
            "event_weights": self.event_weights.description(),
            "doubts": list(self.doubts),
            "remarks": list(self.remarks),
        }

    @property
    def repeats(self) -> float:
        """The share of interactions with an item that the user has had before.

        Where all interactions count alike, their share that takes an item again; else the share of
        the test targets that stand in their history.
        """
        if self.event_weights == EventWeights():
            return self.profile.repeat_share
        return self.profile.repeat_target_share or 0.0

    @property
    def has_repeats(self) -> bool:
        """Whether users take items again so often that a pipeline takes account of it."""
        return self.repeats >= _MANY_REPEATS

    def rows(self) -> list[list[str]]:
        """The contents in words, as rows of a table."""
        seen = self.profile
        rows = [
            ["interactions", f"{seen.interactions:,}"],
            *([f"left out, as they {why}", f"{n:,}"] for why, n in self.left_out.items()),
            ["users", f"{seen.users:,}, with {seen.lengths.mean:.1f} interactions on average"],
            [
                "users with three or more"
                if self.event_weights == EventWeights()
                else "users with enough targets",
                f"{seen.test_rows:,}; only these can be tested",
            ],
            ["items", f"{seen.items:,}, of which {seen.untouched_items:,} have no interaction"],
            ["repeats", f"{seen.repeat_share:.1%} of the interactions take an item again"],
            ["times", self._times()],
        ]
        if seen.repeat_target_share is not None:
            share = f"{seen.repeat_target_share:.1%} of the test targets stand in their history"
            rows.append(["repeats among targets", share])
        if self.events:
            rows.append(["event types", listed_counts(self.events)])
        if self.event_weights.targets is not None:
            rows.append(["to be predicted", ", ".join(self.event_weights.targets)])
            rows.append(["to be read", self._read()])
        return rows

    def _read(self) -> str:
        """The sentence about the types of events that recommenders read, and the reason."""
        if self.event_weights.inputs is None:
            return "all types"
        return (
            f"{', '.join(self.event_weights.inputs)}: with all types, {self.known_targets:.1%} of "
            "the test targets would stand in their history"
        )

    def _times(self) -> str:
        times = self.profile.times
        if times is None:
            return "none: the rows are taken in their order"
        if self.unit is None:
            span = f"{times.first:,} to {times.last:,}, which do not count from 1970"
        else:
            first, last = (moment(at, self.unit).date() for at in (times.first, times.last))
            span = f"{first} to {last}, in {_UNITS[self.unit]}"
        if not times.equal_share:
            return span
        return f"{span}; of {times.equal_share:.1%} the order of the rows decides"


def contents_of(interactions: Path, items: Path | None, columns: Columns) -> TableContents:
    """Imports tables, with options that leave out whatever lacks a user, an item or a time.

    A pipeline with the same options imports the same dataset.

    Raises:
        ValueError: a table is not what it should be, with the file and the line.
    """
    gaps = Gaps(users="drop", items="drop", times="drop")
    done = _imported(interactions, items, columns, gaps)
    words = _words(done.dataset)
    if words:
        gaps = Gaps(users="drop", items="drop", times="drop", words=[*words])
        done = _imported(interactions, items, columns, gaps)
    counts = event_counts(done.dataset.interactions.frame["event"])
    dataset, known_targets = _with_weights(done.dataset, counts)
    histories = dataset.histories()
    measured = profile(dataset, leave_one_out(histories))
    return TableContents(
        dataset=dataset,
        profile=measured,
        needs_split=not measured.test_rows and _can_split_by_time(histories),
        gaps=_needed(gaps, done.left_out),
        words=words,
        left_out=done.left_out,
        events=counts if any(counts) else {},
        event_weights=dataset.event_weights,
        known_targets=known_targets,
        unit=None if histories.timestamps is None else unit_of(histories.timestamps),
        doubts=done.doubts,
        remarks=done.remarks,
    )


def _with_weights(dataset: Dataset, counts: Mapping[str, int]) -> tuple[Dataset, float | None]:
    """The dataset with weights of its types of events, and `TableContents.known_targets`.

    What looks like purchases is predicted. All types are read, unless most purchases would then be
    of an item that was viewed or put into the cart just before: to name it again is no advice.
    """
    if len(counts) < 2:
        return dataset, None
    targets = dict.fromkeys(likely_targets(counts), 1.0)
    reading_all = replace(dataset, event_weights=EventWeights(targets=targets))
    known = repeat_target_share(leave_one_out(reading_all.histories()).test)
    if known is None or known <= _MOST:
        return reading_all, known
    return replace(dataset, event_weights=EventWeights(targets=targets, inputs=targets)), known


def options_of(gaps: Gaps) -> dict[str, str | list[str]]:
    """The options of an import that differ from its defaults, by name."""
    options: dict[str, str | list[str]] = {}
    if gaps.words:
        options["missing-words"] = list(gaps.words)
    for name, policy in (("users", gaps.users), ("items", gaps.items), ("times", gaps.times)):
        if policy != "refuse":
            options[f"missing-{name}"] = policy
    return options


def _imported(interactions: Path, items: Path | None, columns: Columns, gaps: Gaps) -> Imported:
    assert columns.user.column is not None
    assert columns.item.column is not None
    read = import_table(
        interactions,
        user=columns.user.column,
        item=columns.item.column,
        time=columns.time.column,
        event=columns.event.column,
        items_path=items,
        items_item=columns.items_id.column if columns.items_id else None,
        text_columns=columns.texts if items is not None else None,
        gaps=gaps,
    )
    return thinned(read, Thinning())


def _words(dataset: Dataset) -> dict[str, int]:
    """IDs that read like words for "not known" and stand in several rows."""
    found: dict[str, int] = {}
    for name in ("user_id", "item_id"):
        counts = dataset.interactions.frame[name].value_counts(sort=True)
        for identifier, number in counts.iter_rows():
            if number > 1 and is_nobody(identifier) and "," not in identifier:
                found[identifier] = max(number, found.get(identifier, 0))
    return found


def _can_split_by_time(histories: Histories) -> bool:
    """Whether a split by time, with the usual shares, has rows to choose and to judge by."""
    if histories.timestamps is None:
        return False
    try:
        periods = periods_by_share(histories.timestamps, validation=SHARE, test=SHARE)
        split = global_time(histories, periods, min_context=0)
    except ValueError:
        return False
    return bool(len(split.validation)) and bool(len(split.test))


def _needed(gaps: Gaps, left_out: Mapping[str, int]) -> Gaps:
    """The options without those that leave out nothing."""
    return Gaps(
        users=gaps.users if lacking("user") in left_out else "refuse",
        items=gaps.items if lacking("item") in left_out else "refuse",
        times=gaps.times if {lacking("time"), ZERO_TIME} & {*left_out} else "refuse",
        words=gaps.words,
    )
