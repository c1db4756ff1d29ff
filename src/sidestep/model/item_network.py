"""Item networks: networks over item IDs that score the whole catalog at once, as SASRec does."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel
from torch import Tensor, nn

from sidestep.model.columns import ItemColumns, UserColumns
from sidestep.model.heads import ItemTable
from sidestep.step import HistoryBatch


class ItemNetwork(nn.Module, ABC):
    """Reads a history of items, and scores every item of the catalog.

    Training, ranking and bundles ask for no more than this, so that a further baseline is a class
    of this kind and a run of its kind. It is made by `of_codes`.

    Config: the class of its configuration; a bundle keeps what it says.
    config: its configuration.
    """

    Config: ClassVar[type[BaseModel]]
    config: Any

    @classmethod
    def of_codes(
        cls,
        config: Any,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
    ) -> "ItemNetwork":
        """The untrained network for the items of a catalog, by default `cls(config, num_items)`.

        A network that reads codes overrides this method.

        Args:
            config: of class `Config`.
            semantic_ids: of the items. The catalog owns them: a network holds them as they are.
            codebook_sizes: codes per level.
        """
        del codebook_sizes
        return cls(config, len(semantic_ids))

    @property
    @abstractmethod
    def num_items(self) -> int:
        """Items of the catalog."""

    @abstractmethod
    def states(self, histories: HistoryBatch) -> Float[Tensor, "users positions dim"]:
        """States before the first item and after each one; position p has seen p items.

        Raises:
            ValueError: if a history is longer than the network can see.
        """

    def last_states(self, histories: HistoryBatch) -> Float[Tensor, "users dim"]:
        """The state after each history, which is the only state that a ranking needs.

        Raises:
            ValueError: see `states`.
        """
        states = self.states(histories)
        rows = torch.arange(len(states), device=states.device)
        return states[rows, histories.lengths]

    @abstractmethod
    def scores(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users items"]:
        """Unnormalised scores of all items.

        Args:
            states: after each history.
            histories: the items that were read.
        """

    @property
    def item_columns(self) -> ItemColumns | None:
        """The vectors of the values that items have in columns; None where no column is read."""
        return None

    @property
    def user_columns(self) -> UserColumns | None:
        """The vectors of what describes users; None where no column of users is read."""
        return None

    @property
    def item_tables(self) -> tuple[ItemTable, ...]:
        """The tables with a row per item that a loss over some items reads row by row."""
        return ()

    @property
    def reads_times(self) -> bool:
        """Whether the network reads `HistoryBatch.gaps`."""
        return False

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """The vectors by which items are read.

        Raises:
            ValueError: the network has none.
        """
        raise ValueError(f"{type(self).__name__} has no vectors of items.")

    def flops(self, lengths: Int[Tensor, " users"]) -> Int[Tensor, " users"] | None:
        """FLOPs of the states of histories and of the last scores; None where not known."""
        del lengths
        return None
