"""Searches by name: how one is asked for, and what results files say of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from sidestep.bundle.loaded import LoadedRecommender
from sidestep.model.transformer import Transformer
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import SearchPolicy
from sidestep.search.process_reward import ProcessReward
from sidestep.search.scorer import Guidance, GuidanceConfig, PrefixScorer

SearchName = Literal[
    "beam", "item-beam", "prm-beam", "exhaustive", "exhaustive-item", "exhaustive-prm"
]
"""`item-beam` is guided by the item head of the network itself, `prm-beam` by a process reward
model; `exhaustive`, `exhaustive-item` and `exhaustive-prm` rank every item by what the beams rank
by."""

NUM_BEAMS = 50
"""Prefixes per level, unless something else is said."""

GUIDANCE = GuidanceConfig()
"""By an item head, likewise; a process reward model has its own."""

WITH_BEAMS: Sequence[SearchName] = ("beam", "item-beam", "prm-beam")
_GUIDED_BEAMS: Sequence[SearchName] = ("item-beam", "prm-beam")
_BY_PROCESS_REWARD: Sequence[SearchName] = ("prm-beam", "exhaustive-prm")
_GUIDED: Sequence[SearchName] = ("item-beam", "exhaustive-item", *_BY_PROCESS_REWARD)

Weights = float | tuple[float, ...]
"""λ of all levels, or one for each."""


def read_weights(text: str) -> Weights:
    """λ as it is written on the command line.

    Raises:
        ValueError: it is no number from 0, and no such numbers with commas between them.
    """
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = ()
    if not weights or not all(0 <= weight < math.inf for weight in weights):
        raise ValueError(
            f"--likelihood-weight {text!r}: write a number from 0, or one per level with commas "
            "between them, such as 1,0.5,0."
        )
    return weights[0] if len(weights) == 1 else weights


def weights_in_words(weights: Weights) -> str:
    """λ as `read_weights` reads it."""
    given = weights if isinstance(weights, tuple) else (weights,)
    return ",".join(f"{weight:g}" for weight in given)


Search = Annotated[
    SearchName | None, typer.Option(help="How semantic IDs are searched; default: beam.")
]
Candidates = Annotated[
    int | None,
    typer.Option(
        "--candidates",
        min=1,
        help="K+: prefixes per level that item-beam and prm-beam choose among; default: "
        f"{GUIDANCE.candidates_per_beam} per beam, or as the process reward model was chosen by.",
    ),
]
LikelihoodWeight = Annotated[
    str | None,
    typer.Option(
        metavar="λ[,λ...]",
        help="Weight of log π beside what guides the search, one for all levels or one for each; 0 "
        f"leaves it out. Default: {GUIDANCE.likelihood_weight:g}, or as the process reward model "
        "was chosen by: its guidance.likelihood_weight.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSearch:
    """A search as somebody asked for it; None where nothing was said.

    beams: prefixes kept per level.
    candidates: K+, prefixes per level that are scored.
    likelihood_weight: λ of y + λ · log π.
    """

    name: SearchName | None = None
    beams: int | None = None
    candidates: int | None = None
    likelihood_weight: Weights | None = None

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
        }
        for option, value in given.items():
            if value is not None and not loaded.is_searched:
                raise ValueError(
                    f"{option} {value}: this run is {loaded.kind}, which scores every item and "
                    "searches nothing; leave the option out."
                )
        users: dict[str, Sequence[SearchName]] = {
            "--beams": WITH_BEAMS,
            "--candidates": _GUIDED_BEAMS,
            "--likelihood-weight": _GUIDED,
        }
        for option, names in users.items():
            if given[option] is not None and self.chosen not in names:
                raise ValueError(
                    f"{option} {given[option]}: the search {self.chosen} has no use for it, only "
                    f"{', '.join(names[:-1])} and {names[-1]}; leave the option out."
                )

    def policy(self, loaded: LoadedRecommender, *, num_leaves: int) -> SearchPolicy | None:
        """The search; None for a recommender that searches nothing.

        Args:
            loaded: what is searched with.
            num_leaves: leaves that an exhaustive search returns.

        Raises:
            ValueError: there is nothing to guide the search.
        """
        if not loaded.is_searched:
            return None
        if self.chosen == "beam":
            return BeamSearch(num_beams=self._beams)
        if self.chosen in _GUIDED_BEAMS:
            return GuidedBeamSearch(
                guidance=self._guidance(loaded),
                num_beams=self._beams,
                candidates=self._candidates(loaded),
                name=self.chosen,
            )
        guidance = self._guidance(loaded) if self.chosen in _GUIDED else None
        return ExhaustiveSearch(num_leaves=num_leaves, guidance=guidance, name=self.chosen)

    def settings(self, loaded: LoadedRecommender) -> dict[str, Any]:
        """The fields of `Setting` that tell this search from others."""
        name = self.chosen if loaded.is_searched else None
        return {
            "search": name,
            "beams": self._beams if name in WITH_BEAMS else None,
            "k_plus": self._candidates(loaded) if name in _GUIDED_BEAMS else None,
            "likelihood_weight": self._weight(loaded) if name in _GUIDED else None,
        }

    @property
    def _beams(self) -> int:
        return self.beams or NUM_BEAMS

    def _candidates(self, loaded: LoadedRecommender) -> int:
        return self.candidates or self._defaults(loaded).candidates_per_beam * self._beams

    def _weight(self, loaded: LoadedRecommender) -> Weights:
        if self.likelihood_weight is None:
            return self._defaults(loaded).likelihood_weight
        return self.likelihood_weight

    def _defaults(self, loaded: LoadedRecommender) -> GuidanceConfig:
        """A process reward model is asked as it was where its weights were chosen."""
        own = loaded.guidance if self.chosen in _BY_PROCESS_REWARD else None
        return own or GUIDANCE

    def _guidance(self, loaded: LoadedRecommender) -> Guidance:
        return Guidance(scorer=self._scorer(loaded), likelihood_weight=self._weight(loaded))

    def _scorer(self, loaded: LoadedRecommender) -> PrefixScorer:
        if self.chosen in _BY_PROCESS_REWARD:
            if loaded.process_reward is None:
                raise ValueError(
                    f"the search {self.chosen} is guided by a process reward model, and this "
                    "bundle has none; train one beside it, with a configuration of kind "
                    "process-reward, and name that run."
                )
            return ProcessReward(network=loaded.process_reward)
        network = loaded.network
        if not isinstance(network, Transformer) or network.item_head is None:
            raise ValueError(
                f"the search {self.chosen} is guided by an item head, and this {loaded.kind} has "
                "none; train a transformer with model.item_head: true and objective.item_weight."
            )
        return ItemSupport(head=network)
