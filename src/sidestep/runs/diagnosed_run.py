"""A run under diagnosis: its scores of prefixes, its searches, and one user's search trees."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.bundle.columns import with_user_columns
from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.catalog.own_space import SETS
from sidestep.catalog.set_space import SetSpace
from sidestep.data.batches import row_batch
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of
from sidestep.data.splits import Rows, SplitName
from sidestep.evaluation.diagnosis import Diagnosis
from sidestep.evaluation.prefix_judge import PrefixSettings
from sidestep.evaluation.prefix_quality import PrefixQuality, prefix_quality
from sidestep.evaluation.report.drawing import Drawing
from sidestep.evaluation.report.tree import tree_drawing
from sidestep.evaluation.search_quality import SearchQuality, search_quality
from sidestep.evaluation.search_tree import search_tree
from sidestep.evaluation.target_codes import DiagnosedSpace
from sidestep.model.heads import HeadedModel
from sidestep.recommender import GenerativeRecommender
from sidestep.runs.budgets import any_weighs, searches_of
from sidestep.runs.evaluations import evaluated_rows, row_progress
from sidestep.runs.provenance import load_item_vectors, refuse_other_data
from sidestep.runs.search_text import Weights
from sidestep.runs.searches import AskedSearch, can_search
from sidestep.search.policy import Scope, SearchPolicy, trie_scope
from sidestep.search.proposals import guidance_of, plain_beam
from sidestep.search.scorer import Guidance
from sidestep.search.specs import SPECS
from sidestep.step import StepModel

_BUDGET = 4  # of value-guided decoding, the largest of V-STAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The settings of a diagnosis.

    num_users: so many fixed random rows; None for all.
    split: the rows to judge by.
    settings: of the rivals that scores of prefixes are held against, and of the searches.
    weight: λ of the searches that weigh log π; None is the default of each. A search that has one λ
        for all levels keeps its default where `weight` has one per level.
    vectors: the file of item vectors, by whose cosine candidates are rewarded; None for no rewards.
    batch_size: users at once.
    """

    split: SplitName
    num_users: int | None
    settings: PrefixSettings
    weight: Weights | None
    vectors: Path | None
    batch_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosedRun:
    """A run that searches, and all rows of the split that it is judged by."""

    path: Path
    data: Dataset
    rows: Rows
    loaded: LoadedRecommender
    recommender: GenerativeRecommender

    @staticmethod
    def open(path: Path, data: Dataset, split: SplitName) -> "DiagnosedRun":
        """A run's bundle beside its dataset.

        Raises:
            ValueError: it does not search, was trained on another dataset, or the codes of its
                catalog span neither a trie nor sets.
        """
        loaded = load(path)
        refuse_other_data(loaded, data)
        recommender = loaded.recommender()
        if not isinstance(recommender, GenerativeRecommender):
            raise ValueError(
                f"{path}: this run is {loaded.kind}, which scores every item and searches nothing; "
                "name runs that write semantic IDs."
            )
        if loaded.catalog.space != SETS:
            loaded.catalog.refuse_own_space("a diagnosis")
        known = with_user_columns(split_of(data), loaded.user_columns, data.users)
        rows, _ = evaluated_rows(known, split, None)
        return DiagnosedRun(path=path, data=data, rows=rows, loaded=loaded, recommender=recommender)

    @property
    def space(self) -> DiagnosedSpace:
        """The items that it may recommend."""
        space = self.recommender.space
        return space if isinstance(space, SetSpace) else trie_scope(space, asker="a diagnosis")

    @property
    def has_prefixes(self) -> bool:
        """Whether codes have an order, so that scores of prefixes and search trees can be shown."""
        return isinstance(self.space, Scope)

    @property
    def model(self) -> StepModel[Any]:
        """The policy, with its values where the bundle has a value head."""
        if self.loaded.value_head is None:
            return self.recommender.model
        return HeadedModel(self.recommender.model, self.loaded.value_head)

    def searches(self, look: Look) -> list[SearchPolicy]:
        """The searches that the run has the parts for, except sampling.

        Raises:
            ValueError: the weights are of another number of levels, or K+ is less than K.
        """
        names = [name for name in searches_of(self.loaded) if name != "sampling"]
        return [self._search(name, look, look.settings.num_beams) for name in names]

    @property
    def reads_weights(self) -> bool:
        """Whether any of its searches weighs log π against something else."""
        return any_weighs(searches_of(self.loaded))

    def diagnosis(self, look: Look) -> Diagnosis:
        """The worth of its prefix scores, and the levels where its searches lose the target."""
        embeddings = None
        if look.vectors is not None:
            embeddings = torch.from_numpy(load_item_vectors(look.vectors, self.data))
        known = with_user_columns(split_of(self.data), self.loaded.user_columns, self.data.users)
        rows, _ = evaluated_rows(known, look.split, look.num_users)
        searches = self.searches(look)
        policies = [*searches, *self._ceilings(look)]
        # As wide as the pools are large.
        sets = [
            self._search(name, look, look.settings.pool_size) for name in searches_of(self.loaded)
        ]

        def watched(title: str, policies: Sequence[SearchPolicy]) -> tuple[SearchQuality, ...]:
            return self._watched(title, rows, policies, embeddings, look.batch_size)

        return Diagnosis(
            run=str(self.path),
            dataset=self.data.name,
            split=look.split,
            likelihood_weight=look.weight,
            prefixes=self._prefixes(rows, searches, look, embeddings),
            searches=watched("searches", policies),
            candidate_sets=watched("candidate sets", sets),
        )

    def row_of(self, user: str | None, seed: int) -> int:
        """The last row of a user, or some row.

        Raises:
            KeyError: there is no row of the user.
        """
        user_ids = self.rows.histories.user_ids
        if user is None:
            return int(np.random.default_rng(seed).integers(len(user_ids)))
        if user not in user_ids:
            raise KeyError(
                f"--user {user}: no such user in these rows of {self.data.name}; the first is "
                f"{user_ids[0]!r}."
            )
        return len(user_ids) - 1 - user_ids[::-1].index(user)

    def trees(self, row: int, look: Look, *, label: str) -> list[Drawing]:
        """The search trees of a row, one per search; none of sets, whose codes have no order.

        Args:
            row: of the split.
            look: how its searches are set.
            label: of the run, where there are others; may be empty.
        """
        scope = self.space
        if not isinstance(scope, Scope):
            return []
        catalog, trie = self.loaded.catalog, scope.trie
        words = catalog.ids_of if catalog.texts is None else catalog.titles_of
        whole = row_batch(self.rows, np.array([row])).to(trie.device)
        history = whole.latest(self.loaded.max_history)
        target = int(self.rows.targets[row])

        def leaf_in_words(leaf: int) -> str:
            items = trie.items(torch.tensor([[leaf]], device=trie.device)).flatten()
            titles = words(items.cpu().numpy())
            return titles[0] if len(titles) == 1 else f"{titles[0]} and {len(titles) - 1} more"

        return [
            tree_drawing(
                search_tree(policy, self.model, history, scope, target=target),
                leaf_in_words,
                title=f"{label}: {policy.name}" if label else policy.name,
            )
            for policy in self.searches(look)
        ]

    def _prefixes(
        self,
        rows: Rows,
        searches: Sequence[SearchPolicy],
        look: Look,
        embeddings: Float[Tensor, "items dim"] | None,
    ) -> PrefixQuality | None:
        """The worth of the scores by which the searches go; None where there are no prefixes."""
        scope = self.space
        if not isinstance(scope, Scope):
            return None
        guidances = map(guidance_of, searches)
        guided = [guidance for guidance in guidances if guidance is not None]
        with row_progress(f"{self.path.name}: scores of prefixes") as progress:
            return prefix_quality(
                self.model,
                rows,
                scope,
                guidances=_guidances(guided[1:]),  # the first one is likelihood itself
                settings=look.settings,
                embeddings=embeddings,
                batch_size=look.batch_size,
                max_history=self.loaded.max_history,
                progress=progress,
            )

    def _ceilings(self, look: Look) -> list[SearchPolicy]:
        """The searches that miss nothing, where all is asked for and no oracle of prefixes tells.

        They return as many leaves as the other searches keep.
        """
        if look.settings.num_prefixes is not None or self.has_prefixes:
            return []
        names = {SPECS[name].ceiling for name in searches_of(self.loaded)}
        return [
            self._search(name, look, look.settings.num_beams)
            for name in SPECS
            if name in names and can_search(name, self.loaded)
        ]

    def _search(self, name: str, look: Look, beams: int) -> SearchPolicy:
        """A search of so many beams, with candidates in proportion."""
        candidates = look.settings.candidates * beams // look.settings.num_beams
        if name == "beam":  # what the others are held against, so that its proposals are watched
            return plain_beam(num_beams=beams, candidates=candidates)
        spec, num_levels = SPECS[name], self.loaded.catalog.num_levels
        options = {**spec.quick, **(spec.fitted(beams, _BUDGET, num_levels) if spec.fitted else {})}
        if "seed" in spec.options:
            options["seed"] = look.settings.seed
        is_weight_read = "likelihood_weight" in spec.reads and (
            spec.per_level or not isinstance(look.weight, tuple)
        )
        asked = AskedSearch(
            name=name,
            beams=beams if "beams" in spec.reads else None,
            candidates=candidates if "candidates" in spec.reads else None,
            likelihood_weight=look.weight if is_weight_read else None,
            budget=_BUDGET if "budget" in spec.reads else None,
            options=options,
        )
        policy = asked.policy(self.loaded, num_leaves=beams)
        assert policy is not None, "the run searches"
        return policy

    def _watched(
        self,
        title: str,
        rows: Rows,
        searches: Sequence[SearchPolicy],
        embeddings: Float[Tensor, "items dim"] | None,
        batch_size: int,
    ) -> tuple[SearchQuality, ...]:
        with row_progress(f"{self.path.name}: {title}") as progress:
            return search_quality(
                self.model,
                rows,
                self.space,
                searches,
                embeddings=embeddings,
                batch_size=batch_size,
                max_history=self.loaded.max_history,
                progress=progress,
            )


def _guidances(used: Sequence[Guidance]) -> dict[str, Guidance]:
    """Guidance of searches, each scorer alone and as it is mixed, by the names of the scores."""
    alone = [replace(guidance, likelihood_weight=0.0) for guidance in used]
    pairs = zip(alone, used, strict=True)
    return {guidance.score_kind: guidance for pair in pairs for guidance in pair}
