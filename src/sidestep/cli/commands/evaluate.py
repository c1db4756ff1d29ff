"""`sidestep evaluate`: a run on a split, measured in the one way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console.output import OUT, print_json, say, table
from sidestep.cli.console.plan import ESTIMATE, tell_plan
from sidestep.cli.options import AsJson, DryRun
from sidestep.cli.outputs import refuse_report_at
from sidestep.cli.search_options import (
    BudgetTimes,
    Candidates,
    LikelihoodWeight,
    Search,
    SearchOptions,
    SearchPrecision,
)
from sidestep.data.splits import SplitName
from sidestep.evaluation.target_metrics import per_user_metrics
from sidestep.evaluation.words import rows_in_words
from sidestep.lazy_imports import imported_when_used
from sidestep.metrics.statistics import bootstrap_interval, numbered
from sidestep.runs.evaluation_page import write_evaluation_page
from sidestep.runs.evaluations import (
    Asked,
    evaluate_planned,
    plan_evaluation,
    row_progress,
    seconds_of_evaluation,
)
from sidestep.runs.folder import RunFolder
from sidestep.runs.inputs import load_bundle, load_dataset
from sidestep.runs.judged_rows import num_users
from sidestep.runs.kept_evaluations import check_results_line, quality_fields, save_evaluation
from sidestep.runs.searches import NUM_BEAMS, AskedSearch

with imported_when_used():
    from sidestep.evaluation import compare, evaluator, results


def evaluate(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    dataset: Annotated[
        Path | None, typer.Option(help="The dataset folder; default: the one it was trained on.")
    ] = None,
    split: Annotated[SplitName, typer.Option(help="The rows to judge by.")] = "validation",
    search: Search = None,
    beams: Annotated[
        int | None,
        typer.Option(min=1, help=f"Prefixes kept per level; default: {NUM_BEAMS}."),
    ] = None,
    candidates: Candidates = None,
    likelihood_weight: LikelihoodWeight = None,
    budget: BudgetTimes = None,
    search_options: SearchOptions = None,
    precision: SearchPrecision = "fp32",
    users: Annotated[str, typer.Option(help="'all', or so many fixed random users.")] = "all",
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out items of the history.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Users at once.")] = 64,
    method: Annotated[
        str | None, typer.Option(help="Name in results files, such as beam-no-text.")
    ] = None,
    codes: Annotated[
        str | None, typer.Option(help="Name of the semantic IDs; default: the catalog folder's.")
    ] = None,
    results_file: Annotated[
        Path | None, typer.Option("--results", help="Append a line to this quality file.")
    ] = None,
    selected: Annotated[
        bool,
        typer.Option(
            "--selected", help="Validation chose this setting; only then it may be tested."
        ),
    ] = False,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Validation trials the method was given; default: those of 'sidestep tune', if it "
            "chose the settings.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page of the evaluation to this file.")
    ] = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Measure a run on validation or test rows, by ranking the whole catalog.

    Examples:

      sidestep evaluate runs/scientific/transformer-0 --report transformer-0.html

      sidestep evaluate runs/scientific/transformer-0 --split test --beams 50
      --results benchmarks/results/quality.jsonl --selected

      sidestep evaluate runs/scientific/transformer-0 --search exhaustive --users 2000 --json

      sidestep evaluate runs/scientific/transformer-0 --search item-beam --candidates 200

      sidestep evaluate runs/scientific/prm-0 --search prm-beam --likelihood-weight 1,0.5,0.5

      sidestep evaluate runs/scientific/value-0 --search ved --beams 16 --budget 4
      --search-option exploration=0.2
    """
    folder = RunFolder(run)
    info = folder.info()
    if report is not None:
        refuse_report_at(report)
    asked = Asked(
        split=split,
        search=AskedSearch.of_options(
            search,
            beams=beams,
            candidates=candidates,
            likelihood_weight=likelihood_weight,
            budget=budget,
            options=search_options,
        ),
        num_users=num_users(users),
        exclude_seen=exclude_seen,
        batch_size=batch_size,
        method=method,
        codes=codes,
    )
    data = load_dataset(folder.dataset(dataset))
    loaded = load_bundle(folder.path).with_precision(precision)
    catalog_name = None if info.catalog is None else Path(info.catalog).name
    planned = plan_evaluation(loaded, data, asked, catalog_name=catalog_name)
    planned.tell_of_misses()
    if results_file is not None:
        check_results_line(
            results_file, planned, loaded, data.name, selected=selected, trials=trials
        )
    if dry_run:
        tell_plan(
            planned.folder(folder),
            {
                "rows": len(planned.rows),
                "items": len(data.items),
                "method": planned.method,
                ESTIMATE: seconds_of_evaluation(loaded, asked, planned),
            },
            json=json,
        )
        return
    with row_progress(f"{folder.path.name}, {split}") as progress:
        evaluation, per_user = evaluate_planned(
            loaded, data.name, asked, planned, progress=progress
        )
    path = save_evaluation(folder, evaluation, per_user, batch_size=batch_size)
    line = quality_fields(path, selected=selected, trials=trials)
    if results_file is not None:
        results.append(results_file, results.QualityLine.model_validate(line))
    if report is not None:
        write_evaluation_page(report, [(path, per_user)], compare.compare([per_user]), dataset=data)
    if json:
        print_json({**line, "per_user": str(path)})
        return
    _print(evaluation, per_user)
    say(f"Wrote {path.parent}.")
    if report is not None:
        say(f"Wrote {report}.")


def _print(evaluation: evaluator.Evaluation, per_user: results.PerUser) -> None:
    values = per_user_metrics(per_user.rank_before, per_user.num_tied, per_user.k)
    users = numbered(per_user.user_ids)
    rows = []
    for name, mean in evaluation.metrics.items():
        interval = ""
        if name in values:
            bounds = bootstrap_interval(values[name], users=users, seed=0)
            interval = f"{bounds.low:.4f} – {bounds.high:.4f}"
        rows.append([name, f"{mean:.4f}", interval])
    rows.append(["ms per user", f"{evaluation.ms_per_user:.2f}", ""])
    rows.append(["tokens per user", f"{evaluation.tokens_per_user:.1f}", ""])
    if evaluation.scored_per_user:
        rows.append(["prefixes scored per user", f"{evaluation.scored_per_user:.1f}", ""])
    if evaluation.flops_per_user:
        rows.append(["MFLOPs per user", f"{evaluation.flops_per_user / 1e6:.2f}", ""])
    title = (
        f"{per_user.method} on {per_user.dataset}, {per_user.split}, "
        f"{rows_in_words(len(users), len(set(per_user.user_ids)))}, seed {per_user.seed}"
    )
    OUT.print(table(title, ["metric", "mean", "95 %"], rows))
