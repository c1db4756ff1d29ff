"""Networks of a user's own have the capabilities that they tell of, whatever their class."""

import numpy as np
import pytest
import torch

from sidestep.bundle.folder import load, save_bundle
from sidestep.bundle.hugging_face import export_hugging_face
from sidestep.bundle.manifest import KeptSearch
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.trie import Trie
from sidestep.data.windows import WindowBatch
from sidestep.runs.searches import can_search
from sidestep.search.policy import Scope
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.objective_config import NextCodeConfig, PreferenceConfig
from sidestep.training.preference import PreferenceObjective
from sidestep.training.rewards import item_head_scores
from tests.model.batches import history_of
from tests.own_network import Drift, Shape

IDS = np.array([[a, b] for a in range(3) for b in range(3)], dtype=np.int32)
SIZES = (3, 3)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Drift(Shape(), torch.from_numpy(IDS).long(), SIZES)


@pytest.fixture
def loaded(network, tmp_path):
    catalog = Catalog.build([f"i{item}" for item in range(9)], IDS, SIZES)
    search = KeptSearch(name="item-beam", likelihood_weight=0.0)
    kept = {"catalog": catalog, "max_history": 3, "seed": 0, "search": search}
    save_bundle(tmp_path / "own", network=network, **kept)
    return load(tmp_path / "own", device="cpu")


def test_its_item_head_guides_the_search_of_its_bundle(network, loaded):
    assert loaded.recommender().policy.guidance.scorer.head is loaded.network
    [answer] = loaded.recommend([["i1", "i4"]], k=9)
    state = network.items.weight[[1, 4]].sum(dim=0)
    best = (network.scores.weight @ state).argsort(descending=True)
    assert answer.item_ids == [f"i{item}" for item in best]


def test_it_has_the_searches_by_items_and_similar_items(network, loaded):
    assert can_search("item-beam", loaded)
    assert can_search("exhaustive-item", loaded)
    vectors = torch.nn.functional.normalize(network.items.weight, dim=1)
    best = (vectors @ vectors[2]).argsort(descending=True)
    found = loaded.similar("i2", k=8)["item_id"].to_list()
    assert found == [f"i{item}" for item in best if item != 2]


def test_its_item_head_learns_and_gives_rewards(network):
    batch = WindowBatch(
        items=torch.tensor([[0, 4, 8]]),
        lengths=torch.tensor([3]),
        is_target=torch.tensor([[False, True, True]]),
        num_targets=2,
    )
    objective = NextCodeObjective(network, NextCodeConfig(item_weight=1.0))
    loss = objective(batch)
    loss.loss.backward()
    assert loss.parts["item"] > 0
    assert network.scores.weight.grad.any()
    scores = item_head_scores(network)
    histories = history_of(torch.tensor([[4, 8]]))
    root, _ = network.encode(histories, capacity=1)
    torch.testing.assert_close(
        scores.of(histories), network.scores(root.hidden[:, 0]), check_dtype=False
    )


def test_preferences_leave_its_item_head_as_it_is(network):
    PreferenceObjective(network, Scope(trie=Trie.build(IDS, SIZES)), PreferenceConfig())
    assert not network.scores.weight.requires_grad
    assert network.items.weight.requires_grad


def test_a_network_that_is_no_language_model_is_not_exported(loaded, tmp_path):
    with pytest.raises(ValueError, match="only a causal language model over codes"):
        export_hugging_face(tmp_path / "hf", loaded)
