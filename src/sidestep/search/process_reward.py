"""Process rewards as prefix scores: a trained network asked by a search."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace, HasFeatures, features_misfit
from sidestep.catalog.trie import NO_STATE
from sidestep.search.scorer import PrefixScores
from sidestep.step import Context, HistoryBatch, HistoryStates, StepOutput


@runtime_checkable
class RewardNetwork(Protocol):
    """Scores prefixes of histories, as `sidestep.model.process_reward` does."""

    @property
    def num_features(self) -> int:
        """Features that it has rows for, see `sidestep.catalog.space.HasFeatures`."""
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
        self, memory: Any, features: Int[Tensor, "users width features"]
    ) -> Float[Tensor, "users width"]:
        """A score for every state, from its features."""
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
            TypeError: the space does not describe its states by features.
            ValueError: the network knows another space, or the model has no states of histories.
        """
        if not isinstance(scope, HasFeatures):
            raise TypeError(
                f"{self.name} needs a space that describes its states by features, as a trie and "
                f"sets of codes do, got the space {type(scope).__name__}; take a search that walks "
                "any space, such as a beam search."
            )
        misfit = features_misfit(self.network.num_features, scope)
        if misfit is not None:
            raise ValueError(f"the process reward model {misfit}")
        if context.history_states is None:
            raise ValueError(
                "the model gives no state per past item, which a process reward model reads; use "
                "the native Transformer."
            )
        memory, space = self.network.remember(context.history_states), scope

        def scores(states: Int[Tensor, "users width"], depth: int) -> Float[Tensor, "users width"]:
            return self.network(memory, space.features(states))

        return scores

    def flops(
        self, histories: HistoryBatch, asked: Int[Tensor, "users asked"], scope: CodeSpace
    ) -> Int[Tensor, " users"]:
        """See `CountsScores.flops`."""
        num_states = histories.lengths + 1  # one before any item and one after each
        return self.network.flops(num_states, (asked != NO_STATE).sum(dim=1))
