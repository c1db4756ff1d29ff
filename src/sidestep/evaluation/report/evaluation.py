"""The page of one evaluation, or of a comparison of several evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from jaxtyping import Int

from sidestep.data.histories import Histories
from sidestep.data.splits import is_repeat
from sidestep.evaluation.compare import ComparedMethod, labels_of
from sidestep.evaluation.report.chart import Chart
from sidestep.evaluation.report.cost import Cost, cost_section
from sidestep.evaluation.report.curves import (
    ALL_EVALUATED,
    length_charts,
    part_names,
    prefix_recall_chart,
    training_chart,
    training_curve,
)
from sidestep.evaluation.report.page import Page, Section
from sidestep.evaluation.report.popularity import popularity_section
from sidestep.evaluation.report.quality import headline, quality_section
from sidestep.evaluation.report.table import Table
from sidestep.evaluation.report.target_groups import target_kinds_section
from sidestep.evaluation.report.users import Titles, users_section
from sidestep.evaluation.results import PerUser
from sidestep.evaluation.words import rows_in_words, value_in_words

_MAX_LOSS_CHARTS = 4
_MAX_WORDED = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluatedRun:
    """One evaluated run of one seed: the results of each user, and records of how they were made.

    metrics: metrics by the names of results files; empty if not stored.
    cost: cost of this run.
    log: log of its training, or None.
    settings: settings of the run, as flat names and values.
    """

    per_user: PerUser
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    log: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shop:
    """Items and histories on which the runs were evaluated.

    popularity: interactions per item in training, or None if not known.
    histories: histories of the evaluated rows, or None.
    titles: gives the titles of items.
    """

    popularity: Int[np.ndarray, " items"] | None
    histories: Histories | None
    titles: Titles


def evaluation_page(
    runs: Sequence[EvaluatedRun],
    methods: Sequence[ComparedMethod],
    *,
    reference: str | None,
    metric: str,
    validation_metric: str,
    shop: Shop | None = None,
    worded: Sequence[str] | None = None,
    more: Sequence[Section] = (),
    title: str | None = None,
    facts: Mapping[str, str],
) -> Page:
    """Makes the page of some runs. Sections whose numbers are not known are left out.

    Args:
        runs: the runs, in the order in which `compare` got their lists.
        methods: result of `compare`.
        reference: label of the method that the others were tested against.
        metric: metric of the headline, and of quality against cost.
        validation_metric: name of the metric that training logs call "validation".
        shop: items and histories.
        worded: labels of the methods whose lists are shown in words; None takes the first few.
        more: sections that come before the settings.
        title: title of the page; None names the methods and the dataset.
        facts: how the page was made, by name.
    """
    by_label: dict[str, list[EvaluatedRun]] = {}
    for label, run in zip(labels_of([run.per_user for run in runs]), runs, strict=True):
        by_label.setdefault(label, []).append(run)
    lists = {label: [run.per_user for run in seeds] for label, seeds in by_label.items()}
    first = runs[0].per_user
    sections = [
        quality_section(methods, reference=reference),
        Section(title="Length of the list", parts=length_charts(lists)),
        _search_section(by_label),
    ]
    if shop is not None and shop.popularity is not None:
        sections.append(popularity_section(lists, shop.popularity))
    if shop is not None:
        sections.append(
            target_kinds_section(
                lists,
                is_repeat=None
                if shop.histories is None
                else is_repeat(shop.histories, first.targets),
                popularity=shop.popularity,
            )
        )
    sections += [
        cost_section(_costs(by_label), methods, metric=metric),
        _training_section(by_label, validation_metric),
    ]
    if shop is not None and shop.histories is not None:
        chosen = list(lists)[:_MAX_WORDED] if worded is None else worded
        firsts = {label: lists[label][0] for label in chosen}
        sections.append(users_section(firsts, shop.histories, shop.titles))
    sections += [*more, _settings_section(by_label)]
    asked = rows_in_words(methods[0].num_rows, methods[0].num_users)
    return Page(
        title=title or f"{_named(list(by_label))} on {first.dataset}, {first.split}",
        summary=headline(methods, reference=reference, metric=metric),
        sections=[_coloured(section, list(by_label)) for section in sections],
        facts={
            "Dataset": first.dataset,
            "Rows": f"{first.split}, {asked}",
            "Items of the history": "left out" if first.setting.exclude_seen else "may be listed",
            **facts,
        },
    )


def _named(labels: Sequence[str]) -> str:
    """Names the methods in a title; if they are too many for a title, their number."""
    if len(labels) > _MAX_WORDED:
        return f"{len(labels)} methods"
    *others, last = labels
    return f"{', '.join(others)} and {last}" if others else last


def _coloured(section: Section, labels: Sequence[str]) -> Section:
    """Gives each method the same colour in all charts of the section."""
    parts = [
        replace(
            part,
            curves=tuple(
                replace(curve, colour=labels.index(name)) if name in labels else curve
                for curve in part.curves
                for name in [curve.label.removesuffix(ALL_EVALUATED)]
            ),
        )
        if isinstance(part, Chart)
        else part
        for part in section.parts
    ]
    return replace(section, parts=parts)


def _search_section(by_label: Mapping[str, Sequence[EvaluatedRun]]) -> Section:
    metrics = {
        label: kept
        for label, seeds in by_label.items()
        if (kept := [run.metrics for run in seeds if run.metrics])
    }
    chart = prefix_recall_chart(metrics)
    return Section(title="Search", parts=[] if chart is None else [chart, _found(metrics)])


def _found(metrics: Mapping[str, Sequence[Mapping[str, float]]]) -> Table:
    names = [
        name
        for name in ("diversity", "invalid_rate")
        if any(name in seed for seeds in metrics.values() for seed in seeds)
    ]
    return Table(
        caption="Diversity: how early the semantic IDs of a list part, from 0 (all equal) to 1. "
        "Invalid: share of entries that are no item, repeated, or excluded.",
        columns=("method", *(name.removesuffix("_rate") for name in names)),
        rows=tuple(
            (
                label,
                *(
                    fmean(seed[name] for seed in seeds)
                    if all(name in seed for seed in seeds)
                    else None
                    for name in names
                ),
            )
            for label, seeds in metrics.items()
        ),
    )


def _training_section(
    by_label: Mapping[str, Sequence[EvaluatedRun]], validation_metric: str
) -> Section:
    kept = {
        label: [run.log for run in seeds if run.log is not None]
        for label, seeds in by_label.items()
    }
    logs = _distinct({label: paths for label, paths in kept.items() if paths})
    has_band = any(len(paths) > 1 for paths in logs.values())
    band = " Mean over seeds; the band is their range." if has_band else ""
    charts = [
        training_chart(
            logs,
            y="validation",
            title="Validation",
            caption=f"{validation_metric} on the rows that training was judged by.{band}",
            y_label=validation_metric,
        ),
        *(
            _loss_chart(label, paths, band)
            for label, paths in list(logs.items())[:_MAX_LOSS_CHARTS]
        ),
    ]
    return Section(title="Training", parts=[chart for chart in charts if chart is not None])


def _distinct(logs: Mapping[str, Sequence[Path]]) -> dict[str, Sequence[Path]]:
    """Leaves out methods that use the networks of an earlier method with another search."""
    found: dict[str, Sequence[Path]] = {}
    for label, paths in logs.items():
        if not any(set(paths) <= set(earlier) for earlier in found.values()):
            found[label] = paths
    return found


def _loss_chart(label: str, paths: Sequence[Path], band: str) -> Chart | None:
    """Draws the loss, and its terms if it has several."""
    terms = [name for name in part_names(paths[0]) if name != "loss"]
    fields = {label: "loss"}
    if len(terms) > 1:
        fields = {
            "whole loss": "loss",
            **{name.replace("_", " "): f"parts.{name}" for name in terms},
        }
    curves = tuple(
        curve
        for name, value in fields.items()
        if (curve := training_curve(name, paths, value)) is not None
    )
    if not curves:
        return None
    what = " and its terms, before their weights" if len(curves) > 1 else ""
    return Chart(
        title=f"Training loss of {label}",
        caption=f"Mean per target over the epoch{what}. Losses of different methods do not compare."
        f"{band}",
        x_label="epoch",
        y_label="nats per target",
        curves=curves,
    )


def _costs(by_label: Mapping[str, Sequence[EvaluatedRun]]) -> dict[str, Cost]:
    def mean(seeds: Sequence[EvaluatedRun], name: str) -> float | None:
        values = [getattr(run.cost, name) for run in seeds]
        known = [value for value in values if value is not None]
        return fmean(known) if known else None

    return {
        label: Cost(
            train_s=mean(seeds, "train_s"),
            ms_per_user=mean(seeds, "ms_per_user"),
            scored_per_user=mean(seeds, "scored_per_user"),
            flops_per_user=mean(seeds, "flops_per_user"),
            tokens_per_user=mean(seeds, "tokens_per_user"),
        )
        for label, seeds in by_label.items()
    }


def _settings_section(by_label: Mapping[str, Sequence[EvaluatedRun]]) -> Section:
    """Table of the settings of each method. If a value differs between seeds, all are named."""
    columns = {
        label: [
            {
                **run.per_user.setting.model_dump(exclude={"exclude_seen", "users"}),
                "seed": run.per_user.seed,
                **run.settings,
            }
            for run in seeds
        ]
        for label, seeds in by_label.items()
    }
    names = list(
        dict.fromkeys(name for seeds in columns.values() for seed in seeds for name in seed)
    )
    groups = list(dict.fromkeys(_group(name) for name in names))
    names.sort(key=lambda name: groups.index(_group(name)))
    rows = []
    for name in names:
        values = [
            ", ".join(
                dict.fromkeys(
                    value_in_words(seed[name]) for seed in seeds if seed.get(name) is not None
                )
            )
            for seeds in columns.values()
        ]
        if any(values):
            rows.append((name, *values))
    return Section(
        title="Settings",
        parts=[
            Table(
                caption="Settings of each method; a cell is empty if the method lacks the setting.",
                columns=("setting", *columns),
                rows=tuple(rows),
            )
        ],
    )


def _group(name: str) -> str:
    """Part of a configuration to which a setting belongs: the part of its name before the dot."""
    return name.partition(".")[0] if "." in name else ""
