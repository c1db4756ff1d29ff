"""Cross-entropies over codes and over items."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sidestep.objectives.negatives import Candidates, PerTargetNegatives
from sidestep.objectives.weighting import mean_over_targets


def next_code_cross_entropy(
    logits: Float[Tensor, "targets levels codes"],
    codes: Int[Tensor, "targets levels"],
    *,
    label_smoothing: float = 0.0,
    weights: Float[Tensor, "targets levels"] | None = None,
) -> Float[Tensor, " levels"]:
    """Mean negative log-likelihood of the target's codes, level by level, in nats.

        L_l = -1/N Σ_n Σ_c q(c) log softmax(logits[n, l])_c,
        q(c) = (1 - ε) [c = codes[n, l]] + ε / K_l

    The sum over levels is the negative log-likelihood of the item's semantic ID under the policy
    normalised over codebooks (TIGER, arXiv:2305.05065).

    Args:
        logits: -inf past the end of a level's codebook of K_l codes.
        codes: codes of the targets.
        label_smoothing: ε, the share of the probability that is spread over the level's codebook.
        weights: factor on the loss of each code; None means 1.
    """
    levels = logits.shape[1]
    if label_smoothing == 0:
        flat = functional.cross_entropy(
            logits.flatten(0, 1).float(), codes.flatten(), reduction="none"
        )
        losses = flat.view(-1, levels)
        return (losses if weights is None else losses * weights).mean(dim=0)
    is_code = logits > -torch.inf
    logs = logits.float().log_softmax(dim=-1)
    hit = -logs.gather(2, codes[..., None])[..., 0]
    spread = -logs.masked_fill(~is_code, 0.0).sum(dim=-1) / is_code.sum(dim=-1)
    losses = (1 - label_smoothing) * hit + label_smoothing * spread
    return (losses if weights is None else losses * weights).mean(dim=0)


def beam_aware_weights(
    log_probs: Float[Tensor, "targets levels codes"],
    codes: Int[Tensor, "targets levels"],
    *,
    width: int,
    weight: float,
    temperature: float,
) -> Float[Tensor, "targets levels"]:
    """Weights of the codes of a target, such that more targets survive a beam search.

        1 + λ σ((log p - log β) / ξ), divided by the mean weight,

    where β is the probability of the B-th best code. Codes that the beam keeps, or nearly keeps,
    weigh more than codes that are lost anyway. A code without an alternative decides nothing: its
    weight is 1, and it does not count in the mean.

    Source: BEAR (arXiv:2601.22925), which adds μ Σ log σ((log β - log p) / ξ) to the cross-entropy.
    If β is held constant, the gradient of the sum of both weighs a code by
    1 + (μ / ξ) σ((log p - log β) / ξ). We depart from that formula in two ways. First, our λ is
    μ / ξ: ξ says which codes are nearly kept, but not how much a code weighs. Second, the weights
    have a mean of 1, so that they do not change the size of a step. The authors' training code
    leaves 1 / ξ out as well, with λ = .25 and ξ = 2.75, which are our defaults. A μ of .25 in the
    formula would be a λ of .091.

    Args:
        log_probs: log-probabilities of the policy over legal codes; -inf at other codes.
        codes: codes of the targets.
        width: B, the width of the beam.
        weight: λ, which is the formula's μ divided by ξ.
        temperature: ξ, in nats.
    """
    logs = log_probs.detach().float()
    num_legal = (logs > -torch.inf).sum(dim=2)
    own = logs.gather(2, codes[..., None])[..., 0]
    # With fewer legal codes than beams, all codes are kept: the worst one is the threshold.
    last = (num_legal.clamp(max=width) - 1).clamp(min=0)
    threshold = logs.sort(dim=2, descending=True).values.gather(2, last[..., None])[..., 0]
    weights = 1 + weight * torch.sigmoid((own - threshold) / temperature)
    has_choice = num_legal > 1
    mean = (weights * has_choice).sum() / has_choice.sum().clamp(min=1)
    return torch.where(has_choice, weights / mean.clamp(min=1e-12), 1.0)


def next_item_cross_entropy(
    scores: Float[Tensor, "targets items"],
    items: Int[Tensor, " targets"],
    *,
    label_smoothing: float = 0.0,
    weights: Float[Tensor, " targets"] | None = None,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the target items over the whole catalog, in nats.

    Args:
        scores: score of every item, unnormalised.
        items: the target items.
        label_smoothing: share of the probability that is spread over the catalog.
        weights: weights of the targets, see `mean_over_targets`.
    """
    if weights is None:
        return functional.cross_entropy(scores.float(), items, label_smoothing=label_smoothing)
    losses = functional.cross_entropy(
        scores.float(), items, label_smoothing=label_smoothing, reduction="none"
    )
    return mean_over_targets(losses, weights)


