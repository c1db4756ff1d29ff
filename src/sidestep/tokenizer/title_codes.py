"""Titles as codes: the code of a level is a token of a language model in the title of an item.

So a trie of titles is a catalog as any other: every search writes a title that some item has, and
can write no other. Titles have different lengths. After its last token, a title has one code for
the end, and then padding up to the last level, which says nothing.

Sources of generating titles: BIGRec (arXiv:2308.08434) and D3 (arXiv:2406.14900).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

END, PADDING = -1, -2
"""Stand for the end of a title and for the codes behind the end, where a token would stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleCodes:
    """The codes of titles.

    semantic_ids: one row per item.
    tokens: per level the token of each code; `END` and `PADDING` for the two that are none.
    """

    semantic_ids: Int[np.ndarray, "items levels"]
    tokens: tuple[tuple[int, ...], ...]

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return tuple(map(len, self.tokens))

    @property
    def flat_tokens(self) -> tuple[int, ...]:
        """The token of each flat code id."""
        return tuple(token for level in self.tokens for token in level)


def title_codes(titles: Sequence[Sequence[int]], *, num_levels: int) -> TitleCodes:
    """The codes of titles, of which the first tokens are read.

    A level has a code for each token that some title has there, in the order of the tokens. Titles
    that agree in their first `num_levels` tokens share their codes.

    Args:
        titles: the tokens of each item's title.
        num_levels: tokens that are read of a title.

    Raises:
        ValueError: there are no titles, or no level.
    """
    if num_levels < 1 or not titles:
        raise ValueError(f"{len(titles)} titles and {num_levels} levels; need at least one each.")
    longest = min(num_levels, max(map(len, titles)) + 1)
    grid = np.full((len(titles), longest), PADDING, dtype=np.int64)
    for row, title in zip(grid, titles, strict=True):
        kept = list(title[:longest])
        row[: len(kept)] = kept
        if len(kept) < longest:
            row[len(kept)] = END
    codes = np.empty_like(grid, dtype=np.int32)
    tokens = []
    for level in range(longest):
        known, codes[:, level] = np.unique(grid[:, level], return_inverse=True)
        tokens.append(tuple(known.tolist()))
    return TitleCodes(semantic_ids=codes, tokens=tuple(tokens))
