"""Item support of live subtrees equals item support, but reads only the items below."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.padding import NO_ITEM
from sidestep.search.exclusion import Exclusion
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.live_item_support import LiveItemSupport
from sidestep.search.policy import Scope
from sidestep.search.scorer import Guidance

from .fakes import ItemTable, PrefixTable, catalogs, histories_of


@settings(max_examples=50)
@given(catalogs(), st.integers(1, 3), st.data())
def test_differs_from_item_support_by_a_constant_of_each_user(catalog, chunk_items, data):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    some = st.lists(st.sampled_from(range(len(ids))), max_size=len(ids))
    is_available = torch.ones(len(ids), dtype=torch.bool)
    is_available[data.draw(some)] = False
    available = trie.availability(is_available) if data.draw(st.booleans()) else None
    gone = [sorted(set(data.draw(some))) for _ in range(2)]
    width = max(map(len, gone)) + 1
    nodes = [state for depth in range(len(sizes) + 1) for state in trie.nodes_at(depth)]
    items = torch.tensor([[*own, *[NO_ITEM] * (width - len(own))] for own in gone])
    below = torch.tensor([data.draw(st.sampled_from(nodes)) for _ in range(2)])
    scope = Scope(
        trie=trie,
        available=available,
        excluded=Exclusion.of(items, trie, available) if data.draw(st.booleans()) else None,
        below=below if data.draw(st.booleans()) else None,
    )
    histories = histories_of(0, len(ids) - 1)
    root, context = model.encode(histories, capacity=0)
    head = ItemTable(len(ids))
    whole = ItemSupport(head=head).begin(histories, root, context, scope)
    live = LiveItemSupport(head=head, chunk_items=chunk_items).begin(
        histories, root, context, scope
    )
    everything = torch.zeros(2, 1, dtype=torch.long)
    constants = live(everything, 0)
    for depth in range(len(sizes) + 1):
        states = torch.tensor([[*trie.nodes_at(depth), NO_STATE]]).expand(2, -1)
        expected, scores = whole(states, depth), live(states, depth)
        assert (scores[:, -1] == -torch.inf).all()
        own = constants.expand_as(scores)
        scores = torch.where(scores > -torch.inf, scores - own, scores)
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def test_asks_the_head_for_nothing_but_the_items_below():
    trie, model = (
        Trie.build(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), (2, 2)),
        PrefixTable((2, 2)),
    )
    histories = histories_of(0, 1)
    root, context = model.encode(histories, capacity=0)
    head = ItemTable(4)
    scorer, scope = LiveItemSupport(head=head), Scope(trie=trie)
    scores_of = scorer.begin(histories, root, context, scope)
    first, second = trie.nodes_at(1)
    asked = torch.tensor([[second, NO_STATE], [NO_STATE, first]])
    scores_of(asked, 1)
    assert head.asked.tolist() == [2, 3, 0, 1]
    assert scorer.flops(histories, asked, scope) is None


def test_takes_as_much_as_the_items_it_asks_about():
    trie = Trie.build(np.array([[0, 0], [0, 1], [1, 0]]), (2, 2))
    histories, scope, head = histories_of(0, 1), Scope(trie=trie), ItemTable(3)
    head.flops_per_item = 7
    scorer = LiveItemSupport(head=head)
    first, second = trie.nodes_at(1)
    of_one_code = torch.tensor([[second, NO_STATE], [second, first]])
    assert scorer.flops(histories, of_one_code[:, :0], scope).tolist() == [0, 0]
    assert scorer.flops(histories, of_one_code, scope).tolist() == [7, 21]
    leaves = torch.tensor([[trie.first_leaf], [NO_STATE]])
    asked = torch.cat([of_one_code, leaves], dim=1)
    assert scorer.flops(histories, asked, scope).tolist() == [14, 21]


@settings(max_examples=50)
@given(catalogs(), st.integers(1, 4), st.integers(1, 3))
def test_a_search_that_it_guides_from_some_level_on_finds_the_same(catalog, num_beams, times):
    ids, sizes = catalog
    trie, head = Trie.build(ids, sizes), ItemTable(len(ids))
    unguided = len(sizes) // 2
    found = []
    for scorer in (ItemSupport(head=head), LiveItemSupport(head=head)):
        search = GuidedBeamSearch(
            guidance=Guidance(scorer=scorer, likelihood_weight=0.5),
            num_beams=num_beams,
            candidates=(None,) * unguided + (num_beams * times,) * (len(sizes) - unguided),
        )
        found.append(search.search(PrefixTable(sizes), histories_of(2, 5), Scope(trie=trie)))
    assert found[0].leaves.tolist() == found[1].leaves.tolist()


def test_no_items_at_a_time_are_refused():
    with pytest.raises(ValueError, match="chunk_items must be at least 1, got 0"):
        LiveItemSupport(head=ItemTable(1), chunk_items=0)
