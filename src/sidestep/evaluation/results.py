"""Results on disk: the lines of a quality file, and the per-user file of each run.

A quality file is JSON Lines, one line per evaluated setting and seed. Lines are only ever added. A
paired test needs the result of each user; the per-user file of a run holds these results.
"""

from __future__ import annotations

import errno
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sidestep.data.splits import SplitName
from sidestep.files import told_unwritable, whole_file
from sidestep.lazy_imports import imported_when_used
from sidestep.metrics.ties import NOT_LISTED
from sidestep.padding import NO_ITEM

with imported_when_used():
    from sidestep.evaluation import evaluator

REQUIRED_METRICS = (
    "HR@1",
    "HR@5",
    "HR@10",
    "HR@50",
    "NDCG@5",
    "NDCG@10",
    "MRR",
    "coverage",
    "invalid_rate",
)

_METHOD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*(?:\+[a-z0-9]+(?:-[a-z0-9]+)*)?")
_METRIC = re.compile(
    r"HR@\d+|NDCG@\d+|MRR|HRecall@\d+@(?:\d+|evaluated)|coverage|diversity|invalid_rate"
)
_PER_USER_KEY = b"sidestep"

PER_USER_VERSION: Literal[2] = 2
"""Version of the per-user file. It rises when the same recommender would get other numbers, so that
old and new numbers are never compared. Version 1 counted only the items of a bucket as ties."""

STRATEGY = r"^((given|global-time@-?\d+,-?\d+,[a-z]+)( of .+)?|leave-one-out of .+)$"
"""Strategies whose rows differ from those of leave-one-out. The name tells two such splits of one
dataset apart: it holds the moments of a split by time, and the types of events that are held out if
not all types are."""

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]


def method_part(name: str) -> str:
    """A name as a part of the name of a method: small letters, digits and single hyphens."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def check_method(method: str) -> str:
    """The name of a method: a search, a kind of run or a recipe, with a suffix for an ablation.

    Raises:
        ValueError: the name is written otherwise.
    """
    if _METHOD.fullmatch(method) is None:
        raise ValueError(
            f"{method!r:.80} is no name of a method: write small letters and digits with single "
            "hyphens between them, such as beam-no-text, and at the end a plus and the name of a "
            "ranker that has a part in it, such as +sasrec."
        )
    return method


class Setting(BaseModel):
    """The settings of a method that all its seeds share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    search: str | None = Field(min_length=1)
    """The search policy; None if there is no tree to search."""

    beams: int | None = Field(ge=1)
    """Prefixes kept per level."""

    k_plus: Number | tuple[Number | None, ...] | None
    """Prefixes per level that a scorer sees before they are cut to `beams`: one number for all
    levels, or one per level. None at levels that the scorer does not see, and without a scorer."""

    likelihood_weight: Weight | tuple[Weight, ...] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """λ, the weight of log π beside a scorer: one for all levels, or one per level. Without a
    scorer it is None and left out of files."""

    budget: float | None = Field(gt=0)
    """Tokens as a multiple of what a beam of this width spends; None if the search is a beam."""

    search_options: str | None = Field(
        default=None, min_length=1, exclude_if=lambda value: value is None
    )
    """Further settings of the search that differ from its defaults: "temperature=2,top_k=5". If
    there are none, it is None and left out of files."""

    ranker: Weight | None = Field(default=None, exclude_if=lambda value: value is None)
    """Weight of the scores of a ranker beside the network. Without a ranker it is None and left out
    of files."""

    history: str | None = Field(pattern=r"^(codes|items|item-ids)@\d+$")
    """The form and the largest length of the history: "codes@20"; None if no history is read."""

    codes: str | None = Field(min_length=1)
    """The semantic IDs, by a name that tells them apart; None if there are none."""

    exclude_seen: bool
    """Whether lists leave out the items of the history."""

    users: int | Literal["all"]
    """The rows measured: all rows of the split, or the number of fixed random rows."""

    strategy: str | None = Field(
        default=None, pattern=STRATEGY, exclude_if=lambda value: value is None
    )
    """The strategy of the split, such as "given". Leave-one-out is None and left out of files."""

    precision: Literal["bf16"] | None = Field(default=None, exclude_if=lambda value: value is None)
    """The precision of the layers of the network. fp32 is None and left out of files."""

    @field_validator("users")
    @classmethod
    def _some_users(cls, users: int | str) -> int | str:
        if isinstance(users, int) and users < 1:
            raise ValueError(f"must be 'all' or at least 1, got {users}.")
        return users


