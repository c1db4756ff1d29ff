"""Searches by name: how one is asked for, and what results files say of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import typer

from sidestep.bundle.loaded import LoadedRecommender
from sidestep.cli.config import LARGEST, shown
from sidestep.cli.plain_yaml import parse_yaml
from sidestep.model.transformer import Transformer
from sidestep.search.beam import BeamSearch
from sidestep.search.budget import Budget
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.named import checked_settings, settings_of
from sidestep.search.policy import SearchPolicy
from sidestep.search.process_reward import ProcessReward
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance, GuidanceConfig, PrefixScorer
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.search.ved import ValueGuidedDecoding

SearchName = Literal[
    "beam",
    "item-beam",
    "prm-beam",
    "value-beam",
    "ved",
    "sampling",
    "exhaustive",
    "exhaustive-item",
    "exhaustive-prm",
]
"""`item-beam` is guided by scores of items, of the network's own item head, of a ranker beside it
or of both, `prm-beam` by a process reward model, `value-beam` and `ved` by a value head;
`exhaustive`, `exhaustive-item` and `exhaustive-prm` rank every item by what the beams rank by."""

NUM_BEAMS = 50
"""Prefixes per level, unless something else is said."""

GUIDANCE = GuidanceConfig()
"""By an item head, likewise; what stands beside a network has its own."""

BUDGET = 1
"""Of value-guided decoding, likewise, in units of a beam."""

WITH_BEAMS: Sequence[SearchName] = (
    *("beam", "item-beam", "prm-beam", "value-beam", "ved", "sampling"),
)
_GUIDED_BEAMS: Sequence[SearchName] = ("item-beam", "prm-beam")
_CHOOSING_BEAMS: Sequence[SearchName] = (*_GUIDED_BEAMS, "value-beam")
_BY_PROCESS_REWARD: Sequence[SearchName] = ("prm-beam", "exhaustive-prm")
_BY_VALUES: Sequence[SearchName] = ("value-beam", "ved")
_BY_ITEMS: Sequence[SearchName] = ("item-beam", "exhaustive-item")
_GUIDED: Sequence[SearchName] = (*_BY_ITEMS, *_BY_PROCESS_REWARD, "value-beam")

_POLICIES: dict[SearchName, type[Any]] = {
    "beam": BeamSearch,
    "item-beam": GuidedBeamSearch,
    "prm-beam": GuidedBeamSearch,
    "value-beam": ValueBeamSearch,
    "ved": ValueGuidedDecoding,
    "sampling": Sampling,
    "exhaustive": ExhaustiveSearch,
    "exhaustive-item": ExhaustiveSearch,
    "exhaustive-prm": ExhaustiveSearch,
}

_SAID_OTHERWISE = {
    *("num_beams", "num_samples", "num_leaves", "candidates", "likelihood_weight", "guidance"),
    *("budget", "gamma", "chunk_size"),
}
"""Settings that have options of their own, follow from the bundle, or change no result."""

Value = int | float | str | None
"""Of a setting of a search."""

Weights = float | tuple[float, ...]
"""λ of all levels, or one for each."""


def read_weights(text: str) -> Weights:
    """λ as it is written on the command line.

    Raises:
        ValueError: it is no number from 0, and no such numbers with commas between them, or one
            is so large that nothing but itself would be left of a sum.
    """
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = ()
    if not weights or not all(0 <= weight <= LARGEST for weight in weights):
        raise ValueError(
            f"--likelihood-weight {text!r:.80}: write a number from 0 to {LARGEST}, or one per "
            "level with commas between them, such as 1,0.5,0."
        )
    return weights[0] if len(weights) == 1 else weights


def enumerated(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def weights_in_words(weights: Weights) -> str:
    """λ as `read_weights` reads it."""
    given = weights if isinstance(weights, tuple) else (weights,)
    return ",".join(f"{weight:g}" for weight in given)


def settings_by_search() -> dict[SearchName, dict[str, Value]]:
    """The settings of each search that `--search-option` names, with their defaults."""
    return {
        name: {
            setting: default
            for setting, default in settings_of(policy).items()
            if setting not in _SAID_OTHERWISE
        }
        for name, policy in _POLICIES.items()
    }


def read_search_options(options: Sequence[str]) -> dict[str, Value]:
    """Settings of a search as they are written on the command line: NAME=VALUE, the value as YAML.

    Raises:
        ValueError: one is not written so, stands twice, or is no plain value.
    """
    read: dict[str, Value] = {}
    for option in options:
        told = f"--search-option {shown(option)}"
        name, separator, text = option.partition("=")
        if not separator or not name or name in read:
            raise ValueError(f"{told}: write each once, as name=value, such as temperature=2.")
        value = parse_yaml(text, told)
        if not isinstance(value, int | float | str | None):
            raise ValueError(f"{told}: a setting of a search is one value.")
        if isinstance(value, int | float) and abs(value) > LARGEST:
            raise ValueError(f"{told}: {shown(value)} is out of all proportion.")
        read[name] = value
    return read


def options_in_words(options: Mapping[str, Value]) -> str:
    """Settings as `read_search_options` reads them, with commas between them."""
    words = {
        name: "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in options.items()
    }
    return ",".join(f"{name}={word}" for name, word in words.items())


def _options_help() -> str:
    """What each kind of search lets one set."""
    by_search = settings_by_search()
    names: Sequence[SearchName] = ("ved", "sampling", "beam")
    told = [f"{name}: {options_in_words(by_search[name]).replace(',', ', ')}" for name in names]
    return f"A setting of the search, name=value; may be repeated. {'; '.join(told)}."


Search = Annotated[
    SearchName | None, typer.Option(help="How semantic IDs are searched; default: beam.")
]
Candidates = Annotated[
    int | None,
    typer.Option(
        "--candidates",
        min=1,
        help="K+: prefixes per level that item-beam, prm-beam and value-beam choose among; "
        f"default: {GUIDANCE.candidates_per_beam} per beam, or as the process reward model or the "
        "value head was chosen by, or the ranker attached with.",
    ),
]
LikelihoodWeight = Annotated[
    str | None,
    typer.Option(
        metavar="λ[,λ...]",
        help="Weight of log π beside what guides the search, one for all levels or one for each; 0 "
        f"leaves it out. Default: {GUIDANCE.likelihood_weight:g}, or as the process reward model "
        "or the value head was chosen by (its guidance.likelihood_weight), or the ranker attached "
        "with.",
    ),
]
BudgetTimes = Annotated[
    int | None,
    typer.Option(
        "--budget",
        min=1,
        metavar="K",
        help="Tokens that ved spends: those of a beam K times as wide as --beams; default: "
        f"{BUDGET}.",
    ),
]
SearchOptions = Annotated[
    list[str] | None, typer.Option("--search-option", metavar="NAME=VALUE", help=_options_help())
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSearch:
    """A search as somebody asked for it; None where nothing was said.

    beams: prefixes kept per level.
    candidates: K+, prefixes per level that are scored.
    likelihood_weight: λ of y + λ · log π.
    budget: k, tokens in units of a beam.
    options: further settings of the policy, see `read_search_options`.
    """

    name: SearchName | None = None
    beams: int | None = None
    candidates: int | None = None
    likelihood_weight: Weights | None = None
    budget: int | None = None
    options: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = {"--beams": self.beams, "--candidates": self.candidates, "--budget": self.budget}
        for option, size in sizes.items():
            if size is not None and size > LARGEST:
                raise ValueError(f"{option} {size}: out of all proportion; at most {LARGEST}.")

    @staticmethod
    def of_options(
        name: SearchName | None,
        *,
        beams: int | None,
        candidates: int | None,
        likelihood_weight: str | None,
        budget: int | None,
        options: Sequence[str] | None,
    ) -> "AskedSearch":
        """What a command line says.

        Raises:
            ValueError: an option is not written as it should be.
        """
        weights = None if likelihood_weight is None else read_weights(likelihood_weight)
        return AskedSearch(
            name=name,
            beams=beams,
            candidates=candidates,
            likelihood_weight=weights,
            budget=budget,
            options=read_search_options(options or ()),
        )

    @property
    def chosen(self) -> SearchName:
        """The name, or what stands for none."""
        return self.name or "beam"

    def refuse_unused(self, loaded: LoadedRecommender) -> None:
        """Raises a `ValueError` for what would change nothing: it was meant to."""
        given = {
            "--search": self.name,
            "--beams": self.beams,
            "--candidates": self.candidates,
            "--likelihood-weight": None
            if self.likelihood_weight is None
            else weights_in_words(self.likelihood_weight),
            "--budget": self.budget,
            "--search-option": options_in_words(self.options) or None,
        }
        for option, value in given.items():
            if value is not None and not loaded.is_searched:
                raise ValueError(
                    f"{option} {value}: this run is {loaded.kind}, which scores every item and "
                    "searches nothing; leave the option out."
                )
        users: dict[str, Sequence[SearchName]] = {
            "--beams": WITH_BEAMS,
            "--candidates": _CHOOSING_BEAMS,
            "--likelihood-weight": _GUIDED,
            "--budget": ("ved",),
        }
        for option, names in users.items():
            if given[option] is not None and self.chosen not in names:
                raise ValueError(
                    f"{option} {given[option]}: the search {self.chosen} has no use for it, only "
                    f"{enumerated(names)}; leave the option out."
                )

    def policy(self, loaded: LoadedRecommender, *, num_leaves: int) -> SearchPolicy | None:
        """The search; None for a recommender that searches nothing.

        Args:
            loaded: what is searched with.
            num_leaves: leaves that a search returns whose width does not say it.

        Raises:
            ValueError: there is nothing to guide the search, it has no such setting, or its
                budget is too small.
        """
        if not loaded.is_searched:
            return None
        missing = _missing_part(self.chosen, loaded)
        if missing is not None:
            raise ValueError(f"the search {self.chosen} {missing}")
        settings = {**self._settings(loaded, num_leaves=num_leaves), **self._options()}
        made: SearchPolicy = _POLICIES[self.chosen](name=self.chosen, **settings)
        if isinstance(made, ValueGuidedDecoding):
            self._refuse_small_budget(made, loaded.catalog.trie.num_levels)
        return made

    def settings(self, loaded: LoadedRecommender) -> dict[str, Any]:
        """The fields of `Setting` that tell this search from others."""
        name = self.chosen if loaded.is_searched else None
        return {
            "search": name,
            "beams": self._beams if name in WITH_BEAMS else None,
            "k_plus": self._candidates(loaded) if name in _CHOOSING_BEAMS else None,
            "likelihood_weight": self._weight(loaded) if name in _GUIDED else None,
            "budget": self._budget if name == "ved" else None,
            "search_options": self._told_options() if name else None,
            "ranker": self.ranker_weight(loaded),
        }

    def ranker_weight(self, loaded: LoadedRecommender) -> float | None:
        """Of the ranker's scores, where they decide anything."""
        if loaded.ranker_use is None or (loaded.is_searched and self.chosen not in _BY_ITEMS):
            return None
        return loaded.ranker_use.weight

    @staticmethod
    def _refuse_small_budget(policy: ValueGuidedDecoding, num_levels: int) -> None:
        """Says with which options there is a warm start and something left after it."""
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
    def _budget(self) -> int:
        return self.budget or BUDGET

    def _settings(self, loaded: LoadedRecommender, *, num_leaves: int) -> dict[str, Any]:
        """What decides the policy beside `options`."""
        if self.chosen == "sampling":
            return {"num_samples": self._beams}
        if self.chosen == "ved":
            assert loaded.value_use is not None
            return {
                "budget": Budget(times=self._budget, num_beams=self._beams),
                "num_leaves": num_leaves,
                "gamma": loaded.value_use.gamma,
            }
        settings: dict[str, Any] = {"num_beams": self._beams}
        if self.chosen not in WITH_BEAMS:
            settings = {"num_leaves": num_leaves}
        if self.chosen in _CHOOSING_BEAMS:
            settings["candidates"] = self._candidates(loaded)
        if self.chosen == "value-beam":
            settings["likelihood_weight"] = self._one_weight(loaded)
        elif self.chosen in _GUIDED:
            settings["guidance"] = self._guidance(loaded)
        return settings

    def _options(self) -> dict[str, Any]:
        known = settings_by_search()[self.chosen]
        try:
            return checked_settings(_POLICIES[self.chosen], self.options, known)
        except ValueError as error:
            raise ValueError(f"--search-option: the search {self.chosen}: {error}") from error

    def _told_options(self) -> str | None:
        """The options that say something else than the defaults, in a fixed order."""
        defaults, given = settings_by_search()[self.chosen], self._options()
        told = {
            name: given[name]
            for name, default in defaults.items()
            if name in given and given[name] != default
        }
        return options_in_words(told) or None

    def _candidates(self, loaded: LoadedRecommender) -> int:
        return self.candidates or self._defaults(loaded).candidates_per_beam * self._beams

    def _weight(self, loaded: LoadedRecommender) -> Weights:
        if self.likelihood_weight is None:
            return self._defaults(loaded).likelihood_weight
        return self.likelihood_weight

    def _one_weight(self, loaded: LoadedRecommender) -> float:
        weight = self._weight(loaded)
        if isinstance(weight, tuple):
            raise ValueError(
                f"--likelihood-weight {weights_in_words(weight)}: the search {self.chosen} has one "
                "weight for all levels; write one number."
            )
        return weight

    def _defaults(self, loaded: LoadedRecommender) -> GuidanceConfig:
        """What stands beside the network is asked as its configuration, or `attach`, was told."""
        own = None
        if self.chosen in _BY_ITEMS and loaded.ranker_use is not None:
            own = loaded.ranker_use.guidance
        elif self.chosen in _BY_PROCESS_REWARD:
            own = loaded.guidance
        elif self.chosen in _BY_VALUES and loaded.value_use is not None:
            own = loaded.value_use.guidance
        return own or GUIDANCE

    def _guidance(self, loaded: LoadedRecommender) -> Guidance:
        return Guidance(scorer=self._scorer(loaded), likelihood_weight=self._weight(loaded))

    def _scorer(self, loaded: LoadedRecommender) -> PrefixScorer:
        if self.chosen in _BY_PROCESS_REWARD:
            assert loaded.process_reward is not None
            return ProcessReward(network=loaded.process_reward)
        head, ranker = _item_head(loaded), loaded.item_ranker
        if ranker is None or loaded.ranker_use is None:
            return ItemSupport(head=head)
        return ItemSupport(head=head, ranker=ranker, ranker_weight=loaded.ranker_use.weight)


