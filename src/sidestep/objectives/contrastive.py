"""Contrastive losses: the score of the target against the scores of negatives."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def info_nce(
    positives: Float[Tensor, " targets"], negatives: Float[Tensor, "targets negatives"]
) -> Float[Tensor, " targets"]:
    """InfoNCE without a temperature, in nats: -log of the target's share of Σ exp.

        L = -log( e^y⁺ / (e^y⁺ + Σ_i e^y⁻_i) )

    Source: PROMISE (arXiv:2601.04674), sec. 3.2.3. A negative of -inf does not count.
    """
    every = torch.cat([positives[:, None], negatives], dim=1)
    return every.logsumexp(dim=1) - positives


def in_batch_info_nce(
    scores: Float[Tensor, "rows rows"], groups: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """InfoNCE of rows and columns that belong together pairwise, in nats.

        L_i = -log( e^(s_ii) / Σ_j e^(s_ij) ),   over j = i and all j of other groups

    Column i is the positive of row i, and the columns of other groups are its negatives. Source:
    NT-Xent (arXiv:2002.05709), with the temperature in the scores. Our choice: another row of the
    same group is no negative, because it may mean the same.

    Args:
        scores: of each row with each column.
        groups: the group of each row, which is that of its column.
    """
    others = groups[:, None] == groups
    others.fill_diagonal_(fill_value=False)
    logits = scores.float().masked_fill(others, -torch.inf)
    return logits.logsumexp(dim=1) - logits.diagonal()


def distinct_others(own: Int[Tensor, " rows"], size: int, number: int) -> Int[Tensor, "rows drawn"]:
    """Draws different numbers from 0 to `size` - 1 for each row, uniformly, without its own number.

    The numbers are drawn from torch's own generator. Memory grows with rows × size, unless all
    numbers are taken.

    Args:
        own: number that is left out, per row.
        size: one more than the largest number.
        number: how many numbers are drawn; all are taken if there are fewer.
    """
    number = min(number, size - 1)
    if number == size - 1:
        drawn = torch.arange(number, device=own.device).expand(len(own), -1)
    else:
        keys = torch.rand(len(own), size - 1, device=own.device)
        drawn = keys.topk(number, dim=1, sorted=False).indices
    # Numbers are drawn below size - 1; those from `own` on are then raised by one.
    return drawn + (drawn >= own[:, None])


def share_below(
    positives: Float[Tensor, " targets"], negatives: Float[Tensor, "targets negatives"]
) -> Float[Tensor, " targets"]:
    """Share of the negatives that score less, ties half: the area under the ROC curve of a target.

    A negative of -inf does not count. The share is NaN if there are no other negatives.
    """
    below = (negatives < positives[:, None]).float() + 0.5 * (negatives == positives[:, None])
    is_one = negatives > -torch.inf
    return (below * is_one).sum(dim=1) / is_one.sum(dim=1)