def sampled_item_cross_entropy(
    scores: Float[Tensor, "targets candidates"],
    candidates: Candidates,
    num_items: int,
    *,
    label_smoothing: float = 0.0,
    weights: Float[Tensor, " targets"] | None = None,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the target items, estimated from some items, in nats.

        L = -1/N Σ_n Σ_i q(i) (z_i - log Z),   Z = e^z_t + Σ_{candidates j ≠ t} w_j e^z_j,
        q(i) = (1 - ε) [i = t] + ε / I

    with the weights w of the candidates. Z is free of bias, and so is Σ_i q(i) z_i, which is summed
    over the candidates with the same weights. log Z is too low by half of the relative variance of
    Z, to the first order. Sources: see `NegativeSampler`.

    Args:
        scores: scores z of the candidates, unnormalised.
        candidates: which items they are, and their weights.
        num_items: I, the items of the catalog.
        label_smoothing: ε, the share of the probability that is spread over the catalog.
        weights: weights of the targets, see `mean_over_targets`.
    """
    scores = scores.float()
    losses = functional.cross_entropy(
        scores + candidates.log_weights, candidates.columns, reduction="none"
    )
    if label_smoothing:
        hit = scores.gather(1, candidates.columns[:, None])[:, 0]
        mean = (candidates.log_weights.exp() * scores).sum(dim=1) / num_items
        losses = losses + label_smoothing * (hit - mean)
    return mean_over_targets(losses, weights)


def per_target_cross_entropy(
    targets: Float[Tensor, " targets"],
    scores: Float[Tensor, "targets draws"],
    negatives: PerTargetNegatives,
    *,
    log_q: bool,
    weights: Float[Tensor, " targets"] | None = None,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the targets among themselves and their negatives, in nats.

        L = -1/N Σ_n (z_n - log(e^z_n + Σ_j w_nj e^z_nj))

    w is 1. With log-q correction, w is the weight of `PerTargetNegatives`; then the sum is an
    unbiased estimate of the sum over the catalog.

    Source: sampled softmax without correction, eSASRec (arXiv:2508.06450); the correction, Bengio &
    Senecal (IEEE Transactions on Neural Networks 19(4), 2008). Our choice: a draw that is the
    target counts as no negative.

    Args:
        targets: the score z of each target.
        scores: the scores of its draws.
        negatives: the draws.
        log_q: whether the weights correct for the number of draws that is expected.
        weights: weights of the targets, see `mean_over_targets`.
    """
    drawn = scores.float()
    if log_q:
        drawn = drawn + negatives.log_weights
    drawn = drawn.masked_fill(~negatives.is_negative, -torch.inf)
    # The target stands first, so its place is 0 in every row.
    together = torch.cat([targets.float()[:, None], drawn], dim=1)
    losses = functional.cross_entropy(
        together, torch.zeros_like(negatives.items[:, 0]), reduction="none"
    )
    return mean_over_targets(losses, weights)


def binary_cross_entropy(
    targets: Float[Tensor, " targets"],
    scores: Float[Tensor, "targets draws"],
    negatives: PerTargetNegatives,
    *,
    power: float = 1.0,
    weights: Float[Tensor, " targets"] | None = None,
) -> Float[Tensor, ""]:
    """Mean loss of telling each target from its negatives, one item at a time, in nats.

        L = -1/N Σ_n 1/(K+1) (β log σ(z_n) + Σ_j log(1 - σ(z_nj))),   K draws for each target

    Source: generalised binary cross-entropy, gSASRec (arXiv:2308.07192). With β = 1 and K = 1 it is
    half of the loss of SASRec's authors (arXiv:1808.09781). Our choices: a draw that is the target
    counts as no negative, and other items of the user count as negatives; SASRec's authors leave
    these out.

    Args:
        targets: the score z of each target.
        scores: the scores of its draws.
        negatives: the draws.
        power: β, see `gbce_power`.
        weights: weights of the targets, see `mean_over_targets`.
    """
    hit = power * functional.logsigmoid(targets.float())
    missed = functional.logsigmoid(-scores.float()).masked_fill(~negatives.is_negative, 0.0)
    losses = -(hit + missed.sum(dim=1)) / (1 + scores.shape[1])
    return mean_over_targets(losses, weights)


def gbce_power(num_negatives: int, num_items: int, calibration: float) -> float:
    """The power β of gBCE, by which the probability of a target is raised.

        β = α (t (1 - 1/α) + 1/α),   α = K / (I - 1)

    Source: gSASRec (arXiv:2308.07192). With t = 0, β is 1: binary cross-entropy. With
    t = 1, β is α: the share of the other items that is drawn.

    Args:
        num_negatives: K, for each target.
        num_items: I, of the catalog.
        calibration: t.
    """
    rate = num_negatives / max(num_items - 1, 1)
    return calibration * (rate - 1) + 1


def chunked_item_cross_entropy(
    score: Callable[[Tensor, Tensor], Tensor],
    rows: Float[Tensor, "items dim"],
    items: Int[Tensor, " targets"],
    *,
    label_smoothing: float = 0.0,
    weights: Float[Tensor, " targets"] | None = None,
    chunk_items: int,
) -> Float[Tensor, ""]:
    """`next_item_cross_entropy` without an array of targets and items, to rounding.

    The catalog is read in chunks. Of a chunk only three numbers per target are kept; the scores are
    computed again where the gradient needs them.

    Source: Cut Your Losses (arXiv:2411.09009), which does so in one kernel. Ours is a loop over
    products of matrices, for any device, and skips no small gradients.

    Args:
        score: gives scores of items [targets, chunk] from their rows [chunk, dim] and their indices
            [chunk], which ascend. The function may hold states that require a gradient.
        rows: rows of all items.
        items: the target items.
        label_smoothing: share of the probability that is spread over the catalog.
        weights: weights of the targets, see `mean_over_targets`.
        chunk_items: items of a chunk.
    """
    every = torch.arange(len(rows), device=rows.device)

    def part(rows: Tensor, chunk: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = score(rows, chunk).float()
        columns = (items - chunk[0]).clamp(0, len(chunk) - 1)
        hit = scores.gather(1, columns[:, None])[:, 0]
        total = scores.sum(dim=1) if label_smoothing else torch.zeros_like(hit)
        return scores.logsumexp(dim=1), torch.where(items == chunk[columns], hit, 0.0), total

    parts = [
        checkpoint(part, some, chunk, use_reentrant=False, preserve_rng_state=False)
        # The gradient of a split is put together once; that of a slice would be as long as `rows`.
        for some, chunk in zip(
            torch.split(rows, chunk_items), torch.split(every, chunk_items), strict=True
        )
    ]
    log_sums, hits, totals = (torch.stack(column) for column in zip(*parts, strict=True))
    hit, mean = hits.sum(dim=0), totals.sum(dim=0) / len(rows)
    losses = log_sums.logsumexp(dim=0) - (1 - label_smoothing) * hit - label_smoothing * mean
    return mean_over_targets(losses, weights)
