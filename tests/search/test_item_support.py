"""Item support: sums over the items below a prefix."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.padding import NO_ITEM
from sidestep.search.exclusion import Exclusion
from sidestep.search.item_support import ItemSupport, node_log_sums
from sidestep.search.policy import Scope

from .fakes import ItemTable, PrefixTable, Ranker, catalogs, histories_of


def test_a_prefix_has_the_probability_of_the_items_below_it():
    # Items 0 and 2 share a bucket; codes (0, 0), (0, 1), (0, 0), (1, 1).
    trie = Trie.build(np.array([[0, 0], [0, 1], [0, 0], [1, 1]]), (2, 2))
    logits = torch.log(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    sums = node_log_sums(logits, trie).exp()[0].tolist()
    # The root, the prefixes 0 and 1, the leaves 00, 01 and 11.
    assert sums == pytest.approx([10, 6, 4, 4, 2, 4])


def test_what_is_far_below_the_largest_keeps_its_digits():
    trie = Trie.build(np.array([[0, 0], [1, 0], [1, 1]]), (2, 2))
    sums = node_log_sums(torch.tensor([[0.0, -200.0, -201.0]]), trie)[0]
    assert float(sums[2]) == pytest.approx(-200 + math.log(1 + math.exp(-1)), abs=1e-4)


@settings(max_examples=50)
@given(catalogs(), st.data())
def test_scores_are_sums_over_the_items_in_scope(catalog, data):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    some = st.lists(st.sampled_from(range(len(ids))), max_size=len(ids))
    gone, missing = data.draw(some), data.draw(some)
    is_available = torch.ones(len(ids), dtype=torch.bool)
    is_available[missing] = False
    available = trie.availability(is_available)
    items = torch.tensor([[NO_ITEM, *gone]])
    scope = Scope(trie=trie, available=available, excluded=Exclusion.of(items, trie, available))
    histories = histories_of(3)
    root, context = model.encode(histories, capacity=0)
    head = ItemTable(len(ids))
    scores_of = ItemSupport(head=head).begin(histories, root, context, scope)
    probs = head.item_logits(root.hidden[:, 0], histories)[0].double().exp()
    probs[sorted({*gone, *missing})] = 0
    for depth in range(len(sizes) + 1):
        nodes = list(trie.nodes_at(depth))
        scores = scores_of(torch.tensor([[*nodes, NO_STATE]]), depth)[0]
        assert scores[-1] == -torch.inf
        for state, score in zip(nodes, scores.tolist(), strict=False):
            prefix = trie.path(torch.tensor(state))[:depth].tolist()
            below = [row[:depth] == prefix for row in ids.tolist()]
            mass = float(probs[below].sum() / probs.sum().clamp(min=1e-300))
            assert score == pytest.approx(math.log(mass) if mass else -math.inf, abs=1e-4)


class CountedHead(ItemTable):
    flops_per_item = 7


@settings(max_examples=25)
@given(catalogs(), st.sampled_from([0.25, 1.0, 3.0]))
def test_a_ranker_multiplies_what_the_head_says_of_every_item(catalog, weight):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    histories, scope = histories_of(0, len(ids) - 1), Scope(trie=trie)
    root, context = model.encode(histories, capacity=0)
    head, ranker = ItemTable(len(ids)), Ranker(len(ids))
    logits = head.item_logits(root.hidden[:, 0], histories)
    for scorer, probs in (
        (ItemSupport(ranker=ranker, ranker_weight=weight), weight * ranker.scores(histories)),
        (
            ItemSupport(head=head, ranker=ranker, ranker_weight=weight),
            logits + weight * ranker.scores(histories),
        ),
    ):
        scores_of = scorer.begin(histories, root, context, scope)
        leaves = trie.leaf_of(torch.arange(len(ids))).expand(2, -1)
        by_leaf = torch.zeros(2, trie.num_nodes()).scatter_add(1, leaves, probs.softmax(dim=1))
        expected = by_leaf.gather(1, leaves).log()
        torch.testing.assert_close(scores_of(leaves, len(sizes)), expected, atol=1e-4, rtol=1e-4)


def test_what_a_ranker_takes_counts_beside_the_head():
    trie = Trie.build(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), (2, 2))
    histories, ranker, head = histories_of(3, 1), Ranker(4), CountedHead(4)

    def taken(scorer):
        return scorer.flops(histories, torch.tensor([[1], [2]]), Scope(trie=trie))

    assert taken(ItemSupport(ranker=ranker)).tolist() == [10, 10]
    assert taken(ItemSupport(head=head, ranker=ranker)).tolist() == [10 + 4 * 7] * 2
    assert taken(ItemSupport(head=ItemTable(4), ranker=ranker)) is None


def test_a_ranker_that_does_not_fit_is_refused():
    trie, model = Trie.build(np.array([[0, 0], [1, 0]]), (2, 2)), PrefixTable((2, 2))
    histories = histories_of(0)
    root, context = model.encode(histories, capacity=0)
    with pytest.raises(ValueError, match=r"shape \[1, 3\] for 1 users and 2 items"):
        ItemSupport(ranker=Ranker(3)).begin(histories, root, context, Scope(trie=trie))
    unsound = Ranker(2)
    unsound.scores = lambda histories: torch.tensor([[0.0, torch.nan]])
    with pytest.raises(ValueError, match="no numbers"):
        ItemSupport(ranker=unsound).begin(histories, root, context, Scope(trie=trie))
    with pytest.raises(ValueError, match="give a head, a ranker or both"):
        ItemSupport()
    with pytest.raises(ValueError, match="ranker_weight must be more than 0 and finite, got 0"):
        ItemSupport(ranker=unsound, ranker_weight=0.0)
