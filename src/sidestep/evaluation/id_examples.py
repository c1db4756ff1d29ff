"""Semantic IDs in words: examples that show a reader what the items of a prefix have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int


@dataclass(frozen=True, slots=True, kw_only=True)
class WordedPrefix:
    """A prefix and some of its items.

    items: the most popular items of the prefix, in words; `num_items` counts all its items.
    """

    codes: tuple[int, ...]
    num_items: int
    items: tuple[str, ...]

    @property
    def title(self) -> str:
        """The codes, and the number of items that have them."""
        codes = " ".join(map(str, self.codes))
        return f"{codes} · {self.num_items:,} {'item' if self.num_items == 1 else 'items'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One code on the way from the root to an item.

    chosen: the prefix of the item.
    others: the largest of the other prefixes that differ in the last code only; `num_others`
        counts all of them.
    """

    chosen: WordedPrefix
    others: tuple[WordedPrefix, ...]
    num_others: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdExamples:
    """Examples of one set of semantic IDs.

    largest: the prefixes of depth 1 with the most items.
    random: random prefixes of depth 1.
    deeper: random prefixes of depth 2 with at least two items; none where there are none.
    item: the item whose path is shown.
    way: the steps from the root to the item, from depth 1 on.
    """

    largest: tuple[WordedPrefix, ...]
    random: tuple[WordedPrefix, ...]
    deeper: tuple[WordedPrefix, ...]
    item: str
    way: tuple[Step, ...]


def id_examples(
    semantic_ids: Int[np.ndarray, "items levels"],
    words: Sequence[str],
    popularity: Int[np.ndarray, " items"],
    *,
    item: int | None = None,
    seed: int = 0,
    num_prefixes: int = 3,
    num_items: int = 5,
) -> IdExamples:
    """Chooses prefixes, and names their items in words.

    Args:
        semantic_ids: row i is item i; at least one item.
        words: name of each item.
        popularity: popularity of each item. The items of a prefix are shown in the order of their
            popularity, the largest first.
        item: the item whose path is shown; None takes the most popular item.
        seed: seed of the random prefixes.
        num_prefixes: number of prefixes of each kind.
        num_items: number of items that are shown of each prefix.
    """
    shown = _Shown(semantic_ids, words, np.argsort(-popularity, kind="stable"), num_items)
    generator = np.random.default_rng(seed)
    first = list(shown.prefixes(1))
    shared = [codes for codes, count in shown.prefixes(2).items() if count > 1]
    if item is None:
        item = int(shown.order[0])
    return IdExamples(
        largest=tuple(map(shown.worded, first[:num_prefixes])),
        random=tuple(map(shown.worded, _some(first[num_prefixes:], num_prefixes, generator))),
        deeper=tuple(map(shown.worded, _some(shared, num_prefixes, generator))),
        item=words[item],
        way=tuple(
            shown.step(tuple(semantic_ids[item, :depth].tolist()), num_prefixes)
            for depth in range(1, semantic_ids.shape[1] + 1)
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """The items, their names, the order in which they are shown, and how many are shown."""

    semantic_ids: Int[np.ndarray, "items levels"]
    words: Sequence[str]
    order: Int[np.ndarray, " items"]
    num_items: int

    def has(self, codes: tuple[int, ...]) -> Bool[np.ndarray, " items"]:
        """Tells for every item whether its semantic ID starts with these codes."""
        is_under: np.ndarray = (self.semantic_ids[:, : len(codes)] == codes).all(axis=1)
        return is_under

    def worded(self, codes: tuple[int, ...]) -> WordedPrefix:
        """The prefix in words."""
        items = self.order[self.has(codes)[self.order]]
        return WordedPrefix(
            codes=codes,
            num_items=len(items),
            items=tuple(self.words[item] for item in items[: self.num_items]),
        )

    def prefixes(self, depth: int, under: tuple[int, ...] = ()) -> dict[tuple[int, ...], int]:
        """Number of items of every prefix of a depth below the prefix `under`.

        The largest come first; equal ones are in the order of their codes.
        """
        if depth > self.semantic_ids.shape[1]:
            return {}
        codes, counts = np.unique(
            self.semantic_ids[self.has(under), :depth], axis=0, return_counts=True
        )
        order = np.argsort(-counts, kind="stable")
        return dict(zip(map(tuple, codes[order].tolist()), counts[order].tolist(), strict=True))

    def step(self, chosen: tuple[int, ...], num_others: int) -> Step:
        """The last code of a prefix, and the codes that could stand in its place."""
        others = [codes for codes in self.prefixes(len(chosen), chosen[:-1]) if codes != chosen]
        return Step(
            chosen=self.worded(chosen),
            others=tuple(map(self.worded, others[:num_others])),
            num_others=len(others),
        )


def _some(
    prefixes: list[tuple[int, ...]], num: int, generator: np.random.Generator
) -> list[tuple[int, ...]]:
    """`num` random prefixes, or all if there are fewer."""
    chosen = generator.permutation(len(prefixes))[:num]
    return [prefixes[row] for row in chosen]
