"""The item head: scores of all items at the state of a history."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.step import NO_ITEM, HistoryBatch

_REPEAT_SCALE = 10.0
"""An optimizer moves a number by about its rate a step, and data without repetition want this one
several units from 0, while the weights of a network move by hundredths."""


class ItemHead(nn.Module):
    """Products of a state with a row per item, and what having had the item already is worth.

    Rows are the head's own, or those that histories are read by ("tied", as in SASRec), which
    share what is known of an item and make it look like its own successor. The repeat bias learns
    from the data whether it is: one number, added to the scores of the items that a history holds.
    What each is worth stands in docs/experiments.md.

    Source: tying as in SASRec (arXiv:1808.09781, eq. 6). That repeating an item is a decision of
    its own is RepeatNet's point (arXiv:1812.02646); one learned number for it is ours.
    """

    def __init__(self, dim: int, num_items: int, *, is_tied: bool, has_repeat_bias: bool) -> None:
        """Makes the parameters; whoever owns it initialises them.

        Args:
            dim: width of states.
            num_items: of the catalog; a tied head learns it from its rows.
            is_tied: whether rows are given at each call instead of being its own.
            has_repeat_bias: whether scores depend on what the history holds.
        """
        super().__init__()
        self.weight = None if is_tied else nn.Linear(dim, num_items, bias=False).weight
        self.repeat = nn.Parameter(torch.zeros(())) if has_repeat_bias else None

    def forward(
        self,
        states: Float[Tensor, "users dim"],
        rows: Float[Tensor, "items dim"],
        histories: HistoryBatch,
    ) -> Float[Tensor, "users items"]:
        """Unnormalised log-probabilities of all items.

        Args:
            states: after each history.
            rows: one per item: `weight`, or those that histories are read by.
            histories: what each state has seen.
        """
        logits = functional.linear(states, rows)
        if self.repeat is None:
            return logits
        # Padding gets a column of its own, past the last item.
        held = histories.items.masked_fill(histories.items == NO_ITEM, len(rows)).long()
        is_held = torch.zeros(len(states), len(rows) + 1, dtype=torch.bool, device=states.device)
        is_held.scatter_(1, held, True)
        return torch.where(is_held[:, :-1], logits + _REPEAT_SCALE * self.repeat, logits)

    def scores_at(
        self,
        states: Float[Tensor, "users dim"],
        rows: Float[Tensor, "users dim"],
        items: Int[Tensor, " users"],
        histories: HistoryBatch,
    ) -> Float[Tensor, " users"]:
        """The same of one item at each state.

        Args:
            states: see `forward`.
            rows: those of `items`.
            items: one per state.
            histories: see `forward`.
        """
        logits = (states * rows).sum(dim=-1)
        if self.repeat is None:
            return logits
        is_held = (histories.items == items[:, None]).any(dim=1)
        return torch.where(is_held, logits + _REPEAT_SCALE * self.repeat, logits)
