"""Ranked items: answers as plain Python values and as frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from jaxtyping import Int

from sidestep.catalog.catalog import Catalog
from sidestep.padding import NO_ITEM
from sidestep.recommender import Recommendations


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedItems:
    """The recommendations of one user, best first, as plain Python values.

    scores: one per item; their unit is `score_kind`, such as "log_prob". Scores fall from first to
        last, and fall anew in the places for new items, which are ranked among themselves.
    is_new: one per item: whether it was appended after the training.
    titles: one per item; None where the catalog has no texts.
    tokens: backbone positions spent after the prompt.
    num_unknown: items of the history that were dropped because the catalog lacks them.
    snapshot: the name of the snapshot that answered; None where none did.
    """

    item_ids: list[str]
    scores: list[float]
    is_new: list[bool]
    score_kind: str
    titles: list[str] | None
    tokens: int
    num_unknown: int
    snapshot: str | None = None


def named_items(
    answer: Recommendations,
    catalog: Catalog,
    *,
    lengths: Sequence[int],
    first_new: int,
    num_unknown: Int[np.ndarray, " users"],
) -> list[RankedItems]:
    """Indices as IDs and titles, without padding.

    Args:
        answer: of some users.
        catalog: of the items.
        lengths: the longest list that each user wanted; the answer has no shorter lists.
        first_new: index of the first item that was appended after the training.
        num_unknown: items of each history that the catalog lacks.
    """
    items, scores = answer.items.cpu().numpy(), answer.scores.cpu().numpy()
    wanted = np.arange(items.shape[1]) < np.array(lengths)[:, None]
    is_item = wanted & (items != NO_ITEM)
    ends = np.cumsum(is_item.sum(axis=1)).tolist()
    indices = items[is_item]  # of all lists, one after the other
    item_ids = catalog.ids_of(indices)
    titles = None if catalog.texts is None else catalog.titles_of(indices)
    is_new = (indices >= first_new).tolist()
    numbers = scores[is_item].tolist()
    tokens, unknown = answer.spent.tokens.tolist(), num_unknown.tolist()
    return [
        RankedItems(
            item_ids=item_ids[start:end],
            scores=numbers[start:end],
            is_new=is_new[start:end],
            score_kind=answer.score_kind,
            titles=None if titles is None else titles[start:end],
            tokens=tokens[row],
            num_unknown=unknown[row],
        )
        for row, (start, end) in enumerate(pairwise([0, *ends]))
    ]


def ranked_frame(answers: Mapping[str, RankedItems]) -> pl.DataFrame:
    """Answers by user ID as a frame: user_id, item_id, rank from 1, score, and title if known."""
    frames = [
        item_frame(answer.item_ids, answer.scores, answer.titles).select(
            pl.lit(user).alias("user_id"), pl.all()
        )
        for user, answer in answers.items()
    ]
    return pl.concat(frames)


def item_frame(
    item_ids: Sequence[str], scores: Sequence[float], titles: Sequence[str] | None
) -> pl.DataFrame:
    """Items, best first, as a frame: item_id, rank from 1, score, and title if known."""
    columns = {
        "item_id": pl.Series(item_ids, dtype=pl.String),
        "rank": pl.int_range(1, len(item_ids) + 1, eager=True),
        "score": pl.Series(scores, dtype=pl.Float64),
    }
    if titles is not None:
        columns["title"] = pl.Series(titles, dtype=pl.String)
    return pl.DataFrame(columns)
