"""A diagnosis: everything that was found behind the lists of one run."""

from dataclasses import dataclass
from typing import Any

from sidestep.evaluation.prefix_quality import PrefixQuality
from sidestep.evaluation.results import SplitName
from sidestep.evaluation.search_quality import SearchQuality


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found of one run.

    run: its folder, as it was given.
    searches: of the width that was asked for.
    candidate_sets: of searches for sets of another size.
    """

    run: str
    dataset: str
    split: SplitName
    prefixes: PrefixQuality
    searches: tuple[SearchQuality, ...]
    candidate_sets: tuple[SearchQuality, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as plain dictionaries and numbers."""
        return {
            "run": self.run,
            "dataset": self.dataset,
            "split": self.split,
            "prefixes": self.prefixes.as_json(),
            "searches": [search.as_json() for search in self.searches],
            "candidate_sets": [search.as_json() for search in self.candidate_sets],
        }
