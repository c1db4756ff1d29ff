"""Comparison of runs: means over seeds, their intervals, and tests of whether methods differ.

Runs are paired by row, so all runs must have been evaluated on the same rows. If a user has several
rows, these rows are drawn and flipped together, as in `sidestep.metrics.statistics`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import stdev
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sidestep.data.global_time import strategy_in_words
from sidestep.evaluation.results import PerUser, Setting
from sidestep.evaluation.target_metrics import per_user_metrics
from sidestep.evaluation.words import value_in_words
from sidestep.metrics.statistics import (
    Interval,
    PairedTest,
    bootstrap_interval,
    numbered,
    paired_permutation_test,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Estimate of one metric of one method.

    mean: mean over rows and seeds.
    interval: bootstrap interval, over users, of the mean over seeds.
    seed_std: standard deviation between seeds of the mean over rows; None with one seed.
    """

    mean: float
    interval: Interval
    seed_std: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMethod:
    """One method and setting, over all its seeds.

    label: name of the method for readers, with the fields that tell its setting from the other
        settings of the method in this comparison: "transformer (beam, beams 50)".
    num_users: number of different users; fewer than `num_rows` if some users have several rows.
    estimates: the estimate of each metric, by its name.
    tests: the test of each metric against the reference, by its name. Empty for the reference
        itself, and if there is no reference.
    """

    label: str
    method: str
    setting: Setting
    seeds: tuple[int, ...]
    num_rows: int
    num_users: int
    estimates: dict[str, Estimate]
    tests: dict[str, PairedTest]

    def as_json(self) -> dict[str, Any]:
        """The comparison as plain dictionaries and numbers."""
        return {
            "label": self.label,
            "method": self.method,
            "setting": self.setting.model_dump(mode="json"),
            "seeds": list(self.seeds),
            "num_rows": self.num_rows,
            "num_users": self.num_users,
            "estimates": {name: asdict(estimate) for name, estimate in self.estimates.items()},
            "tests": {name: asdict(test) for name, test in self.tests.items()},
        }


def compare(
    runs: Sequence[PerUser],
    *,
    reference: str | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    num_resamples: int = 10_000,
) -> list[ComparedMethod]:
    """Compares runs on the same users. Runs that differ only in their seed are one method.

    Tests are two-sided and paired, on each row's mean over seeds. P-values are not corrected for
    the number of methods.

    Args:
        runs: the runs, in the order in which methods should appear.
        reference: label of the method that the others are tested against. Its name is enough if no
            other method has that name. None tests nothing.
        metrics: names as in the results file; None takes all metrics that the lists allow.
        seed: seed of the resampling.
        num_resamples: number of resamples of the tests.

    Raises:
        ValueError: if the runs differ in dataset, split, strategy of the split, users, targets,
            list length or in whether seen items are excluded; if a seed is given twice; if a name
            is unknown.
    """
    _check_comparable(runs)
    groups = _grouped(runs)
    labels = _labels([group[0] for group in groups])
    if reference is not None:
        reference = label_named(runs, reference)
    values = [metrics_by_seed(group) for group in groups]
    known = list(values[0])
    unknown = [name for name in metrics or () if name not in known]
    if unknown:
        raise ValueError(f"unknown metrics {unknown}; these runs have {', '.join(known)}.")
    names = known if metrics is None else list(metrics)
    users = numbered(runs[0].user_ids)
    against = None if reference is None else values[labels.index(reference)]
    return [
        ComparedMethod(
            label=label,
            method=group[0].method,
            setting=group[0].setting,
            seeds=tuple(run.seed for run in group),
            num_rows=len(users),
            num_users=len(set(group[0].user_ids)),
            estimates={name: estimate(own[name], users, seed=seed) for name in names},
            tests={
                name: paired_permutation_test(
                    own[name].mean(axis=0),
                    against[name].mean(axis=0),
                    users=users,
                    seed=seed,
                    num_resamples=num_resamples,
                )
                for name in names
                if against is not None and label != reference
            },
        )
        for label, group, own in zip(labels, groups, values, strict=True)
    ]


def labels_of(runs: Sequence[PerUser]) -> list[str]:
    """Labels of the methods of runs. Runs that differ only in their seed share a label.

    Raises:
        ValueError: a seed is given twice.
    """
    groups = _grouped(runs)
    labels = _labels([group[0] for group in groups])
    return [
        next(label for label, group in zip(labels, groups, strict=True) if run in group)
        for run in runs
    ]


