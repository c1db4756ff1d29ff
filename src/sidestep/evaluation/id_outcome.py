"""Effects of semantic IDs on a trained model, measured on the lists of each user."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from sidestep.evaluation.results import PerUser
from sidestep.metrics import ranking, ties
from sidestep.padding import NO_ITEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Inflation:
    """A metric of one run, counted in two ways: by expectation over ties, and by IDs.

    By IDs, each shared ID counts as one hit.
    """

    honest: float
    as_one_hit: float


def one_hit_inflation(
    run: PerUser, semantic_ids: Int[np.ndarray, "items levels"], *, k: int = 10
) -> dict[str, Inflation]:
    """HR@k and NDCG@k of a run as they would be if the target's whole bucket counted as one hit.

    Metrics of IDs with collisions are often reported in this way: a list of k IDs hits if the
    target's ID is among them, however many items have that ID. A list here holds items. If the
    items of a list have fewer than k IDs, the inflated number is a lower bound.

    Args:
        run: any searched run.
        semantic_ids: the semantic ID of every item of the catalog of the run.
        k: the cut-off, at most the length of the lists.
    """
    _check(run, k)
    places = _leaf_places(run, semantic_ids)
    start = run.rank_before.clip(min=0)
    end = (start + run.num_tied).clip(max=run.k) - 1
    users = np.arange(len(places))
    first, last = places[users, start], places[users, end]
    rank = np.where(run.rank_before == ties.NOT_LISTED, ties.NOT_LISTED, first)
    tied_ids = last - first + 1  # more than one where several IDs have the target's score
    return {
        f"{name}@{k}": Inflation(
            honest=float(metric(run.rank_before, run.num_tied, k).mean()),
            as_one_hit=float(metric(rank, tied_ids, k).mean()),
        )
        for name, metric in (("HR", ties.hit_rate), ("NDCG", ties.ndcg))
    }


def prefix_recall(
    run: PerUser, semantic_ids: Int[np.ndarray, "items levels"], *, k: int = 10
) -> list[float]:
    """HRecall@b@k of a run, by depth b: share of rows with the target's prefix in k leaves.

    The k leaves are the best of a list.
    The evaluator measures HRecall for k = the length of the lists; this function measures it for a
    smaller k too. The leaves are found from the items of a list. If the items of a list have fewer
    than k leaves, only these leaves count.

    Args:
        run: any searched run.
        semantic_ids: the semantic ID of every item of the catalog of the run.
        k: number of leaves that count, at most the length of the lists.
    """
    _check(run, k)
    is_counted = (run.items != NO_ITEM) & (_leaf_places(run, semantic_ids) < k)
    listed = np.where(is_counted[:, :, None], semantic_ids[run.items.clip(min=0)], -1)
    targets = torch.from_numpy(semantic_ids[run.targets])
    hits = ranking.prefix_hits(torch.from_numpy(listed), targets)
    return [float(share) for share in hits.double().mean(dim=0)]


def _leaf_places(
    run: PerUser, semantic_ids: Int[np.ndarray, "items levels"]
) -> Int[np.ndarray, "users k"]:
    """Number of leaves before the leaf of every entry. The items of a bucket are neighbours."""
    listed = semantic_ids[run.items.clip(min=0)]  # [users, k, levels]
    is_next = np.zeros_like(run.items)
    is_next[:, 1:] = (listed[:, 1:] != listed[:, :-1]).any(axis=2)
    return is_next.cumsum(axis=1)


def _check(run: PerUser, k: int) -> None:
    if not 1 <= k <= run.k:
        raise ValueError(f"k must be from 1 to {run.k}, the length of the run's lists, got {k}.")
