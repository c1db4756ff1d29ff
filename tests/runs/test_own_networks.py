"""Networks of a user's own: mistakes are told before the first step, and right ones pass."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch import nn

from sidestep.model.item_network import ItemNetwork
from sidestep.runs import own_networks
from sidestep.runs.item_network_run import ItemNetworkRun
from sidestep.runs.plan import Material
from sidestep.training.fit import initialised
from tests.model.item_networks import TIED_KINDS

from .test_item_network_kinds import a_split, run_of
from .test_learning import a_catalog


class Shape(BaseModel):
    """The shape of the networks here."""

    dim: int = 8
    width: float = 1.0


class Right(ItemNetwork):
    """A GRU, as in docs/how-to/network.md; the others here have one mistake each."""

    Config: ClassVar = Shape

    def __init__(self, config, num_items):
        super().__init__()
        self.config = config
        self.items = nn.Embedding(num_items, config.dim)
        self.gru = nn.GRU(config.dim, config.dim, batch_first=True)

    @property
    def num_items(self):
        return self.items.num_embeddings

    def read(self, histories):
        return self.items(histories.items.clamp(min=0))

    def states(self, histories):
        vectors = self.read(histories)
        return self.gru(nn.functional.pad(vectors, (0, 0, 1, 0)))[0]

    def scores(self, states, histories):
        return states @ self.items.weight.T


class AsItLikes(Right):
    def states(self, histories):
        return self.gru(self.read(histories))[0]


class Infinite(Right):
    def states(self, histories):
        return super().states(histories) / 0


class FewScores(Right):
    def scores(self, states, histories):
        return super().scores(states, histories)[:, 1:]


class NotANumber(Right):
    def scores(self, states, histories):
        return super().scores(states, histories).log()


class Ahead(Right):
    """Knows the mean of the whole history at every position."""

    def states(self, histories):
        return super().states(histories) + self.read(histories).mean(dim=1, keepdim=True)


class AheadOfTime(Right):
    """Knows the gaps of the whole history at every position."""

    def states(self, histories):
        return super().states(histories) + histories.gaps.mean(dim=1)[:, None, None]


class Padded(Right):
    """Takes the number of columns for the length of a history."""

    def states(self, histories):
        return super().states(histories) * histories.items.shape[1]


class Negative(Right):
    """Reads padding as an item."""

    def read(self, histories):
        return self.items(histories.items)


class Mixed(Right):
    """Reads the other histories of the batch."""

    def states(self, histories):
        states = super().states(histories)
        return states + states.mean(dim=0, keepdim=True)


class Noisy(Right):
    def states(self, histories):
        states = super().states(histories)
        return states + torch.rand_like(states)


class Detached(Right):
    def scores(self, states, histories):
        return super().scores(states, histories).detach()


class Nothing(Right):
    def states(self, histories):
        return None


class Whole(Right):
    def scores(self, states, histories):
        return super().scores(states, histories).long()


class FewVectors(Right):
    def catalog_vectors(self):
        return self.items.weight[:5]


class LastAlone(Right):
    def last_states(self, histories):
        return super().last_states(histories)[:, :2]


class ForgetsAnItem(Right):
    @property
    def num_items(self):
        return super().num_items - 1


class OtherWeights(Right):
    @classmethod
    def of_codes(cls, config, semantic_ids, codebook_sizes):
        return cls(config, len(semantic_ids) + 1)


class NeedsMore(Right):
    def __init__(self, config, num_items, depth=None):
        super().__init__(config, num_items)
        if depth is None:
            raise TypeError("depth is missing")


class Unkept(Right):
    Config: ClassVar = type("Lossy", (Shape,), {"model_dump": lambda _self, **_how: {"dim": 9}})

    def __init__(self, config, num_items):
        super().__init__(self.Config(**dict(config)), num_items)


def learning_of(kind, **more):
    """The training of a network by a kind of run of a user's own."""

    class OwnRun(ItemNetworkRun):
        kind: str = "own"

        def network(self, catalog, windows, *, seed):
            with initialised(seed):
                return kind(Shape(), catalog.num_items, **more)

    catalog = a_catalog()
    return OwnRun(max_history=5).learning(Material(a_split(), catalog, 5), seed=0), catalog


