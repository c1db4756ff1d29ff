"""Checks of vectors that every tokenizer makes, and advice on codebook sizes for vectors."""

import math

import numpy as np
from jaxtyping import Float, Int

_MEAN_ITEMS_PER_CODE = 4
"""Mean number of items per first code: few enough to tell apart, enough to learn together."""


def check_fittable(
    vectors: Float[np.ndarray, "items dim"], codebook_sizes: tuple[int, ...]
) -> None:
    """Refuses vectors that cannot fill the codebooks.

    Raises:
        ValueError: vectors are not finite, or too few for the codebooks; the message says what to
            change.
    """
    _check_finite(vectors, "mend the embedding")
    if len(vectors) < 2:
        raise ValueError(
            f"semantic IDs tell items apart, and there are {len(vectors)} items; import a dataset "
            "of two items or more."
        )
    if max(codebook_sizes) > len(vectors):
        level = int(np.argmax(codebook_sizes)) + 1
        raise ValueError(
            f"level {level} has {max(codebook_sizes)} codes, but there are only {len(vectors)} "
            f"items; choose codebook_sizes of at most {len(vectors)}, better far below."
        )
    num_distinct = len(copies(vectors))
    if num_distinct == 1 < len(vectors):
        raise ValueError(
            f"all {len(vectors):,} items have the same vector, so that nothing tells one item from "
            "another; embed more text columns, or another source such as --collaborative."
        )
    if codebook_sizes[0] > num_distinct:
        raise ValueError(
            f"level 1 has {codebook_sizes[0]} codes, but the {len(vectors)} items have only "
            f"{num_distinct} distinct vectors; lower codebook_sizes[0] or embed more text."
        )


def check_encodable(vectors: Float[np.ndarray, "items dim"], dim: int) -> None:
    """Refuses vectors that the tokenizer cannot encode.

    Raises:
        ValueError: vectors have another width, or values that are not finite.
    """
    if vectors.shape[1] != dim:
        raise ValueError(
            f"the codebooks were fitted on vectors of width {dim}, got width {vectors.shape[1]}; "
            "encode vectors of the same embedding."
        )
    _check_finite(vectors, "mend the embedding")


def suggested_codebook_sizes(
    vectors: Float[np.ndarray, "items dim"], num_levels: int = 3
) -> tuple[int, ...]:
    """Suggests equal codebooks: 256 codes each, fewer below 1,024 distinct vectors.

    Vectors of fewer dimensions than levels get one codebook per dimension, since `opq` needs at
    least one dimension per level.

    Args:
        vectors: of all items.
        num_levels: number of codebooks.
    """
    num_distinct = len(copies(vectors))
    size = 256
    while size > 2 and _MEAN_ITEMS_PER_CODE * size > num_distinct:
        size //= 2
    return (size,) * max(1, min(num_levels, int(vectors.shape[1])))


def advice(
    vectors: Float[np.ndarray, "items dim"],
    codebook_sizes: tuple[int, ...],
    *,
    must_be_distinct: bool,
    is_unordered: bool = False,
) -> list[str]:
    """Warns of likely problems of these codebooks, each in a sentence with its remedy.

    Args:
        vectors: vectors of all items.
        codebook_sizes: codes per level.
        must_be_distinct: whether every item needs a semantic ID of its own, without another level.
        is_unordered: whether the codes are sets, which may differ in any code.

    Raises:
        ValueError: there are fewer semantic IDs than items that need one each.
    """
    num_items, num_ids = len(vectors), math.prod(codebook_sizes)
    if must_be_distinct and num_ids < num_items:
        raise ValueError(
            f"codebooks of {codebook_sizes} hold only {num_ids:,} semantic IDs for {num_items:,} "
            f"items; add a level, enlarge them to about {_even_size(num_items, codebook_sizes)} "
            'codes each, or let items share semantic IDs (collisions "none" or "extra").'
        )
    found = []
    if num_ids < _MEAN_ITEMS_PER_CODE * num_items:
        found.append(
            f"codebooks of {codebook_sizes} hold {num_ids:,} semantic IDs for {num_items:,} items, "
            "so many items will collide; add a level, or enlarge the codebooks to about "
            f"{_even_size(_MEAN_ITEMS_PER_CODE * num_items, codebook_sizes)} codes each."
        )
    if num_items < _MEAN_ITEMS_PER_CODE * codebook_sizes[0]:
        found.append(
            f"the first level has {codebook_sizes[0]} codes for {num_items} items, so that hardly "
            f"two items share one; {max(2, num_items // _MEAN_ITEMS_PER_CODE)} or fewer would let "
            "similar items learn from each other."
        )
    most_copies = int(copies(vectors).max(initial=1))
    if must_be_distinct and not is_unordered and most_copies > codebook_sizes[-1]:
        found.append(
            f"{most_copies} items have the same vector and will share all codes but the last, of "
            f"which there are {codebook_sizes[-1]}; raise the last codebook size to {most_copies}, "
            'embed more text, or let items share semantic IDs (collisions "none" or "extra").'
        )
    return found


def copies(vectors: Float[np.ndarray, "items dim"]) -> Int[np.ndarray, " distinct"]:
    """Number of items that have each distinct vector."""
    return np.unique(vectors, axis=0, return_counts=True)[1]


def _even_size(num_ids: int, codebook_sizes: tuple[int, ...]) -> int:
    """Size of equal codebooks, as many as given, that hold `num_ids` semantic IDs."""
    return math.ceil(math.pow(num_ids, 1 / len(codebook_sizes)))


def _check_finite(vectors: Float[np.ndarray, "items dim"], remedy: str) -> None:
    is_bad = ~np.isfinite(vectors).all(axis=1)
    if is_bad.any():
        raise ValueError(
            f"{int(is_bad.sum())} of {len(vectors)} vectors hold NaN or infinity, the first is "
            f"item {int(is_bad.argmax())}; {remedy}."
        )
