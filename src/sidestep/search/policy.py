"""What every search over the trie has in common: its settings, its question and its answer."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.availability import Availability
from sidestep.catalog.trie import NO_CODE, NO_STATE, Trie
from sidestep.search.exclusion import Exclusion
from sidestep.search.tree import Candidates
from sidestep.step import HistoryBatch, StepModel, StepOutput, log_probs

Normaliser = Literal["legal", "codebook"]
"""Over which codes a policy sums to one: those that lead to an item, or the whole codebook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The items a search may return: the catalog's trie, less what is out of stock or excluded.

    below: per user, a prefix that every item must have, as a state; the root's allows all.
    """

    trie: Trie
    available: Availability | None = None
    excluded: Exclusion | None = None
    below: Int[Tensor, " users"] | None = None

    def legal(
        self, states: Int[Tensor, "users width"], depth: int
    ) -> Bool[Tensor, "users width codes"]:
        """The codes that lead from states of one depth to an item in scope."""
        legal = self.trie.legal(states, self.available)
        if self.excluded is not None:
            legal = self.excluded.open_codes(legal, states, depth)
        if self.below is not None:
            legal = legal & self._leads_below(depth, legal.shape[2])[:, None]
        return legal

    def legal_at(
        self, states: Int[Tensor, "users width"], depths: Int[Tensor, "users width"]
    ) -> Bool[Tensor, "users width codes"]:
        """As `legal`, of states of any depths; whatever at the depth of a `NO_STATE`."""
        legal = self.trie.legal(states, self.available)
        if self.excluded is not None:
            for depth in range(self.trie.num_levels):
                here = states.masked_fill(depths != depth, NO_STATE)
                legal = self.excluded.open_codes(legal, here, depth)
        if self.below is not None:
            for depth in range(self.trie.num_levels):
                leads = self._leads_below(depth, legal.shape[2])[:, None]
                legal = legal & (leads | (depths != depth)[..., None])
        return legal

    def _leads_below(self, depth: int, num_codes: int) -> Bool[Tensor, "users codes"]:
        """The codes after `depth` others that keep to each user's prefix; all past its end."""
        assert self.below is not None
        own = self.trie.codes_of(self.trie.ancestor(self.below, depth + 1))[:, None]
        codes = torch.arange(num_codes, device=own.device)
        return (codes == own) | (own == NO_CODE)


@runtime_checkable
class SearchPolicy(Protocol):
    """A way to find leaves; a user's own class may be one."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def search(self, model: StepModel[Any], histories: HistoryBatch, scope: Scope) -> Candidates:
        """Finds each user's best leaves in `scope`; fewer items give fewer leaves, none illegal."""
        ...


def reads_values(policy: SearchPolicy) -> bool:
    """Whether a search asks what prefixes are worth; one that says nothing of it might.

    Values cost time: a policy that has no use for them sets `reads_values` to False.
    """
    return bool(getattr(policy, "reads_values", True))


def redrawn(policy: SearchPolicy, step: int) -> SearchPolicy:
    """The search with other draws at every step: a dataclass with a seed, moved on by as much."""
    draws: Any = policy
    # A user's own may be no dataclass.
    if "seed" not in getattr(draws, "__dataclass_fields__", ()):
        return policy
    drawn: SearchPolicy = replace(draws, seed=draws.seed + step)
    return drawn


def code_log_probs(
    step: StepOutput, legal: Bool[Tensor, "users width codes"], normaliser: Normaliser
) -> Float[Tensor, "users width codes"]:
    """Log-probabilities of the next code, -inf where it is not legal."""
    if normaliser == "legal":
        return log_probs(step, legal)
    return log_probs(step, None).masked_fill(~legal, -torch.inf)


def node_values(step: StepOutput) -> Float[Tensor, "users width"]:
    """What a model says its nodes are worth.

    Raises:
        ValueError: it says nothing of that.
    """
    if step.value is None:
        raise ValueError("the model gives no values; put a value head onto it (`HeadedModel`).")
    return step.value
