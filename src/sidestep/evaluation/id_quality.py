"""The quality of semantic IDs, before any model is trained on them.

It reads IDs as names alone, so that learned, published and hand-made ones can be compared; where
items have vectors, and users a past, it says how well the IDs agree with them. What the numbers
look like on a terminal or a page is not here.
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
"""Items whose neighbours are looked up; of more, so many evenly spaced random ones."""

_QUERIES_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelUse:
    """How one level uses its codes.

    used: codes that some item has; `utilisation` is their share of the codebook.
    perplexity: so many codes in equal use would be as hard to guess, from 1 to the codebook size;
        `evenness` is its share of the codebook.
    largest_share: of the items, that have the most common code.
    gini: of training interactions over the whole codebook; None without a training part.
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
    """How often two items that belong together share a prefix.

    share: of pairs that belong together; `chance` of pairs that do not; `lift` is share / chance,
        None where chance has none.
    """

    share: float
    chance: float
    lift: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """What the trie looks like at one depth.

    prefixes: how many there are.
    items: per prefix, at the quantiles `ITEMS_QUANTILES`.
    mean_children, max_children: codes that may follow; None at the leaves.
    forced: share of prefixes that only one code may follow; None at the leaves.
    """

    prefixes: int
    items: tuple[float, ...]
    mean_children: float | None
    max_children: int | None
    forced: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """How much of the items' vectors is known when a prefix is.

    explained: share of the variance between prefixes, see `explained_variance`; needs the IDs
        alone, and so compares IDs of any origin.
    by_chance: the same if the IDs were dealt to the items at random.
    codebook_error: squared error of the tokenizer's own reconstruction, relative to the variance;
        never below 1 - explained. None where there is no tokenizer.
    """

    explained: float
    by_chance: float
    codebook_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """How training interactions spread over the prefixes of one depth.

    gini: 0 if every prefix has as many.
    perplexity: of an interaction's prefix, from 1 to the number of prefixes; `evenness` is its
        share of that.
    """

    gini: float
    perplexity: float
    evenness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixDepth:
    """The prefixes of one depth; parts are None without the vectors or interactions they need.

    neighbours: pairs of an item and one of its nearest neighbours; chance is any two items.
    next_items: pairs of two different items that follow each other in training; chance is two
        interactions with different items.
    """

    depth: int
    fan_out: FanOut
    reconstruction: Reconstruction | None
    neighbours: Agreement | None
    next_items: Agreement | None
    balance: Balance | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstCode:
    """How hard the first code of the next training item is to guess, in bits.

    A flat distribution is hard to predict, a peaked one says little of the item; what a history can
    do about it begins with what the last item's first code tells.

    entropy: of the first code of an interaction; `uniform` if all codes were as frequent.
    conditional_entropy: of an item's first code when the first code of the item before is known.
    information: what that tells, the difference to the entropy over the same pairs.
    information_by_chance: what it would seem to tell if items followed each other at random.
    """

    uniform: float
    entropy: float
    conditional_entropy: float
    information: float
    information_by_chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IdQuality:
    """Everything that is measured on one set of semantic IDs.

    repeats: share of what follows in training that is the item itself, which `next_items` of the
        depths leave out; None where nothing follows.
    first_code: None without two training interactions in a row.
    """

    codebook_sizes: tuple[int, ...]
    levels: tuple[LevelUse, ...]
    collisions: Collisions
    depths: tuple[PrefixDepth, ...]
    repeats: float | None
    first_code: FirstCode | None

    def as_json(self) -> dict[str, Any]:
        """The same as plain dictionaries and numbers."""
        return asdict(self)

    def numbers(self) -> dict[str, float]:
        """The main numbers by name, to be set beside what trained models reach."""
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
        codebook_sizes: codes per level.
        training: what may be learned from; a validation or test row must not shape the choice of
            IDs.
        vectors: one per item. Items with a vector of zeros, of which nothing is known, have no
            neighbours and are none.
        reconstructions: what the tokenizer makes of the first b codes, for b from 1; or nothing.
        window: items at most so far apart in a training sequence belong together.
        num_neighbours: nearest neighbours of each item.
        resolution: how collisions were resolved, where that is known.

    Raises:
        ValueError: parts that are not of the same items, or a number below 1.
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
        # The parent of a prefix is that of any item below it.
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
    is_other = first != second  # an item and itself share every code, whatever the codes
    if not is_other.any():
        return []
    shares = pair_agreement(first[is_other], second[is_other], prefixes)
    return _agreements(shares, chance_agreement(prefixes, interactions))


def _repeats(training: TrainingPart, window: int) -> float | None:
    """The share of pairs that follow each other in training and are of one item."""
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
    # Repeated items count here: they too are what comes next.
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
    """Every two items of one user at most `window` places apart, the earlier one first."""
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
    """By depth; nothing without vectors, or where all of them are equal."""
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
