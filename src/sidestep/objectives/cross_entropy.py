"""Cross-entropies over codes and over items."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def next_code_cross_entropy(
    logits: Float[Tensor, "targets levels codes"],
    codes: Int[Tensor, "targets levels"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " levels"]:
    """Mean negative log-likelihood of the target's codes, level by level, in nats.

        L_l = -1/N Σ_n Σ_c q(c) log softmax(logits[n, l])_c,
        q(c) = (1 - ε) [c = codes[n, l]] + ε / K_l

    The sum over levels is the negative log-likelihood of the item's semantic ID under the policy
    normalised over codebooks (TIGER, arXiv:2305.05065).

    Args:
        logits: -inf past the end of a level's codebook of K_l codes.
        codes: the target's.
        label_smoothing: ε, the share of the probability spread over the level's codebook.
    """
    levels = logits.shape[1]
    if label_smoothing == 0:
        losses = functional.cross_entropy(
            logits.flatten(0, 1).float(), codes.flatten(), reduction="none"
        )
        return losses.view(-1, levels).mean(dim=0)
    is_code = logits > -torch.inf
    logs = logits.float().log_softmax(dim=-1)
    hit = -logs.gather(2, codes[..., None])[..., 0]
    spread = -logs.masked_fill(~is_code, 0.0).sum(dim=-1) / is_code.sum(dim=-1)
    return ((1 - label_smoothing) * hit + label_smoothing * spread).mean(dim=0)


def next_item_cross_entropy(
    scores: Float[Tensor, "targets items"],
    items: Int[Tensor, " targets"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the target items over the whole catalog, in nats."""
    return functional.cross_entropy(scores.float(), items, label_smoothing=label_smoothing)
