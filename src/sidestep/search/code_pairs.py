"""Pairs of codes: two codes of a set that a search decides at once, from one state of the network.

The network gives the codes of all codebooks at every state, so two codebooks can decide from one
state. A pair is cheaper than two steps, and the second code does not see the first code.

Source of the question: REG4Rec (arXiv:2508.15308) decides one code per step. Two at once are ours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.search.policy import Normaliser
from sidestep.step import StepOutput, normalised


@dataclass(frozen=True, slots=True, kw_only=True)
class CodePairs:
    """The pairs of codes that may follow each of some states.

        p(c, d | state) = p(c | state) p(d | state) / Z

    The rule of the network chooses the codebook of c, and then the codebook of d among those that
    are left. Only pairs of an item in scope count, so a search reaches legal sets alone. Z is the
    sum over these pairs: as with single codes, the probabilities of all items then sum to one, and
    a way of pairs can be compared with a way that has ended. If whole codebooks are normalised, Z
    is 1.

    first, second: the two codes of each pair, as actions; arbitrary at padding.
    shown: the one of the two that is less likely. The network is shown this code alone: a node has
        one code, and the less likely one tells more. What the network then reads is a smaller set
        of codes of the same items, as it has learned to read.
    log_probs: of the pairs, given the state; -inf is padding.
    """

    first: Int[Tensor, "users states pairs"]
    second: Int[Tensor, "users states pairs"]
    shown: Int[Tensor, "users states pairs"]
    log_probs: Float[Tensor, "users states pairs"]

    @staticmethod
    def of(
        step: StepOutput,
        states: Int[Tensor, "users states"],
        legal: Bool[Tensor, "users states actions"],
        space: SetSpace,
        normaliser: Normaliser,
    ) -> "CodePairs":
        """The pairs after states of which at least two codebooks are open.

        Args:
            step: the output of the model at the states.
            states: complete states and `NO_STATE` have no pairs.
            legal: the actions that may follow.
            space: the items that may be returned.
            normaliser: of the probabilities.
        """
        choice, num_actions = step.choice, space.num_actions
        assert choice is not None, "only a network that chooses codebooks decides pairs"
        one = choice.legal(step.logits, legal)
        other = choice.legal(step.logits, legal & ~choice.whole_codebooks(one))
        logs, books = [], []
        for followed in (one, other):
            whole = followed if normaliser == "legal" else choice.whole_codebooks(followed)
            logs.append(normalised(step.logits, legal=whole).flatten(0, 1))
            books.append(space.codebook_of[followed.byte().argmax(dim=2)].flatten())
        users, width = states.shape
        items, rows = space.candidates(states.masked_fill(~legal.any(dim=2), NO_STATE).flatten())
        is_in = space.in_scope(users)[rows // width, items]
        items, rows = items[is_in], rows[is_in]
        own = space.actions_of(items)
        pair = [own.gather(1, book[rows][:, None])[:, 0] for book in books]
        keys = torch.unique((rows * num_actions + pair[0]) * num_actions + pair[1])
        rows, codes = keys // num_actions**2, keys % num_actions**2
        first, second = codes // num_actions, codes % num_actions
        counts = rows.bincount(minlength=users * width)
        places = torch.arange(len(rows), device=keys.device)
        places = places - (counts.cumsum(0) - counts)[rows]
        shape = (users * width, max(1, int(counts.max())))

        def padded(values: Tensor, padding: int | float) -> Tensor:
            whole = torch.full(shape, padding, dtype=values.dtype, device=values.device)
            whole[rows, places] = values
            return whole.view(users, width, -1)

        each = (logs[0][rows, first], logs[1][rows, second])
        log_probs = padded(each[0] + each[1], -torch.inf)
        return CodePairs(
            first=padded(first, 0),
            second=padded(second, 0),
            shown=padded(torch.where(each[0] <= each[1], first, second), 0),
            log_probs=normalised(log_probs) if normaliser == "legal" else log_probs,
        )

    def at(self, columns: Int[Tensor, "users chosen"]) -> "CodePairs":
        """The pairs of some of the states."""
        chosen = columns[..., None]
        return CodePairs(
            first=self.first.take_along_dim(chosen, dim=1),
            second=self.second.take_along_dim(chosen, dim=1),
            shown=self.shown.take_along_dim(chosen, dim=1),
            log_probs=self.log_probs.take_along_dim(chosen, dim=1),
        )
