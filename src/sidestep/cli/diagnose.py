"""`sidestep diagnose`: what scores of prefixes are worth, and where searches lose the target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from jaxtyping import Float
from torch import Tensor

from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.cli.console import OUT, print_json, say, table
from sidestep.cli.evaluations import evaluated_rows, evaluation_bar, num_users
from sidestep.cli.inputs import load_dataset, refuse_other_data, split_of
from sidestep.cli.options import AsJson
from sidestep.cli.runs import RunFolder
from sidestep.cli.searches import NUM_BEAMS, AskedSearch, SearchName
from sidestep.data.splits import Rows
from sidestep.embedding.vectors import load_vectors
from sidestep.evaluation.compare import rows_in_words
from sidestep.evaluation.measured import Measured
from sidestep.evaluation.prefix_quality import PrefixQuality, PrefixSettings, prefix_quality
from sidestep.evaluation.results import SplitName
from sidestep.evaluation.search_quality import SearchQuality, search_quality
from sidestep.model.transformer import Transformer
from sidestep.recommender import GenerativeRecommender
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.policy import Scope, SearchPolicy
from sidestep.search.proposals import plain_beam
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance

_CANDIDATES_PER_BEAM = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found of one run.

    searches: of the width that was asked for.
    candidate_sets: of searches for sets of another size.
    """

    run: Path
    dataset: str
    split: SplitName
    prefixes: PrefixQuality
    searches: tuple[SearchQuality, ...]
    candidate_sets: tuple[SearchQuality, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as plain dictionaries and numbers."""
        return {
            "run": str(self.run),
            "dataset": self.dataset,
            "split": self.split,
            "prefixes": self.prefixes.as_json(),
            "searches": [search.as_json() for search in self.searches],
            "candidate_sets": [search.as_json() for search in self.candidate_sets],
        }


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
        int, typer.Option(min=1, help="Prefixes that searches keep per level.")
    ] = NUM_BEAMS,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="K+: prefixes per level that guided searches choose among; default: "
            f"{_CANDIDATES_PER_BEAM} per beam.",
        ),
    ] = None,
    set_size: Annotated[
        int, typer.Option(min=1, help="Leaves of the candidate sets, and of the pools of ρ.")
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
    json: AsJson = False,
) -> None:
    """Look behind the lists of runs: what scores of prefixes are worth, where targets are lost.

    AUC: share of the other prefixes of a depth that score below the target's own; hard: of those
    that a plain beam proposes; siblings: of those that differ in the last code alone. ρ: Spearman's
    rank correlation with the mean reward of the candidates below, on sampled candidates.

    Examples:

      sidestep diagnose runs/scientific/transformer-0 --vectors runs/scientific/text.npy

      sidestep diagnose runs/scientific/prm-0 --prefixes all --users 500 --json
    """
    settings = PrefixSettings(
        num_prefixes=_number_or_all(prefixes),
        num_beams=beams,
        candidates=candidates or _CANDIDATES_PER_BEAM * beams,
        pool_size=set_size,
        seed=seed,
    )
    asked = num_users(users)
    found = [
        _diagnosed(path, dataset, split, asked, settings, vectors, set_size, batch_size)
        for path in runs
    ]
    if json:
        print_json([one.as_json() for one in found])
        return
    for one in found:
        _print(one)
    if vectors is None:
        say("Without --vectors VECTORS no reward is known, so that nothing is correlated with it.")


def _diagnosed(
    path: Path,
    dataset: Path | None,
    split: SplitName,
    asked: int | None,
    settings: PrefixSettings,
    vectors: Path | None,
    set_size: int,
    batch_size: int,
) -> Diagnosis:
    folder = RunFolder(path)
    data = load_dataset(dataset or Path(folder.info().dataset))
    loaded = load(folder.path)
    refuse_other_data(loaded, data)
    embeddings = None
    if vectors is not None:
        embeddings = torch.from_numpy(load_vectors(vectors, item_ids=data.items.item_ids))
    rows, _ = evaluated_rows(split_of(data), split, asked)
    recommender = _searching(path, loaded)
    scope = Scope(trie=recommender.trie, available=recommender.available)
    searches, sets = (
        _searches(loaded, beams, candidates)
        for beams, candidates in (
            (settings.num_beams, settings.candidates),
            (set_size, settings.candidates * set_size // settings.num_beams),
        )
    )
    sets.append(Sampling(num_samples=set_size, seed=settings.seed))
    guided = [search.guidance for search in searches if isinstance(search, GuidedBeamSearch)]
    with evaluation_bar(f"{path.name}: scores of prefixes") as progress:
        prefixes = prefix_quality(
            recommender.model,
            rows,
            scope,
            guidances=_guidances(guided[1:]),  # the first one is likelihood itself
            settings=settings,
            embeddings=embeddings,
            batch_size=batch_size,
            max_history=loaded.max_history,
            progress=progress,
        )
    return Diagnosis(
        run=path,
        dataset=data.name,
        split=split,
        prefixes=prefixes,
        searches=_watched(
            f"{path.name}: searches", recommender, rows, searches, embeddings, loaded, batch_size
        ),
        candidate_sets=_watched(
            f"{path.name}: candidate sets", recommender, rows, sets, embeddings, loaded, batch_size
        ),
    )


def _searching(path: Path, loaded: LoadedRecommender) -> GenerativeRecommender:
    """The recommender of a run that searches.

    Raises:
        ValueError: it does not.
    """
    recommender = loaded.recommender()
    if not isinstance(recommender, GenerativeRecommender):
        raise ValueError(
            f"{path}: this run is {loaded.kind}, which scores every item and searches nothing; "
            "name runs that write semantic IDs."
        )
    return recommender


def _searches(loaded: LoadedRecommender, beams: int, candidates: int) -> list[SearchPolicy]:
    """A plain beam search, and all that the run has guidance for."""
    searches: list[SearchPolicy] = [plain_beam(num_beams=beams, candidates=candidates)]
    network = loaded.network
    names: list[SearchName] = []
    if isinstance(network, Transformer) and network.item_head is not None:
        names.append("item-beam")
    if loaded.process_reward is not None:
        names.append("prm-beam")
    for name in names:
        asked = AskedSearch(name=name, beams=beams, candidates=candidates)
        policy = asked.policy(loaded, num_leaves=beams)
        assert policy is not None, "the run searches"
        searches.append(policy)
    return searches


def _guidances(used: Sequence[Guidance]) -> dict[str, Guidance]:
    """What guides searches, each scorer alone and as it is mixed, by the names of the scores."""
    alone = [replace(guidance, likelihood_weight=0.0) for guidance in used]
    pairs = zip(alone, used, strict=True)
    return {guidance.score_kind: guidance for pair in pairs for guidance in pair}


def _watched(
    title: str,
    recommender: GenerativeRecommender,
    rows: Rows,
    searches: Sequence[SearchPolicy],
    embeddings: Float[Tensor, "items dim"] | None,
    loaded: LoadedRecommender,
    batch_size: int,
) -> tuple[SearchQuality, ...]:
    with evaluation_bar(title) as progress:
        return search_quality(
            recommender.model,
            rows,
            Scope(trie=recommender.trie, available=recommender.available),
            searches,
            embeddings=embeddings,
            batch_size=batch_size,
            max_history=loaded.max_history,
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


def _print(found: Diagnosis) -> None:
    prefixes = found.prefixes
    asked = rows_in_words(prefixes.num_rows, prefixes.num_users)
    OUT.print(
        table(
            f"{found.run.name} on {found.dataset}, {found.split}, {asked}: scores of prefixes",
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
            f"Where {found.run.name} loses the target",
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
            f"Candidate sets of {found.run.name}",
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
