"""Collisions: items that share their whole semantic ID, and how much they inflate a wrong count.

Resolving collisions, when IDs are made, is the task of `sidestep.tokenizer`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from sidestep.metrics import ties

_CUTOFFS = (1, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """Best metric within reach: that of a recommender that always ranks the target's ID first.

    If a shared ID counts as one hit, this recommender reaches 1. But it cannot tell the items of a
    bucket apart; `honest` is the metric that it really reaches. `inflation` is 1 / honest.
    """

    metric: str
    honest: float
    inflation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Resolution of the collisions when the IDs were made.

    policy: `reassign` gave items another last code than the nearest; `extra` added a last code
        that numbers the items of each bucket; `none` kept the collisions.
    items: number of items that got another last code, or a number above 0. The last code of such
        an item says nothing about the item, or less than its own code would.
    """

    policy: Literal["reassign", "extra", "none"]
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collisions:
    """Items that share their whole ID with others.

    distinct: number of different IDs.
    buckets: number of IDs, by the number of items that have the ID.
    largest: number of items of the largest bucket.
    shared_items: share of the items that are not alone in their bucket.
    shared_interactions: share of the training interactions with items that are not alone in their
        bucket; None without training.
    random_inflation: factor on the hit rates of a random ranking of IDs if a shared ID counts as
        one hit. It is the number of items per ID.
    ceilings: best metrics within reach. Targets are weighted as in training, or evenly without a
        training part.
    resolution: how collisions were resolved; None if not known.
    """

    items: int
    distinct: int
    buckets: dict[int, int]
    largest: int
    shared_items: float
    shared_interactions: float | None
    random_inflation: float
    ceilings: tuple[Ceiling, ...]
    resolution: Resolution | None = None

    def in_words(self) -> str:
        """Tells how much collisions inflate a wrong count, and how they were resolved.

        An ID that only one item has inflates no metric. But the item may have got it by a resolved
        collision.
        """
        if self.distinct == self.items:
            own = "Every item has an ID of its own, so that no metric is inflated."
            return f"{own} {self._resolution_in_words()}"
        first = self.ceilings[0]
        return (
            f"{self.items - self.distinct:,} items too many for their IDs. If a shared ID counted "
            f"as one hit, a recommender that always names the right ID would be credited with "
            f"{first.metric} 1.000 for {first.honest:.3f} (× {first.inflation:.3f}), and a random "
            f"ranking with hit rates × {self.random_inflation:.3f}."
        )

    def _resolution_in_words(self) -> str:
        if self.resolution is None:
            return "How many items were moved for that, these IDs do not say."
        moved = self.resolution.items
        if moved == 0:
            return "No item was moved for that."
        told = f"{moved:,} of {self.items:,} items ({moved / self.items:.1%})"
        if self.resolution.policy == "extra":
            return (
                f"For that {told} are told from others by a number, their last code, which says "
                "nothing of them."
            )
        return (
            f"For that {told} got another last code than their own, which others have: it says "
            "less of them."
        )


def collisions(
    leaf_of: Int[np.ndarray, " items"],
    interactions: Int[np.ndarray, " items"] | None = None,
    *,
    resolution: Resolution | None = None,
) -> Collisions:
    """Counts shared IDs, and how much they inflate a metric that counts a shared ID as one hit.

    Args:
        leaf_of: the leaf of each item, numbered from 0 without gaps.
        interactions: number of interactions of each item; None weights all targets evenly.
        resolution: how collisions were resolved; None if not known.
    """
    sizes = np.bincount(leaf_of)
    bucket_size = sizes[leaf_of]
    weights = np.ones(len(leaf_of), dtype=np.int64) if interactions is None else interactions
    first = np.zeros_like(bucket_size)
    ceilings = []
    for name, metric in (("HR", ties.hit_rate), ("NDCG", ties.ndcg)):
        for cutoff in _CUTOFFS:
            if (name, cutoff) != ("NDCG", 1):  # the same as HR@1
                values = metric(first, bucket_size, cutoff)
                honest = float(np.average(values, weights=weights))
                ceilings.append(
                    Ceiling(metric=f"{name}@{cutoff}", honest=honest, inflation=1 / honest)
                )
    is_shared = bucket_size > 1
    counted = np.bincount(sizes)
    return Collisions(
        items=len(leaf_of),
        distinct=len(sizes),
        buckets={int(size): int(counted[size]) for size in np.flatnonzero(counted)},
        largest=int(sizes.max()),
        shared_items=float(is_shared.mean()),
        shared_interactions=(
            None if interactions is None else float(np.average(is_shared, weights=interactions))
        ),
        random_inflation=len(leaf_of) / len(sizes),
        ceilings=tuple(ceilings),
        resolution=resolution,
    )
