"""The quality of semantic IDs, before any model is trained on them.

The measures use only equality of codes, so that learned, published and hand-made IDs can be
compared. If items have vectors, or users have histories, other measures tell how well the IDs
agree with them. Showing the numbers on a terminal or a page is not part of this module.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sidestep.data.splits import TrainingPart
from sidestep.evaluation.id_collisions import Collisions, Resolution, collisions
from sidestep.metrics.distribution import entropy_bits, gini, perplexity
from sidestep.metrics.information import mutual_information_bits
from sidestep.metrics.semantic_ids import (
    chance_agreement,
    chance_explained_variance,
    explained_variance,
    neighbour_agreement,
    pair_agreement,
    prefix_numbers,
)

ITEMS_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
NUM_NEIGHBOURS = 10

MAX_QUERIES = 20_000
"""Most items whose neighbours are looked up; of a larger catalog, a random sample of this size."""

_QUERIES_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelUse:
    """Use of the codes of one level.

    used: number of codes that at least one item has; `utilisation` is their share of the codebook.
    perplexity: number of codes in equal use that would be as hard to guess, from 1 to the codebook
        size; `evenness` is its share of the codebook.
    largest_share: share of the items that have the most common code.
    gini: Gini coefficient of training interactions over the whole codebook; None without a training
        part.
    """

    level: int
    codebook_size: int
    used: int
    utilisation: float
    perplexity: float
    evenness: float
    largest_share: float
    gini: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of prefixes with pairs of items that belong together.

    share: share of the pairs that belong together whose two items share a prefix.
    chance: the same share of pairs that do not belong together.
    lift: share / chance; None if chance is 0.
    """

    share: float
    chance: float
    lift: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """Shape of the trie at one depth.

    prefixes: number of prefixes.
    items: number of items per prefix, at the quantiles `ITEMS_QUANTILES`.
    mean_children, max_children: number of codes that may follow a prefix; None at the leaves.
    forced: share of prefixes that only one code may follow; None at the leaves.
    """

    prefixes: int
    items: tuple[float, ...]
    mean_children: float | None
    max_children: int | None
    forced: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """Information that a prefix gives about the vectors of its items.

    explained: share of the variance that lies between prefixes, see `explained_variance`. This
        share needs no tokenizer, so IDs of any origin can be compared by it.
    by_chance: the share that would be explained if the IDs were dealt to the items at random.
    codebook_error: squared error of the tokenizer's own reconstruction, relative to the variance;
        never below 1 - explained. None if there is no tokenizer.
    """

    explained: float
    by_chance: float
    codebook_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Balance of the training interactions over the prefixes of one depth.

    gini: Gini coefficient; 0 if all prefixes have equally many interactions.
    perplexity: perplexity of the prefix of an interaction, from 1 to the number of prefixes.
    evenness: perplexity divided by the number of prefixes.
    """

    gini: float
    perplexity: float
    evenness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixDepth:
    """The prefixes of one depth. A part is None without the vectors or interactions it needs.

    neighbours: agreement over pairs of an item and one of its nearest neighbours; the chance is
        that of any two items.
    next_items: agreement over pairs of two different items that follow each other in training; the
        chance is that of two interactions with different items.
    """

    depth: int
    fan_out: FanOut
    reconstruction: Reconstruction | None
    neighbours: Agreement | None
    next_items: Agreement | None
    balance: Balance | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstCode:
    """Difficulty of guessing the first code of the next training item, in bits.

    A flat distribution is hard to predict; a peaked one says little about the item. A history can
    make the code easier to guess. The simplest part of a history is the first code of its last
    item, and `information` measures what that code tells.

    entropy: entropy of the first code of an interaction.
    uniform: the entropy if all codes were equally frequent.
    conditional_entropy: entropy of the first code of an item, given the first code of the item
        before it.
    information: mutual information of these two first codes: entropy over the same pairs minus
        conditional entropy.
    information_by_chance: mutual information that would be measured if items followed each other
        at random.
    """

    uniform: float
    entropy: float
    conditional_entropy: float
    information: float
    information_by_chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IdQuality:
    """Quality of one set of semantic IDs.

    repeats: share of the pairs that follow each other in training whose two items are the same
        item; `next_items` of the depths leaves these pairs out. None if there are no pairs.
    first_code: None if no user has two training interactions in a row.
    """

    codebook_sizes: tuple[int, ...]
    levels: tuple[LevelUse, ...]
    collisions: Collisions
    depths: tuple[PrefixDepth, ...]
    repeats: float | None
    first_code: FirstCode | None

    def as_json(self) -> dict[str, Any]:
        """The quality as plain dictionaries and numbers."""
        return asdict(self)

    def numbers(self) -> dict[str, float]:
        """The main numbers by name, for a comparison with the metrics of trained models."""
        found: dict[str, float | None] = {"distinct IDs": self.collisions.distinct}
        for level in self.levels:
            found[f"perplexity@{level.level}"] = level.perplexity
        for depth in self.depths:
            at = f"@{depth.depth}"
            found[f"prefixes{at}"] = depth.fan_out.prefixes
            if depth.reconstruction is not None:
                found[f"explained{at}"] = depth.reconstruction.explained
            for name, agreement in (
                ("neighbours", depth.neighbours),
                ("next items", depth.next_items),
            ):
                if agreement is not None:
                    found[f"{name}{at}"] = agreement.share
                    found[f"{name} lift{at}"] = agreement.lift
            if depth.balance is not None:
                found[f"Gini{at}"] = depth.balance.gini
                found[f"interaction perplexity{at}"] = depth.balance.perplexity
        if self.first_code is not None:
            first = self.first_code
            found["first code entropy"] = first.entropy
            found["first code conditional entropy"] = first.conditional_entropy
            found["first code information"] = first.information - first.information_by_chance
        return {name: float(value) for name, value in found.items() if value is not None}


def id_quality(
    semantic_ids: Int[np.ndarray, "items levels"],
    codebook_sizes: tuple[int, ...],
    *,
    training: TrainingPart | None = None,
    vectors: Float[np.ndarray, "rows dim"] | None = None,
    reconstructions: Iterable[Float[np.ndarray, "items dim"]] = (),
    window: int = 1,
    num_neighbours: int = NUM_NEIGHBOURS,
    resolution: Resolution | None = None,
) -> IdQuality:
    """Measures semantic IDs.

    Args:
        semantic_ids: row i is item i; at least one item, every code within its codebook.
        codebook_sizes: number of codes of each level.
        training: the training part. Validation and test rows must not shape the choice of IDs.
        vectors: one per item. An item with a vector of zeros, about which nothing is known, has no
            neighbours and is no neighbour of another item.
        reconstructions: the tokenizer's reconstructions of the vectors from the first b codes, for
            b from 1 on; empty if there are none.
        window: two items belong together if they are at most so many places apart in a training
            sequence.
        num_neighbours: number of nearest neighbours of each item.
        resolution: how collisions were resolved; None if not known.

    Raises:
        ValueError: parts are not of the same items, or a number is below 1.
    """
    num_items = len(semantic_ids)
    _check(num_items, training, vectors, window=window, num_neighbours=num_neighbours)
    prefixes = prefix_numbers(semantic_ids)
    interactions = None
    if training is not None and len(training.histories.items):
        interactions = np.bincount(training.histories.items, minlength=num_items)
    neighbours = _neighbours(vectors, prefixes, num_neighbours)
    next_items = []
    if training is not None and interactions is not None:
        next_items = _next_items(training, interactions, prefixes, window)
    reconstruction = _reconstruction(vectors, prefixes, reconstructions)
    depths = tuple(
        PrefixDepth(
            depth=index + 1,
            fan_out=_fan_out(prefixes, index),
            reconstruction=reconstruction[index] if reconstruction else None,
            neighbours=neighbours[index] if neighbours else None,
            next_items=next_items[index] if next_items else None,
            balance=_balance(prefixes[:, index], interactions),
        )
        for index in range(prefixes.shape[1])
    )
    return IdQuality(
        codebook_sizes=codebook_sizes,
        levels=tuple(
            _level_use(level, codes, size, interactions)
            for level, (codes, size) in enumerate(
                zip(semantic_ids.T, codebook_sizes, strict=True), start=1
            )
        ),
        collisions=collisions(prefixes[:, -1], interactions, resolution=resolution),
        depths=depths,
        repeats=None if training is None else _repeats(training, window),
        first_code=_first_code(training, semantic_ids[:, 0], codebook_sizes[0]),
    )


def _level_use(
    level: int,
    codes: Int[np.ndarray, " items"],
    codebook_size: int,
    interactions: Int[np.ndarray, " items"] | None,
) -> LevelUse:
    counts = np.bincount(codes, minlength=codebook_size)
    used = int((counts > 0).sum())
    difficulty = perplexity(counts)
    inequality = None
    if interactions is not None:
        per_code = np.bincount(codes, weights=interactions, minlength=codebook_size)
        inequality = gini(per_code.astype(np.int64))
    return LevelUse(
        level=level,
        codebook_size=codebook_size,
        used=used,
        utilisation=used / codebook_size,
        perplexity=difficulty,
        evenness=difficulty / codebook_size,
        largest_share=float(counts.max() / len(codes)),
        gini=inequality,
    )


def _fan_out(prefixes: Int[np.ndarray, "items levels"], index: int) -> FanOut:
    items = np.bincount(prefixes[:, index])
    children = None
    if index + 1 < prefixes.shape[1]:
        # The parent of a prefix is the parent of any item below that prefix, at this depth.
        _, any_item = np.unique(prefixes[:, index + 1], return_index=True)
        children = np.bincount(prefixes[any_item, index])
    return FanOut(
        prefixes=len(items),
        items=tuple(np.quantile(items, ITEMS_QUANTILES).tolist()),
        mean_children=None if children is None else float(children.mean()),
        max_children=None if children is None else int(children.max()),
        forced=None if children is None else float((children == 1).mean()),
    )


def _balance(
    groups: Int[np.ndarray, " items"], interactions: Int[np.ndarray, " items"] | None
) -> Balance | None:
    if interactions is None:
        return None
    counts = np.bincount(groups, weights=interactions).astype(np.int64)
    difficulty = perplexity(counts)
    return Balance(gini=gini(counts), perplexity=difficulty, evenness=difficulty / len(counts))


def _neighbours(
    vectors: Float[np.ndarray, "items dim"] | None,
    prefixes: Int[np.ndarray, "items levels"],
    k: int,
) -> list[Agreement]:
    if vectors is None:
        return []
    is_known = vectors.any(axis=1)
    if is_known.sum() < 2:
        return []
    known = prefix_numbers(prefixes[is_known])
    queries = np.arange(len(known))
    if len(known) > MAX_QUERIES:
        generator = np.random.default_rng(_QUERIES_SEED)
        queries = generator.choice(len(known), size=MAX_QUERIES, replace=False)
    shares = neighbour_agreement(vectors[is_known], known, k=k, queries=queries)
    return _agreements(shares, chance_agreement(known, np.ones(len(known), dtype=np.int64)))


def _next_items(
    training: TrainingPart,
    interactions: Int[np.ndarray, " items"],
    prefixes: Int[np.ndarray, "items levels"],
    window: int,
) -> list[Agreement]:
    first, second = _pairs(training, window)
    is_other = first != second  # an item shares every code with itself, whatever the codes
    if not is_other.any():
        return []
    shares = pair_agreement(first[is_other], second[is_other], prefixes)
    return _agreements(shares, chance_agreement(prefixes, interactions))


def _repeats(training: TrainingPart, window: int) -> float | None:
    """Share of the pairs that follow each other in training whose two items are the same item."""
    first, second = _pairs(training, window)
    return float((first == second).mean()) if len(first) else None


def _agreements(
    shares: Float[np.ndarray, " levels"], chances: Float[np.ndarray, " levels"]
) -> list[Agreement]:
    return [
        Agreement(share=share, chance=chance, lift=share / chance if chance else None)
        for share, chance in zip(shares.tolist(), chances.tolist(), strict=True)
    ]


def _first_code(
    training: TrainingPart | None, first_codes: Int[np.ndarray, " items"], codebook_size: int
) -> FirstCode | None:
    if training is None:
        return None
    # Repeated items count here: a repeated item is a next item too.
    before, after = (first_codes[items] for items in _pairs(training, 1))
    if len(before) == 0:
        return None
    information, chance = mutual_information_bits(before, after)
    return FirstCode(
        uniform=float(np.log2(codebook_size)),
        entropy=entropy_bits(np.bincount(first_codes[training.histories.items])),
        conditional_entropy=entropy_bits(np.bincount(after)) - information,
        information=information,
        information_by_chance=chance,
    )


def _pairs(
    training: TrainingPart, window: int
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """All pairs of items of one user at most `window` places apart, the earlier item first."""
    histories = training.histories
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    firsts, seconds = [], []
    for distance in range(1, window + 1):
        is_pair = users[:-distance] == users[distance:]
        firsts.append(histories.items[:-distance][is_pair])
        seconds.append(histories.items[distance:][is_pair])
    return np.concatenate(firsts), np.concatenate(seconds)


def _reconstruction(
    vectors: Float[np.ndarray, "items dim"] | None,
    prefixes: Int[np.ndarray, "items levels"],
    reconstructions: Iterable[Float[np.ndarray, "items dim"]],
) -> list[Reconstruction]:
    """Reconstruction by depth; empty without vectors, or if all vectors are equal."""
    explained = None if vectors is None else explained_variance(vectors, prefixes)
    if vectors is None or explained is None:
        return []
    variance = float(np.square(vectors - vectors.mean(axis=0), dtype=np.float64).sum())
    errors: list[float | None] = [
        float(np.square(vectors - made, dtype=np.float64).sum()) / variance
        for made in reconstructions
    ]
    return [
        Reconstruction(explained=share, by_chance=chance, codebook_error=error)
        for share, chance, error in zip(
            explained.tolist(),
            chance_explained_variance(prefixes).tolist(),
            errors or [None] * len(explained),
            strict=True,
        )
    ]


def _check(
    num_items: int,
    training: TrainingPart | None,
    vectors: Float[np.ndarray, "rows dim"] | None,
    *,
    window: int,
    num_neighbours: int,
) -> None:
    if vectors is not None and len(vectors) != num_items:
        raise ValueError(
            f"{len(vectors)} vectors for {num_items} semantic IDs; give the vectors of these items."
        )
    if training is not None and training.histories.items.max(initial=0) >= num_items:
        raise ValueError(
            f"training names item {training.histories.items.max()}, but there are semantic IDs for "
            f"{num_items}; give the training part of this catalog."
        )
    if window < 1 or num_neighbours < 1:
        raise ValueError(
            f"window and num_neighbours must be at least 1, got {window} and {num_neighbours}."
        )