def test_a_right_network_passes_and_stays_as_it_is():
    learning, catalog = learning_of(Right)
    before = {name: weights.clone() for name, weights in learning.network.state_dict().items()}
    drawn = torch.random.get_rng_state()
    own_networks.refuse_broken(learning, catalog)
    assert learning.network.training
    assert torch.equal(torch.random.get_rng_state(), drawn)
    for name, weights in learning.network.state_dict().items():
        assert torch.equal(weights, before[name])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            AsItLikes,
            r"AsItLikes: states has the shape \[2, 5, 8\] for 2 histories of 5 items; give",
        ),
        (Infinite, "Infinite: states are not finite before the first step"),
        (FewScores, r"FewScores: scores has the shape .* one score per item of the catalog"),
        (NotANumber, "NotANumber: scores are not finite"),
        (Ahead, "Ahead: the state after 2 items changes with the items that come later"),
        (Padded, r"Padded: the states of a history change with the padding \(-1\) behind it"),
        (Negative, r"Negative: states fails on 2 histories of 5 items with IndexError: index out"),
        (Mixed, "Mixed: the states of a history change with the other histories of its batch"),
        (Noisy, "Noisy: states gives other states for the same histories when it is asked again"),
        (Detached, "Detached: no weight has a part in the scores"),
        (Nothing, r"Nothing: states gives a NoneType; give a tensor of the shape \[2, 6, dim\]"),
        (Whole, "Whole: scores gives torch.int64; give a tensor of floating-point numbers"),
        (FewVectors, "FewVectors: catalog_vectors has 5 rows; give one vector per item"),
        (LastAlone, r"LastAlone: last_states has the shape \[2, 2\]"),
        (ForgetsAnItem, "ForgetsAnItem: num_items is"),
        (OtherWeights, r"OtherWeights: of_codes makes a network with other weights .*items.weight"),
        (Unkept, "Unkept: config changes when it is written as JSON"),
    ],
)
def test_a_mistake_is_told_before_the_first_step(kind, words):
    learning, catalog = learning_of(kind)
    with pytest.raises(ValueError, match=words):
        own_networks.refuse_broken(learning, catalog)


def test_later_gaps_are_told_like_later_items():
    learning, catalog = learning_of(AheadOfTime)
    stamps = np.arange(len(learning.windows.items))
    timed = replace(learning, windows=replace(learning.windows, timestamps=stamps))
    with pytest.raises(ValueError, match="AheadOfTime: the state after 2 items changes with the"):
        own_networks.refuse_broken(timed, catalog)


def test_what_is_no_network_over_items_is_told():
    with pytest.raises(ValueError, match="own: network makes a Linear, which is no subclass of"):
        learning_of(lambda config, num_items: nn.Linear(config.dim, num_items))


def test_what_a_bundle_cannot_make_again_is_told_before_the_first_step():
    learning, catalog = learning_of(NeedsMore, depth=2)
    words = r"of_codes fails .* depth is missing \(.*test_own_networks"
    with pytest.raises(ValueError, match=words):
        own_networks.refuse_broken(learning, catalog)


def test_a_class_within_a_function_is_told_before_the_first_step():
    class Within(Right):
        pass

    learning, catalog = learning_of(Within)
    with pytest.raises(ValueError, match="stand at the top of a module"):
        own_networks.refuse_broken(learning, catalog)


@pytest.mark.parametrize("kind", [kind for kind in TIED_KINDS if kind != "bert4rec"])
def test_no_network_of_ours_would_be_refused(kind, monkeypatch):
    """BERT4Rec reads ahead on purpose, and has an objective of its own."""
    monkeypatch.setattr(own_networks, "kind_of_item_network", lambda _network: None)
    catalog = a_catalog()
    learning = run_of(kind).learning(Material(a_split(), catalog, 4), seed=0)
    own_networks.refuse_broken(learning, catalog)
