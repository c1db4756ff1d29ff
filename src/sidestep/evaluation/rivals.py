"""Rivals: the prefixes with which the prefixes of a target are compared.

Rivals are all prefixes, or an evenly spread sample. They are states, with `NO_STATE` as padding.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.trie import NO_STATE, Trie


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivals:
    """The prefixes, of all depths, with which the prefixes of each user's target are compared.

    target: leaf of each user's target.
    spread: prefixes that are evenly spread over each depth; None means all prefixes.
    siblings: prefixes with the same parent as a prefix of the target, the target's prefix included.
    leaves: all leaves; None if prefixes are spread.
    """

    target: Int[Tensor, " users"]
    spread: Int[Tensor, "users spread"] | None
    siblings: Int[Tensor, "users siblings"]
    leaves: Int[Tensor, " leaves"] | None

    @staticmethod
    def of(
        target: Int[Tensor, " users"],
        starts: Float[Tensor, " users"],
        trie: Trie,
        number: int | None,
    ) -> "Rivals":
        """Chooses the rivals.

        Args:
            target: leaf of each user's target.
            starts: see `evenly_spread`.
            trie: trie of the catalog.
            number: largest number of rivals of each depth, and of each parent; None takes all.
        """
        spread, siblings = [], []
        for depth in range(1, trie.num_levels + 1):
            nodes = trie.nodes_at(depth)
            if number is not None:
                first, last = (torch.full_like(target, end) for end in (nodes.start, nodes.stop))
                spread.append(evenly_spread(first, last, starts, number))
            above = trie.ancestor(target, depth - 1)
            first, last = (trie.child_start[above + side].long() for side in (0, 1))
            siblings.append(evenly_spread(first, last, starts, number or len(nodes)))
        every = torch.arange(trie.first_leaf, trie.num_nodes(), device=trie.device)
        return Rivals(
            target=target,
            spread=torch.cat(spread, dim=1) if spread else None,
            siblings=torch.cat(siblings, dim=1),
            leaves=None if spread else every,
        )

    def states_with(self, proposed: Int[Tensor, "users proposed"]) -> Int[Tensor, "users states"]:
        """States of all rivals and of the proposed prefixes, for each user."""
        if self.spread is None:
            assert self.leaves is not None
            return self.leaves.expand(len(self.target), -1)
        return torch.cat([self.target[:, None], self.spread, self.siblings, proposed], dim=1)


def evenly_spread(
    first: Int[Tensor, " users"],
    last: Int[Tensor, " users"],
    starts: Float[Tensor, " users"],
    number: int,
) -> Int[Tensor, "users number"]:
    """At most `number` integers from `first` to before `last`, equally far apart; all if few.

    This is systematic sampling. If the starts are drawn uniformly, all integers are equally likely
    to be in the sample. Neighbours share their first codes, and seldom are both in the sample.

    Args:
        first: the smallest integer.
        last: one more than the largest integer.
        starts: the start within the first step, in [0, 1).
        number: largest number of integers.

    Returns:
        The integers, ascending, padded with `NO_STATE`.
    """
    counts = last - first
    width = min(number, int(counts.max()))
    steps = torch.arange(width, device=first.device)
    step = counts.double()[:, None] / width
    chosen = ((steps + starts.double()[:, None]) * step).floor().long()
    chosen = torch.where((counts <= width)[:, None], steps, chosen)
    return (first[:, None] + chosen).masked_fill(chosen >= counts[:, None], NO_STATE)
