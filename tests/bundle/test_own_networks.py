"""Bundles of networks outside of the package, by their import path."""

import json
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from sidestep.bundle.folder import load, save_bundle
from sidestep.catalog.catalog import Catalog
from sidestep.model.item_network import ItemNetwork

MODULE = """\
from typing import ClassVar

import torch
from pydantic import BaseModel
from torch import nn

from sidestep.model.item_network import ItemNetwork


class Shape(BaseModel):
    dim: int = 3


class LastItem(ItemNetwork):
    Config: ClassVar = Shape

    def __init__(self, config, num_items):
        super().__init__()
        self.config = config
        self.table = nn.Embedding(num_items, config.dim)

    @property
    def num_items(self):
        return self.table.num_embeddings

    def states(self, histories):
        vectors = self.table(histories.items.clamp(min=0))
        return torch.cat([torch.zeros_like(vectors[:, :1]), vectors], dim=1)

    def scores(self, states, histories):
        return states @ self.table.weight.T
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module with a user's own network."""
    name = "own_networks_of_a_test"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def a_catalog(num_items=5):
    ids = [f"i{item}" for item in range(num_items)]
    return Catalog.build(ids, np.arange(num_items, dtype=np.int32)[:, None], (num_items,))


@pytest.fixture
def saved(own, tmp_path):
    made = __import__(own).LastItem(__import__(own).Shape(dim=2), 5)
    save_bundle(tmp_path / "own", network=made, catalog=a_catalog(), max_history=3, seed=0)
    return made, tmp_path / "own"


def test_a_network_of_ones_own_is_kept_by_its_import_path(own, saved):
    network, path = saved
    loaded = load(path, device="cpu")
    assert loaded.kind == f"{own}:LastItem"
    assert loaded.network.config.dim == 2
    [answer] = loaded.recommend([["i1", "i3"]], k=5)
    scores = network.table.weight @ network.table.weight[3]
    assert answer.item_ids == [f"i{item}" for item in scores.argsort(descending=True)]
    assert loaded.recommender().name == "own-last-item"
    with pytest.raises(ValueError, match="LastItem has no vectors of items"):
        loaded.similar("i1")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("json:JSONDecoder", "'json:JSONDecoder' is no ItemNetwork, no SemanticIdModel"),
        ("nowhere_at_all:Network", r"manifest\.json: kind: 'nowhere_at_all:Network' cannot be"),
        ("something", "there is no kind 'something'; there are semantic-id-transformer"),
    ],
)
def test_a_manifest_that_names_no_network_is_refused(saved, kind, message):
    _, path = saved
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "kind": kind}))
    with pytest.raises(ValueError, match=message):
        load(path, device="cpu")


def test_a_network_that_nobody_could_import_is_not_saved(tmp_path):
    class Shape(BaseModel):
        pass

    class Local(ItemNetwork):
        Config: ClassVar = Shape
        config = Shape()
        num_items = 5

        def states(self, histories):
            raise NotImplementedError

        def scores(self, states, histories):
            raise NotImplementedError

    with pytest.raises(TypeError, match="to stand at the top of a module"):
        save_bundle(tmp_path / "b", network=Local(), catalog=a_catalog(), max_history=3, seed=0)
    assert not (tmp_path / "b").exists()


def test_states_before_the_first_item_serve_an_empty_history(saved):
    network, path = saved
    [answer] = load(path, device="cpu").recommend([[]], k=5)
    assert answer.scores == [0.0] * 5
    assert torch.equal(network.table.weight, load(path, device="cpu").network.table.weight)
