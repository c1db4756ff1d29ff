"""The item head: scores of all items at the state of a history."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch, is_named_among

_REPEAT_SCALE = 10.0
"""An optimizer moves a number by about its rate a step, and data without repetition want this one
several units from 0, while the weights of a network move by hundredths."""


class ItemHead(nn.Module):
    """Products of a state with a row per item, and what having had the item already is worth.

    Rows are the head's own, or those that histories are read by ("tied", as in SASRec), which
    share what is known of an item and make it look like its own successor. The repeat bias learns
    from the data whether it is: one number, added to the scores of the items that a history holds.
    It begins where the training data put it (`begin_at`). What each is worth stands in
    docs/experiments.md.

    Source: tying as in SASRec (arXiv:1808.09781, eq. 6). That repeating an item is a decision of
    its own is RepeatNet's point (arXiv:1812.02646); one learned number for it is ours.

    sparse: whether the gradient of some rows is sparse, as `nn.Embedding.sparse` has it.
    """

    def __init__(self, dim: int, num_rows: int | None, *, has_repeat_bias: bool) -> None:
        """Makes the parameters; whoever owns it initialises them.

        Args:
            dim: width of states.
            num_rows: of its own, one per item; None for a tied head, which is given some each time.
            has_repeat_bias: whether scores depend on what the history holds.
        """
        super().__init__()
        self.weight = None if num_rows is None else nn.Linear(dim, num_rows, bias=False).weight
        self.repeat = nn.Parameter(torch.zeros(())) if has_repeat_bias else None
        self.sparse = False

    @torch.no_grad()
    def begin_at(self, score: float) -> None:
        """Sets what is added to the scores of held items, in nats; it is learned from there."""
        assert self.repeat is not None, "only a head with a repeat bias has something to set"
        self.repeat.fill_(score / _REPEAT_SCALE)

    def forward(
        self,
        states: Float[Tensor, "users dim"],
        histories: HistoryBatch,
        rows: Float[Tensor, "items dim"] | None = None,
    ) -> Float[Tensor, "users items"]:
        """Unnormalised log-probabilities of all items.

        Args:
            states: after each history.
            histories: what each state has seen.
            rows: one per item, of a tied head: those that histories are read by.
        """
        rows = self.weight if rows is None else rows
        assert rows is not None, "a tied head is given its rows"
        logits = functional.linear(states, rows)
        if self.repeat is None:
            return logits
        # Few of all items are held, so the bias is added to these alone, and to each of them once.
        held = histories.items.sort(dim=1).values
        is_again = functional.pad(held[:, 1:] == held[:, :-1], (1, 0), value=False)
        bias = (_REPEAT_SCALE * self.repeat).to(logits.dtype).expand(held.shape)
        bias = bias.masked_fill(is_again | (held == NO_ITEM), 0.0)
        return logits.scatter_add(1, held.clamp(min=0).long(), bias)

    def scores_of_rows(
        self,
        states: Float[Tensor, "users dim"],
        rows: Float[Tensor, "some dim"],
        items: Int[Tensor, " some"],
        histories: HistoryBatch,
    ) -> Float[Tensor, "users some"]:
        """Scores of some items at each state, see `HasItemRows.row_scores`."""
        logits = functional.linear(states, rows)
        if self.repeat is None:
            return logits
        return self._biased(logits, is_named_among(histories.items, items))

    def own_rows(self, items: Int[Tensor, " some"] | None) -> Float[Tensor, "some dim"]:
        """The rows of some items, or of all; only of a head that has rows of its own."""
        assert self.weight is not None, "a tied head has no rows of its own"
        if items is None:
            return self.weight
        return functional.embedding(items, self.weight, sparse=self.sparse)

    def scores_of_lists(
        self,
        states: Float[Tensor, "states dim"],
        items: Int[Tensor, "states items"],
        held: Int[Tensor, "states held"],
        rows: Float[Tensor, "states items dim"] | None = None,
    ) -> Float[Tensor, "states items"]:
        """Scores of a list of items at each state; any score at `NO_ITEM`.

        Args:
            states: see `forward`.
            items: one list per state.
            held: the items of each state's history; `NO_ITEM` is padding.
            rows: those of `items`, of a tied head.
        """
        if rows is None:
            assert self.weight is not None, "a tied head is given its rows"
            rows = self.weight[items.clamp(min=0)]
        logits = torch.bmm(rows.to(states.dtype), states[:, :, None])[..., 0]
        if self.repeat is None:
            return logits
        return self._biased(logits, (items[:, :, None] == held[:, None, :]).any(dim=2))

    def _biased(self, logits: Tensor, is_held: Tensor) -> Tensor:
        """The logits, with the repeat bias where a history holds the item."""
        assert self.repeat is not None
        return torch.where(is_held, logits + _REPEAT_SCALE * self.repeat, logits)