def label_named(runs: Sequence[PerUser], name: str) -> str:
    """Finds the label that a name stands for.

    The name is either the label itself, or the name of exactly one method.

    Raises:
        ValueError: the name stands for no method, or for several.
    """
    named = dict(zip(labels_of(runs), (run.method for run in runs), strict=True))
    if name in named:
        return name
    found = [label for label, method in named.items() if method == name]
    if len(found) == 1:
        return found[0]
    what = "several runs" if found else "no run"
    raise ValueError(f"{what} of the reference {name!r}; there are {', '.join(found or named)}.")


def metrics_by_seed(seeds: Sequence[PerUser]) -> dict[str, Float[np.ndarray, "seeds rows"]]:
    """Every metric of one target, by seed and row, of runs that differ only in their seed."""
    runs = [per_user_metrics(run.rank_before, run.num_tied, run.k) for run in seeds]
    return {name: np.stack([values[name] for values in runs]) for name in runs[0]}


def estimate(
    values: Float[np.ndarray, "seeds rows"], users: Int[np.ndarray, " rows"], *, seed: int
) -> Estimate:
    """Estimates the mean of a metric over rows. `users` holds the user of each row."""
    per_row = values.mean(axis=0)
    return Estimate(
        mean=float(per_row.mean()),
        interval=bootstrap_interval(per_row, users=users, seed=seed),
        seed_std=stdev(values.mean(axis=1).tolist()) if len(values) > 1 else None,
    )


def _check_comparable(runs: Sequence[PerUser]) -> None:
    if not runs:
        raise ValueError("there are no runs to compare.")
    first = runs[0]
    for run in runs[1:]:
        what = _first_difference(first, run)
        if what is not None:
            raise ValueError(
                f"cannot compare {_described(first)} with {_described(run)}: they differ in {what}."
            )


def _first_difference(first: PerUser, other: PerUser) -> str | None:
    if first.dataset != other.dataset:
        return f"the dataset ({first.dataset}, {other.dataset})"
    if first.split != other.split:
        return f"the split ({first.split}, {other.split})"
    if first.setting.strategy != other.setting.strategy:
        ways = [
            strategy_in_words(run.setting.strategy or "leave-one-out") for run in (first, other)
        ]
        return f"how the data was split ({ways[0]}, {ways[1]})"
    if first.user_ids != other.user_ids:
        return f"the users ({len(first.user_ids)} and {len(other.user_ids)} rows)"
    if not np.array_equal(first.targets, other.targets):
        return "the targets"
    if first.k != other.k:
        return f"the length of the lists ({first.k}, {other.k})"
    if first.setting.exclude_seen != other.setting.exclude_seen:
        return "whether seen items are excluded"
    return None


def _described(run: PerUser) -> str:
    return f"{run.method} (seed {run.seed})"


def _grouped(runs: Sequence[PerUser]) -> list[list[PerUser]]:
    """Groups runs by method and setting, in order of first appearance, seeds ascending."""
    groups: dict[tuple[str, Setting], list[PerUser]] = {}
    for run in runs:
        group = groups.setdefault((run.method, run.setting), [])
        if any(other.seed == run.seed for other in group):
            raise ValueError(
                f"{_described(run)} is given twice with the same setting. Name each run once. If "
                "two runs differ in something else, such as their ranker, give one of them its own "
                "name with 'sidestep evaluate --method'."
            )
        group.append(run)
    return [sorted(group, key=lambda run: run.seed) for group in groups.values()]


def _labels(firsts: Sequence[PerUser]) -> list[str]:
    """Labels: the method if it has one setting, else the method and the fields that differ.

    The method of a searched run names only its search. Readers know the name of the network, so
    the label of such a run starts with "transformer".
    """
    labels = []
    for run in firsts:
        settings = [other.setting.model_dump() for other in firsts if other.method == run.method]
        varying = {
            name: value
            for name, value in run.setting.model_dump().items()
            if any(other.get(name) != value for other in settings)
        }
        details = [f"{name} {value_in_words(value)}" for name, value in varying.items()]
        name = run.method
        if run.setting.search is not None:
            name, details = "transformer", [run.method, *details]
        labels.append(f"{name} ({', '.join(details)})" if details else name)
    return labels