class QualityLine(BaseModel):
    """One evaluated setting and seed: one line of a quality file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    method: str
    split: SplitName
    seed: int = Field(ge=0)
    setting: Setting
    selected: bool
    """Whether this setting was chosen by its mean over seeds on validation. Only a chosen setting
    may be measured on the test rows."""

    metrics: dict[str, Share]
    trials: int | None = Field(default=None, ge=1)
    """Number of validation trials of this method; None for a method that learns nothing."""

    train_s: float = Field(ge=0)
    ms_per_user: float = Field(ge=0)
    tokens_per_user: float = Field(ge=0)
    scored_per_user: float | None = Field(
        default=None, ge=0, exclude_if=lambda value: value is None
    )
    """Prefixes that the scorer of the search scored; None if they were not counted."""

    flops_per_user: float | None = Field(default=None, ge=0, exclude_if=lambda value: value is None)
    """Floating-point operations of matrix products; None if not known."""

    commit: str | None = Field(pattern=r"^[0-9a-f]{7,40}(-dirty)?$")
    """Git commit of the folder in which the setting was measured; None outside of git."""

    command: str = Field(min_length=1)
    date: date
    machine: str = Field(min_length=1)

    _known_method = field_validator("method")(check_method)

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, metrics: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in metrics if _METRIC.fullmatch(name) is None]
        missing = [name for name in REQUIRED_METRICS if name not in metrics]
        if unknown or missing:
            raise ValueError(f"unknown metrics {unknown}, missing metrics {missing}.")
        return metrics

    @model_validator(mode="after")
    def _only_the_selected_sees_the_test(self) -> QualityLine:
        if self.split == "test" and not self.selected:
            raise ValueError("a setting that was not selected on validation must not see the test.")
        return self


def check_appendable(path: Path) -> None:
    """Checks that lines can be added to the file.

    Raises:
        ValueError: the path is a folder, the last line has no end, or a line is invalid.
    """
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name a file, such as {path}/quality.jsonl.")
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                raise ValueError(f"{path}: the last line has no end; repair or remove it first.")
        read(path)


def append(path: Path, line: QualityLine) -> None:
    """Adds one line to a quality file, whole or not at all. Creates the file if it is missing.

    Several processes may append at once: each line is one write at the end of the file.

    Raises:
        ValueError: if the file ends in the middle of a line. The file is then left as it is.
    """
    data = line.model_dump_json().encode() + b"\n"
    with told_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(path, data)


def _append(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if size:
            os.lseek(descriptor, size - 1, os.SEEK_SET)
            if os.read(descriptor, 1) != b"\n":
                raise ValueError(f"{path}: the last line has no end; repair or remove it first.")
        num_written = os.write(descriptor, data)
        if num_written < len(data):  # the disk is full
            os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_END) - num_written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> list[QualityLine]:
    """Reads every line of a quality file; line n is element n - 1.

    Raises:
        ValueError: for the first invalid line; the message names file, line and field.
    """
    lines = []
    texts = path.read_bytes().removesuffix(b"\n").split(b"\n")
    for number, text in enumerate(texts if texts != [b""] else [], start=1):
        try:
            lines.append(QualityLine.model_validate_json(text))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"{path}, line {number}{field and ', ' + field}: {first['msg']}."
            ) from error
    return lines


def check_selection(lines: Sequence[QualityLine]) -> None:
    """Refuses lines that together break the rules of selection.

    Raises:
        ValueError: if a run is reported twice; if a method has two selected settings on one
            dataset and strategy of the split (settings that differ only in the number of users are
            one setting, which may be measured on fewer users too); or if another setting of the
            file was better on validation than the selected one.
    """
    seen: dict[tuple[object, ...], int] = {}
    chosen: dict[tuple[str, str, str | None], tuple[int, Setting]] = {}
    for number, line in enumerate(lines, start=1):
        run = (line.dataset, line.method, line.split, line.seed, line.setting, line.selected)
        if run in seen:
            raise ValueError(
                f"lines {seen[run]} and {number} report the same run of {line.method} on "
                f"{line.dataset}."
            )
        seen[run] = number
        if not line.selected:
            continue
        setting = line.setting.model_copy(update={"users": "all"})
        place = (line.dataset, line.method, setting.strategy)
        first, other = chosen.setdefault(place, (number, setting))
        if setting != other:
            raise ValueError(
                f"lines {first} and {number} select different settings of {line.method} on "
                f"{line.dataset}."
            )
    for (dataset, method, strategy), (number, setting) in chosen.items():
        of_method = [
            line
            for line in lines
            if (line.dataset, line.method, line.setting.strategy) == (dataset, method, strategy)
        ]
        better = _better_on_validation(of_method, setting)
        if better is not None:
            raise ValueError(
                f"line {number} selects a setting of {method} on {dataset} with NDCG@10 "
                f"{better[2]:.4f} on validation, but {better[0].model_dump_json()} has "
                f"{better[1]:.4f}; select that one."
            )


def _better_on_validation(
    lines: Iterable[QualityLine], selected: Setting, *, metric: str = "NDCG@10"
) -> tuple[Setting, float, float] | None:
    """Finds a setting that beats the selected one on validation.

    Two settings are compared over the seeds that both were run with.

    Args:
        lines: the lines of one method on one dataset.
        selected: the selected setting, for all users.

    Returns:
        The first such setting, its mean, and the mean of the selected setting; None if no setting
        beats the selected one.
    """
    values: dict[Setting, dict[int, float]] = defaultdict(dict)
    for line in lines:
        if line.split == "validation" and line.setting.users == "all":
            values[line.setting][line.seed] = line.metrics[metric]
    own = values.pop(selected, {})
    for setting, by_seed in values.items():
        seeds = own.keys() & by_seed.keys()
        if seeds:
            theirs, ours = (fmean(run[seed] for seed in seeds) for run in (by_seed, own))
            if theirs > ours:
                return setting, theirs, ours
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PerUser:
    """The results of every row in one run, for paired tests.

    k: length of the lists that were asked for.
    user_ids, targets, rank_before, num_tied, items: as in `Evaluation`.
    """

    dataset: str
    method: str
    split: SplitName
    seed: int
    setting: Setting
    k: int
    user_ids: tuple[str, ...]
    targets: Int[np.ndarray, " users"]
    rank_before: Int[np.ndarray, " users"]
    num_tied: Int[np.ndarray, " users"]
    items: Int[np.ndarray, "users k"]

    @classmethod
    def of(
        cls,
        evaluation: evaluator.Evaluation,
        *,
        dataset: str,
        method: str,
        split: SplitName,
        seed: int,
        setting: Setting,
    ) -> PerUser:
        """Takes the per-user part of an evaluation, with the description of the run."""
        return cls(
            dataset=dataset,
            method=check_method(method),
            split=split,
            seed=seed,
            setting=setting,
            k=evaluation.items.shape[1],
            user_ids=evaluation.user_ids,
            targets=evaluation.targets.numpy(),
            rank_before=evaluation.rank_before.numpy(),
            num_tied=evaluation.num_tied.numpy(),
            items=evaluation.items.numpy(),
        )


class _PerUserHeader(BaseModel):
    """Metadata of a per-user file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[2] = PER_USER_VERSION
    dataset: str
    method: str
    split: SplitName
    seed: int
    setting: Setting
    k: int


