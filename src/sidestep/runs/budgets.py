"""Budgets of searches: what grows with the budget, and the ceiling that a search is held against.

A new search is entered in `AXES`, and nowhere else, for `sidestep scale` to sweep it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.search_names import NUM_BEAMS, SearchName, Value, Weights
from sidestep.runs.searches import AskedSearch, can_search

with imported_when_used():
    from sidestep.bundle import loaded as bundles
    from sidestep.search import budget, ved


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAxis:
    """The way a search grows with its budget.

    at: makes the search with so many times the smallest budget, which is that of a beam as wide.
    words: the budget in words, such as "K = 100".
    ceiling: the search that ranks every item by the score of this one; None where there is none.
    has_weight: whether the search weighs log π against something else.
    """

    at: Callable[[AskedSearch, int], AskedSearch]
    words: Callable[[AskedSearch], str]
    ceiling: SearchName | None
    has_weight: bool


def _wider(asked: AskedSearch, times: int) -> AskedSearch:
    return replace(asked, beams=times * (asked.beams or NUM_BEAMS))


def _more_candidates(asked: AskedSearch, times: int) -> AskedSearch:
    beams = asked.beams or NUM_BEAMS
    return replace(asked, beams=beams, candidates=times * beams)


def _guided(ceiling: SearchName | None) -> BudgetAxis:
    """K+ grows while K stays, as in PROMISE (arXiv:2601.04674), Fig. 4."""
    return BudgetAxis(
        at=_more_candidates,
        words=lambda asked: f"K+ = {asked.candidates}",
        ceiling=ceiling,
        has_weight=True,
    )


def _more_tokens(asked: AskedSearch, times: int) -> AskedSearch:
    return replace(asked, budget=times)


AXES: Mapping[SearchName, BudgetAxis] = {
    "beam": BudgetAxis(
        at=_wider,
        words=lambda asked: f"K = {asked.beams}",
        ceiling="exhaustive",
        has_weight=False,
    ),
    "item-beam": _guided("exhaustive-item"),
    "prm-beam": _guided("exhaustive-prm"),
    "value-beam": _guided(None),
    "ved": BudgetAxis(
        at=_more_tokens,
        words=lambda asked: f"{asked.budget} × tokens of K = {asked.beams}",
        ceiling=None,
        has_weight=False,
    ),
    "sampling": BudgetAxis(
        at=_wider,
        words=lambda asked: f"K = {asked.beams}",
        ceiling="exhaustive",
        has_weight=False,
    ),
}
"""The searches that have a budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetedSearch:
    """A search at one budget, or a ceiling, which has no budget."""

    asked: AskedSearch
    words: str


def any_weighs(names: Iterable[SearchName]) -> bool:
    """Whether one of the searches weighs log π against something else."""
    return any(AXES[name].has_weight for name in names)


def searches_of(loaded: bundles.LoadedRecommender) -> list[SearchName]:
    """The searches with a budget that a bundle has all parts for."""
    return [name for name in AXES if can_search(name, loaded)]


def budgeted(
    name: SearchName, times: int, *, beams: int, weight: Weights | None, num_levels: int
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
    axis = AXES[name]
    smallest = AskedSearch(
        name=name,
        beams=beams,
        likelihood_weight=weight if axis.has_weight else None,
        options=_warm_start(beams, num_levels) if name == "ved" else {},
    )
    asked = axis.at(smallest, times)
    return BudgetedSearch(asked=asked, words=axis.words(asked))


def _warm_start(beams: int, num_levels: int) -> dict[str, Value]:
    """The setting that makes the warm start of value-guided decoding fit the smallest budget.

    The setting is the same at all budgets, so that nothing but the budget grows along the curve.
    """
    tokens = budget.Budget(num_beams=beams).tokens(num_levels)
    widest = (tokens - 2) // num_levels  # one token must be left to search with
    if widest < 1:
        raise ValueError(
            f"--beams {beams}: ved needs at least {num_levels + 2} tokens of {num_levels} codes, "
            f"and a beam as wide spends {tokens}; raise it, or leave ved out of --searches."
        )
    return {"warm_width": widest} if widest < ved.ValueGuidedDecoding().warm_width else {}


def ceiling_of(name: SearchName, *, weight: Weights | None) -> BudgetedSearch | None:
    """The exhaustive search that ranks every item by the score of a search; None without one."""
    axis = AXES[name]
    if axis.ceiling is None:
        return None
    asked = AskedSearch(name=axis.ceiling, likelihood_weight=weight if axis.has_weight else None)
    return BudgetedSearch(asked=asked, words="every item")
