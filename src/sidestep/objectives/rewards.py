"""Rewards of candidates, when the next item is known.

Rewards are pure functions of arrays, with one number per candidate of each user. The number at
padding is arbitrary. A candidate is a leaf of the trie: an item, or a bucket of items that share a
semantic ID.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.step import jensen_shannon


def exact_match(
    leaves: Int[Tensor, "users candidates"], targets: Int[Tensor, " users"]
) -> Float[Tensor, "users candidates"]:
    """Reward 1 for the target's leaf, 0 for other leaves."""
    return (leaves == targets[:, None]).float()


def rank_penalty(
    is_target: Bool[Tensor, "users candidates"],
    log_probs: Float[Tensor, "users candidates"],
    is_candidate: Bool[Tensor, "users candidates"],
) -> Float[Tensor, "users candidates"]:
    """Penalty of wrong candidates in a group with the right one; likelier ones pay more.

        -(1 / log2(k + 2)) / Σ_j 1 / log2(j + 2)

    k = 0, 1, ... is the rank of the candidate by log-probability. The sum is over the whole group.
    The penalty is 0 for the right candidate, and in groups without the right candidate. Source: the
    ranking reward of MiniOneRec (arXiv:2510.24431). This penalty plus `exact_match` is the
    rank-aware reward.
    """
    # Two sorts, so that a candidate with probability 0 still comes before padding.
    by_prob = log_probs.argsort(dim=1, descending=True, stable=True)
    is_last = (~is_candidate).gather(1, by_prob).byte().argsort(dim=1, stable=True)
    ordered = by_prob.gather(1, is_last)
    ranks = torch.empty_like(ordered).scatter_(
        1, ordered, torch.arange(ordered.shape[1], device=ordered.device).expand_as(ordered)
    )
    discounts = (1 / (ranks + 2).float().log2()).masked_fill(~is_candidate, 0.0)
    penalties = -discounts / discounts.sum(dim=1, keepdim=True).clamp(min=1e-12)
    has_target = (is_target & is_candidate).any(dim=1, keepdim=True)
    return penalties.masked_fill(is_target | ~has_target, 0.0)


def prefix_match(
    is_on_path: Bool[Tensor, "users candidates levels"], weights: Sequence[float]
) -> Float[Tensor, "users candidates"]:
    """Sum of the weights of the levels that a candidate shares with the target, from level 1 on.

    Args:
        is_on_path: whether each prefix is one of the target's.
        weights: one per level.

    Raises:
        ValueError: there is not one weight per level.
    """
    if len(weights) != is_on_path.shape[2]:
        raise ValueError(f"{len(weights)} weights for semantic IDs of {is_on_path.shape[2]} codes.")
    # No matrix product, because autocast would round it.
    return (is_on_path * torch.tensor(weights, device=is_on_path.device)).sum(dim=2)


def likeliness(
    log_probs: Float[Tensor, "users candidates"], num_items: int
) -> Float[Tensor, "users candidates"]:
    """Reward by another model's probability of each candidate: 1 if certain, 0 at chance or below.

        max(0, 1 + log p / log N)

    The scale is our choice: nearly all probabilities are close to 0, and their logarithms have no
    lower bound.

    Args:
        log_probs: log-probabilities of a distribution over the catalog.
        num_items: N, the number of items of the catalog.
    """
    return (1 + log_probs / math.log(max(num_items, 2))).clamp(min=0.0)


def category_match(
    categories: Int[Tensor, "users candidates"], targets: Int[Tensor, " users"]
) -> Float[Tensor, "users candidates"]:
    """Reward 1 for candidates of the target's category, 0 for others. Category -1 matches none."""
    return ((categories == targets[:, None]) & (targets[:, None] >= 0)).float()


def soonness(
    leaves: Int[Tensor, "users candidates"], futures: Int[Tensor, "users horizon"]
) -> Float[Tensor, "users candidates"]:
    """The discount 1 / log2(1 + place) of each candidate that comes next within a horizon; else 0.

    The discount is that of NDCG (Järvelin and Kekäläinen 2002): 1 for the next item, .63 for the
    one after it.

    Args:
        leaves: the candidates, padded with a negative number.
        futures: the leaves that came next, the next one first, padded with a negative number. If a
            leaf comes several times, its first place counts.
    """
    is_hit = (leaves[:, :, None] == futures[:, None, :]) & (futures >= 0)[:, None]
    places = torch.arange(1, futures.shape[1] + 1, device=leaves.device)
    return (is_hit / (1 + places).log2()).amax(dim=2)


def list_rewards(
    scores: Float[Tensor, "lists items"],
    items: Int[Tensor, " lists"],
    *,
    measure: Literal["hit", "ndcg"],
    cutoff: int,
) -> Float[Tensor, " lists"]:
    """Rewards of whole lists by the place of one item: 1 or 1 / log2(1 + place); else 0.

    The place is 1 more than the number of items with a higher score. Source: the rewards of LARES
    (arXiv:2505.16865), Recall@K and NDCG@K of one item.

    Args:
        scores: that make the lists; of all items of the catalog.
        items: the item that each list should hold.
        measure: which of the two rewards.
        cutoff: the last place that is rewarded.
    """
    own = scores.gather(1, items[:, None])
    places = 1 + (scores > own).sum(dim=1)
    rewards = 1 / torch.log2(1 + places.float())
    if measure == "hit":
        rewards = torch.ones_like(rewards)
    return rewards.masked_fill(places > cutoff, 0.0)


