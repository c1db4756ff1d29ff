"""`sidestep diagnose`: what scores of prefixes are worth, and where searches lose the target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from jaxtyping import Float
from torch import Tensor

from sidestep import __version__
from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.cli.budgets import searches_of
from sidestep.cli.config import LARGEST
from sidestep.cli.console import OUT, print_json, say, table
from sidestep.cli.environment import command_line, git_commit, machine
from sidestep.cli.evaluations import evaluated_rows, evaluation_bar, num_users
from sidestep.cli.inputs import load_dataset, refuse_other_data, split_of
from sidestep.cli.options import AsJson
from sidestep.cli.reports import refuse_report_at
from sidestep.cli.runs import RunFolder
from sidestep.cli.search_options import NUM_BEAMS, SearchName
from sidestep.cli.searches import AskedSearch
from sidestep.data.dataset import Dataset
from sidestep.data.splits import Rows
from sidestep.embedding.vectors import load_vectors
from sidestep.evaluation.compare import rows_in_words
from sidestep.evaluation.diagnosis import Diagnosis
from sidestep.evaluation.measured import Measured
from sidestep.evaluation.prefix_judge import PrefixSettings
from sidestep.evaluation.prefix_quality import prefix_quality
from sidestep.evaluation.report.diagnosis import diagnosis_page
from sidestep.evaluation.report.drawing import Drawing
from sidestep.evaluation.report.page import Page, write_page
from sidestep.evaluation.report.tree import tree_drawing
from sidestep.evaluation.report.users import shortened
from sidestep.evaluation.results import SplitName
from sidestep.evaluation.search_quality import SearchQuality, search_quality
from sidestep.evaluation.search_tree import search_tree
from sidestep.model.value_head import ValuedModel
from sidestep.recommender import GenerativeRecommender
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.policy import Scope, SearchPolicy
from sidestep.search.proposals import plain_beam
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance
from sidestep.step import StepModel

_CANDIDATES_PER_BEAM = 4
_BUDGET = 4  # of value-guided decoding, the largest of V-STAR
_WARM_WIDTH = 8
_PATHS_PER_ROUND = 8  # one by one would take most of the time of a diagnosis
_NUM_PAST = 3
_TITLE_CHARACTERS = 60


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

    Examples:

      sidestep diagnose runs/scientific/transformer-0 --vectors runs/scientific/text.npy

      sidestep diagnose runs/scientific/prm-0 --prefixes all --users 500 --json

      sidestep diagnose runs/scientific/prm-0 --report behind.html --user 17
    """
    if report is not None:
        refuse_report_at(report)
    elif user is not None:
        raise ValueError(f"--user {user}: only a page shows search trees; add --report or omit it.")
    settings = PrefixSettings(
        num_prefixes=_number_or_all(prefixes),
        num_beams=beams,
        candidates=candidates or _CANDIDATES_PER_BEAM * beams,
        pool_size=set_size,
        seed=seed,
    )
    asked = num_users(users)
    opened = [_opened(path, dataset, split) for path in runs]
    drawn = [] if report is None else [_drawn_row(run, user, seed) for run in opened]
    found = [_diagnosed(run, split, asked, settings, vectors, batch_size) for run in opened]
    if report is not None:
        page = _page(opened, found, drawn, settings)
        write_page(report, page)
    if json:
        print_json([one.as_json() for one in found])
        return
    for one in found:
        _print(one)
    if report is not None:
        say(f"Wrote {report}.")
    if vectors is None:
        say("Without --vectors VECTORS no reward is known, so that nothing is correlated with it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A run that searches, and the rows to judge it by."""

    path: Path
    data: Dataset
    rows: Rows
    loaded: LoadedRecommender
    recommender: GenerativeRecommender

    @property
    def scope(self) -> Scope:
        """What it may recommend."""
        return Scope(trie=self.recommender.trie, available=self.recommender.available)

    @property
    def model(self) -> StepModel[Any]:
        """The policy, with its values where the bundle has a value head."""
        if self.loaded.value_head is None:
            return self.recommender.model
        return ValuedModel(self.recommender.model, self.loaded.value_head)


def _opened(path: Path, dataset: Path | None, split: SplitName) -> _Opened:
    """A run's bundle and dataset.

    Raises:
        ValueError: it does not search, or was trained on another dataset.
    """
    folder = RunFolder(path)
    data = load_dataset(dataset or Path(folder.info().dataset))
    loaded = load(folder.path)
    refuse_other_data(loaded, data)
    recommender = loaded.recommender()
    if not isinstance(recommender, GenerativeRecommender):
        raise ValueError(
            f"{path}: this run is {loaded.kind}, which scores every item and searches nothing; "
            "name runs that write semantic IDs."
        )
    rows, _ = evaluated_rows(split_of(data), split, None)
    return _Opened(path=path, data=data, rows=rows, loaded=loaded, recommender=recommender)


def _diagnosed(
    run: _Opened,
    split: SplitName,
    asked: int | None,
    settings: PrefixSettings,
    vectors: Path | None,
    batch_size: int,
) -> Diagnosis:
    path, loaded = run.path, run.loaded
    embeddings = None
    if vectors is not None:
        embeddings = torch.from_numpy(load_vectors(vectors, item_ids=run.data.items.item_ids))
    rows, _ = evaluated_rows(split_of(run.data), split, asked)
    searches, sets = _searches(loaded, settings), _candidate_sets(loaded, settings)
    guided = [search.guidance for search in searches if isinstance(search, GuidedBeamSearch)]
    with evaluation_bar(f"{path.name}: scores of prefixes") as progress:
        prefixes = prefix_quality(
            run.model,
            rows,
            run.scope,
            guidances=_guidances(guided[1:]),  # the first one is likelihood itself
            settings=settings,
            embeddings=embeddings,
            batch_size=batch_size,
            max_history=loaded.max_history,
            progress=progress,
        )
    return Diagnosis(
        run=str(path),
        dataset=run.data.name,
        split=split,
        prefixes=prefixes,
        searches=_watched(f"{path.name}: searches", run, rows, searches, embeddings, batch_size),
        candidate_sets=_watched(
            f"{path.name}: candidate sets", run, rows, sets, embeddings, batch_size
        ),
    )


def _searches(loaded: LoadedRecommender, settings: PrefixSettings) -> list[SearchPolicy]:
    """All searches that a run has the parts for, but for the one that only draws."""
    return [
        _search(name, loaded, settings, settings.num_beams)
        for name in searches_of(loaded)
        if name != "sampling"
    ]


def _candidate_sets(loaded: LoadedRecommender, settings: PrefixSettings) -> list[SearchPolicy]:
    """All searches that a run has the parts for, as wide as the pools are large."""
    return [_search(name, loaded, settings, settings.pool_size) for name in searches_of(loaded)]


def _search(
    name: SearchName, loaded: LoadedRecommender, settings: PrefixSettings, beams: int
) -> SearchPolicy:
    """A search of so many beams, with candidates in proportion."""
    candidates = settings.candidates * beams // settings.num_beams
    if name == "beam":
        return plain_beam(num_beams=beams, candidates=candidates)
    if name == "sampling":
        return Sampling(num_samples=beams, seed=settings.seed)
    asked = AskedSearch(name=name, beams=beams, candidates=candidates)
    if name == "ved":
        options = {"warm_width": min(_WARM_WIDTH, beams), "paths_per_round": _PATHS_PER_ROUND}
        asked = AskedSearch(name=name, beams=beams, budget=_BUDGET, options=options)
    policy = asked.policy(loaded, num_leaves=beams)
    assert policy is not None, "the run searches"
    return policy


def _guidances(used: Sequence[Guidance]) -> dict[str, Guidance]:
    """What guides searches, each scorer alone and as it is mixed, by the names of the scores."""
    alone = [replace(guidance, likelihood_weight=0.0) for guidance in used]
    pairs = zip(alone, used, strict=True)
    return {guidance.score_kind: guidance for pair in pairs for guidance in pair}


def _watched(
    title: str,
    run: _Opened,
    rows: Rows,
    searches: Sequence[SearchPolicy],
    embeddings: Float[Tensor, "items dim"] | None,
    batch_size: int,
) -> tuple[SearchQuality, ...]:
    with evaluation_bar(title) as progress:
        return search_quality(
            run.model,
            rows,
            run.scope,
            searches,
            embeddings=embeddings,
            batch_size=batch_size,
            max_history=run.loaded.max_history,
            progress=progress,
        )


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


def _drawn_row(run: _Opened, user: str | None, seed: int) -> int:
    """The row whose searches are drawn.

    Raises:
        KeyError: there is no row of the user.
    """
    user_ids = run.rows.histories.user_ids
    if user is None:
        return int(np.random.default_rng(seed).integers(len(user_ids)))
    if user not in user_ids:
        raise KeyError(
            f"--user {user}: no such user in these rows of {run.data.name}; the first is "
            f"{user_ids[0]!r}."
        )
    return len(user_ids) - 1 - user_ids[::-1].index(user)


def _page(
    opened: Sequence[_Opened],
    found: Sequence[Diagnosis],
    drawn: Sequence[int],
    settings: PrefixSettings,
) -> Page:
    labels = _labels([run.path for run in opened])
    trees = [
        drawing
        for label, run, row in zip(labels, opened, drawn, strict=True)
        for drawing in _trees(label if len(opened) > 1 else "", run, row, settings)
    ]
    run, row = opened[0], drawn[0]
    catalog = run.loaded.catalog
    words = catalog.ids_of if catalog.texts is None else catalog.titles_of
    past = words(run.rows.histories.of(row)[-_NUM_PAST:])
    lead = (
        f"User {run.rows.histories.user_ids[row]}, who last took "
        f"{'; '.join(shortened(title, _TITLE_CHARACTERS) for title in past) or 'nothing'}. "
        f"What came next: {words(run.rows.targets[row : row + 1])[0]}. Dashed lines lead to what "
        "a search dropped or never looked at."
    )
    facts = {
        "Runs": "; ".join(str(run.path) for run in opened),
        "Prefixes": "all" if settings.num_prefixes is None else str(settings.num_prefixes),
        "Beams": f"{settings.num_beams} of {settings.candidates}",
        "Pools": f"{settings.pool_size} at temperature {settings.temperature:g}",
        "Report by": command_line(),
        "Version": f"sidestep {__version__}, commit {git_commit() or 'unknown'}",
        "Machine": machine(),
    }
    pairs = zip(labels, found, strict=True)
    return diagnosis_page(dict(pairs), trees, tree_lead=lead, facts=facts)


def _trees(label: str, run: _Opened, row: int, settings: PrefixSettings) -> list[Drawing]:
    """The search trees of one user, one per search."""
    catalog, trie = run.loaded.catalog, run.scope.trie
    words = catalog.ids_of if catalog.texts is None else catalog.titles_of
    shown = run.rows.cut(run.loaded.max_history)
    history = shown.batch(np.array([row])).to(trie.device)
    target = int(run.rows.targets[row])

    def leaf_in_words(leaf: int) -> str:
        items = trie.items(torch.tensor([[leaf]], device=trie.device)).flatten()
        titles = words(items.cpu().numpy())
        return titles[0] if len(titles) == 1 else f"{titles[0]} and {len(titles) - 1} more"

    return [
        tree_drawing(
            search_tree(policy, run.model, history, run.scope, target=target),
            leaf_in_words,
            title=f"{label}: {policy.name}" if label else policy.name,
        )
        for policy in _searches(run.loaded, settings)
    ]


def _labels(paths: Sequence[Path]) -> list[str]:
    """The name of each folder, or its path where names repeat."""
    names = [path.resolve().name for path in paths]
    return [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, paths, strict=True)
    ]


def _print(found: Diagnosis) -> None:
    name, prefixes = Path(found.run).name, found.prefixes
    asked = rows_in_words(prefixes.num_rows, prefixes.num_users)
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
    OUT.print(
        table(
            f"Where {name} loses the target",
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
            ["search", "size", "diversity", "has target", "best cosine", "tokens"],
            [
                [
                    search.name,
                    _shown(of.size, 1),
                    *map(_shown, (of.diversity, of.has_target)),
                    _shown(of.best_cosine),
                    _shown(of.tokens, 1),
                ]
                for search in found.candidate_sets
                for of in (search.candidates,)
            ],
        )
    )


def _shown(found: Measured | None, digits: int = 4) -> str:
    return "" if found is None else f"{found.mean:.{digits}f}"
