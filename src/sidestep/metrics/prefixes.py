"""Metrics of scores of prefixes, per user: do the scores put the target's prefix above others?

The target's prefix of a depth is the start of the semantic ID of the item that came next. The
caller decides which scores are measured, and with which other prefixes the target's is compared.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor


def auc(
    target_scores: Float[Tensor, " users"],
    scores: Float[Tensor, "users prefixes"],
    is_other: Bool[Tensor, "users prefixes"],
) -> Float[Tensor, " users"]:
    """Share of the other prefixes that score below the target's prefix; ties count half.

    This is the area under the ROC curve of one right prefix among wrong ones (Hanley & McNeil
    1982): the probability that a random wrong prefix is ranked behind the right one. 0.5 is chance.

    Args:
        target_scores: score of the target's prefix of each user.
        scores: scores of some prefixes.
        is_other: mask of the other prefixes, with which the target's prefix is compared.

    Returns:
        The share; NaN if a user has no other prefix.
    """
    own = target_scores[:, None]
    below = ((scores < own) & is_other).sum(dim=1).double()
    ties = ((scores == own) & is_other).sum(dim=1)
    return (below + 0.5 * ties) / is_other.sum(dim=1)


def rank_correlation(
    first: Float[Tensor, "users prefixes"],
    second: Float[Tensor, "users prefixes"],
    is_in: Bool[Tensor, "users prefixes"],
) -> Float[Tensor, " users"]:
    """Spearman's ρ of two scores over each user's prefixes; equal scores share their mean rank.

    Args:
        first: one score of each prefix.
        second: another score of the same prefixes.
        is_in: mask of the prefixes that count.

    Returns:
        ρ from -1 to 1; NaN if one of the scores is equal at all prefixes, so that it has no order.
    """
    found = torch.full((len(first),), torch.nan, dtype=torch.float64)
    rows = zip(first.cpu().numpy(), second.cpu().numpy(), is_in.cpu().numpy(), strict=True)
    for user, (one, other, chosen) in enumerate(rows):
        if not chosen.any():
            continue
        ranks = [rankdata(values[chosen]) for values in (one, other)]
        left, right = (values - values.mean() for values in ranks)
        scale = ((left**2).sum() * (right**2).sum()) ** 0.5
        if scale > 0:  # ranks are multiples of a half, so that equal ones are exactly equal
            found[user] = float(left @ right) / scale
    return found


def chance_among_best(
    scores: Float[Tensor, "users leaves"],
    is_wanted: Bool[Tensor, "users leaves levels"],
    number: int,
) -> Float[Tensor, "users levels"]:
    """Probability that a wanted leaf is among the best leaves, with ties in random order.

    T leaves are tied with the last of the best leaves, and n of these T have a place. If no better
    leaf is wanted, and m of the T leaves are, all m miss with probability C(T - m, n) / C(T, n).

    Args:
        scores: scores of leaves; -inf if there is no leaf.
        is_wanted: mask of the wanted leaves; one set of wanted leaves per level.
        number: number of leaves that count as the best ones.
    """
    last = scores.topk(number, dim=1).values[:, -1:]
    is_better, is_tied = scores > last, (scores == last) & (scores > -torch.inf)
    num_tied = is_tied.sum(dim=1).double()[:, None]
    num_places = number - is_better.sum(dim=1).double()[:, None]
    num_places = num_places.minimum(num_tied)
    num_others = num_tied - (is_tied[..., None] & is_wanted).sum(dim=1)  # [users, levels]
    log_miss = _log_choose(num_others, num_places) - _log_choose(num_tied, num_places)
    misses = log_miss.exp().masked_fill(num_others < num_places, 0.0)
    return 1.0 - misses.masked_fill((is_better[..., None] & is_wanted).any(dim=1), 0.0)


def _log_choose(n: Float[Tensor, "users _"], k: Float[Tensor, "users 1"]) -> Tensor:
    """Logarithm of n! / (k! (n - k)!); arbitrary if k is larger than n."""
    rest = (n - k).clamp(min=0)
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(rest + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Masks of the depth at which a search lost the target, by depth from 1.

    A user has at most one True in the two masks together.

    dropped: the search looked at the target's prefix, but kept other prefixes.
    unproposed: the search did not look at the target's prefix, although it had kept the prefix of
        the depth before.
    """

    dropped: Bool[Tensor, "users levels"]
    unproposed: Bool[Tensor, "users levels"]


def losses(
    is_proposed: Bool[Tensor, "users levels"], is_kept: Bool[Tensor, "users levels"]
) -> Losses:
    """Finds the first depth at which the target's prefix was not kept, and the reason.

    Args:
        is_proposed: whether the search looked at the target's prefix of each depth.
        is_kept: whether the search went on from that prefix or, at the last depth, returned it.
    """
    is_lost = ~is_kept
    is_first = is_lost & (is_lost.cumsum(dim=1) == 1)
    return Losses(dropped=is_first & is_proposed, unproposed=is_first & ~is_proposed)


def best_in_set(
    rewards: Float[Tensor, "users candidates"], is_candidate: Bool[Tensor, "users candidates"]
) -> Float[Tensor, " users"]:
    """The largest reward of each user's candidate set; NaN if the set is empty.

    Source: V-STAR (arXiv:2602.10699), Table 6, which does not say what the reward is.
    """
    if rewards.shape[1] == 0:
        return rewards.new_full((len(rewards),), torch.nan)
    best = rewards.masked_fill(~is_candidate, -torch.inf).amax(dim=1)
    return best.masked_fill(~is_candidate.any(dim=1), torch.nan)
