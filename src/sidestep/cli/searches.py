"""Searches by name: how one is asked for, and what results files say of it."""

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
from sidestep.search.scorer import Guidance

SearchName = Literal["beam", "item-beam", "exhaustive", "exhaustive-item"]
"""`item-beam` is guided by the item head of the network itself; `exhaustive` and `exhaustive-item`
rank every item by what the two rank by."""

NUM_BEAMS = 50
"""Prefixes per level, unless something else is said."""

CANDIDATES_PER_BEAM = 4
"""K+ / K, likewise."""

LIKELIHOOD_WEIGHT = 1.0
"""λ, likewise."""

WITH_BEAMS: Sequence[SearchName] = ("beam", "item-beam")
_GUIDED: Sequence[SearchName] = ("item-beam", "exhaustive-item")

Search = Annotated[
    SearchName | None, typer.Option(help="How semantic IDs are searched; default: beam.")
]
Candidates = Annotated[
    int | None,
    typer.Option(
        "--candidates",
        min=1,
        help="K+: prefixes per level that item-beam chooses among; default: "
        f"{CANDIDATES_PER_BEAM} per beam.",
    ),
]
LikelihoodWeight = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="λ: weight of log π beside what guides the search; default: "
        f"{LIKELIHOOD_WEIGHT:g}, and 0 leaves it out.",
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
    likelihood_weight: float | None = None

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
            "--likelihood-weight": self.likelihood_weight,
        }
        for option, value in given.items():
            if value is not None and not loaded.is_searched:
                raise ValueError(
                    f"{option} {value}: this run is {loaded.kind}, which scores every item and "
                    "searches nothing; leave the option out."
                )
        users: dict[str, Sequence[SearchName]] = {
            "--beams": WITH_BEAMS,
            "--candidates": ("item-beam",),
            "--likelihood-weight": _GUIDED,
        }
        for option, names in users.items():
            if given[option] is not None and self.chosen not in names:
                raise ValueError(
                    f"{option} {given[option]}: the search {self.chosen} has no use for it, only "
                    f"{' and '.join(names)}; leave the option out."
                )

    def policy(self, loaded: LoadedRecommender, *, num_leaves: int) -> SearchPolicy | None:
        """The search; None for a recommender that searches nothing.

        Args:
            loaded: what is searched with.
            num_leaves: leaves that an exhaustive search returns.

        Raises:
            ValueError: the network has no item head to guide the search.
        """
        if not loaded.is_searched:
            return None
        if self.chosen == "exhaustive":
            return ExhaustiveSearch(num_leaves=num_leaves)
        if self.chosen == "exhaustive-item":
            return ExhaustiveSearch(
                num_leaves=num_leaves, guidance=self._guidance(loaded), name=self.chosen
            )
        if self.chosen == "item-beam":
            return GuidedBeamSearch(
                guidance=self._guidance(loaded),
                num_beams=self._beams,
                candidates=self._candidates,
                name=self.chosen,
            )
        return BeamSearch(num_beams=self._beams)

    def settings(self, loaded: LoadedRecommender) -> dict[str, Any]:
        """The fields of `Setting` that tell this search from others."""
        name = self.chosen if loaded.is_searched else None
        return {
            "search": name,
            "beams": self._beams if name in WITH_BEAMS else None,
            "k_plus": self._candidates if name == "item-beam" else None,
            "likelihood_weight": self._weight if name in _GUIDED else None,
        }

    @property
    def _beams(self) -> int:
        return self.beams or NUM_BEAMS

    @property
    def _candidates(self) -> int:
        return self.candidates or CANDIDATES_PER_BEAM * self._beams

    @property
    def _weight(self) -> float:
        return LIKELIHOOD_WEIGHT if self.likelihood_weight is None else self.likelihood_weight

    def _guidance(self, loaded: LoadedRecommender) -> Guidance:
        network = loaded.network
        if not isinstance(network, Transformer) or network.item_head is None:
            raise ValueError(
                f"the search {self.chosen} is guided by an item head, and this {loaded.kind} has "
                "none; train a transformer with model.item_head: true and objective.item_weight."
            )
        return Guidance(scorer=ItemSupport(head=network), likelihood_weight=self._weight)