def write_per_user(path: Path, run: PerUser) -> None:
    """Writes a parquet file with one row per evaluated row, whole or not at all.

    Columns: user_id, target, rank_before (null where not listed), num_tied, items (the list,
    without padding). The run is described in the file's metadata.
    """
    header = _PerUserHeader(
        dataset=run.dataset,
        method=run.method,
        split=run.split,
        seed=run.seed,
        setting=run.setting,
        k=run.k,
    )
    is_entry = run.items != NO_ITEM
    offsets = np.concatenate([[0], np.cumsum(is_entry.sum(axis=1))])
    table = pa.table(
        {
            "user_id": pa.array(run.user_ids, pa.string()),
            "target": pa.array(run.targets, pa.int64()),
            "rank_before": pa.array(
                run.rank_before, pa.int64(), mask=run.rank_before == NOT_LISTED
            ),
            "num_tied": pa.array(run.num_tied, pa.int64()),
            "items": pa.ListArray.from_arrays(
                pa.array(offsets, pa.int32()), pa.array(run.items[is_entry], pa.int64())
            ),
        },
        metadata={_PER_USER_KEY: header.model_dump_json()},
    )
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_per_user(path: Path) -> PerUser:
    """Reads what `write_per_user` wrote.

    Raises:
        ValueError: if the file is no parquet file, or no per-user file.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        header = _PerUserHeader.model_validate_json(table.schema.metadata[_PER_USER_KEY])
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        lists = columns["items"]
        lengths = np.diff(lists.offsets.to_numpy())
        items = np.full((len(table), header.k), NO_ITEM)
        items[np.arange(header.k) < lengths[:, None]] = _integers(lists.flatten())
        return PerUser(
            **header.model_dump(exclude={"format_version", "setting"}),
            setting=header.setting,
            user_ids=tuple(columns["user_id"].to_pylist()),
            targets=_integers(columns["target"]),
            rank_before=_integers(columns["rank_before"].fill_null(NOT_LISTED)),
            num_tied=_integers(columns["num_tied"]),
            items=items,
        )
    except (pa.ArrowInvalid, ValidationError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a per-user file of this version; evaluate the run again ({error})."
        ) from error


def _integers(column: pa.Array) -> Int[np.ndarray, " entries"]:
    # A copy: arrow's memory is read-only, but a tensor of that memory could be written to.
    return np.array(column.to_numpy(zero_copy_only=False), dtype=np.int64)
