"""A network of a user's own, checked on a few histories before its training begins.

Our own networks pass the same laws in their tests. A network of a user's own meets them here: a
mistake costs a second, and not a training whose bundle cannot be written.
"""

import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from sidestep.bundle.networks import kind_of
from sidestep.catalog.catalog import Catalog
from sidestep.data.windows import Windows, window_batch
from sidestep.import_paths import own_frame
from sidestep.model.item_network import ItemNetwork
from sidestep.model.item_networks import kind_of_item_network
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch
from sidestep.training.fit import Learning
from sidestep.training.next_item import NextItemObjective
from sidestep.training.random_state import unchanged_random_state

_SHOWN = 6
"""Most recent items of a history that a check reads."""

_TOLERANCE = 1e-3
"""How far states that should be equal may differ, as a share of the largest number in them."""

T = TypeVar("T")


def refuse_broken(learning: Learning, catalog: Catalog) -> None:
    """Checks an untrained network of a user's own on two histories, and leaves it as it is.

    Networks of ours are not checked. With the objective of the next item, the state at a position
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
    check = _Check(network, learning.windows, catalog)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), unchanged_random_state():
            check.refuse_what_no_bundle_keeps()
            check.refuse_wrong_scores()
            check.refuse_what_changes_by_itself()
            check.refuse_what_does_not_learn()
            if isinstance(learning.objective, NextItemObjective):
                check.refuse_what_reads_ahead()
            check.refuse_what_reads_padding()
    finally:
        network.train(was_training)


class _Check:
    """A network, and the histories that it is checked on."""

    def __init__(self, network: ItemNetwork, windows: Windows, catalog: Catalog) -> None:
        self.network, self.catalog = network, catalog
        self.name = type(network).__name__
        longest = np.argsort(windows.lengths, kind="stable")[[-1, -1]]
        batch = window_batch(windows, longest)
        read = batch.histories.first(batch.lengths - 1)  # the last item is only a target
        read = read.latest(min(int(read.lengths[0]), _SHOWN))
        items = read.items.clone()
        items[1] = (items[1] + 1) % catalog.num_items  # the second history has other items
        self.histories = replace(read, items=items)
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
        if not isinstance(scores, Tensor) or not scores.is_floating_point():
            kind = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(
                f"{self.name}: scores gives {kind}; give a tensor of floating-point numbers of the "
                f"shape [{rows}, {num_items}]."
            )
        if scores.shape != (rows, num_items):
            raise ValueError(
                f"{self.name}: scores has the shape {list(scores.shape)} for {rows} states; give "
                f"one score per item of the catalog: [{rows}, {num_items}]."
            )
        _refuse_infinite(self.name, "scores", scores)
        if type(self.network).catalog_vectors is not ItemNetwork.catalog_vectors:
            vectors = self._tried("catalog_vectors", self.network.catalog_vectors)
            if len(vectors) != num_items:
                raise ValueError(
                    f"{self.name}: catalog_vectors has {len(vectors)} rows; give one vector per "
                    f"item of the catalog: {num_items}."
                )

    def refuse_what_changes_by_itself(self) -> None:
        """The states of a history are the same again, and the same without other histories."""
        states = self._states(self.histories)
        if not _alike(states, self._states(self.histories), states.shape[1]):
            raise ValueError(
                f"{self.name}: states gives other states for the same histories when it is asked "
                "again; draw at random in training alone (self.training)."
            )
        alone = self._states(self.histories.select(torch.tensor([1])))
        if not _alike(states[1:], alone, states.shape[1]):
            raise ValueError(
                f"{self.name}: the states of a history change with the other histories of its "
                "batch, so an answer would depend on the other users; read each row by itself."
            )

    def refuse_what_does_not_learn(self) -> None:
        """The loss reaches the weights through the scores."""
        with torch.enable_grad():
            states = self._states(self.histories)
            last = states[torch.arange(len(states)), self.histories.lengths]
            scores = self._tried("scores", lambda: self.network.scores(last, self.histories))
        if not scores.requires_grad:
            raise ValueError(
                f"{self.name}: no weight has a part in the scores, so there is nothing to learn; "
                "look for detach() or no_grad in states and scores."
            )

    def refuse_what_reads_ahead(self) -> None:
        """Other items after a position change no state up to it."""
        items, half = self.histories.items.clone(), self.half
        items[:, half:] = (items[:, half:] + 1) % self.catalog.num_items
        gaps, weights = (
            None if values is None else values.clone()
            for values in (self.histories.gaps, self.histories.weights)
        )
        for values in (gaps, weights):
            if values is not None:
                values[:, half:] += 1
        other = replace(self.histories, items=items, gaps=gaps, weights=weights)
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
        states: object = self._tried("states", lambda: self.network.states(histories))
        if not isinstance(states, Tensor):
            rows, length = histories.items.shape
            raise ValueError(
                f"{self.name}: states gives a {type(states).__name__}; give a tensor of the shape "
                f"[{rows}, {length + 1}, dim]."
            )
        return states

    def _tried(self, name: str, asked: Callable[[], T]) -> T:
        """The answer of the network; an exception of its code is a mistake in that code."""
        try:
            return asked()
        except Exception as error:  # a user's code may raise anything
            frame = own_frame(error) or traceback.extract_tb(error.__traceback__)[-1]
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"{self.name}: {name} fails on {len(self.histories.lengths)} histories of "
                f"{self.histories.items.shape[1]} items with {type(error).__name__}: {reason} "
                f"({frame.filename}, line {frame.lineno}); 'sidestep --debug …' shows the way "
                "there."
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
