"""`sidestep diagnose`: what scores of prefixes are worth, and where searches lose the target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console.output import OUT, print_json, say, table
from sidestep.cli.options import AsJson
from sidestep.cli.outputs import refuse_report_at
from sidestep.cli.search_options import LikelihoodWeight
from sidestep.data.splits import SplitName
from sidestep.evaluation.words import rows_in_words
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note
from sidestep.runs.folder import RunFolder
from sidestep.runs.inputs import load_dataset
from sidestep.runs.judged_rows import num_users
from sidestep.runs.search_text import read_weights
from sidestep.runs.searches import NUM_BEAMS
from sidestep.runs.settings import LARGEST

with imported_when_used():
    from sidestep.evaluation import diagnosis, measured, prefix_judge, prefix_quality
    from sidestep.evaluation.report import page as pages
    from sidestep.runs import diagnosed_run, diagnosis_page

_CANDIDATES_PER_BEAM = 4


def diagnose(
    runs: Annotated[list[Path], typer.Argument(help="Runs' folders, of runs that search.")],
    dataset: Annotated[
        Path | None, typer.Option(help="The dataset folder; default: the one of each run.")
    ] = None,
    split: Annotated[SplitName, typer.Option(help="The rows to judge by.")] = "validation",
    users: Annotated[str, typer.Option(help="'all', or so many fixed random users.")] = "1000",
    prefixes: Annotated[
        str,
        typer.Option(
            help="Other prefixes of each depth that the target's is held against: 'all', which "
            "costs as much as an exhaustive search and gives the oracle, or so many."
        ),
    ] = "256",
    beams: Annotated[
        int, typer.Option(min=1, max=LARGEST, help="Prefixes that searches keep per level.")
    ] = NUM_BEAMS,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=LARGEST,
            help="K+: prefixes per level that guided searches choose among; default: "
            f"{_CANDIDATES_PER_BEAM} per beam.",
        ),
    ] = None,
    likelihood_weight: LikelihoodWeight = None,
    set_size: Annotated[
        int,
        typer.Option(
            min=1, max=LARGEST, help="Leaves of the candidate sets, and of the pools of ρ."
        ),
    ] = 64,
    vectors: Annotated[
        Path | None,
        typer.Option(
            help="Item vectors, from 'sidestep embed': candidates are rewarded by their cosine "
            "with the target. Without them, scores are not correlated with rewards."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Users at once.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    user: Annotated[
        str | None,
        typer.Option(help="Whose search trees the page shows; default: some user."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page of it to this file, with search trees.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Look behind the lists of runs: what scores of prefixes are worth, where targets are lost.

    AUC: share of the other prefixes of a depth that score below the target's own; hard: of those
    that a plain beam proposes; siblings: of those that differ in the last code alone. ρ: Spearman's
    rank correlation with the mean reward of the candidates below, on sampled candidates.

    Sets of codes have no prefixes, so only their searches are measured. With --prefixes all, the
    exhaustive searches stand beside the others.

    λ of --likelihood-weight is that of all searches which have one; value-beam, which has one for
    all levels, keeps its own where each level is given one.

    Examples:

      sidestep diagnose runs/scientific/transformer-0 --vectors runs/scientific/text.npy

      sidestep diagnose runs/scientific/prm-0 --prefixes all --users 500 --json

      sidestep diagnose runs/scientific/prm-0 --likelihood-weight 1,0.5,0.5

      sidestep diagnose runs/scientific/prm-0 --report behind.html --user 17
    """
    if report is not None:
        refuse_report_at(report)
    elif user is not None:
        raise ValueError(f"--user {user}: only a page shows search trees; add --report or omit it.")
    num_prefixes, asked_users = _number_or_all(prefixes), num_users(users)
    weight = None if likelihood_weight is None else read_weights(likelihood_weight)
    for path in runs:
        RunFolder(path).info()
    settings = prefix_judge.PrefixSettings(
        num_prefixes=num_prefixes,
        num_beams=beams,
        candidates=candidates or _CANDIDATES_PER_BEAM * beams,
        pool_size=set_size,
        seed=seed,
    )
    look = diagnosed_run.Look(
        split=split,
        num_users=asked_users,
        settings=settings,
        weight=weight,
        vectors=vectors,
        batch_size=batch_size,
    )
    opened = [
        diagnosed_run.DiagnosedRun.open(path, load_dataset(RunFolder(path).dataset(dataset)), split)
        for path in runs
    ]
    for run in opened:  # refuses before the first long look
        run.searches(look)
    if look.weight is not None and not any(run.reads_weights for run in opened):
        raise ValueError(
            f"--likelihood-weight {likelihood_weight}: these runs are searched by "
            "likelihood alone; leave the option out."
        )
    if user is not None and not any(run.has_prefixes for run in opened):
        raise ValueError(
            f"--user {user}: search trees need codes in an order, and the codes of these runs are "
            "sets; leave the option out."
        )
    for run in opened:
        if not run.has_prefixes:
            note(
                f"{run.path}: the codes are sets, which have no order. Scores of prefixes and "
                "search trees need codes in an order, so they are left out. A set is kept as long "
                "as a state of the search may still become it."
            )
    drawn = [] if report is None else [run.row_of(user, seed) for run in opened]
    found = [run.diagnosis(look) for run in opened]
    if report is not None:
        pages.write_page(report, diagnosis_page.diagnosis_page(opened, found, drawn, look))
    if json:
        print_json([one.as_json() for one in found])
        return
    for one in found:
        _print(one)
    if report is not None:
        say(f"Wrote {report}.")
    if vectors is None:
        say("Without --vectors VECTORS no reward is known, so that nothing is correlated with it.")


