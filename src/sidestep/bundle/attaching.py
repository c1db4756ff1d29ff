"""Attaching: a ranker of items beside a network, which is trained no further.

The ranker scores all items from the history; a search over semantic IDs sums what it says below
every prefix (`sidestep.search.item_support`), beside what an item head says.
"""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import KeptSearch, differing_data
from sidestep.bundle.networks import Weights, plain_weights
from sidestep.bundle.parts import GRAPH_WEIGHT, PARTS, RANKER, FittedRankerConfig, KeptRanker
from sidestep.catalog.catalog import Catalog
from sidestep.model.config import SasRecConfig
from sidestep.model.sasrec import SasRec
from sidestep.padding import NO_ITEM
from sidestep.search.config import GuidanceConfig


def attach_ranker(
    loaded: LoadedRecommender,
    ranker: LoadedRecommender,
    *,
    weight: float | None = None,
    guidance: GuidanceConfig | None = None,
) -> LoadedRecommender:
    """A copy of a recommender with a ranker beside it, in place of any other ranker.

    A network of semantic IDs recommends by `item-head` from then on, if it has an item head and the
    guidance leaves log π out: head and ranker score every item, so a search over codes would only
    miss some. Else it recommends by `item-beam`.

    Args:
        loaded: a network of semantic IDs, whose searches by items the ranker guides beside the
            item head, if there is one; or a SASRec, to whose scores those of the ranker are added.
        ranker: a bundle of SASRec over the same items, in any order, or of a fitted recommender
            over the same items in the same order, such as the transition graph. It is shown no more
            of a history than the network is.
        weight: of the ranker's scores; more than 0. None: 1 for a SASRec, `GRAPH_WEIGHT` for a
            transition graph.
        guidance: of the search that the ranker guides, unless something else is said. None leaves
            log π out for a fitted ranker beside an item head, and else is the default.

    Raises:
        ValueError: the ranker is neither a SASRec nor fitted, has no usual weight and none is
            given, has a ranker itself, was trained on another dataset or split, whose targets it
            may have seen, knows other items, or reads other codes or other columns of users; or
            `loaded` has no network; or the space of its catalog does not list the items of a
            state, over which the scores of a ranker are summed.
    """
    if loaded.is_searched and not loaded.catalog.lists_items:
        loaded.catalog.refuse_own_space("a ranker beside a network of semantic IDs")
    if ranker.fitted is None and not isinstance(ranker.network, SasRec):
        raise ValueError(
            f"the ranker is {ranker.kind}; name a run or a bundle of kind sasrec or graph."
        )
    if ranker.ranker is not None:
        raise ValueError(
            "the ranker has a ranker beside it, which would be left out; name the run of kind "
            "sasrec that it was attached to."
        )
    if loaded.network is None:
        raise ValueError(
            f"a ranker stands beside a network, and this bundle is {loaded.kind}; name a run of "
            "kind transformer or sasrec."
        )
    _refuse_other_data(loaded, ranker)
    _refuse_other_users(loaded, ranker)
    model, weights = _ranker_of(ranker, loaded.catalog)
    if weight is None:
        weight = _usual_weight(ranker)
    if guidance is None:
        knows_items = ranker.fitted is not None and loaded.item_scorer is not None
        guidance = GuidanceConfig(likelihood_weight=0.0) if knows_items else GuidanceConfig()
    kept = KeptRanker(
        model=model,
        max_history=ranker.max_history,
        weight=weight,
        guidance=guidance,
        trained={"seed": ranker.manifest.seed, **ranker.manifest.training},
        data=ranker.manifest.data,
    )
    network = PARTS[RANKER].build(kept.model, loaded.network, loaded.catalog, weights)
    made = loaded.with_part(RANKER, network.to(loaded.device), kept)
    if made.is_searched:
        made = made.with_search(_kept_search(made, guidance))
    # What answers took both trainings, but no longer that of a ranker that is replaced.
    ours, theirs = (of.manifest.training.get("seconds", 0.0) for of in (loaded, ranker))
    replaced = loaded.ranker_use.trained.get("seconds", 0.0) if loaded.ranker_use else 0.0
    training = {**made.manifest.training, "seconds": ours - replaced + theirs}
    manifest = made.manifest.model_copy(update={"training": training})
    return replace(made, manifest=manifest)


