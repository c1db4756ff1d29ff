"""Process rewards as prefix scores: a trained network asked by a search."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.search.policy import trie_scope
from sidestep.search.scorer import PrefixScores
from sidestep.step import Context, HistoryBatch, HistoryStates, StepOutput


@runtime_checkable
class RewardNetwork(Protocol):
    """Scores prefixes of histories, as `sidestep.model.process_reward` does."""

    @property
    def num_prefixes(self) -> int:
        """Nodes of the trie it knows."""
        ...

    def remember(self, history: HistoryStates) -> Any:
        """Reads histories, once for all prefixes."""
        ...

    def flops(
        self, num_states: Int[Tensor, " users"], num_prefixes: Int[Tensor, " users"]
    ) -> Int[Tensor, " users"]:
        """FLOPs of reading so many states of each history, and of scoring so many prefixes."""
        ...

    def __call__(
        self, memory: Any, states: Int[Tensor, "users width"]
    ) -> Float[Tensor, "users width"]:
        """A score for every state."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReward:
    """A prefix scorer that asks a network; see `PrefixScorer`."""

    network: RewardNetwork
    name: str = "prm"

    def begin(
        self, histories: HistoryBatch, root: StepOutput, context: Context, scope: CodeSpace
    ) -> PrefixScores:
        """See `PrefixScorer.begin`.

        Raises:
            ValueError: the network knows another trie, or the model has no states of histories.
        """
        num_nodes = trie_scope(scope, asker=self.name).num_states
        if self.network.num_prefixes != num_nodes:
            raise ValueError(
                f"the process reward model knows {self.network.num_prefixes} prefixes, but the "
                f"catalog has {num_nodes}; train it again on this catalog."
            )
        if context.history_states is None:
            raise ValueError(
                "the model gives no state per past item, which a process reward model reads; use "
                "the native Transformer."
            )
        memory = self.network.remember(context.history_states)

        def scores(states: Int[Tensor, "users width"], depth: int) -> Float[Tensor, "users width"]:
            return self.network(memory, states)

        return scores

    def flops(
        self, histories: HistoryBatch, asked: Int[Tensor, "users asked"], scope: CodeSpace
    ) -> Int[Tensor, " users"]:
        """See `CountsScores.flops`."""
        num_states = histories.lengths + 1  # one before any item and one after each
        return self.network.flops(num_states, (asked != NO_STATE).sum(dim=1))
