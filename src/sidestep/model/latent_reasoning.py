"""Latent reasoning: a network over item IDs computes further between reading and scoring.

A network that reasons has a chain of states after each history, where another network has one
state. The chain is the hook: a network says how a chain goes on, and which of its states scores. An
objective may teach every state of a chain.
"""

from abc import abstractmethod

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
