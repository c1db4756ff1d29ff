"""The page of evaluations, made of everything that was kept of their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sidestep.bundle.manifest import MANIFEST, Manifest, differing_data, read_manifest
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import fingerprint, split_of
from sidestep.data.splits import Split
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note
from sidestep.runs.environment import command_line, git_commit, machine
from sidestep.runs.evaluations import evaluated_rows
from sidestep.runs.folder import RunFolder
from sidestep.runs.kept_evaluations import kept_beside
from sidestep.runs.plain_yaml import read_yaml
from sidestep.runs.provenance import resolution_of
from sidestep.training.config import VALIDATION_METRIC
from sidestep.version import __version__

with imported_when_used():
    from sidestep.bundle import layout
    from sidestep.catalog import catalog as catalogs
    from sidestep.evaluation import compare as comparing
    from sidestep.evaluation import id_quality as measuring
    from sidestep.evaluation import results
    from sidestep.evaluation.report import cost, id_tables, page, table
    from sidestep.evaluation.report import evaluation as evaluation_report

_IDS = "Semantic IDs"


def write_evaluation_page(
    path: Path,
    evaluations: Sequence[tuple[Path, results.PerUser]],
    methods: Sequence[comparing.ComparedMethod],
    *,
    reference: str | None = None,
    metric: str = VALIDATION_METRIC,
    dataset: Dataset | None = None,
    worded: Sequence[str] | None = None,
    title: str | None = None,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Writes the page of evaluations, with everything that was kept of their runs.

    Args:
        path: of the page.
        evaluations: per-user files and what they hold, as `compare` was given them.
        methods: what `compare` said.
        reference: the label of the method that the others were tested against.
        metric: of the headline.
        dataset: what the runs were trained on; None looks for it where the first run says it is.
        worded: labels of the methods whose lists to show in words; None shows a few.
        title: of the page; None names the methods and the dataset.
        facts: more of them.
    """
    runs = [_evaluated(file, per_user) for file, per_user in evaluations]
    first = next((run for file, _ in evaluations if (run := _run_of(file))), None)
    data = None if first is None else _data(first, dataset)
    page.write_page(
        path,
        evaluation_report.evaluation_page(
            runs,
            methods,
            reference=reference,
            metric=metric,
            validation_metric=VALIDATION_METRIC,
            shop=None if first is None else _shop(first, evaluations[0][1], data),
            worded=worded,
            more=[_ids(evaluations, data)],
            title=title,
            facts={
                **(facts or {}),
                **({} if first is None else _data_facts(_manifest(first))),
                **_made_by(evaluations),
                "Report by": command_line(),
                "Version": f"sidestep {__version__}, commit {git_commit() or 'unknown'}",
                "Machine of the report": machine(),
            },
        ),
    )


def _evaluated(file: Path, per_user: results.PerUser) -> evaluation_report.EvaluatedRun:
    """An evaluation with what was kept of it and of its run."""
    kept = kept_beside(file)
    folder = _run_of(file)
    manifest = None if folder is None else _manifest(folder)
    return evaluation_report.EvaluatedRun(
        per_user=per_user,
        metrics=kept.get("metrics", {}),
        cost=cost.Cost(
            train_s=None if manifest is None else manifest.training.get("seconds"),
            ms_per_user=kept.get("ms_per_user"),
            tokens_per_user=kept.get("tokens_per_user"),
            scored_per_user=kept.get("scored_per_user"),
            flops_per_user=kept.get("flops_per_user"),
        ),
        log=folder.log if folder is not None and folder.log.is_file() else None,
        settings={}
        if folder is None or manifest is None
        else {**_flat(read_yaml(folder.config)), **_outcome(manifest)},
    )


def _run_of(file: Path) -> RunFolder | None:
    """The run in whose folder an evaluation lies; None for a file that was carried elsewhere."""
    folders = file.resolve().parents  # RUN/evaluations/NAME/file
    if len(folders) < 3:
        return None
    run = RunFolder(folders[2])
    return run if run.is_run() and run.bundle.is_dir() else None


