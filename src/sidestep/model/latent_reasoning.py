"""Latent reasoning: a network over item IDs computes further between reading and scoring.

A network that reasons has a chain of states after each history, where another network has one
state. The chain is the hook: a network says how a chain goes on, and which of its states scores. An
objective may teach every state of a chain.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.model.tied_item_network import TiedItemNetwork
from sidestep.step import HistoryBatch


class LatentReasoningNetwork(TiedItemNetwork):
    """A network over item IDs with a chain of states at each position, the first state first."""

    @abstractmethod
    def reason(
        self, vectors: Float[Tensor, "users positions dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users positions steps dim"]:
        """The chains at the positions of a prompt.

        Args:
            vectors: see `TiedItemNetwork.read`.
            histories: the items that were read.
        """

    def scoring_states(
        self, chains: Float[Tensor, "*batch steps dim"]
    ) -> Float[Tensor, "*batch dim"]:
        """The states of chains that score items: the last ones, if the network says no other."""
        return chains[..., -1, :]

    def chains(self, histories: HistoryBatch) -> Float[Tensor, "users positions steps dim"]:
        """The chains after the start token and after each item.

        Raises:
            ValueError: if a history is longer than `max_items`.
        """
        return self.reason(self.inputs(histories), histories)

    def last_chains(self, histories: HistoryBatch) -> Float[Tensor, "users steps dim"]:
        """The chain after each history.

        Raises:
            ValueError: see `chains`.
        """
        chains = self.chains(histories)
        return chains[torch.arange(len(chains), device=chains.device), histories.lengths]

    def read(
        self, vectors: Float[Tensor, "users positions dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users positions dim"]:
        """See `TiedItemNetwork.read`."""
        return self.scoring_states(self.reason(vectors, histories))

    def last_states(self, histories: HistoryBatch) -> Float[Tensor, "users dim"]:
        """See `ItemNetwork.last_states`."""
        return self.scoring_states(self.last_chains(histories))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChainDraw:
    """The draw that decides the chains at the positions of prompts.

    depth: the number of states of a chain.
    first: where each chain begins, before its first state; None is the mean of the noise, 0.
    """

    depth: int
    first: Float[Tensor, "users positions dim"] | None


class DrawnChainNetwork(LatentReasoningNetwork):
    """A network whose chains begin at noise while it trains.

    A recommendation takes the mean of the noise instead, so that a list depends on no draw and on
    no other user of a batch. A group of chains of one history, each from a draw of its own, can be
    compared by rewards, see `ChainRewardObjective`.
    """

    @abstractmethod
    def draw_chain(self, vectors: Float[Tensor, "users positions dim"]) -> ChainDraw:
        """A draw of training for prompts of these vectors, from torch's random generators."""

    @property
    @abstractmethod
    def answer_draw(self) -> ChainDraw:
        """The depth and the beginning of the chains of a recommendation."""

    @abstractmethod
    def drawn_chains(
        self, vectors: Float[Tensor, "users positions dim"], draws: Sequence[ChainDraw]
    ) -> list[Float[Tensor, "users positions _ dim"]]:
        """The chains of each draw, [users, positions, depth, dim].

        Args:
            vectors: see `TiedItemNetwork.read`.
            draws: for these prompts.
        """

    def reason(
        self, vectors: Float[Tensor, "users positions dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users positions steps dim"]:
        """See `LatentReasoningNetwork.reason`; drawn in `train` mode alone."""
        del histories
        draw = self.draw_chain(vectors) if self.training else self.answer_draw
        [chains] = self.drawn_chains(vectors, [draw])
        return chains
