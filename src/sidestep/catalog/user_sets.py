"""Sets per user: rows of states, or of items, in any order and with -1 as padding.

`NO_STATE` and `NO_ITEM` are that number both; it is a member of no set.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn import functional

_PADDING = -1


def is_among(
    members: Int[Tensor, "users width *more"], others: Int[Tensor, "users others"]
) -> Bool[Tensor, "users width *more"]:
    """Members that are among the others of the same user, as a mask; padding never is."""
    # One more of padding, so that there is always something to look at.
    ordered = functional.pad(others, (0, 1), value=_PADDING).sort(dim=1).values
    wanted = members.flatten(1).contiguous()
    place = torch.searchsorted(ordered, wanted).clamp(max=ordered.shape[1] - 1)
    return ((ordered.gather(1, place) == wanted) & (wanted != _PADDING)).view(members.shape)


def distinct(members: Int[Tensor, "users width"]) -> Int[Tensor, "users width"]:
    """Each user's members in ascending order, repetitions turned into padding where they stand."""
    ordered = members.long().sort(dim=1).values
    is_repeated = torch.zeros_like(ordered, dtype=torch.bool)
    is_repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return ordered.masked_fill(is_repeated, _PADDING)
