"""ReaRec: SASRec that thinks for some steps after a history, in the space of its states."""

from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from sidestep.model.config import ReaRecConfig
from sidestep.model.thinking import ThinkingNetwork
from sidestep.step import HistoryBatch


class ReaRec(ThinkingNetwork):
    """SASRec whose last state is fed back for K steps before it scores items.

    A chain is h_0, .., h_K of `ThinkingNetwork`.

    Source: ReaRec (arXiv:2503.22675); see `ThinkingNetwork` for the departures. The objectives of
    the two strategies are `ProgressiveReasoningObjective` and `EnsembleReasoningObjective`. See
    `TiedItemNetwork` for inputs and scores.
    """

    Config: ClassVar = ReaRecConfig
    config: ReaRecConfig

    def reason(
        self, vectors: Float[Tensor, "users positions dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users positions steps dim"]:
        """See `LatentReasoningNetwork.reason`."""
        del histories
        return self.reason_from(self.read_prompt(vectors))

    def last_chains(self, histories: HistoryBatch) -> Float[Tensor, "users steps dim"]:
        """See `LatentReasoningNetwork.last_chains`; no other position reasons."""
        prompt = self.read_prompt(self.inputs(histories))
        return self.reason_from(prompt, histories.lengths[:, None])[:, 0]

    def scoring_states(
        self, chains: Float[Tensor, "*batch steps dim"]
    ) -> Float[Tensor, "*batch dim"]:
        """See `LatentReasoningNetwork.scoring_states`; the means of chains in an ensemble."""
        if self.config.reasoning == "ensemble":
            return chains.mean(dim=-2)
        return super().scoring_states(chains)

    def layer_flops(self, positions: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """See `TiedItemNetwork.layer_flops`; only the last position reasons."""
        return self.thinking_flops(positions)