def _kept_search(attached: LoadedRecommender, guidance: GuidanceConfig) -> KeptSearch:
    """The search of a network of semantic IDs with a ranker beside it."""
    weight = guidance.likelihood_weight
    if attached.item_scorer is not None and weight == 0:
        return KeptSearch(name="item-head")
    return KeptSearch(name="item-beam", likelihood_weight=weight)


def _usual_weight(ranker: LoadedRecommender) -> float:
    """The weight of a ranker where none is given."""
    if ranker.fitted is None:
        return 1.0
    if ranker.kind == "graph":
        return GRAPH_WEIGHT
    raise ValueError(
        f"the ranker is {ranker.kind}, and it is not known how large its scores are; give a weight "
        "(--weight), and choose it on validation."
    )


def _ranker_of(
    ranker: LoadedRecommender, catalog: Catalog
) -> tuple[SasRecConfig | FittedRankerConfig, Weights]:
    """The configuration and the weights of a ranker, for the items of a catalog in its order."""
    rows = _rows_of_items(catalog, ranker.catalog)
    if ranker.fitted is not None:
        if not torch.equal(rows, torch.arange(len(rows))):
            raise ValueError(
                f"the ranker is {ranker.kind}, and has the items in another order than the bundle; "
                "fit it on the dataset that the bundle was trained on."
            )
        arrays = ranker.fitted.arrays()
        config = FittedRankerConfig(fitted=ranker.kind, max_history=ranker.max_history)
        return config, {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    assert isinstance(ranker.network, SasRec), "refused before"
    if ranker.network.config.code_embedding:
        _refuse_other_codes(catalog, ranker.catalog, rows)
    weights = plain_weights(ranker.network)
    weights["item_embedding.weight"] = weights["item_embedding.weight"][rows].contiguous()
    return ranker.network.config, weights


def _refuse_other_data(loaded: LoadedRecommender, ranker: LoadedRecommender) -> None:
    ours, theirs = loaded.manifest.data, ranker.manifest.data
    reads_users = loaded.user_columns is not None or ranker.user_columns is not None
    differing = differing_data(ours, theirs, reads_users=reads_users)
    if differing:
        raise ValueError(
            f"the ranker was trained on other data ({theirs.get('name')!r}) than the bundle "
            f"({ours.get('name')!r}): different {' and '.join(differing)}. It may have seen what "
            "it will be judged by; train both on one dataset and split."
        )


def _refuse_other_users(loaded: LoadedRecommender, ranker: LoadedRecommender) -> None:
    ours = None if loaded.network is None else loaded.network.user_columns
    theirs = ranker.user_columns
    if ours is not None and theirs is not None and ours.columns != theirs:
        raise ValueError(
            f"the ranker reads the columns {', '.join(theirs)} of users and the network "
            f"{', '.join(ours.columns)}, or other values of them; train both with the same "
            "model.user_columns, or one of them without."
        )


def _refuse_other_codes(ours: Catalog, theirs: Catalog, rows: Int[Tensor, " items"]) -> None:
    same_sizes = ours.codebook_sizes == theirs.codebook_sizes
    if not same_sizes or not torch.equal(ours.semantic_ids.cpu(), theirs.semantic_ids.cpu()[rows]):
        raise ValueError(
            "the ranker reads the codes of items (model.code_embedding), and its catalog has other "
            "codes than the bundle's; train both with one catalog, or the ranker without "
            "model.code_embedding."
        )


def _rows_of_items(ours: Catalog, theirs: Catalog) -> Int[Tensor, " items"]:
    """The ranker's row of each of our items."""
    rows = theirs.indices_of(ours.ids_of(torch.arange(ours.num_items).numpy()))
    missing = int((rows == NO_ITEM).sum())
    if missing or theirs.num_items != ours.num_items:
        raise ValueError(
            f"the ranker knows {theirs.num_items:,} items and the bundle {ours.num_items:,}, of "
            f"which the ranker lacks {missing:,}; train both on the same items, and append new "
            "ones after attaching."
        )
    return torch.from_numpy(rows).long()
