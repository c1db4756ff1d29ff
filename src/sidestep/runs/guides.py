"""Guides of searches: the part of a bundle that guides a search, and the guidance of that part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sidestep.import_paths import imported
from sidestep.lazy_imports import imported_when_used
from sidestep.search.config import GuidanceConfig
from sidestep.search.specs import Guide

with imported_when_used():
    from sidestep.bundle import loaded as bundles
    from sidestep.model import heads
    from sidestep.model import semantic_id_model as models
    from sidestep.search import live_item_support, process_reward, scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideRules:
    """The rules of one guide.

    missing: says what the bundle lacks and where to get it; None where nothing is missing.
    guidance: the guidance that the part was trained or attached with; None where there is none.
    scorer: makes the scorer of prefixes; None for a guide without one, such as values. Its second
        argument says whether the first level is left to likelihood.
    ranker_weight: the weight of a ranker in the scores; None where no ranker takes part.
    """

    missing: Callable[[bundles.LoadedRecommender], str | None]
    guidance: Callable[[bundles.LoadedRecommender], GuidanceConfig | None]
    scorer: Callable[[bundles.LoadedRecommender, bool], scorer.PrefixScorer] | None = None
    ranker_weight: Callable[[bundles.LoadedRecommender], float | None] = lambda loaded: None


def own_scorer(path: str, loaded: bundles.LoadedRecommender) -> scorer.PrefixScorer:
    """A user's own scorer of prefixes.

    Args:
        path: the import path of a class with a method `begin`. A class method `of_bundle` makes the
            scorer from the bundle; without it, the class is called without arguments.
        loaded: the bundle that is searched.

    Raises:
        ValueError: there is no such class, or it cannot be made.
    """
    found = imported(path)
    if not isinstance(found, type) or not callable(getattr(found, "begin", None)):
        raise ValueError(
            f"scorer {path}: is no scorer; name a class with a name and a method 'begin', see "
            "sidestep.search.scorer.PrefixScorer."
        )
    try:
        made: scorer.PrefixScorer = (
            found.of_bundle(loaded) if hasattr(found, "of_bundle") else found()
        )
    except TypeError as error:
        raise ValueError(
            f"scorer {path}: {error}; give the class defaults for all arguments, or a class method "
            "'of_bundle' that makes the scorer from the bundle."
        ) from error
    return made


def _no_items(loaded: bundles.LoadedRecommender) -> str | None:
    if loaded.item_scorer is not None or loaded.ranker is not None:
        return None
    return (
        f"is guided by scores of items, and this {loaded.kind} has neither an item head nor a "
        "ranker; train a transformer, or code-sets for a catalog of sets, with model.item_head: "
        "true and objective.item_weight, or put a SASRec beside this one with 'sidestep attach'."
    )


def _no_category_head(loaded: bundles.LoadedRecommender) -> str | None:
    if loaded.category_head is not None:
        return None
    if isinstance(loaded.network, models.SemanticIdModel) and not loaded.network.reads_prefixes:
        return (
            "checks the categories of paths, and this network reads the history alone, so all "
            "paths have one category; align it with --set prefix_queries=true."
        )
    return (
        f"checks the categories of paths, and this {loaded.kind} has no category head; train a "
        "transformer or code-sets with model.category_head, which names a column of the items."
    )


def _no_process_reward(loaded: bundles.LoadedRecommender) -> str | None:
    if loaded.process_reward is not None:
        return None
    return (
        "is guided by a process reward model, and this bundle has none; train one beside it, "
        "with a configuration of kind process-reward, and name that run."
    )


def _no_values(loaded: bundles.LoadedRecommender) -> str | None:
    if loaded.value_use is not None:
        return None
    return (
        "goes by values, and this bundle has no value head; train one beside it, with a "
        "configuration of kind value, and name that run."
    )


def _no_vectors(loaded: bundles.LoadedRecommender) -> str | None:
    if isinstance(loaded.network, heads.HasItemVectors):
        return None
    return (
        f"ranks items by their vectors, and this {loaded.kind} has none; take a run of kind "
        "transformer, t5, code-sets or language-model."
    )


def _item_scorer(
    loaded: bundles.LoadedRecommender, spares_first_level: bool
) -> scorer.PrefixScorer:
    head = loaded.item_scorer
    if spares_first_level and head is not None and loaded.item_ranker is None:
        return live_item_support.LiveItemSupport(head=head)
    support = loaded.item_support
    assert support is not None, "a bundle without scores of items was refused"
    return support


def _process_reward_scorer(
    loaded: bundles.LoadedRecommender, _spares_first_level: bool
) -> scorer.PrefixScorer:
    assert loaded.process_reward is not None
    return process_reward.ProcessReward(network=loaded.process_reward)


_TWICE = GuidanceConfig(candidates_per_beam=2)
"""As many paths again as are kept, since all are shown to the model."""

GUIDES: Mapping[Guide, GuideRules] = {
    "items": GuideRules(
        missing=_no_items,
        guidance=lambda loaded: None if loaded.ranker_use is None else loaded.ranker_use.guidance,
        scorer=_item_scorer,
        ranker_weight=lambda loaded: (
            None if loaded.ranker_use is None else loaded.ranker_use.weight
        ),
    ),
    "process-reward": GuideRules(
        missing=_no_process_reward,
        guidance=lambda loaded: loaded.guidance,
        scorer=_process_reward_scorer,
    ),
    "values": GuideRules(
        missing=_no_values,
        guidance=lambda loaded: None if loaded.value_use is None else loaded.value_use.guidance,
    ),
    "categories": GuideRules(
        missing=_no_category_head,
        guidance=lambda loaded: _TWICE,
    ),
    "vectors": GuideRules(missing=_no_vectors, guidance=lambda loaded: None),
    # The option `scorer` names this one, and `own_scorer` makes it.
    "scorer": GuideRules(missing=lambda loaded: None, guidance=lambda loaded: None),
}
"""The rules of every guide."""
