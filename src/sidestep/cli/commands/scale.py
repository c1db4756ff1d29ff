"""`sidestep scale`: the searches of a run at growing budgets, below what no budget exceeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console.output import OUT, print_json, say, table
from sidestep.cli.console.plan import tell_plan
from sidestep.cli.options import AsJson, DryRun
from sidestep.cli.outputs import refuse_report_at
from sidestep.cli.search_options import LikelihoodWeight
from sidestep.data.names import split_names
from sidestep.data.splits import SplitName
from sidestep.evaluation.words import rows_in_words
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note
from sidestep.runs.budgets import (
    BudgetedSearch,
    any_weighs,
    budgeted,
    ceiling_of,
    searches_of,
    with_budget,
)
from sidestep.runs.evaluations import LIST_LENGTH, Asked
from sidestep.runs.folder import RunFolder
from sidestep.runs.inputs import load_bundle, load_dataset
from sidestep.runs.judged_rows import num_users
from sidestep.runs.scaling_facts import facts_of
from sidestep.runs.search_text import Weights, read_weights
from sidestep.runs.searches import NUM_BEAMS, AskedSearch, can_search

with imported_when_used():
    from sidestep.bundle import loaded as bundles
    from sidestep.evaluation import results
    from sidestep.evaluation import scaling as scalings
    from sidestep.evaluation.report import page as pages
    from sidestep.evaluation.report import scaling as scaling_report
    from sidestep.runs import sweep as sweeps

TIMES = "1,2,3,4,6"


def scale(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    dataset: Annotated[
        Path | None, typer.Option(help="The dataset folder; default: the one it was trained on.")
    ] = None,
    split: Annotated[SplitName, typer.Option(help="The rows to judge by.")] = "validation",
    searches: Annotated[
        str | None,
        typer.Option(
            help=f"Searches to grow, of {', '.join(with_budget())}, with commas between them; "
            "default: all that the run can do."
        ),
    ] = None,
    beams: Annotated[
        int, typer.Option(min=1, help="K: prefixes a beam keeps per level, at the smallest budget.")
    ] = NUM_BEAMS,
    times: Annotated[
        str,
        typer.Option(
            help="Budgets, as multiples of the smallest: of K for beam and sampling, of tokens for "
            "ved, else K+ / K."
        ),
    ] = TIMES,
    likelihood_weight: LikelihoodWeight = None,
    users: Annotated[str, typer.Option(help="'all', or so many fixed random users.")] = "2000",
    ceiling: Annotated[
        bool, typer.Option(help="Also rank every item, by what each search ranks by: slow.")
    ] = True,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out items of the history.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Users at once.")] = 64,
    results_file: Annotated[
        Path | None,
        typer.Option("--results", help="Append a line per budget to this quality file."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="The HTML page; default: scaling.html in the run's folder.")
    ] = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Measure what a run's searches make of a larger budget, and what they could make of any.

    Tokens, prefixes scored, FLOPs and wall time of every budget, with its quality, as a table and
    as a page of charts. What was measured before is not measured again, unless the bundle, the
    batch size or the machine is another.

    Examples:

      sidestep scale runs/scientific/transformer-0

      sidestep scale runs/scientific/prm-0 --searches beam,prm-beam --times 1,2,3,4,6

      sidestep scale runs/scientific/prm-0 --likelihood-weight 1,0.5,0.5 --users all --no-ceiling

      sidestep scale runs/scientific/transformer-0 --beams 16 --users 500 --json
    """
    folder = RunFolder(run)
    info = folder.info()
    page = report or folder.path / "scaling.html"
    refuse_report_at(page)
    factors = read_times(times)
    data = load_dataset(folder.dataset(dataset))
    loaded = load_bundle(folder.path)
    sweep = sweeps.Sweep(
        folder=folder,
        loaded=loaded,
        data=data,
        asked=Asked(
            split=split,
            num_users=num_users(users),
            exclude_seen=exclude_seen,
            batch_size=batch_size,
        ),
        catalog_name=None if info.catalog is None else Path(info.catalog).name,
    )
    weight = None if likelihood_weight is None else read_weights(likelihood_weight)
    names = _checked_searches(loaded, searches, weight)
    grown = [
        budgeted(name, factor, beams=beams, weight=weight, num_levels=loaded.catalog.num_levels)
        for name in names
        for factor in factors
    ]
    above = {name: ceiling_of(name, weight=weight) for name in names if ceiling}
    ceilings = {
        name: search
        for name, search in above.items()
        if search is not None and _has_ceiling(name, search, loaded)
    }
    wanted = [*grown, *{search.asked.spec.name: search for search in ceilings.values()}.values()]
    for search in wanted:  # refuses what cannot be searched before the first long search
        _refuse_impossible(search, loaded, names)
        if results_file is not None:
            sweep.check_results(results_file, search)
    sweep.tell_of_misses()
    if dry_run:
        plan: dict[str, int | float | str] = {
            "rows": sweep.num_rows,
            "searches": ", ".join(names),
            "evaluations": len(wanted),
            "measured before": sum(sweep.kept(search) is not None for search in wanted),
        }
        tell_plan(page, plan, json=json)
        return
    scaling = scalings.Scaling(
        points=[sweep.point(search) for search in grown],
        ceilings={
            AskedSearch(name=name).method(loaded): sweep.point(search)
            for name, search in ceilings.items()
        },
    )
    if results_file is not None:
        sweep.append_to(results_file)
    first = results.read_per_user(sweep.files[0])
    rows = rows_in_words(len(first.user_ids), len(set(first.user_ids)))
    title = f"Search budgets of {folder.path.name} on {first.dataset}, {first.split}"
    pages.write_page(
        page,
        scaling_report.scaling_page(scaling, title=title, facts=facts_of(sweep.files, first, rows)),
    )
    if json:
        print_json({"path": str(page), **scaling.as_json()})
        return
    _print(scaling, f"{title}, {rows}, seed {first.seed}")
    say(f"Wrote {page}.")