def likelihood_gain(
    thinking: Float[Tensor, "answers codes"], direct: Float[Tensor, "answers codes"]
) -> Float[Tensor, " answers"]:
    """Reward by the likelihood of the right answer after thoughts, against that without thoughts.

        1/L Σ_l ( log p(c_l | thoughts) - log p(c_l) ), in nats per code

    Source: STREAM-Rec (arXiv:2504.09627) has such a reward; the mean over codes is our choice, so
    that semantic IDs of any length are on one scale.

    Args:
        thinking: log-probabilities of the codes of the answer after thoughts.
        direct: without thoughts.
    """
    return (thinking - direct).mean(dim=1)


def future_weights(
    futures: Int[Tensor, "users horizon"], decay: float
) -> Float[Tensor, "users horizon"]:
    """The weights of the items that came next: w^(j - 1) for item j, scaled to a sum of one.

    Source: MSRA of REG4Rec (arXiv:2508.15308, eq. 16). Where a window ends before the horizon, the
    items that there are share the sum.

    Args:
        futures: the next item first; a negative number where the window has ended.
        decay: w.
    """
    places = torch.arange(futures.shape[1], device=futures.device)
    weights = (decay**places) * (futures >= 0)
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def step_hit(
    codes: Int[Tensor, "users candidates codebooks"],
    futures: Int[Tensor, "users horizon codebooks"],
    weights: Float[Tensor, "users horizon"],
) -> Float[Tensor, "users candidates"]:
    """The share of a candidate's codes that the items that came next have, in any order.

    Source: γ_step of REG4Rec (arXiv:2508.15308, eq. 10 and 16).

    Args:
        codes: of the candidates, by codebook.
        futures: codes of the items that came next.
        weights: see `future_weights`.
    """
    is_hit = codes[:, :, None] == futures[:, None]
    return (is_hit.float().mean(dim=3) * weights[:, None]).sum(dim=2)


def category_hit(
    intents: Float[Tensor, "users candidates steps categories"],
    is_step: Bool[Tensor, "users candidates steps"],
    futures: Int[Tensor, "users horizon"],
    weights: Float[Tensor, "users horizon"],
) -> Float[Tensor, "users candidates"]:
    """The share of the steps whose likeliest category is that of the items that came next.

    Source: γ_cate of REG4Rec (arXiv:2508.15308, eq. 11 and 16).

    Args:
        intents: distributions over categories before each step, or their logarithms.
        is_step: the steps of the candidates.
        futures: categories of the items that came next; -1 is hit by none.
        weights: see `future_weights`.
    """
    likeliest = intents.argmax(dim=3)
    is_hit = (likeliest[..., None] == futures[:, None, None]) & is_step[..., None]
    shares = is_hit.sum(dim=2) / is_step.sum(dim=2, keepdim=True).clamp(min=1)
    return (shares * weights[:, None]).sum(dim=2)


def step_consistency(
    intents: Float[Tensor, "users candidates steps categories"],
    is_step: Bool[Tensor, "users candidates steps"],
) -> Float[Tensor, "users candidates"]:
    """One minus the mean divergence of the intents before successive steps; 1 for a single step.

    Source: γ_js of REG4Rec (arXiv:2508.15308, eq. 12 and 13). The divergence is that of Jensen and
    Shannon, in nats.

    Args:
        intents: log-probabilities of the categories before each step.
        is_step: the steps of the candidates; the first ones of each.
    """
    moved = jensen_shannon(intents[:, :, :-1], intents[:, :, 1:])
    both = is_step[..., 1:]
    return 1 - (moved * both).sum(dim=2) / both.sum(dim=2).clamp(min=1)


def path_hit(
    similarities: Float[Tensor, "users candidates items"],
    futures: Int[Tensor, "users horizon"],
    weights: Float[Tensor, "users horizon"],
    *,
    nearest: int,
) -> Float[Tensor, "users candidates"]:
    """Whether the items that came next are among the items nearest to a candidate's codes.

    Source: γ_path of REG4Rec (arXiv:2508.15308, eq. 14 and 16).

    Args:
        similarities: of each candidate's codes to those of every item.
        futures: the items that came next; a negative number is hit by none.
        weights: see `future_weights`.
        nearest: N, the items that count as near. Items that are as near as the last of them count.
    """
    least = similarities.topk(min(nearest, similarities.shape[2]), dim=2).values[..., -1:]
    at = futures.clamp(min=0)[:, None].expand(-1, similarities.shape[1], -1)
    is_hit = (similarities.gather(2, at) >= least) & (futures >= 0)[:, None]
    return (is_hit * weights[:, None]).sum(dim=2)


def novelty(
    counts: Int[Tensor, "users candidates"], most: int
) -> Float[Tensor, "users candidates"]:
    """Reward for rare candidates: 1 if never met in training, 0 for the most popular.

        1 - log(1 + count) / log(1 + most)

    Args:
        counts: interactions with each candidate in the training part.
        most: largest number of interactions of an item.
    """
    return 1 - counts.clamp(max=most).float().log1p() / math.log1p(max(most, 1))
