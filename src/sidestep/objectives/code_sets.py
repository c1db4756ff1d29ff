"""Losses over sets of codes: every open codebook is predicted at every step.

REG4Rec (arXiv:2508.15308, sec. V-1) sums the cross-entropy of the codes of an item and does not say
in which order the codes are learned. Here the order is drawn anew for every target, and each step
averages the loss over the codebooks that are still open. So every head learns at every state that a
search may meet, and the confidences of the heads are comparable.

The mass of a code is the probability that a teacher gives to all items with the code. The masses of
the codes of a codebook need not sum to one; their shares do.
"""

import itertools
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.step import normalised


def open_codebooks(
    orders: Int[Tensor, "targets steps"], num_codebooks: int
) -> Bool[Tensor, "targets steps codebooks"]:
    """The codebooks that are not decided yet at each step, as a mask.

    Args:
        orders: codebooks in the order in which they are decided, each once.
        num_codebooks: number of all codebooks.
    """
    decided = functional.one_hot(orders, num_codebooks).cumsum(dim=1)
    before = functional.pad(decided[:, :-1], (0, 0, 1, 0))
    return before == 0


def mean_over_open(
    losses: Float[Tensor, "targets steps codebooks"],
    is_open: Bool[Tensor, "targets steps codebooks"],
) -> Float[Tensor, "targets steps"]:
    """The mean of the losses of the open codebooks at each step; 0 where none is open."""
    total = losses.masked_fill(~is_open, 0.0).sum(dim=2)
    return total / is_open.sum(dim=2).clamp(min=1)


def codebook_cross_entropies(
    logits: Float[Tensor, "targets steps actions"],
    codes: Int[Tensor, "targets codebooks"],
    sizes: tuple[int, ...],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, "targets steps codebooks"]:
    """Negative log-likelihood of the target's code in each codebook, in nats.

    Args:
        logits: of all codes, codebook by codebook.
        codes: of the targets; each code is a number within its codebook, from 0.
        sizes: codes per codebook.
        label_smoothing: share of the probability that is spread over the codebook.
    """
    losses = []
    for codebook, own in enumerate(torch.split(logits, list(sizes), dim=2)):
        steps = own.shape[1]
        of_step = codes[:, codebook, None].expand(-1, steps)
        losses.append(
            functional.cross_entropy(
                own.flatten(0, 1).float(),
                of_step.flatten(),
                reduction="none",
                label_smoothing=label_smoothing,
            ).view(-1, steps)
        )
    return torch.stack(losses, dim=2)


def codebook_soft_cross_entropies(
    logits: Float[Tensor, "targets steps actions"],
    masses: Float[Tensor, "targets steps actions"],
    sizes: tuple[int, ...],
    *,
    normaliser: Literal["codebook", "legal"] = "codebook",
) -> Float[Tensor, "targets steps codebooks"]:
    """Cross-entropy of each codebook to the shares of the masses of its codes, in nats.

    0 where all masses of a codebook are 0.

    Args:
        logits: of all codes, codebook by codebook; finite where there is mass.
        masses: of all codes, at least 0, see `code_masses`.
        sizes: codes per codebook.
        normaliser: `codebook` takes the probabilities over all codes of a codebook, `legal` over
            the codes of some mass alone.
    """
    losses = []
    for own, mass in zip(
        torch.split(logits, list(sizes), dim=2),
        torch.split(masses, list(sizes), dim=2),
        strict=True,
    ):
        has_mass = mass > 0
        log_probs = normalised(own, legal=has_mass if normaliser == "legal" else None)
        share = mass / mass.sum(dim=2, keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)
        # 0 · -inf is NaN, also in the gradient.
        losses.append(-(share.float() * log_probs.masked_fill(~has_mass, 0.0)).sum(dim=2))
    return torch.stack(losses, dim=2)


def code_masses(
    item_masses: Float[Tensor, "targets some"],
    codes: Int[Tensor, "some codebooks"],
    sizes: tuple[int, ...],
    paths: Int[Tensor, "targets codebooks"],
    orders: Int[Tensor, "targets steps"],
) -> Float[Tensor, "targets steps actions"]:
    """The mass of the items that have each code, among those that agree with a target so far.

        m_s(c) = Σ_{items i with code c and with the target's codes in the first s codebooks} w_i

    From the second step on, the work is that of the items that agree, which are few.

    Args:
        item_masses: w, at least 0.
        codes: of the items; each code is a number within its codebook, from 0.
        sizes: codes per codebook.
        paths: codes of the targets, numbered within their codebooks.
        orders: the codebooks in the order in which the target's codes are decided; the last
            codebook is not read.
    """
    num_targets, num_steps = orders.shape
    num_actions = sum(sizes)
    flat = codes + codes.new_tensor([0, *itertools.accumulate(sizes[:-1])])
    masses = item_masses.new_zeros(num_targets, num_steps, num_actions)
    for own in flat.T:
        masses[:, 0].index_add_(1, own, item_masses)
    if num_steps == 1:
        return masses
    first = orders[:, 0]
    targets, items = (codes.T[first] == paths.gather(1, first[:, None])).nonzero(as_tuple=True)
    for step in range(1, num_steps):
        if step > 1:
            decided = orders[targets, step - 1]
            agrees = codes[items, decided] == paths[targets, decided]
            targets, items = targets[agrees], items[agrees]
        cells = (targets * num_steps + step)[:, None] * num_actions + flat[items]
        mass = item_masses[targets, items][:, None].expand(cells.shape)
        masses.view(-1).index_add_(0, cells.flatten(), mass.flatten())
    return masses
