"""Limits of one request, which need no bundle to be checked."""

from sidestep.service.asking import RefusalError
from sidestep.service.config import Limits
from sidestep.service.messages import RecommendRequest


def refuse_large(body: RecommendRequest, limits: Limits) -> None:
    """Raises a refusal with 422 for a request beyond the limits."""
    asked = body.search
    sizes = {
        "users": (len(body.users), limits.users),
        "k": (body.k, limits.k),
        "history": (max(len(user.history) for user in body.users), limits.history),
        "exclude": (max(len(user.exclude) for user in body.users), limits.item_ids),
        "only": (len(body.only or ()), limits.item_ids),
        "boosts": (sum(len(boost.items or ()) for boost in body.boosts), limits.item_ids),
        "beams": (0 if asked is None else asked.beams or 0, limits.beams),
        "candidates": (0 if asked is None else asked.candidates or 0, 8 * limits.beams),
        "budget": (0 if asked is None else asked.budget or 0, limits.beams),
    }
    for name, (size, most) in sizes.items():
        if size > most:
            detail = f"{name}: {size:,} is more than this service takes, {most:,}."
            raise RefusalError(422, detail)