def _number_or_all(text: str) -> int | None:
    """The number that --prefixes names; None for all.

    Raises:
        ValueError: for anything else.
    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--prefixes {text!r}: write 'all' or a number from 1.")
    return int(text)


def _print(found: diagnosis.Diagnosis) -> None:
    name, prefixes = Path(found.run).name, found.prefixes
    if prefixes is not None:
        _print_scores(found, prefixes)
    OUT.print(
        table(
            f"Where {name} loses the target, {found.searches[0].num_rows:,} rows of {found.split}",
            ["search", "depth", "kept", "HRecall", "dropped", "unproposed"],
            [
                [
                    search.name,
                    str(at.depth),
                    *map(_shown, (at.kept, at.recalled, at.dropped, at.unproposed)),
                ]
                for search in found.searches
                for at in search.depths
            ],
        )
    )
    OUT.print(
        table(
            f"Candidate sets of {name}",
            ["search", "size", "diversity", "has target", "rank", "best cosine", "tokens"],
            [
                [
                    search.name,
                    _shown(of.size, 1),
                    *map(_shown, (of.diversity, of.has_target)),
                    _shown(of.rank, 1),
                    _shown(of.best_cosine),
                    _shown(of.tokens, 1),
                ]
                for search in found.candidate_sets
                for of in (search.candidates,)
            ],
        )
    )


def _print_scores(found: diagnosis.Diagnosis, prefixes: prefix_quality.PrefixQuality) -> None:
    name, asked = Path(found.run).name, rows_in_words(prefixes.num_rows, prefixes.num_users)
    OUT.print(
        table(
            f"{name} on {found.dataset}, {found.split}, {asked}: scores of prefixes",
            ["score", "depth", "AUC", "hard", "siblings", "ρ", "oracle"],
            [
                [
                    name,
                    str(at.depth),
                    *map(_shown, (at.auc, at.hard_auc, at.sibling_auc, at.correlation, at.oracle)),
                ]
                for name, depths in prefixes.scores.items()
                for at in depths
            ],
        )
    )


def _shown(found: measured.Measured | None, digits: int = 4) -> str:
    return "" if found is None else f"{found.mean:.{digits}f}"
