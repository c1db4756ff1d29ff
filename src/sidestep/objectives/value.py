"""Values of the prefixes of a candidate set: rewards of prefixes, and losses of a value function.

Source: V-STAR (arXiv:2602.10699), sec. 4.1, eq. 5-9. A state is a distinct prefix of one user's
candidates. Arrays are per candidate; candidates that share a prefix repeat the numbers of the
prefix. Users never mix, because each user is a row of its own. A candidate is an item or a bucket
of items.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.objectives.semantic_reward import target_cosines
from sidestep.objectives.weighting import weighted
from sidestep.step import in_float32

_PUBLISHED_WEIGHTS = (0.3, 0.5, 1.0)  # of three levels


def level_weights(num_levels: int) -> tuple[float, ...]:
    """Weights of the levels' rewards: the published weights of three levels, interpolated.

    For other numbers of levels, our choice is linear interpolation at the relative depths
    (l - 1) / (L - 1). A single level has weight 1.
    """
    if num_levels == 1:
        return (_PUBLISHED_WEIGHTS[-1],)
    weights = []
    for level in range(num_levels):
        place = level / (num_levels - 1) * (len(_PUBLISHED_WEIGHTS) - 1)
        left = min(int(place), len(_PUBLISHED_WEIGHTS) - 2)
        share = place - left
        weights.append(
            (1 - share) * _PUBLISHED_WEIGHTS[left] + share * _PUBLISHED_WEIGHTS[left + 1]
        )
    return tuple(weights)


def shared_prefixes(
    prefixes: Int[Tensor, "users candidates levels"],
    is_candidate: Bool[Tensor, "users candidates"],
) -> Bool[Tensor, "users levels candidates candidates"]:
    """Mask of the pairs of a user's candidates that share their prefix, by level.

    These are the buckets of eq. 6.

    Args:
        prefixes: prefixes of each length from 1 on, as numbers that are equal if the prefixes are
            equal, such as states of a trie.
        is_candidate: False at padding, which shares nothing, not even with itself.
    """
    by_level = prefixes.movedim(2, 1)
    both = is_candidate[:, :, None] & is_candidate[:, None]
    return (by_level[..., None] == by_level[..., None, :]) & both[:, None]


def is_first_of_prefix(
    shared: Bool[Tensor, "users levels candidates candidates"],
) -> Bool[Tensor, "users candidates levels"]:
    """Mask with True at one candidate of each distinct prefix: the one with the lowest index."""
    columns = torch.arange(shared.shape[-1], device=shared.device)
    first = shared.long().argmax(dim=-1)
    return ((first == columns) & shared.any(dim=-1)).movedim(1, 2)


def mean_below(
    rewards: Float[Tensor, "users candidates"],
    shared: Bool[Tensor, "users levels candidates candidates"],
) -> Float[Tensor, "users candidates levels"]:
    """Mean reward of the candidates below each prefix; 0 at padding, without gradient.

    This is R(x, y_<=l) of V-STAR, Fig. 3, and its R̄, eq. 17.

    Args:
        rewards: one reward per candidate; arbitrary at padding, even NaN.
        shared: see `shared_prefixes`.
    """
    counts = shared.sum(dim=3).clamp(min=1)
    # No matrix product: it would spread NaN from padding, and autocast would round it.
    below = torch.where(shared, rewards.detach().double()[:, None, None], 0.0)
    return (below.sum(dim=3) / counts).movedim(1, 2).to(rewards.dtype)


def step_rewards(
    embeddings: Float[Tensor, "users candidates dim"],
    target: Float[Tensor, "users dim"],
    is_on_path: Bool[Tensor, "users candidates levels"],
    shared: Bool[Tensor, "users levels candidates candidates"],
    weights: Sequence[float],
) -> Float[Tensor, "users candidates levels"]:
    """Dense semantic reward of each candidate's prefixes, eq. 7-8.

        r_l = w_l if the prefix is the target's, else -w_l (1 - cos(ē(prefix), e(target)))

    ē is the mean embedding of the candidates below the prefix.

    Args:
        embeddings: embeddings of the candidates.
        target: embedding of the item that came next.
        is_on_path: whether the prefix is a prefix of the target.
        shared: see `shared_prefixes`.
        weights: w_l, one per level.
    """
    if len(weights) != shared.shape[1]:
        raise ValueError(f"{len(weights)} weights for semantic IDs of {shared.shape[1]} codes.")
    levels = []
    for level, weight in enumerate(weights):
        means = _bucket_means(embeddings, shared[:, level])
        cosines = target_cosines(means, target)
        on_path = torch.full_like(cosines, weight)
        levels.append(torch.where(is_on_path[..., level], on_path, -weight * (1 - cosines)))
    return torch.stack(levels, dim=2)


def td_targets(
    rewards: Float[Tensor, "users candidates levels"],
    values: Float[Tensor, "users candidates levels"],
    shared: Bool[Tensor, "users levels candidates candidates"],
    *,
    gamma: float,
) -> Float[Tensor, "users candidates levels"]:
    """One-step targets for the values of each candidate's prefixes; eq. 9, detached.

        r_l + γ · mean over the candidates below the prefix of V(their prefix of length l + 1)

    For whole semantic IDs, the target is r_L. The mean over candidates is our choice: the weight of
    a child is the number of candidates below it.
    """
    after = [
        _bucket_means(values[..., level + 1 : level + 2], shared[:, level])[..., 0]
        for level in range(values.shape[2] - 1)
    ]
    after.append(torch.zeros_like(values[..., 0]))
    return (rewards + gamma * torch.stack(after, dim=2)).detach()


def root_targets(
    values: Float[Tensor, "users candidates levels"],
    is_candidate: Bool[Tensor, "users candidates"],
    *,
    gamma: float,
) -> Float[Tensor, " users"]:
    """Targets for the values of the roots, detached: γ · mean V of the candidates' first prefix.

    The paper does not train the root. Training it, without a reward of its own, is our choice.
    """
    counts = is_candidate.sum(dim=1).clamp(min=1)
    first = values[..., 0].masked_fill(~is_candidate, 0.0)
    return (gamma * first.sum(dim=1) / counts).detach()


def td_loss(
    errors: Float[Tensor, "users candidates levels"],
    root_errors: Float[Tensor, " users"],
    is_state: Bool[Tensor, "users candidates levels"],
    weights: Float[Tensor, " users"] | None = None,
) -> Float[Tensor, " depths"]:
    """Mean squared error of the values by depth, from the root on.

    The mean is over the distinct prefixes of a user, then over the users that have a prefix. A
    prefix counts once, however many candidates pass through it.

    Args:
        errors: value minus target of each candidate's prefixes.
        root_errors: value minus target of each root.
        is_state: see `is_first_of_prefix`.
        weights: factor on the errors of each user's states; None means 1.
    """
    counts = is_state.sum(dim=1)  # [users, levels]
    squares = errors.square().masked_fill(~is_state, 0.0).sum(dim=1) / counts.clamp(min=1)
    has_states = counts[:, :1] > 0  # a candidate has a prefix of every length
    by_user = torch.cat([root_errors.square()[:, None], squares], dim=1)
    by_user = weighted(by_user.masked_fill(~has_states, 0.0), weights)
    return by_user.sum(dim=0) / has_states.sum().clamp(min=1)


def _bucket_means(
    values: Float[Tensor, "users candidates dim"],
    shared: Bool[Tensor, "users candidates candidates"],
) -> Float[Tensor, "users candidates dim"]:
    """Mean over the candidates that share each candidate's prefix; 0 at padding."""
    counts = shared.sum(dim=2, keepdim=True).clamp(min=1)
    with in_float32(values.device):  # so that targets are not rounded
        return shared.to(values.dtype) @ values / counts
