"""Noise: randomness that decides a user's result, and depends on that user alone.

It is counter-based: a hash of the seed, the user's key and the edge of the trie, so that a user
gets the same search alone, in any batch and in any order. There is no count of draws in it: a
search draws at an edge once, and another seed draws anew.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.step import HistoryBatch

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # int64 wraps around, as the hash wants
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)
_LOWER_33, _LOWER_34, _LOWER_37 = (1 << 33) - 1, (1 << 34) - 1, (1 << 37) - 1
_UNIFORM_BITS = 53  # what a float64 holds exactly


def user_keys(histories: HistoryBatch, seed: int) -> Int[Tensor, " users"]:
    """A key per user: a hash of the seed and of the items in their order, padding apart.

    Users of equal histories have equal keys, and so get equal searches.
    """
    items = histories.items
    positions = torch.arange(items.shape[1], device=items.device)
    start = torch.full_like(histories.lengths, seed)
    own = _absorbed(_absorbed(start, histories.lengths)[:, None], positions)
    is_item = positions < histories.lengths[:, None]
    # A sum does not care how many columns of padding a batch has.
    total = _absorbed(own, items).masked_fill(~is_item, 0).sum(dim=1)
    return _absorbed(start, total)


def edge_gumbels(
    keys: Int[Tensor, " users"], states: Int[Tensor, "users width"], num_codes: int
) -> Float[Tensor, "users width codes"]:
    """Standard Gumbel noise for every edge below `states`, in float64, which keeps its far tail.

    The codes of one state, ordered by log-probability plus noise, are a sample without
    replacement (Gumbel-top-k; Vieira 2014, Kool et al. 2019, arXiv:1903.06059): the largest is
    a draw, the next one a draw from the rest, renormalised, and so on.

    Args:
        keys: of the users, see `user_keys`.
        states: of any depth; what stands at `NO_STATE` is noise too.
        num_codes: edges below each state, one per code.
    """
    codes = torch.arange(num_codes, device=states.device)
    edges = _absorbed(_absorbed(keys[:, None], states)[..., None], codes)
    kept = (edges >> (64 - _UNIFORM_BITS)) & ((1 << _UNIFORM_BITS) - 1)  # the upper bits
    uniform = (kept.double() + 0.5) * 2.0**-_UNIFORM_BITS
    return -(-uniform.log()).log()


def _absorbed(keys: Tensor, values: Tensor) -> Tensor:
    """A key for each pair: one step of SplitMix64 (Steele et al. 2014), `values` steps ahead."""
    # Shifted right, zeros coming in; torch repeats the sign.
    mixed = keys + (values + 1) * _GOLDEN
    mixed = (mixed ^ ((mixed >> 30) & _LOWER_34)) * _FIRST
    mixed = (mixed ^ ((mixed >> 27) & _LOWER_37)) * _SECOND
    return mixed ^ ((mixed >> 31) & _LOWER_33)
