"""The laws every search policy must pass, whatever it ranks by."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.heads import HeadedModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.beam_fusion import BeamFusion
from sidestep.search.diverse_beam import DiverseBeamSearch
from sidestep.search.exclusion import Exclusion
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.live_item_support import LiveItemSupport
from sidestep.search.policy import Scope
from sidestep.search.reflective_beam import ReflectiveBeamSearch
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.search.ved import ValueGuidedDecoding
from sidestep.step import HistoryBatch

from .fakes import CategoryTable, ItemTable, ValueTable, brute_force, catalogs, found, histories_of


def guided(num_items):
    guidance = Guidance(scorer=ItemSupport(head=ItemTable(num_items)), likelihood_weight=0.5)
    return GuidedBeamSearch(guidance=guidance, num_beams=4, candidates=6)


POLICIES = {
    "beam": lambda num_items: BeamSearch(num_beams=4),
    "beam-fusion": lambda num_items: BeamFusion(num_beams=4, tau=0.7, psi=1.6),
    "beam-fusion-by-prefix": lambda num_items: BeamFusion(num_beams=4, psi=2.0, among="prefix"),
    "diverse-beam": lambda num_items: DiverseBeamSearch(
        num_beams=4, candidates=6, penalty=0.7, shared_codes=1
    ),
    "guided-beam": guided,
    "value-beam": lambda num_items: ValueBeamSearch(num_beams=4, candidates=6),
    "reflective-beam": lambda num_items: ReflectiveBeamSearch(
        category_head=CategoryTable(), num_beams=4, candidates=6
    ),
    "sampling": lambda num_items: Sampling(num_samples=4),
    "hot-sampling": lambda num_items: Sampling(num_samples=4, temperature=2.0, top_p=0.9),
    "value-guided": lambda num_items: ValueGuidedDecoding(budget=30, num_leaves=4, warm_width=2),
    "exhaustive": lambda num_items: ExhaustiveSearch(num_leaves=4, chunk_size=3),
}
"""Makers of a policy of each kind that returns four leaves, given the number of items."""

WIDE = {
    "beam": lambda head: BeamSearch(num_beams=64),
    "beam-fusion": lambda head: BeamFusion(num_beams=64),
    "diverse-beam": lambda head: DiverseBeamSearch(num_beams=64),
    "guided-beam": lambda head: GuidedBeamSearch(
        guidance=Guidance(scorer=ItemSupport(head=head)), num_beams=64, candidates=64
    ),
    "live-guided-beam": lambda head: GuidedBeamSearch(
        guidance=Guidance(scorer=LiveItemSupport(head=head)), num_beams=64, candidates=64
    ),
    "value-beam": lambda head: ValueBeamSearch(num_beams=64, candidates=64),
    "reflective-beam": lambda head: ReflectiveBeamSearch(
        category_head=CategoryTable(), num_beams=64, candidates=64
    ),
    "sampling": lambda head: Sampling(num_samples=64),
    "value-guided": lambda head: ValueGuidedDecoding(budget=85, num_leaves=64, warm_width=2),
    "exhaustive": lambda head: ExhaustiveSearch(num_leaves=64),
}
"""Makers of a policy of each kind that returns all 64 leaves, given the network with item head."""

each_policy = pytest.mark.parametrize("policy_for", POLICIES.values(), ids=POLICIES.keys())


@each_policy
def test_a_user_gets_the_same_list_alone_in_any_batch_and_in_any_order(policy_for):
    ids = np.array(list(itertools.product(range(3), repeat=3)))
    scope, model = Scope(trie=Trie.build(ids, (3, 3, 3))), ValueTable((3, 3, 3))
    policy = policy_for(len(ids))
    together = policy.search(model, histories_of(5, 2, 9), scope)
    turned = policy.search(model, histories_of(9, 5), scope)
    alone = policy.search(model, histories_of(5), scope)
    assert together.leaves[0].tolist() == alone.leaves[0].tolist() == turned.leaves[1].tolist()
    assert together.leaves[2].tolist() == turned.leaves[0].tolist()
    assert not together.leaves[0].equal(together.leaves[1])


@each_policy
@settings(max_examples=15)
@given(catalogs(), st.data())
def test_leaves_are_distinct_in_scope_and_ranked_with_the_models_log_probabilities(
    policy_for, catalog, data
):
    ids, sizes = catalog
    trie, model, histories = Trie.build(ids, sizes), ValueTable(sizes), histories_of(4, 7)
    some = st.lists(st.sampled_from(range(len(ids))), max_size=len(ids))
    gone, missing = data.draw(some), data.draw(some)
    is_available = torch.ones(len(ids), dtype=torch.bool)
    is_available[missing] = False
    available = trie.availability(is_available)
    items = torch.tensor([[*gone, NO_ITEM]] * 2)
    scope = Scope(trie=trie, available=available, excluded=Exclusion.of(items, trie, available))
    answer = policy_for(len(ids)).search(model, histories, scope)
    is_left = ~np.isin(np.arange(len(ids)), [*gone, *missing])
    assert answer.leaves.shape[1] <= 4
    for user, expected in enumerate(brute_force(model, histories, ids[is_left])):
        own = found(answer, trie, user)
        assert own == pytest.approx({path: expected[path] for path in own}, abs=1e-4)
        is_leaf = answer.leaves[user] != NO_STATE
        assert len(own) == int(is_leaf.sum())  # no leaf twice
        scores = answer.scores[user].tolist()
        assert scores == sorted(scores, reverse=True)
        for padded in (answer.log_probs, answer.scores):
            assert (padded[user, ~is_leaf] == -torch.inf).all()


@each_policy
@settings(max_examples=15)
@given(catalogs(), st.data())
def test_below_a_prefix_nothing_else_is_found(policy_for, catalog, data):
    """Each user has a prefix of its own. Below the root, all items remain."""
    ids, sizes = catalog
    trie, model, histories = Trie.build(ids, sizes), ValueTable(sizes), histories_of(4, 7)
    below = torch.tensor([0, data.draw(st.integers(1, trie.num_nodes() - 1))])
    answer = policy_for(len(ids)).search(model, histories, Scope(trie=trie, below=below))
    depth = int(trie.depth(below[1:]))
    prefix = trie.path(below[1:])[0, :depth].tolist()
    own = found(answer, trie, 1)
    assert own
    assert all(list(path[:depth]) == prefix for path in own)
    free = policy_for(len(ids)).search(model, histories, Scope(trie=trie))
    assert found(answer, trie, 0) == pytest.approx(found(free, trie, 0), abs=1e-5)


@pytest.mark.parametrize("policy_for", WIDE.values(), ids=WIDE.keys())
def test_autocast_ties_no_leaves(policy_for):
    """Some of 64 numbers in bf16, which has 8 bits, would be equal; scores are in float32."""
    torch.manual_seed(0)
    ids = torch.from_numpy(np.array(list(itertools.product(range(4), repeat=3))))
    shape = TransformerConfig(dim=16, num_layers=1, num_heads=2, item_head=True)
    network = Transformer(shape, ids, (4, 4, 4)).eval()
    for weights in (network.code_embedding.weight, network.head.weight, network.item_head.weight):
        torch.nn.init.normal_(weights, std=0.3)
    model = HeadedModel(network, ValueHead(ValueHeadConfig(num_heads=2), dim=16, num_levels=3))
    histories = HistoryBatch(items=torch.tensor([[3, 9], [50, 7]]), lengths=torch.tensor([2, 2]))
    with torch.autocast("cpu", torch.bfloat16):
        answer = policy_for(network).search(
            model, histories, Scope(trie=Trie.build(ids, (4, 4, 4)))
        )
    assert (answer.leaves != NO_STATE).all()
    for numbers in (answer.scores, answer.log_probs):
        assert numbers.dtype == torch.float32
        assert all(len(own.unique()) == 64 for own in numbers)