def _manifest(folder: RunFolder) -> Manifest:
    return read_manifest(folder.bundle / MANIFEST)


def _data(folder: RunFolder, dataset: Dataset | None) -> Split | None:
    """The rows that were evaluated, and those trained on; None, and a note, where they are gone."""
    path = Path(folder.info().dataset)
    if dataset is None:
        if not path.is_dir():
            note(f"no dataset at {path}, so the report shows no users in words.")
            return None
        dataset = Dataset.load(path)
    trained_on = _manifest(folder).data  # empty where a network came from elsewhere
    if differing_data(trained_on, fingerprint(dataset), reads_users=False):
        note(f"{path} is not what was trained on; the report shows no users in words.")
        return None
    return split_of(dataset)


def _shop(
    folder: RunFolder, per_user: results.PerUser, data: Split | None
) -> evaluation_report.Shop:
    catalog = catalogs.Catalog.load(folder.bundle / layout.CATALOG, verify=True)
    histories = None
    if data is not None:
        users = per_user.setting.users
        rows, _ = evaluated_rows(data, per_user.split, None if users == "all" else users)
        if rows.histories.user_ids == per_user.user_ids:
            histories = rows.histories
    return evaluation_report.Shop(
        popularity=catalog.popularity,
        histories=histories,
        titles=catalog.ids_of if catalog.texts is None else catalog.titles_of,
    )


def _ids(evaluations: Sequence[tuple[Path, results.PerUser]], data: Split | None) -> page.Section:
    """The quality of every set of semantic IDs that was searched."""
    coded: dict[str, catalogs.Catalog] = {}
    for file, per_user in evaluations:
        folder, name = _run_of(file), per_user.setting.codes
        if folder is not None and name is not None and name not in coded:
            coded[name] = catalogs.Catalog.load(folder.bundle / layout.CATALOG, verify=True)
    if not coded:
        return page.Section(title=_IDS, parts=[])
    training = None if data is None else data.train
    sections = id_tables.id_tables(
        {
            name: measuring.id_quality(
                catalog.semantic_ids.numpy(),
                catalog.codebook_sizes,
                training=training,
                resolution=resolution_of(catalog),
            )
            for name, catalog in coded.items()
        }
    )
    return page.Section(
        title=_IDS,
        parts=[
            replace(part, caption=f"{section.title}. {section.lead}")
            for section in sections
            for part in section.parts
            if isinstance(part, table.Table)
        ],
    )


def _data_facts(manifest: Manifest) -> dict[str, str]:
    """The fingerprint of the data, for the page."""
    return {
        f"SHA-256 of {name}": value
        for name, value in manifest.data.items()
        if name != "name" and isinstance(value, str)
    }


def _made_by(evaluations: Sequence[tuple[Path, results.PerUser]]) -> dict[str, str]:
    """The origin of the evaluations, as far as they tell it."""
    kept = [kept_beside(file) for file, _ in evaluations]
    facts = {}
    for title, name in (
        ("Evaluated by", "command"),
        ("Evaluated at commit", "commit"),
        ("Evaluated on", "machine"),
        ("Evaluated at", "date"),
    ):
        values = dict.fromkeys(str(content[name]) for content in kept if content.get(name))
        if values:
            facts[title] = "; ".join(values)
    facts["Evaluations"] = "; ".join(str(file.parent) for file, _ in evaluations)
    return facts


def _outcome(manifest: Manifest) -> dict[str, Any]:
    """The result of the training."""
    shown = ("steps", "best_epoch", "stopped", "validation")
    return {
        **{f"trained: {name}": manifest.training.get(name) for name in shown},
        "catalog version": manifest.catalog_version[:12],
        "trained with": ", ".join(f"{name} {value}" for name, value in manifest.libraries.items()),
    }


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
