"""Published semantic IDs: reads the `*.index.json` files that papers release with their code."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from sidestep.files import read_json

_TOKEN = re.compile(r"<([a-z])_(\d{1,9})>")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedIds:
    """Semantic IDs from an index file.

    semantic_ids: one row per item, in the order of the item IDs that were given; int32.
    codebook_sizes: codes per level.
    """

    semantic_ids: Int[np.ndarray, "items levels"]
    codebook_sizes: tuple[int, ...]


def read_published(
    path: Path, item_ids: Sequence[str], *, codebook_sizes: tuple[int, ...] | None = None
) -> PublishedIds:
    """Reads an index file, `{"item": ["<a_113>", "<b_148>", ...], ...}`.

    Args:
        path: the JSON file.
        item_ids: the items to look up; other items of the file are ignored.
        codebook_sizes: codes per level; None takes the smallest sizes that hold every code of the
            file.

    Raises:
        KeyError: an item is not in the file.
        ValueError: the file is malformed or names an item twice, its rows differ in length, or a
            code is too large.
    """
    index = read_json(path)
    if not isinstance(index, dict) or not index:
        raise ValueError(
            f'{path}: expected a JSON object {{"item": ["<a_0>", "<b_0>", ...], ...}}, '
            f"got {'an empty one' if index == {} else type(index).__name__}."
        )
    rows = {item: _codes(path, item, tokens) for item, tokens in index.items()}
    first_item, first = next(iter(rows.items()))
    for item, codes in rows.items():
        if len(codes) != len(first):
            raise ValueError(
                f"{path}: item {item!r} has {len(codes)} codes, but item {first_item!r} has "
                f"{len(first)}; all items of a catalog need the same number of levels."
            )
    missing = [item for item in item_ids if item not in rows]
    if missing:
        raise KeyError(
            f"{path}: no semantic ID for {len(missing)} of {len(item_ids)} items, the first is "
            f"{missing[0]!r}; drop these items from the data or tokenize all of them."
        )
    every_row = np.array(list(rows.values()), dtype=np.int32)
    sizes = tuple(int(size) for size in every_row.max(axis=0) + 1)
    if codebook_sizes is not None:
        _check_sizes(path, sizes, codebook_sizes)
        sizes = codebook_sizes
    wanted = np.array([rows[item] for item in item_ids], dtype=np.int32)
    return PublishedIds(semantic_ids=wanted.reshape(-1, len(sizes)), codebook_sizes=sizes)


def _codes(path: Path, item: str, tokens: Any) -> list[int]:
    """The codes of one item. The letter of a token, a, b, c, ..., is that of its level."""
    if not isinstance(tokens, list) or not tokens:
        raise ValueError(f"{path}: item {item!r} needs a list of tokens, got {tokens!r}.")
    codes = []
    for level, token in enumerate(tokens):
        letter = chr(ord("a") + level)
        match = _TOKEN.fullmatch(token) if isinstance(token, str) else None
        if match is None or match[1] != letter:
            raise ValueError(
                f"{path}: item {item!r}, level {level + 1}: expected a token like "
                f"'<{letter}_12>', got {token!r}."
            )
        codes.append(int(match[2]))
    return codes


def _check_sizes(path: Path, needed: tuple[int, ...], given: tuple[int, ...]) -> None:
    if len(needed) != len(given):
        raise ValueError(f"{path}: has {len(needed)} levels, but codebook_sizes is {given}.")
    for level, (need, size) in enumerate(zip(needed, given, strict=True), start=1):
        if need > size:
            raise ValueError(
                f"{path}: level {level} uses code {need - 1}, but its codebook size is given as "
                f"{size}; raise it to at least {need}."
            )
