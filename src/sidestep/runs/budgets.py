"""Budgets of searches: the setting that grows with the budget, and the ceiling of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.search_text import Weights
from sidestep.runs.searches import NUM_BEAMS, AskedSearch, can_search
from sidestep.search.specs import SPECS, SharedSetting

with imported_when_used():
    from sidestep.bundle import loaded as bundles


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAxis:
    """The way a search grows with its budget.

    at: makes the search with so many times the smallest budget, which is that of a beam as wide.
    words: the budget in words, such as "K = 100".
    """

    at: Callable[[AskedSearch, int], AskedSearch]
    words: Callable[[AskedSearch], str]


def _wider(asked: AskedSearch, times: int) -> AskedSearch:
    return replace(asked, beams=times * (asked.beams or NUM_BEAMS))


def _more_candidates(asked: AskedSearch, times: int) -> AskedSearch:
    """K+ grows while K stays, as in PROMISE (arXiv:2601.04674), Fig. 4."""
    beams = asked.beams or NUM_BEAMS
    return replace(asked, beams=beams, candidates=times * beams)


def _more_tokens(asked: AskedSearch, times: int) -> AskedSearch:
    return replace(asked, budget=times)


_AXES: Mapping[SharedSetting, BudgetAxis] = {
    "beams": BudgetAxis(at=_wider, words=lambda asked: f"K = {asked.beams}"),
    "candidates": BudgetAxis(at=_more_candidates, words=lambda asked: f"K+ = {asked.candidates}"),
    "budget": BudgetAxis(
        at=_more_tokens, words=lambda asked: f"{asked.budget} × tokens of K = {asked.beams}"
    ),
}
"""The axis of each setting that grows, see `SearchSpec.grows`."""


def with_budget() -> list[str]:
    """The names of the searches that have a budget."""
    return [spec.name for spec in SPECS.values() if spec.grows is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetedSearch:
    """A search at one budget, or a ceiling, which has no budget."""

    asked: AskedSearch
    words: str


def any_weighs(names: Iterable[str]) -> bool:
    """Whether one of the searches weighs log π against something else."""
    return any("likelihood_weight" in SPECS[name].reads for name in names)


def searches_of(loaded: bundles.LoadedRecommender) -> list[str]:
    """The searches with a budget that a bundle has all parts for."""
    return [name for name in with_budget() if can_search(name, loaded)]


def budgeted(
    name: str, times: int, *, beams: int, weight: Weights | None, num_levels: int
) -> BudgetedSearch:
    """A search at so many times its smallest budget.

    Args:
        name: of the search.
        times: the factor.
        beams: K, of the smallest.
        weight: λ, for searches that have one; None is their default.
        num_levels: of the semantic IDs.

    Raises:
        ValueError: the smallest budget is too small for the search.
    """
    spec = SPECS[name]
    assert spec.grows is not None, "the search has a budget"
    axis = _AXES[spec.grows]
    # The options are the same at all budgets, so that nothing but the budget grows along the curve.
    smallest = AskedSearch(
        name=name,
        beams=beams,
        likelihood_weight=weight if any_weighs([name]) else None,
        options={} if spec.fitted is None else spec.fitted(beams, 1, num_levels),
    )
    asked = axis.at(smallest, times)
    return BudgetedSearch(asked=asked, words=axis.words(asked))


def ceiling_of(name: str, *, weight: Weights | None) -> BudgetedSearch | None:
    """The exhaustive search that ranks every item by the score of a search; None without one."""
    ceiling = SPECS[name].ceiling
    if ceiling is None:
        return None
    asked = AskedSearch(name=ceiling, likelihood_weight=weight if any_weighs([ceiling]) else None)
    return BudgetedSearch(asked=asked, words="every item")