def _has_ceiling(name: str, search: BudgetedSearch, loaded: bundles.LoadedRecommender) -> bool:
    """Whether a bundle can be searched by a ceiling; a space of a user's own leaves it out."""
    if loaded.catalog.space is None or can_search(search.asked.spec.name, loaded):
        return True
    note(
        f"{name} has no ceiling here: {search.asked.spec.name} needs semantic IDs or sets, and the "
        f"codes of this catalog span the space {loaded.catalog.space}."
    )
    return False


def _refuse_impossible(
    search: BudgetedSearch, loaded: bundles.LoadedRecommender, names: Sequence[str]
) -> None:
    """Raises a `ValueError` for a search that cannot be, and names those that can without it."""
    chosen = search.asked.spec.name
    try:
        search.asked.policy(loaded, num_leaves=LIST_LENGTH)
    except ValueError as error:
        others = [name for name in names if name != chosen and can_search(name, loaded)]
        if not others or can_search(chosen, loaded):
            raise
        raise ValueError(
            f"{error} Or leave {chosen} out: --searches {','.join(others)}."
        ) from error


def read_times(text: str) -> list[int]:
    """Multiples of the smallest budget, ascending.

    Raises:
        ValueError: one is no number from 1, stands twice, or there is none.
    """
    parts = split_names(text)
    if not parts or not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise ValueError(f"--times {text!r}: write whole numbers from 1, such as {TIMES}.")
    factors = sorted(map(int, parts))
    if len(set(factors)) < len(factors):
        raise ValueError(f"--times {text!r}: a number stands twice; write each once.")
    return factors


def read_searches(text: str) -> list[str]:
    """Searches that have a budget, in the order in which they are named.

    Raises:
        ValueError: one has none or stands twice, or none is named.
    """
    asked = split_names(text)
    unknown = [name for name in asked if name not in with_budget()]
    if unknown or not asked or len(set(asked)) < len(asked):
        raise ValueError(
            f"--searches {text!r}: name searches that have a budget to grow, each once: "
            f"{', '.join(with_budget())}."
        )
    return asked


def _checked_searches(
    loaded: bundles.LoadedRecommender, asked: str | None, weight: Weights | None
) -> list[str]:
    """The searches to sweep; refuses a search without a budget, and a weight that none reads."""
    if not loaded.is_searched:
        raise ValueError(
            f"this run is {loaded.kind}, which scores every item and searches nothing: there is no "
            "budget to grow."
        )
    names = searches_of(loaded) if asked is None else read_searches(asked)
    if weight is not None and not any_weighs(names):
        raise ValueError(
            f"--likelihood-weight: {', '.join(names)} ranks by likelihood alone; leave it out."
        )
    return names


def _print(scaling: scalings.Scaling, title: str) -> None:
    """One line per point, the ceilings last."""
    ceilings = {point.search: point for point in scaling.ceilings.values()}
    rows = [
        [
            point.search,
            point.budget,
            *(f"{point.metrics[name]:.4f}" for name in scaling.metrics),
            f"{point.tokens:.1f}",
            f"{point.scored:.1f}",
            "" if point.flops is None else f"{point.flops / 1e6:.2f}",
            f"{point.ms:.2f}",
        ]
        for point in [*scaling.points, *ceilings.values()]
    ]
    columns = ["search", "budget", *scaling.metrics, "tokens", "scored", "MFLOPs", "ms"]
    OUT.print(table(title, columns, rows))
