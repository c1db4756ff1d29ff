"""Traces: the thoughts that a network should have written, once the next item is known."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.objectives.contrastive import in_batch_info_nce

Map = Callable[[Float[Tensor, "rows dim"]], Float[Tensor, "rows dim"]]
"""A learned map of vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtTrace:
    """The way from each history to its target, in steps of one code.

        r_i = f(t - s_(i-1)),   o_i = argmin_k |c_k - r_i|,   s_i = g(Σ_(j <= i) d_j)

    c_k are the vectors of the codes and d_i is that of o_i; f and g are learned maps, and t is the
    representation of the target. A trace knows the target. So a trace is a label, and no network
    may read one in a recommendation.

    Source: the residual fitting of STREAM-Rec (arXiv:2504.09627). Our choice: in s_i, the gradient
    of d_j goes to r_j as it is (the straight-through estimator, arXiv:1711.00937); otherwise no
    loss would teach f to come nearer to the target.

    codes: o_1, .., o_l; without gradient.
    states: s_1, .., s_l.
    quantisation: |sg(r_i) - d_i|² + commitment · |r_i - sg(d_i)|² of each step, as a mean over
        dimensions; sg stops the gradient.
    """

    codes: Int[Tensor, "rows steps"]
    states: Float[Tensor, "rows steps dim"]
    quantisation: Float[Tensor, "rows steps"]

    @staticmethod
    def made(
        first: Float[Tensor, "rows dim"],
        targets: Float[Tensor, "rows dim"],
        codewords: Float[Tensor, "codes dim"],
        *,
        to_residual: Map,
        to_state: Map,
        num_steps: int,
        commitment: float,
    ) -> "ThoughtTrace":
        """Makes the traces of some histories.

        Args:
            first: s_0 of each history.
            targets: t of each history.
            codewords: c, the vectors of all codes. The lower code wins ties.
            to_residual: f.
            to_state: g.
            num_steps: l, at least 1.
            commitment: see `quantisation`.
        """
        states, codes, losses = [first], [], []
        total = torch.zeros_like(targets)
        for _ in range(num_steps):
            residual = to_residual(targets - states[-1])
            code = torch.cdist(residual.detach(), codewords.detach()).argmin(dim=1)
            chosen = codewords[code]
            moved = (residual.detach() - chosen).square().mean(dim=1)
            committed = (residual - chosen.detach()).square().mean(dim=1)
            losses.append(moved + commitment * committed)
            total = total + residual + (chosen - residual).detach()
            codes.append(code)
            states.append(to_state(total))
        return ThoughtTrace(
            codes=torch.stack(codes, dim=1),
            states=torch.stack(states[1:], dim=1),
            quantisation=torch.stack(losses, dim=1),
        )

    def contrast(
        self,
        targets: Float[Tensor, "rows dim"],
        items: Int[Tensor, " rows"],
        *,
        temperature: float,
    ) -> Float[Tensor, " rows"]:
        """InfoNCE of the states with their targets, in nats, as a mean over the steps.

        The score is the cosine divided by the temperature. Targets of other rows are negatives,
        unless they are the same item.

        Args:
            targets: t of each row.
            items: the item of each target.
            temperature: divides the cosine.
        """
        ours, theirs = functional.normalize(self.states, dim=-1), functional.normalize(targets)
        losses = [
            in_batch_info_nce(step @ theirs.T / temperature, items) for step in ours.unbind(dim=1)
        ]
        return torch.stack(losses, dim=1).mean(dim=1)
