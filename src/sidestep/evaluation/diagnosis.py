"""The diagnosis of one run: why its lists are as they are."""

from dataclasses import dataclass
from typing import Any

from sidestep.data.splits import SplitName
from sidestep.evaluation.prefix_quality import PrefixQuality
from sidestep.evaluation.search_quality import SearchQuality


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Diagnosis of one run.

    run: folder of the run, as it was given.
    likelihood_weight: λ that the searches were given, one for all levels or one per level; None
        if each search has its own.
    prefixes: quality of the scores of prefixes; None for sets of codes, which have no prefixes.
    searches: quality of the searches of the width that was asked for.
    candidate_sets: quality of the searches for candidate sets of other sizes.
    """

    run: str
    dataset: str
    split: SplitName
    likelihood_weight: float | tuple[float, ...] | None
    prefixes: PrefixQuality | None
    searches: tuple[SearchQuality, ...]
    candidate_sets: tuple[SearchQuality, ...]

    def as_json(self) -> dict[str, Any]:
        """The diagnosis as plain dictionaries and numbers."""
        return {
            "run": self.run,
            "dataset": self.dataset,
            "split": self.split,
            "likelihood_weight": self.likelihood_weight,
            "prefixes": None if self.prefixes is None else self.prefixes.as_json(),
            "searches": [search.as_json() for search in self.searches],
            "candidate_sets": [search.as_json() for search in self.candidate_sets],
        }
