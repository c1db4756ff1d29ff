"""Advantages: how much better a candidate, or one of its codes, was than its peers.

All computations are in float64: in float32, the mean of equal rewards is off by a few millionths,
and a small divisor would blow this error up. Advantages carry no gradient.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sidestep.objectives.choices import Scaling

EPSILON = 1e-6
"""The smallest divisor, in the unit of the rewards."""


def group_advantages(
    rewards: Float[Tensor, "users candidates"],
    is_candidate: Bool[Tensor, "users candidates"],
    *,
    weights: Float[Tensor, "users candidates"] | None = None,
    scaling: Scaling = "std",
    epsilon: float = EPSILON,
) -> Float[Tensor, "users candidates"]:
    """Scores each candidate against the other candidates of its user.

        A = (R - mean R) / (std R + ε)

    A is 0 at padding and in groups of one. Source: GRPO with outcome rewards (DeepSeekMath,
    arXiv:2402.03300; V-STAR, arXiv:2602.10699, eq. 2). Our choices: the population's standard
    deviation, and the same ε here and among siblings.

    Args:
        rewards: one reward per candidate; arbitrary at padding.
        is_candidate: False at padding.
        weights: weight of each candidate in mean and deviation, in any positive unit; None weights
            all equally.
        scaling: see `Scaling`. With leave-one-out, the candidate itself is left out of the mean.
        epsilon: see `EPSILON`.
    """
    values = torch.where(is_candidate, rewards.detach().double(), 0.0)
    own = is_candidate.double() if weights is None else weights.detach().double()
    shares = torch.where(is_candidate, own, 0.0)
    shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-300)
    centred = values - (shares * values).sum(dim=1, keepdim=True)
    std = (shares * centred.square()).sum(dim=1, keepdim=True).sqrt()
    advantages = _scaled(centred, std, shares, scaling, epsilon)
    advantages = advantages.masked_fill(is_candidate.sum(dim=1, keepdim=True) < 2, 0.0)
    return advantages.masked_fill(~is_candidate, 0.0).to(rewards.dtype)


def optimum_advantages(
    rewards: Float[Tensor, "users candidates"],
    log_probs: Float[Tensor, "users candidates"],
    reference_log_probs: Float[Tensor, "users candidates"],
    is_candidate: Bool[Tensor, "users candidates"],
    *,
    temperature: float,
) -> Float[Tensor, "users candidates"]:
    """Distance of each candidate's share from its optimum for reward and divergence together.

        A = n (π* - π),   π* ∝ π_ref exp(R / τ)

    All three distributions are over the group of n candidates. π* maximises the expected reward
    minus τ times the KL divergence from π_ref (arXiv:2305.18290, eq. 4). A is minus the gradient,
    by log π, of n times the cross-entropy from π* to π. So A is 0 once the policy has reached π*.
    Restricting the distributions to the candidates of a search is our choice. A is 0 at padding.

    Args:
        rewards: one reward per candidate; arbitrary at padding.
        log_probs: log-probabilities of whole candidates under the policy; arbitrary at padding.
        reference_log_probs: log-probabilities under the reference policy; arbitrary at padding.
        is_candidate: False at padding.
        temperature: τ, in the unit of the rewards.
    """

    def shares(logs: Tensor) -> Tensor:
        logs = logs.detach().double().masked_fill(~is_candidate, -torch.inf)
        return logs.softmax(dim=1).masked_fill(~is_candidate, 0.0)

    best = shares(reference_log_probs.double() + rewards.double() / temperature)
    count = is_candidate.sum(dim=1, keepdim=True)
    return (count * (best - shares(log_probs))).to(rewards.dtype)


def sibling_advantages(
    scores: Float[Tensor, "users candidates levels"],
    shared: Bool[Tensor, "users levels candidates candidates"],
    is_first: Bool[Tensor, "users candidates levels"],
    *,
    scaling: Scaling = "std",
    epsilon: float = EPSILON,
) -> Float[Tensor, "users candidates levels"]:
    """Scores each prefix against the other prefixes below its parent, in one user's candidate set.

        A(h, v) = (R̄(h, v) - mean_h) / (std_h + ε)

    Mean and deviation are over the distinct codes v that follow the prefix h: a node counts once,
    however many candidates pass through it. If a parent has only one child, A is 0, as at padding.
    Candidates that share a prefix repeat its advantage. Source: V-STAR (arXiv:2602.10699), eq.
    15-18.

    Args:
        scores: R̄ of each candidate's prefixes, eq. 17, see `value.mean_below`.
        shared: mask of the pairs of candidates that share their prefix of each length.
        is_first: True at one candidate of each distinct prefix.
    """
    is_any = shared.any(dim=3)  # [users, levels, candidates]
    is_sibling = siblings(shared, is_first)
    by_level = scores.detach().double().movedim(2, 1)
    mean = _mean(by_level[:, :, None], is_sibling)
    counts = is_sibling.sum(dim=3)
    squares = (by_level[:, :, None] - mean[..., None]).square()
    std = _mean(squares, is_sibling).sqrt()
    shares = 1 / counts.double().clamp(min=1)
    advantages = _scaled(by_level - mean, std, shares, scaling, epsilon)
    advantages = advantages.masked_fill((counts < 2) | ~is_any, 0.0)
    return advantages.movedim(1, 2).to(scores.dtype)


def below_parents(
    shared: Bool[Tensor, "users levels candidates candidates"],
) -> Bool[Tensor, "users levels candidates candidates"]:
    """Mask of the candidates below the parent of each candidate's prefix of each length.

    These are the sibling groups of V-STAR, eq. 15. All candidates are below the root.

    Args:
        shared: mask of the pairs of candidates that share their prefix of each length.
    """
    is_any = shared[:, 0].any(dim=2)
    below_root = is_any[:, None, :, None] & is_any[:, None, None]
    return torch.cat([below_root, shared[:, :-1]], dim=1)


def siblings(
    shared: Bool[Tensor, "users levels candidates candidates"],
    is_first: Bool[Tensor, "users candidates levels"],
) -> Bool[Tensor, "users levels candidates candidates"]:
    """Mask from each candidate's prefix to one candidate of every prefix below the same parent.

    These are the sibling nodes of V-STAR, eq. 16, the node of the prefix itself included.

    Args:
        shared: mask of the pairs of candidates that share their prefix of each length.
        is_first: True at one candidate of each distinct prefix.
    """
    return below_parents(shared) & is_first.movedim(2, 1)[:, :, None]


def is_informative(
    rewards: Float[Tensor, "users candidates"],
    is_candidate: Bool[Tensor, "users candidates"],
    *,
    tolerance: float = EPSILON,
) -> Bool[Tensor, " users"]:
    """Mask of the groups whose candidates differ in reward. Other groups have no advantages."""
    highest = rewards.masked_fill(~is_candidate, -torch.inf).amax(dim=1)
    lowest = rewards.masked_fill(~is_candidate, torch.inf).amin(dim=1)
    return (highest - lowest) > tolerance


def _mean(
    values: Float[Tensor, "*batch candidates"], is_there: Bool[Tensor, "*others candidates"]
) -> Tensor:
    """Mean over the last axis, of the values where `is_there`; 0 if there are none."""
    return torch.where(is_there, values, 0.0).sum(dim=-1) / is_there.sum(dim=-1).clamp(min=1)


def _scaled(
    centred: Tensor, std: Tensor, shares: Tensor, scaling: Scaling, epsilon: float
) -> Tensor:
    """Scales differences from the group's mean. `shares` are the shares of the group's weight."""
    if scaling == "std":
        return centred / (std + epsilon)
    if scaling == "leave-one-out":
        # The mean of the others is further away: by one over the share of the others.
        return centred / (1 - shares).clamp(min=1e-12)
    return centred
