"""Searches that somebody asks for: checked against a bundle, made, and described for results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sidestep.evaluation.words import value_in_words
from sidestep.import_paths import is_import_path, own_name
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.guides import GUIDES, own_scorer
from sidestep.runs.search_text import (
    CandidatesPerLevel,
    Weights,
    enumerated,
    options_in_words,
    read_candidates,
    read_search_options,
    read_weights,
)
from sidestep.runs.settings import LARGEST
from sidestep.search.config import GuidanceConfig
from sidestep.search.specs import SPECS, SearchSpec, SharedSetting, Value, reading, spec_named

with imported_when_used():
    from sidestep.bundle import loaded as bundles
    from sidestep.catalog import own_space
    from sidestep.search import budget, named, scorer
    from sidestep.search import policy as policies

NUM_BEAMS = 50
"""Prefixes kept per level, by default."""

GUIDANCE = GuidanceConfig()
"""The default guidance, that of an item head; parts beside a network have their own."""

BUDGET = 1
"""Tokens of value-guided decoding in units of a beam, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSearch:
    """A search that somebody asks for. A field is None where nothing was said about it.

    name: one of `SPECS`, or the import path of a search of one's own.
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
        if self.name is not None and not is_import_path(self.name):
            try:
                spec_named(self.name)
            except ValueError as error:
                raise ValueError(f"--search {error}") from error
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
        """A copy of the search; without a name, the search that the bundle keeps.

        Where the bundle keeps `item-head`, settings of a beam ask for `item-beam`.
        """
        kept = loaded.manifest.search
        if self.name is not None or not loaded.is_searched or kept.name == "beam":
            return self
        weight = self.likelihood_weight
        is_beam_asked = self.beams is not None or self.candidates is not None or weight is not None
        if kept.name == "item-head" and is_beam_asked:
            return replace(self, name="item-beam")
        if weight is None and kept.name == "item-beam":
            weight = kept.likelihood_weight
        options = {**kept.options, **self.options}
        return replace(self, name=kept.name, likelihood_weight=weight, options=options)

    def wide_enough(self, k: int) -> AskedSearch:
        """A copy with as many beams as a list of k needs, unless beams were asked for."""
        if self.beams is not None or "beams" not in self.spec.reads:
            return self
        return replace(self, beams=max(k, NUM_BEAMS))

    @property
    def spec(self) -> SearchSpec:
        """The description of the search; that of a plain beam where none is named.

        Raises:
            ValueError: a user's own search cannot be imported.
        """
        return spec_named(self.name or "beam")

    def refuse_unused(self, loaded: bundles.LoadedRecommender) -> None:
        """Raises a `ValueError` for a field that is given, and that this search does not read."""
        weights = self.likelihood_weight
        shared: dict[SharedSetting, object] = {
            "beams": self.beams,
            "candidates": None if self.candidates is None else value_in_words(self.candidates),
            "likelihood_weight": None if weights is None else value_in_words(weights),
            "budget": self.budget,
        }
        given = {
            "--search": self.name,
            **{_option(setting): value for setting, value in shared.items()},
            "--search-option": options_in_words(self.options) or None,
        }
        for option, value in given.items():
            if value is not None and not loaded.is_searched:
                raise ValueError(
                    f"{option} {value}: this run is {loaded.kind}, which scores every item and "
                    "searches nothing; leave the option out."
                )
        for setting, value in shared.items():
            if value is None or setting in self.spec.reads:
                continue
            told = f"{_option(setting)} {value}: the search {self.spec.name} has no use for it"
            if self.spec.is_own:
                raise ValueError(
                    f"{told}; a search of your own has fields instead; give "
                    "--search-option NAME=VALUE."
                )
            raise ValueError(
                f"{told}, only {enumerated(reading(setting))}; leave the option out, or name "
                "another search with --search."
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
        spec = self.spec
        missing = _missing_part(spec, loaded)
        if missing is not None:
            raise ValueError(f"the search {spec.name} {missing}")
        options = self._options()
        self._refuse_other_levels(loaded.catalog.num_levels)
        self._refuse_few_candidates(loaded)
        made_of = spec.policy_class()
        fields = [each for each in dataclasses.fields(made_of) if each.name in FIELDS]
        settings = {
            each.name: FIELDS[each.name](self, loaded, num_leaves)
            for each in fields
            if each.name not in options and self._sets(each)
        }
        made: policies.SearchPolicy = made_of(**settings, **options)
        if isinstance(made, policies.SpendsBudget):
            self._refuse_small_budget(made, loaded.catalog.num_levels)
        return made

    def for_lists(self, loaded: bundles.LoadedRecommender, k: int) -> policies.SearchPolicy | None:
        """The search for lists of `k`, wide enough for them; None where nothing is searched.

        Raises:
            ValueError: see `refuse_unused` and `policy`.
        """
        asked = self.of(loaded)
        asked.refuse_unused(loaded)
        length = min(k, loaded.catalog.num_items)
        return asked.wide_enough(length).policy(loaded, num_leaves=k)

    def settings(self, loaded: bundles.LoadedRecommender) -> dict[str, Any]:
        """The fields of `Setting` that tell this search from others."""
        if not loaded.is_searched:
            unset = ("search", "beams", "k_plus", "likelihood_weight", "budget", "search_options")
            return {**dict.fromkeys(unset), "ranker": self.ranker_weight(loaded)}
        reads, is_own = self.spec.reads, self.spec.is_own
        # Of a user's own search, the class says what was not asked for.
        says_candidates = "candidates" in reads and (not is_own or self.candidates is not None)
        says_weight = "likelihood_weight" in reads and (
            not is_own or self.spec.goes_by is not None or self.likelihood_weight is not None
        )
        return {
            "search": self.spec.name,
            "beams": self._beams if "beams" in reads else None,
            "k_plus": self._candidates(loaded) if says_candidates else None,
            "likelihood_weight": self._weight(loaded) if says_weight else None,
            "budget": self._budget if "budget" in reads else None,
            "search_options": self._told_options(),
            "ranker": self.ranker_weight(loaded),
        }

    def method(self, loaded: bundles.LoadedRecommender) -> str:
        """The name in tables: the search, or the kind that scores all items, and the ranker."""
        if not loaded.is_searched:
            name = loaded.kind if loaded.fitted is None else loaded.fitted.name
            if is_import_path(name):
                name = own_name(name.rpartition(":")[2])
        else:
            name = self.spec.method
            if "scorer" in self.options:
                name += own_name(str(self.options["scorer"]).rpartition(":")[2]).removeprefix("own")
        if self.ranker_weight(loaded) is None:
            return name
        assert loaded.item_ranker is not None, "a ranker that has a weight is there"
        return f"{name}+{loaded.item_ranker.name}"

    def ranker_weight(self, loaded: bundles.LoadedRecommender) -> float | None:
        """The weight of the ranker's scores; None where the scores decide nothing."""
        if not loaded.is_searched:
            return None if loaded.ranker_use is None else loaded.ranker_use.weight
        goes_by = self.spec.goes_by
        return None if goes_by is None else GUIDES[goes_by].ranker_weight(loaded)

    def _sets(self, field_of: dataclasses.Field[Any]) -> bool:
        """Whether a field of the policy is set from here, and not by the class of a user's own."""
        if field_of.name == "guidance":
            return self.spec.goes_by is not None
        if not self.spec.is_own or field_of.name in ("num_beams", "num_leaves"):
            return True
        asked = {"candidates": self.candidates, "likelihood_weight": self.likelihood_weight}
        return asked.get(field_of.name) is not None

    def _refuse_other_levels(self, num_levels: int) -> None:
        """Raises a `ValueError` where the number of values is not the number of levels."""
        per_level = {"--candidates": self.candidates, "--likelihood-weight": self.likelihood_weight}
        for option, values in per_level.items():
            if isinstance(values, tuple) and not self.spec.per_level:
                what = "K+" if option == "--candidates" else "weight"
                raise ValueError(
                    f"{option} {value_in_words(values)}: the search {self.spec.name} has one "
                    f"{what} for all levels; write one number."
                )
            if isinstance(values, tuple) and len(values) != num_levels:
                raise ValueError(
                    f"{option} {value_in_words(values)}: {len(values)} values, but semantic IDs "
                    f"have {num_levels} codes; write one, or one per level."
                )

    def _refuse_few_candidates(self, loaded: bundles.LoadedRecommender) -> None:
        """Raises a `ValueError` where fewer prefixes would be scored than are kept."""
        if "candidates" not in self.spec.reads or (self.spec.is_own and self.candidates is None):
            return
        candidates = self._candidates(loaded)
        per_level = candidates if isinstance(candidates, tuple) else (candidates,)
        if any(number is not None and number < self._beams for number in per_level):
            raise ValueError(
                f"--candidates {value_in_words(candidates)}: fewer than the {self._beams} that are "
                f"kept of them per level; raise it, or lower --beams, {NUM_BEAMS} unless it is "
                "given and no fewer than -k."
            )

    def _refuse_small_budget(self, policy: policies.SpendsBudget, num_levels: int) -> None:
        """Raises a `ValueError` for a budget that is too small, with the options that help."""
        try:
            policy.tokens(num_levels)
        except ValueError as error:
            helping = [
                f"--search-option {name}=N, which is {getattr(policy, name)} now"
                for name in self.spec.options
                if name in str(error)
            ]
            raise ValueError(
                f"the search {self.spec.name}: {error} As options: "
                f"{', '.join([*helping, '--beams or --budget'])}."
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

    def _options(self) -> dict[str, Any]:
        """The options that are fields of the policy, of the types of these fields."""
        known = self.spec.options
        told = "" if self.spec.is_own else "--search-option: "
        try:
            made_of = self.spec.policy_class()
            given = {name: value for name, value in self.options.items() if name not in _SCORER}
            if known.keys() >= _SCORER and not isinstance(self.options.get("scorer"), str):
                raise ValueError("names no scorer; give scorer=my_package.my_module:MyScorer.")
            if not known.keys() >= _SCORER:
                given = dict(self.options)
            return named.checked_settings(made_of, given, known)
        except ValueError as error:
            raise ValueError(f"{told}the search {self.spec.name}: {error}") from error

    def _told_options(self) -> str | None:
        """The options that differ from the defaults, in a fixed order."""
        defaults = self.spec.options
        given = {**self.options, **self._options()}
        told = {
            name: given[name]
            for name, default in defaults.items()
            if name in given and given[name] != default
        }
        return options_in_words(told) or None

    def _candidates(self, loaded: bundles.LoadedRecommender) -> CandidatesPerLevel:
        return self.candidates or self._defaults(loaded).candidates_per_beam * self._beams

    def _weight(self, loaded: bundles.LoadedRecommender) -> Weights:
        if self.likelihood_weight is None:
            return self._defaults(loaded).likelihood_weight
        return self.likelihood_weight

    def _defaults(self, loaded: bundles.LoadedRecommender) -> GuidanceConfig:
        """The guidance of the part beside the network that guides the search, else the default."""
        goes_by = self.spec.goes_by
        return (goes_by and GUIDES[goes_by].guidance(loaded)) or GUIDANCE

    def _guidance(self, loaded: bundles.LoadedRecommender) -> scorer.Guidance:
        return scorer.Guidance(scorer=self._scorer(loaded), likelihood_weight=self._weight(loaded))

    def _scorer(self, loaded: bundles.LoadedRecommender) -> scorer.PrefixScorer:
        if self.spec.goes_by == "scorer":
            return own_scorer(str(self.options["scorer"]), loaded)
        made = None if self.spec.goes_by is None else GUIDES[self.spec.goes_by].scorer
        if made is None:
            raise ValueError(
                f"the search {self.spec.name} has a field 'guidance', and goes by "
                f"{self.spec.goes_by}, which gives no scores of prefixes; set the class attribute "
                "'goes_by' to items, process-reward or scorer."
            )
        return made(loaded, self._spares_first_level)


_SCORER = {"scorer"}


def _gamma(loaded: bundles.LoadedRecommender) -> float:
    assert loaded.value_use is not None
    return loaded.value_use.gamma


FIELDS: Mapping[str, Callable[[AskedSearch, bundles.LoadedRecommender, int], Any]] = {
    "name": lambda asked, loaded, num_leaves: asked.method(loaded),
    "num_beams": lambda asked, loaded, num_leaves: asked._beams,
    "num_samples": lambda asked, loaded, num_leaves: asked._beams,
    "num_leaves": lambda asked, loaded, num_leaves: num_leaves,
    "candidates": lambda asked, loaded, num_leaves: asked._candidates(loaded),
    "likelihood_weight": lambda asked, loaded, num_leaves: asked._weight(loaded),
    "guidance": lambda asked, loaded, num_leaves: asked._guidance(loaded),
    "budget": lambda asked, loaded, num_leaves: budget.Budget(
        times=asked._budget, num_beams=asked._beams
    ),
    "gamma": lambda asked, loaded, num_leaves: _gamma(loaded),
    "head": lambda asked, loaded, num_leaves: loaded.item_scorer,
    "ranker": lambda asked, loaded, num_leaves: loaded.item_ranker,
    "ranker_weight": lambda asked, loaded, num_leaves: asked.ranker_weight(loaded) or 1.0,
    "category_head": lambda asked, loaded, num_leaves: loaded.category_head,
    "vectors": lambda asked, loaded, num_leaves: loaded.network,
}
"""The fields of policies that are set from here, by name: what was asked for, what the bundle says,
and the length of the lists."""


def can_search(name: str, loaded: bundles.LoadedRecommender) -> bool:
    """Whether a bundle has all parts for a search."""
    return loaded.is_searched and _missing_part(SPECS[name], loaded) is None


def _missing_part(spec: SearchSpec, loaded: bundles.LoadedRecommender) -> str | None:
    """A need of a search that a bundle does not meet, and what to do; None if it meets all."""
    space = loaded.catalog.space
    if spec.needs == "sets" and space != own_space.SETS:
        return (
            "needs sets of codes, and the codes of this catalog have an order; tokenize with "
            "--space sets, or take a search that walks any space, such as beam."
        )
    is_met = {
        "trie": space is None,
        "ways": space in (None, own_space.SETS),
        "items": loaded.catalog.lists_items,
        "features": loaded.catalog.has_features,
    }
    if spec.needs in ("ways", "items") and not is_met[spec.needs]:
        return (
            "needs semantic IDs or sets of codes, but the codes of this catalog span the space "
            f"{space}; take a search that walks any space, such as beam."
        )
    if not is_met.get(spec.needs or "", True):
        return (
            "needs the trie of semantic IDs, but the codes of this catalog span the space "
            f"{space}; take a search that walks any space, such as beam."
        )
    if loaded.ranker is not None and not spec.takes_ranker:
        return (
            "scores few items by the item head, and a ranker beside the network scores all; take "
            "the search item-head, or name the run without the ranker."
        )
    return None if spec.goes_by is None else GUIDES[spec.goes_by].missing(loaded)


def _option(setting: SharedSetting) -> str:
    """The option of the command line for a shared setting."""
    return f"--{setting.replace('_', '-')}"
