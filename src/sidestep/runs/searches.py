"""Searches that somebody asks for: checked against a bundle, made, and described for results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args

from sidestep.evaluation.words import value_in_words
from sidestep.import_paths import is_import_path, own_name
from sidestep.lazy_imports import imported_when_used
from sidestep.runs import own_search
from sidestep.runs.search_names import (
    BUDGET,
    BY_ITEMS,
    BY_PROCESS_REWARD,
    BY_VALUES,
    CHOOSING_BEAMS,
    GUIDANCE,
    GUIDED,
    NUM_BEAMS,
    WITH_BEAMS,
    CandidatesPerLevel,
    SearchName,
    Value,
    Weights,
    enumerated,
    options_in_words,
    read_candidates,
    read_search_options,
    read_weights,
)
from sidestep.runs.settings import LARGEST
from sidestep.search.config import GuidanceConfig

with imported_when_used():
    from sidestep.bundle import loaded as bundles
    from sidestep.search import (
        beam,
        budget,
        exhaustive,
        guided_beam,
        item_support,
        live_item_support,
        named,
        process_reward,
        sampling,
        scorer,
        value_beam,
        ved,
    )
    from sidestep.search import policy as policies


_SAID_OTHERWISE = {
    *("num_beams", "num_samples", "num_leaves", "candidates", "likelihood_weight", "guidance"),
    *("budget", "gamma", "chunk_size"),
}
"""Settings that `--search-option` does not name: they have options of their own, follow from the
bundle, or change no result."""


def _policy_class(name: SearchName) -> type[Any]:
    """The policy of a search."""
    classes: dict[SearchName, type[Any]] = {
        "beam": beam.BeamSearch,
        "item-beam": guided_beam.GuidedBeamSearch,
        "prm-beam": guided_beam.GuidedBeamSearch,
        "value-beam": value_beam.ValueBeamSearch,
        "ved": ved.ValueGuidedDecoding,
        "sampling": sampling.Sampling,
        "exhaustive": exhaustive.ExhaustiveSearch,
        "exhaustive-item": exhaustive.ExhaustiveSearch,
        "exhaustive-prm": exhaustive.ExhaustiveSearch,
    }
    return classes[name]


def settings_by_search() -> dict[SearchName, dict[str, Value]]:
    """The settings of each search that `--search-option` names, with their defaults."""
    return {
        name: {
            setting: default
            for setting, default in named.settings_of(_policy_class(name)).items()
            if setting not in _SAID_OTHERWISE
        }
        for name in get_args(SearchName)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSearch:
    """A search that somebody asks for. A field is None where nothing was said about it.

    name: one of `SearchName`, or the import path of a search of one's own.
    beams: prefixes kept per level.
    candidates: K+, prefixes per level that are scored, of all levels or one for each; None for a
        level leaves that one to likelihood.
    likelihood_weight: λ of y + λ · log π.
    budget: k, tokens in units of a beam.
    options: further settings of the search, by name.

    Raises:
        ValueError: on construction, for a name of no search, and for a size above `LARGEST`.
    """

    name: str | None = None
    beams: int | None = None
    candidates: CandidatesPerLevel | None = None
    likelihood_weight: Weights | None = None
    budget: int | None = None
    options: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the name and the sizes."""
        if self.name is not None and not (self.name in get_args(SearchName) or self.is_own):
            raise ValueError(
                f"--search {self.name!r:.60}: there are {', '.join(get_args(SearchName))}, and "
                "your own by import path, such as my_package.my_module:MySearch."
            )
        given = self.candidates if isinstance(self.candidates, tuple) else (self.candidates,)
        # The size may be a multiple of the one that somebody wrote, so the message says its unit.
        sizes = {
            "prefixes kept per level (--beams)": (self.beams,),
            "prefixes scored per level (--candidates)": given,
            "beams to spend the tokens of (--budget)": (self.budget,),
        }
        for what, numbers in sizes.items():
            for size in numbers:
                if size is not None and size > LARGEST:
                    raise ValueError(f"{size} {what}: out of all proportion; at most {LARGEST}.")

    @staticmethod
    def of_options(
        name: str | None,
        *,
        beams: int | None,
        candidates: str | None,
        likelihood_weight: str | None,
        budget: int | None,
        options: Sequence[str] | None,
    ) -> "AskedSearch":
        """The search that the options of a command ask for.

        Args:
            name, beams, budget: see `AskedSearch`.
            candidates: see `read_candidates`.
            likelihood_weight: see `read_weights`.
            options: see `read_search_options`.

        Raises:
            ValueError: an option is not written as it should be.
        """
        weights = None if likelihood_weight is None else read_weights(likelihood_weight)
        return AskedSearch(
            name=name,
            beams=beams,
            candidates=None if candidates is None else read_candidates(candidates),
            likelihood_weight=weights,
            budget=budget,
            options=read_search_options(options or ()),
        )

    def of(self, loaded: bundles.LoadedRecommender) -> AskedSearch:
        """The same search; without a name, the search that the bundle keeps."""
        kept = loaded.manifest.search
        if self.name is not None or not loaded.is_searched or kept.name == "beam":
            return self
        weight = self.likelihood_weight
        return replace(
            self,
            name=kept.name,
            likelihood_weight=kept.likelihood_weight if weight is None else weight,
        )

    def wide_enough(self, k: int) -> AskedSearch:
        """The same search with as many beams as a list of k needs, unless beams were asked for."""
        if self.beams is not None or self.is_own or self.chosen not in WITH_BEAMS:
            return self
        return replace(self, beams=max(k, NUM_BEAMS))

    @property
    def is_own(self) -> bool:
        """Whether the search is a user's own, which its import path names."""
        return self.name is not None and is_import_path(self.name)

    @property
    def chosen(self) -> SearchName:
        """The name of a search of Sidestep; `beam` where none is named."""
        assert not self.is_own
        return cast(SearchName, self.name or "beam")

    def refuse_unused(self, loaded: bundles.LoadedRecommender) -> None:
        """Raises a `ValueError` for a field that is given, and that this search does not read."""
        given = {
            "--search": self.name,
            "--beams": self.beams,
            "--candidates": None if self.candidates is None else value_in_words(self.candidates),
            "--likelihood-weight": None
            if self.likelihood_weight is None
            else value_in_words(self.likelihood_weight),
            "--budget": self.budget,
            "--search-option": options_in_words(self.options) or None,
        }
        for option, value in given.items():
            if value is not None and not loaded.is_searched:
                raise ValueError(
                    f"{option} {value}: this run is {loaded.kind}, which scores every item and "
                    "searches nothing; leave the option out."
                )
        if self.is_own:
            self._refuse_unused_of_own(given)
            return
        users: dict[str, Sequence[SearchName]] = {
            "--beams": WITH_BEAMS,
            "--candidates": CHOOSING_BEAMS,
            "--likelihood-weight": GUIDED,
            "--budget": ("ved",),
        }
        for option, names in users.items():
            if given[option] is not None and self.chosen not in names:
                raise ValueError(
                    f"{option} {given[option]}: the search {self.chosen} has no use for it, only "
                    f"{enumerated(names)}; leave the option out."
                )

    def policy(
        self, loaded: bundles.LoadedRecommender, *, num_leaves: int
    ) -> policies.SearchPolicy | None:
        """The search; None for a recommender that searches nothing.

        Args:
            loaded: the bundle that is searched.
            num_leaves: leaves that a search returns, where its width does not decide that.

        Raises:
            ValueError: the bundle lacks the part that guides the search; the search has no such
                setting; there are values for more or fewer levels than the catalog has, or fewer
                candidates than beams; or the budget is too small.
        """
        if not loaded.is_searched:
            return None
        if self.is_own:
            return own_search.own_policy(
                str(self.name), beams=self.beams, num_leaves=num_leaves, options=self.options
            )
        missing = _missing_part(self.chosen, loaded)
        if missing is not None:
            raise ValueError(f"the search {self.chosen} {missing}")
        settings = {**self._settings(loaded, num_leaves=num_leaves), **self._options()}
        self._refuse_other_levels(loaded.catalog.num_levels)
        self._refuse_few_candidates(loaded)
        made: policies.SearchPolicy = _policy_class(self.chosen)(
            name=self.method(loaded), **settings
        )
        if isinstance(made, ved.ValueGuidedDecoding):
            self._refuse_small_budget(made, loaded.catalog.trie.num_levels)
        return made

    def settings(self, loaded: bundles.LoadedRecommender) -> dict[str, Any]:
        """The fields of `Setting` that tell this search from others."""
        if self.is_own:
            return {
                "search": self.name,
                "beams": self.beams,
                "k_plus": None,
                "budget": None,
                "search_options": options_in_words(self.options) or None,
            }
        name = self.chosen if loaded.is_searched else None
        return {
            "search": name,
            "beams": self._beams if name in WITH_BEAMS else None,
            "k_plus": self._candidates(loaded) if name in CHOOSING_BEAMS else None,
            "likelihood_weight": self._weight(loaded) if name in GUIDED else None,
            "budget": self._budget if name == "ved" else None,
            "search_options": self._told_options() if name else None,
            "ranker": self.ranker_weight(loaded),
        }

    def method(self, loaded: bundles.LoadedRecommender) -> str:
        """The name in tables: the search, or the kind that scores all items, and the ranker."""
        if self.is_own and loaded.is_searched:
            return own_name(str(self.name).rpartition(":")[2])
        name = self.chosen if loaded.is_searched else loaded.kind
        if is_import_path(name):
            name = own_name(name.rpartition(":")[2])
        return name if self.ranker_weight(loaded) is None else f"{name}+sasrec"

    def ranker_weight(self, loaded: bundles.LoadedRecommender) -> float | None:
        """The weight of the ranker's scores; None where the scores decide nothing."""
        if loaded.ranker_use is None or (
            loaded.is_searched and (self.is_own or self.chosen not in BY_ITEMS)
        ):
            return None
        return loaded.ranker_use.weight

    def _refuse_unused_of_own(self, given: Mapping[str, object]) -> None:
        """Raises a `ValueError` for options that a user's own search cannot read."""
        for option in ("--candidates", "--likelihood-weight", "--budget"):
            if given[option] is not None:
                raise ValueError(
                    f"{option} {given[option]}: a search of your own has fields instead; give "
                    "--search-option NAME=VALUE."
                )

    def _refuse_other_levels(self, num_levels: int) -> None:
        """Raises a `ValueError` where the number of values is not the number of levels."""
        per_level = {"--candidates": self.candidates, "--likelihood-weight": self.likelihood_weight}
        for option, values in per_level.items():
            if isinstance(values, tuple) and len(values) != num_levels:
                raise ValueError(
                    f"{option} {value_in_words(values)}: {len(values)} values, but semantic IDs "
                    f"have {num_levels} codes; write one, or one per level."
                )

    def _refuse_few_candidates(self, loaded: bundles.LoadedRecommender) -> None:
        """Raises a `ValueError` where fewer prefixes would be scored than are kept."""
        if self.chosen not in CHOOSING_BEAMS:
            return
        candidates = self._candidates(loaded)
        per_level = candidates if isinstance(candidates, tuple) else (candidates,)
        if any(number is not None and number < self._beams for number in per_level):
            raise ValueError(
                f"--candidates {value_in_words(candidates)}: fewer than the {self._beams} that are "
                f"kept of them per level; raise it, or lower --beams, {NUM_BEAMS} unless it is "
                "given and no fewer than -k."
            )

    @staticmethod
    def _refuse_small_budget(policy: ved.ValueGuidedDecoding, num_levels: int) -> None:
        """Raises a `ValueError` for a budget that its warm start would spend, with the options."""
        try:
            policy.tokens(num_levels)
        except ValueError as error:
            raise ValueError(
                f"the search {policy.name}: {error} As options: --search-option warm_width=N, "
                f"which is {policy.warm_width} now, --beams or --budget."
            ) from error

    @property
    def _beams(self) -> int:
        return self.beams or NUM_BEAMS

    @property
    def _spares_first_level(self) -> bool:
        """Whether the first level, below which the whole catalog lies, is not scored."""
        return isinstance(self.candidates, tuple) and self.candidates[0] is None

    @property
    def _budget(self) -> int:
        return self.budget or BUDGET

    def _settings(self, loaded: bundles.LoadedRecommender, *, num_leaves: int) -> dict[str, Any]:
        """The settings of the policy beside `options`."""
        if self.chosen == "sampling":
            return {"num_samples": self._beams}
        if self.chosen == "ved":
            assert loaded.value_use is not None
            return {
                "budget": budget.Budget(times=self._budget, num_beams=self._beams),
                "num_leaves": num_leaves,
                "gamma": loaded.value_use.gamma,
            }
        settings: dict[str, Any] = {"num_beams": self._beams}
        if self.chosen not in WITH_BEAMS:
            settings = {"num_leaves": num_leaves}
        if self.chosen in CHOOSING_BEAMS:
            settings["candidates"] = self._candidates(loaded)
        if self.chosen == "value-beam":
            self._refuse_one_per_level(settings["candidates"])
            settings["likelihood_weight"] = self._one_weight(loaded)
        elif self.chosen in GUIDED:
            settings["guidance"] = self._guidance(loaded)
        return settings

    def _options(self) -> dict[str, Any]:
        known = settings_by_search()[self.chosen]
        try:
            return named.checked_settings(_policy_class(self.chosen), self.options, known)
        except ValueError as error:
            raise ValueError(f"--search-option: the search {self.chosen}: {error}") from error

    def _told_options(self) -> str | None:
        """The options that differ from the defaults, in a fixed order."""
        defaults, given = settings_by_search()[self.chosen], self._options()
        told = {
            name: given[name]
            for name, default in defaults.items()
            if name in given and given[name] != default
        }
        return options_in_words(told) or None

    def _refuse_one_per_level(self, candidates: CandidatesPerLevel) -> None:
        if isinstance(candidates, tuple):
            raise ValueError(
                f"--candidates {value_in_words(candidates)}: the search {self.chosen} has one "
                "K+ for all levels; write one number."
            )

    def _candidates(self, loaded: bundles.LoadedRecommender) -> CandidatesPerLevel:
        return self.candidates or self._defaults(loaded).candidates_per_beam * self._beams

    def _weight(self, loaded: bundles.LoadedRecommender) -> Weights:
        if self.likelihood_weight is None:
            return self._defaults(loaded).likelihood_weight
        return self.likelihood_weight

    def _one_weight(self, loaded: bundles.LoadedRecommender) -> float:
        weight = self._weight(loaded)
        if isinstance(weight, tuple):
            raise ValueError(
                f"--likelihood-weight {value_in_words(weight)}: the search {self.chosen} has one "
                "weight for all levels; write one number."
            )
        return weight

    def _defaults(self, loaded: bundles.LoadedRecommender) -> GuidanceConfig:
        """The guidance of the part beside the network that guides the search, else the default."""
        own = None
        if self.chosen in BY_ITEMS and loaded.ranker_use is not None:
            own = loaded.ranker_use.guidance
        elif self.chosen in BY_PROCESS_REWARD:
            own = loaded.guidance
        elif self.chosen in BY_VALUES and loaded.value_use is not None:
            own = loaded.value_use.guidance
        return own or GUIDANCE

    def _guidance(self, loaded: bundles.LoadedRecommender) -> scorer.Guidance:
        return scorer.Guidance(scorer=self._scorer(loaded), likelihood_weight=self._weight(loaded))

    def _scorer(self, loaded: bundles.LoadedRecommender) -> scorer.PrefixScorer:
        if self.chosen in BY_PROCESS_REWARD:
            assert loaded.process_reward is not None
            return process_reward.ProcessReward(network=loaded.process_reward)
        head, ranker = loaded.item_scorer, loaded.item_ranker
        if ranker is None or loaded.ranker_use is None:
            if head is not None and self._spares_first_level:
                return live_item_support.LiveItemSupport(head=head)
            return item_support.ItemSupport(head=head)
        return item_support.ItemSupport(
            head=head, ranker=ranker, ranker_weight=loaded.ranker_use.weight
        )


def can_search(name: SearchName, loaded: bundles.LoadedRecommender) -> bool:
    """Whether a bundle has all parts for a search."""
    return loaded.is_searched and _missing_part(name, loaded) is None


def _missing_part(name: SearchName, loaded: bundles.LoadedRecommender) -> str | None:
    """The part that a search needs and a bundle lacks, and where to get it; None if it has all."""
    if name in BY_VALUES and loaded.value_use is None:
        return (
            "goes by values, and this bundle has no value head; train one beside it, with a "
            "configuration of kind value, and name that run."
        )
    if name in BY_PROCESS_REWARD and loaded.process_reward is None:
        return (
            "is guided by a process reward model, and this bundle has none; train one beside it, "
            "with a configuration of kind process-reward, and name that run."
        )
    if name in BY_ITEMS and loaded.item_scorer is None and loaded.ranker is None:
        return (
            f"is guided by scores of items, and this {loaded.kind} has neither an item head nor a "
            "ranker; train a transformer with model.item_head: true and objective.item_weight, or "
            "put a SASRec beside this one with 'sidestep attach'."
        )
    return None
