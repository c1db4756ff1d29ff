"""The one loop of the beams: nothing in it waits for a number of the device."""

import itertools

import numpy as np
import pytest
import torch

from sidestep.catalog import dense_rows
from sidestep.catalog.trie import Trie
from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.heads import HeadedModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.search.beam import BeamSearch
from sidestep.search.exclusion import Exclusion
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.policy import Scope
from sidestep.search.proposals import Indifferent
from sidestep.search.reflective_beam import ReflectiveBeamSearch
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance
from sidestep.search.value_beam import ValueBeamSearch
from tests.waiting import NothingWaits

from .fakes import CategoryTable, ValueTable, histories_of

POLICIES = {
    "beam": BeamSearch(num_beams=5),
    "sampling": Sampling(num_samples=5),
    "value-beam": ValueBeamSearch(num_beams=3, candidates=5),
    "reflective-beam": ReflectiveBeamSearch(
        category_head=CategoryTable(), num_beams=3, candidates=5
    ),
    "guided-beam": GuidedBeamSearch(
        guidance=Guidance(scorer=Indifferent(), likelihood_weight=1.0), num_beams=3, candidates=5
    ),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@pytest.mark.parametrize("rows", [2**26, 12, 0], ids=["dense", "a dense root", "sparse"])
def test_no_level_waits_for_a_number_of_the_device(policy, rows, monkeypatch):
    monkeypatch.setattr(dense_rows, "_MAX_BYTES", rows)
    trie = Trie.build(np.array(list(itertools.product(range(3), repeat=3)))[::2], (3, 3, 3))
    available = trie.availability(torch.arange(14) != 4)
    excluded = Exclusion.of(torch.tensor([[1, 2], [5, 0]]), trie, available)
    scopes = (
        Scope(trie=trie),
        Scope(trie=trie, available=available, excluded=excluded),
        Scope(trie=trie, below=trie.ancestor(trie.leaf_of(torch.tensor([0, 9])), 1)),
    )
    model, histories = ValueTable((3, 3, 3)), histories_of(4, 7)
    for scope in scopes:
        free = policy.search(model, histories, scope)
        with NothingWaits():
            watched = policy.search(model, histories, scope)
        assert torch.equal(watched.leaves, free.leaves)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@pytest.mark.parametrize("last_code_head", ["codes", "items"])
def test_nor_does_a_network_that_is_told_the_depth_of_a_level(policy, last_code_head):
    ids = torch.tensor(list(itertools.product(range(3), repeat=3)))[::2]
    trie = Trie.build(ids, (3, 3, 3))
    shape = TransformerConfig(
        dim=8, num_layers=1, num_heads=2, item_head=True, last_code_head=last_code_head
    )
    network = Transformer(shape, ids, (3, 3, 3)).eval()
    head = ValueHead(ValueHeadConfig(num_heads=2), dim=8, num_levels=3)
    model, histories = HeadedModel(network, head), histories_of(4, 7)
    free = policy.search(model, histories, Scope(trie=trie))
    with NothingWaits():
        watched = policy.search(model, histories, Scope(trie=trie))
    assert torch.equal(watched.leaves, free.leaves)


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: bool(x.any()),
        lambda x: x[x > 1],
        lambda x: x.repeat_interleave(x),
        lambda x: (x > 0).nonzero(),
    ],
)
def test_what_waits_is_noticed(waits):
    with NothingWaits(), pytest.raises(AssertionError, match="waits for the device"):
        waits(torch.tensor([1, 2, 0]))


def test_the_width_of_every_level_follows_from_the_settings_and_the_space():
    trie = Trie.build(np.array(list(itertools.product(range(4), repeat=3))), (4, 4, 4))
    widths = set()
    for first in range(6):
        found = BeamSearch(num_beams=5).search(
            ValueTable((4, 4, 4)), histories_of(first, first + 9), Scope(trie=trie)
        )
        widths.add(tuple(found.tree.depths[0].tolist()))
    assert widths == {(0, 1, 1, 1, 1, 2, 2, 2, 2, 2)}