def can_search(name: SearchName, loaded: LoadedRecommender) -> bool:
    """Whether a bundle has all parts for a search."""
    return loaded.is_searched and _missing_part(name, loaded) is None


def _missing_part(name: SearchName, loaded: LoadedRecommender) -> str | None:
    """What a search does that a bundle has no part for, and where to get it; None if it has all."""
    if name in _BY_VALUES and loaded.value_use is None:
        return (
            "goes by values, and this bundle has no value head; train one beside it, with a "
            "configuration of kind value, and name that run."
        )
    if name in _BY_PROCESS_REWARD and loaded.process_reward is None:
        return (
            "is guided by a process reward model, and this bundle has none; train one beside it, "
            "with a configuration of kind process-reward, and name that run."
        )
    if name in _BY_ITEMS and _item_head(loaded) is None and loaded.ranker is None:
        return (
            f"is guided by scores of items, and this {loaded.kind} has neither an item head nor a "
            "ranker; train a transformer with model.item_head: true and objective.item_weight, or "
            "put a SASRec beside this one with 'sidestep attach'."
        )
    return None


def _item_head(loaded: LoadedRecommender) -> Transformer | None:
    """The network, if it has one."""
    network = loaded.network
    return network if isinstance(network, Transformer) and network.item_head is not None else None
