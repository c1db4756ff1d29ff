"""A network of a user's own, tried on a few histories before its training begins.

Our own networks pass the same laws in their tests. A network of a user's own meets them here: a
mistake costs a second, and not a training whose bundle cannot be written.
"""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from sidestep.bundle.networks import kind_of
from sidestep.catalog.catalog import Catalog
from sidestep.data.windows import Windows, window_batch
from sidestep.model.item_network import ItemNetwork
from sidestep.model.item_networks import kind_of_item_network
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch
from sidestep.training.fit import Learning
from sidestep.training.next_item import NextItemObjective
from sidestep.training.random_state import unchanged_random_state

_SHOWN = 6
"""Most recent items of a history that a trial reads."""

_TOLERANCE = 1e-3
"""How far states that should be equal may differ, as a share of the largest number in them."""

T = TypeVar("T")


def refuse_broken(learning: Learning, catalog: Catalog) -> None:
    """Tries an untrained network of a user's own on two histories, and leaves it as it is.

    Networks of ours are not tried. With the objective of the next item, the state at a position
    must not depend on later items; an objective of a user's own may allow it.

    Args:
        learning: the training of a network over item IDs.
        catalog: of the items.

    Raises:
        ValueError: a bundle could not keep it, its code fails, or its states or scores have another
            shape, are not finite or read what they must not read; says which.
    """
    network = learning.network
    assert isinstance(network, ItemNetwork), "no other network gets here"
    if kind_of_item_network(network) is not None:
        return
    trial = _Trial(network, learning.windows, catalog)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), unchanged_random_state():
            trial.refuse_what_no_bundle_keeps()
            trial.refuse_wrong_scores()
            if isinstance(learning.objective, NextItemObjective):
                trial.refuse_what_reads_ahead()
            trial.refuse_what_reads_padding()
    finally:
        network.train(was_training)


class _Trial:
    """A network, and the histories that it is tried on."""

    def __init__(self, network: ItemNetwork, windows: Windows, catalog: Catalog) -> None:
        self.network, self.catalog = network, catalog
        self.name = type(network).__name__
        longest = np.argsort(windows.lengths, kind="stable")[[-1, -1]]
        batch = window_batch(windows, longest)
        read = batch.histories.first(batch.lengths - 1)  # the last item is only a target
        self.histories = read.latest(min(int(read.lengths[0]), _SHOWN))
        self.half = int(self.histories.lengths[0]) // 2

    def refuse_what_no_bundle_keeps(self) -> None:
        """The bundle makes the network again from its configuration and its weights."""
        network, kind = self.network, type(self.network)
        try:
            kind_of(network)
        except TypeError as error:
            raise ValueError(f"{self.name}: {error}") from error
        config = self._tried("Config", lambda: kind.Config.model_validate(self._dumped()))
        if config != network.config:
            raise ValueError(
                f"{self.name}: config changes when it is written as JSON and read again, so a "
                "bundle would make another network; give its fields types that JSON keeps."
            )
        again = self._tried(
            "of_codes",
            lambda: kind.of_codes(config, self.catalog.semantic_ids, self.catalog.codebook_sizes),
        )
        ours, theirs = (
            {name: tuple(weights.shape) for name, weights in of.state_dict().items()}
            for of in (network, again)
        )
        differing = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
        if differing:
            raise ValueError(
                f"{self.name}: of_codes makes a network with other weights than the one that is "
                f"trained ({', '.join(differing[:3])}), so no bundle could be loaded; make both "
                "from config and the catalog alone."
            )

    def _dumped(self) -> object:
        return self.network.config.model_dump(mode="json")

    def refuse_wrong_scores(self) -> None:
        """Shapes, and numbers that are no numbers."""
        num_items = self.catalog.num_items
        if self.network.num_items != num_items:
            raise ValueError(
                f"{self.name}: num_items is {self.network.num_items}, but the catalog has "
                f"{num_items}."
            )
        rows, length = self.histories.items.shape
        states = self._states(self.histories)
        if states.ndim != 3 or states.shape[:2] != (rows, length + 1):
            raise ValueError(
                f"{self.name}: states has the shape {list(states.shape)} for {rows} histories of "
                f"{length} items; give one state before the first item and one after each item: "
                f"[{rows}, {length + 1}, dim]."
            )
        _refuse_infinite(self.name, "states", states)
        last = self._tried("last_states", lambda: self.network.last_states(self.histories))
        if last.shape != (rows, states.shape[2]):
            raise ValueError(
                f"{self.name}: last_states has the shape {list(last.shape)}; give one state per "
                f"history: [{rows}, {states.shape[2]}]."
            )
        scores = self._tried("scores", lambda: self.network.scores(last, self.histories))
        if scores.shape != (rows, num_items):
            raise ValueError(
                f"{self.name}: scores has the shape {list(scores.shape)} for {rows} states; give "
                f"one score per item of the catalog: [{rows}, {num_items}]."
            )
        _refuse_infinite(self.name, "scores", scores)

    def refuse_what_reads_ahead(self) -> None:
        """Other items after a position change no state up to it."""
        items, half = self.histories.items.clone(), self.half
        items[:, half:] = (items[:, half:] + 1) % self.catalog.num_items
        other = HistoryBatch(
            items=items,
            lengths=self.histories.lengths,
            weights=self.histories.weights,
            gaps=self.histories.gaps,
            user_values=self.histories.user_values,
        )
        if not _alike(self._states(self.histories), self._states(other), half):
            raise ValueError(
                f"{self.name}: the state after {half} items changes with the items that come "
                "later, so training would show the network its own answers; let position p read "
                "the first p items alone."
            )

    def refuse_what_reads_padding(self) -> None:
        """A history has the same states alone and padded to the length of another one."""
        lengths = self.histories.lengths.clone()
        lengths[:] = self.half
        padded = self.histories.first(lengths)
        if not _alike(self._states(padded.latest(self.half)), self._states(padded), self.half):
            raise ValueError(
                f"{self.name}: the states of a history change with the padding ({NO_ITEM}) behind "
                "it, so an answer would depend on the other users of a batch; ignore the columns "
                "from lengths on."
            )

    def _states(self, histories: HistoryBatch) -> Tensor:
        return self._tried("states", lambda: self.network.states(histories))

    def _tried(self, name: str, asked: Callable[[], T]) -> T:
        """The answer of the network; an exception of its code is a mistake in that code."""
        try:
            return asked()
        except Exception as error:  # a user's code may raise anything
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"{self.name}: {name} fails on {len(self.histories.lengths)} histories of "
                f"{self.histories.items.shape[1]} items with {type(error).__name__}: {reason} "
                f"({Path(frame.filename).name}, line {frame.lineno}); 'sidestep --debug …' shows "
                "the way there."
            ) from error


def _refuse_infinite(name: str, part: str, values: Tensor) -> None:
    if not values.isfinite().all():
        raise ValueError(
            f"{name}: {part} are not finite before the first step; look for a division by zero, or "
            "a softmax over nothing, such as attention in a history without items."
        )


def _alike(one: Tensor, other: Tensor, number: int) -> bool:
    """Whether the first states of two batches are equal but for rounding."""
    first, second = one[:, : number + 1], other[:, : number + 1]
    return bool((first - second).abs().max() <= _TOLERANCE * first.abs().max().clamp(min=1e-6))
