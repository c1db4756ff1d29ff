"""Losses over sets of codes: every open codebook is predicted at every step.

REG4Rec (arXiv:2508.15308, sec. V-1) sums the cross-entropy of the codes of an item and does not say
in which order the codes are learned. Here the order is drawn anew for every target, and each step
averages the loss over the codebooks that are still open. So every head learns at every state that a
search may meet, and the confidences of the heads are comparable.

The mass of a code is the probability that a teacher gives to all items with the code. The masses of
the codes of a codebook need not sum to one; their shares do.
"""

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


def membership(
    codes: Int[Tensor, "items codebooks"], num_actions: int
) -> Float[Tensor, "actions items"]:
    """A sparse matrix that is 1 where an item has a code.

    Args:
        codes: flat code ids of the items.
        num_actions: codes of all codebooks.
    """
    num_items, num_codebooks = codes.shape
    items = torch.arange(num_items, device=codes.device).repeat_interleave(num_codebooks)
    ones = torch.ones(len(items), device=codes.device)
    pairs = torch.stack([codes.flatten(), items])
    return torch.sparse_coo_tensor(
        pairs, ones, (num_actions, num_items), check_invariants=True
    ).coalesce()


def code_masses(
    item_masses: Float[Tensor, "targets some"],
    codes: Int[Tensor, "some codebooks"],
    has_code: Float[Tensor, "actions some"],
    paths: Int[Tensor, "targets codebooks"],
    orders: Int[Tensor, "targets steps"],
) -> Float[Tensor, "targets steps actions"]:
    """The mass of the items that have each code, among those that agree with a target so far.

        m_s(c) = Σ_{items i with code c and with the target's codes in the first s codebooks} w_i

    Args:
        item_masses: w, at least 0.
        codes: of the items; each code is a number within its codebook, from 0.
        has_code: the `membership` of these items.
        paths: codes of the targets, numbered within their codebooks.
        orders: the codebooks in the order in which the target's codes are decided; the last
            codebook is not read.
    """
    masses = []
    for step in range(orders.shape[1]):
        if step:
            decided = orders[:, step - 1]
            own = paths.gather(1, decided[:, None])
            item_masses = item_masses * (codes.T[decided] == own)
        masses.append(torch.sparse.mm(has_code, item_masses.T).T)
    return torch.stack(masses, dim=1)
