"""A diagnosis: everything that was found behind the lists of one run."""

from dataclasses import dataclass
from typing import Any

from sidestep.data.splits import SplitName
from sidestep.evaluation.prefix_quality import PrefixQuality
from sidestep.evaluation.search_quality import SearchQuality


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found of one run.

    run: its folder, as it was given.
    likelihood_weight: λ that the searches were given, of all levels or one for each; None where
        each has its own.
    searches: of the width that was asked for.
    candidate_sets: of searches for sets of another size.
    """

    run: str
    dataset: str
    split: SplitName
    likelihood_weight: float | tuple[float, ...] | None
    prefixes: PrefixQuality
    searches: tuple[SearchQuality, ...]
    candidate_sets: tuple[SearchQuality, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as plain dictionaries and numbers."""
        return {
            "run": self.run,
            "dataset": self.dataset,
            "split": self.split,
            "likelihood_weight": self.likelihood_weight,
            "prefixes": self.prefixes.as_json(),
            "searches": [search.as_json() for search in self.searches],
            "candidate_sets": [search.as_json() for search in self.candidate_sets],
        }
