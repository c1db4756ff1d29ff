"""Policy losses: how advantages move the probabilities of codes.

Arrays are per candidate and level. Candidates that share a prefix repeat its numbers, and a mask
tells which of them count. Probabilities are over legal codes. The loss is a mean over users of sums
of terms. Each sum is divided by the number of codes of all candidates, |C| · L for semantic IDs, so
that losses over candidates and losses over nodes have the same scale.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sidestep.objectives.choices import Ratio


def log_ratios(
    log_probs: Float[Tensor, "users candidates levels"],
    old_log_probs: Float[Tensor, "users candidates levels"],
    ratio: Ratio,
    is_code: Bool[Tensor, "users candidates levels"],
) -> Float[Tensor, "users candidates levels"]:
    """Logarithm of the ratio ρ of every code.

    The ratio of a sequence is the geometric mean over its codes, GSPO (arXiv:2507.18071, eq. 7).

    Args:
        log_probs: of the codes under the policy; 0 where there is no code.
        old_log_probs: under the policy that made the rollouts; 0 where there is no code.
        ratio: of codes or of whole sequences.
        is_code: the codes of each candidate; a set of codes may need fewer than others.
    """
    logs = log_probs - old_log_probs.detach()
    if ratio == "token":
        return logs
    number = is_code.sum(dim=2, keepdim=True).clamp(min=1)
    return (logs.sum(dim=2, keepdim=True) / number).expand_as(logs)


def clipped_terms(
    log_ratio: Float[Tensor, "*batch"],
    advantages: Float[Tensor, "*batch"],
    *,
    clip_low: float | None = 0.2,
    clip_high: float | None = 0.2,
) -> Float[Tensor, "*batch"]:
    """Terms of the codes in the objective, which training maximises.

        min(ρ A, clip(ρ, 1 - clip_low, 1 + clip_high) A)

    Source: PPO (arXiv:1707.06347, eq. 7); with clip_high above clip_low, DAPO (arXiv:2503.14476).
    Without bounds, the gradient at ρ = 1 is that of REINFORCE, A ∇ log π.

    Args:
        log_ratio: log ρ.
        advantages: A, without gradient.
        clip_low, clip_high: largest fall and rise of ρ that the objective rewards; None sets no
            bound.
    """
    ratios = log_ratio.exp()
    low = None if clip_low is None else 1 - clip_low
    high = None if clip_high is None else 1 + clip_high
    if low is None and high is None:
        return ratios * advantages
    return torch.minimum(ratios * advantages, ratios.clamp(low, high) * advantages)


def is_clipped(
    log_ratio: Float[Tensor, "*batch"],
    advantages: Float[Tensor, "*batch"],
    *,
    clip_low: float | None,
    clip_high: float | None,
) -> Bool[Tensor, "*batch"]:
    """Mask of the codes that have no gradient because ρ is out of bounds."""
    ratios = log_ratio.detach().exp()
    over = torch.zeros_like(ratios, dtype=torch.bool)
    if clip_high is not None:
        over = over | ((advantages > 0) & (ratios > 1 + clip_high))
    if clip_low is not None:
        over = over | ((advantages < 0) & (ratios < 1 - clip_low))
    return over


def mean_per_group(
    terms: Float[Tensor, "users candidates levels"],
    counts: Bool[Tensor, "users candidates levels"],
    is_code: Bool[Tensor, "users candidates levels"],
) -> Float[Tensor, " users"]:
    """Mean of the terms that count, of each user, over the codes of all candidates.

    If every candidate counts, this is the objective of GRPO. If each distinct prefix counts once,
    it is the objective of Sibling-GRPO (V-STAR, arXiv:2602.10699, eq. 19). That both have the same
    scale is our choice.

    Args:
        terms: of the codes.
        counts: the codes whose terms are added up.
        is_code: all codes of the candidates, |C| · L for semantic IDs.
    """
    total = torch.where(counts, terms, 0.0).sum(dim=(1, 2))
    return total / is_code.sum(dim=(1, 2)).clamp(min=1)


def exact_kl(
    log_probs: Float[Tensor, "*batch codes"], reference: Float[Tensor, "*batch codes"]
) -> Float[Tensor, "*batch"]:
    """KL(π || π_ref) of the next code at each node, in nats; 0 if no code is legal.

    Args:
        log_probs: log-probabilities of the policy; -inf at illegal codes.
        reference: log-probabilities of the reference policy at the same nodes, without gradient.
    """
    is_legal = log_probs > -torch.inf
    # -inf minus -inf is NaN, also in the gradient of a branch that is not taken.
    ours, theirs = log_probs.masked_fill(~is_legal, 0.0), reference.masked_fill(~is_legal, 0.0)
    return torch.where(is_legal, ours.exp() * (ours - theirs), 0.0).sum(dim=-1)


def k3_kl(
    log_probs: Float[Tensor, "*batch"], reference: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Estimate r - log r - 1 of the KL divergence, with r = π_ref / π, from a code drawn from π.

    Source: Schulman, "Approximating KL divergence" (2020). The estimate is biased on candidates
    that a search chose, because these are not drawn from π.
    """
    logs = reference.detach() - log_probs
    return logs.exp() - logs - 1


def entropy(log_probs: Float[Tensor, "*batch codes"]) -> Float[Tensor, "*batch"]:
    """Entropy of the next code at each node, in nats; 0 if no code is legal."""
    is_legal = log_probs > -torch.inf
    logs = log_probs.masked_fill(~is_legal, 0.0)
    return -torch.where(is_legal, logs.exp() * logs, 0.0).sum(dim=-1)
