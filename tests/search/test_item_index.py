"""The index of an item head: the head's own list, from a few pages of items."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.padding import NO_ITEM
from sidestep.search.exclusion import Exclusion
from sidestep.search.item_index import ItemIndex
from sidestep.search.item_ranking import ItemRanking
from sidestep.search.policy import Scope
from sidestep.step import HistoryBatch, StepOutput

from .fakes import ItemTable, PrefixTable, catalogs, histories_of

DIM = 8


class RowHead:
    """Item head of random rows, with something added to the scores of held items."""

    flops_per_item = 2 * DIM

    def __init__(self, num_items, *, bonus=1.5, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.rows = torch.randn(num_items, DIM, generator=generator)
        self.bonus = bonus
        self.asked = 0

    def item_rows(self, items=None):
        return self.rows if items is None else self.rows[items]

    def item_logits(self, states, histories):
        every = torch.arange(len(self.rows)).expand(len(states), -1)
        return self.scores_of_lists(states, every, histories.items)

    def scores_of_lists(self, states, items, held):
        self.asked = max(self.asked, items.shape[1])
        products = (self.rows[items.clamp(min=0)] * states[:, None]).sum(dim=2)
        return products + self.bonus * (items[..., None] == held[:, None]).any(dim=2)


class StateModel(PrefixTable):
    """Model whose state is a random vector of the user's first item."""

    def encode(self, histories, *, capacity):
        step, context = super().encode(histories, capacity=capacity)
        states = torch.randn(100, DIM, generator=torch.Generator().manual_seed(3))
        return StepOutput(logits=step.logits, hidden=states[histories.items[:, :1]]), context


def scope_of(trie, *, is_available=None, excluded=None):
    available = None if is_available is None else trie.availability(is_available)
    closed = None if excluded is None else Exclusion.of(excluded, trie, available)
    return Scope(trie=trie, available=available, excluded=closed)


def lists(search, model, histories, scope):
    found = search.search(model, histories, scope)
    return found.leaves.tolist(), found.scores


NUM_ITEMS = 800
IDS = np.array([*itertools.product(range(40), range(20))])
TRIE, MODEL, HEAD = Trie.build(IDS, (40, 20)), StateModel((40, 20)), RowHead(NUM_ITEMS)
MADE = ItemIndex(head=HEAD, page_size=16)


def index(**settings):
    """An index of 50 pages of 16 items, which are made once."""
    search = ItemIndex(head=HEAD, page_size=16, **settings)
    search.take_over(MADE)
    return search


@settings(max_examples=15)
@given(catalogs(), st.data())
def test_with_all_pages_and_all_items_refined_it_is_the_ranking_of_the_head(catalog, data):
    ids, sizes = catalog
    trie, model, head = Trie.build(ids, sizes), StateModel(sizes), RowHead(len(ids))
    some = st.lists(st.sampled_from(range(len(ids))), max_size=len(ids), unique=True)
    is_available = torch.ones(len(ids), dtype=torch.bool)
    is_available[data.draw(some)] = False
    gone = torch.full((2, len(ids)), NO_ITEM)
    for row in gone:
        items = data.draw(some)
        row[: len(items)] = torch.tensor(items, dtype=torch.long)
    scope = scope_of(
        trie,
        is_available=is_available if data.draw(st.booleans()) else None,
        excluded=gone if data.draw(st.booleans()) else None,
    )
    histories = histories_of(0, len(ids) - 1)
    num_leaves = data.draw(st.integers(1, 25))
    ours = ItemIndex(head=head, num_leaves=num_leaves, page_size=data.draw(st.integers(1, 6)))
    leaves, scores = lists(ours, model, histories, scope)
    theirs, expected = lists(ItemRanking(head=head, num_leaves=25), model, histories, scope)
    for row, (own, right) in enumerate(zip(leaves, theirs, strict=True)):
        own = [leaf for leaf in own if leaf != NO_STATE]
        assert own == [leaf for leaf in right if leaf != NO_STATE][:num_leaves]
        # Scores differ by a constant of the user.
        gaps = scores[row, : len(own)] - expected[row, : len(own)]
        torch.testing.assert_close(gaps, gaps[:1].expand(len(own)), atol=1e-4, rtol=1e-4)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.005, 1), st.integers(0, 300))
def test_no_list_has_an_item_out_of_scope_or_ends_before_the_items_do(seed, share, num_excluded):
    generator = torch.Generator().manual_seed(seed)
    is_available = torch.rand(NUM_ITEMS, generator=generator) < share
    excluded = torch.stack([torch.randperm(NUM_ITEMS, generator=generator) for _ in range(2)])
    excluded = excluded[:, :num_excluded]
    scope = scope_of(TRIE, is_available=is_available, excluded=excluded)
    search = index(num_leaves=20, pages=1, refined=1)
    leaves = search.search(MODEL, histories_of(3, 4), scope).leaves
    for user, own in enumerate(leaves):
        items = TRIE.items(own[own != NO_STATE][None])[..., 0].flatten()
        assert is_available[items].all()
        assert not torch.isin(items, excluded[user]).any()
        num_open = int((is_available.nonzero()[:, 0, None] != excluded[user]).all(dim=1).sum())
        assert len(items.unique()) == len(items) == min(20, num_open)


def test_a_list_does_not_depend_on_the_users_beside():
    is_available = torch.arange(NUM_ITEMS) % 20 == 0  # so few that exclusions take more pages
    excluded = torch.stack([torch.arange(0, 600, 20), torch.full((30,), NO_ITEM)])
    scope = scope_of(TRIE, is_available=is_available, excluded=excluded)
    search = index(num_leaves=5, pages=2, refined=5)
    both = lists(search, MODEL, histories_of(3, 4), scope)[0]
    for user, first in enumerate((3, 4)):
        scope = scope_of(TRIE, is_available=is_available, excluded=excluded[user : user + 1])
        assert lists(search, MODEL, histories_of(first), scope)[0] == [both[user]]


def test_a_few_pages_hold_most_of_the_list_of_the_head_which_is_asked_for_few_items():
    histories, scope = histories_of(*range(20)), Scope(trie=TRIE)
    right = ItemRanking(head=HEAD, num_leaves=10).search(MODEL, histories, scope).leaves

    def share_found(pages):
        HEAD.asked = 0
        found = index(num_leaves=10, pages=pages, refined=20).search(MODEL, histories, scope)
        assert HEAD.asked == 21  # with the item of the history
        assert found.spent.tokens.tolist() == [1] * 20
        return float((found.leaves[:, :, None] == right[:, None]).any(dim=2).float().mean())

    # By chance, a quarter of the pages would hold a quarter of the list.
    assert share_found(2) < 0.7 < share_found(12)


def test_a_held_item_counts_as_the_head_has_it():
    histories = HistoryBatch(items=torch.tensor([[7, 799]]), lengths=torch.tensor([2]))
    head = RowHead(NUM_ITEMS, bonus=100.0)
    search = ItemIndex(head=head, num_leaves=5, pages=1, refined=5)
    search.take_over(MADE)
    found = search.search(MODEL, histories, Scope(trie=TRIE)).leaves[0, :2]
    assert set(TRIE.items(found[None]).flatten().tolist()) == {7, 799}


def test_a_prefix_of_its_own_is_ranked_whole():
    scope = Scope(trie=TRIE, below=torch.tensor([2]))
    ours = index(num_leaves=5, pages=1).search(MODEL, histories_of(1), scope)
    theirs = ItemRanking(head=HEAD, num_leaves=5).search(MODEL, histories_of(1), scope)
    assert ours.leaves.equal(theirs.leaves)


def test_costs_are_those_of_the_pages_and_of_the_items_scored():
    model = StateModel((40, 20))
    model.flops_by_depth = lambda histories: torch.tensor([[100, 7, 7]])
    search = index(num_leaves=10, pages=3, refined=20)
    spent = search.search(model, histories_of(0), Scope(trie=TRIE)).spent
    scored = int(spent.scored)
    assert scored in (20, 21)  # the item of the history may be among the best
    means, items = 50 * (DIM + 1), 3 * 16 * DIM
    assert spent.flops.tolist() == [100 + scored * 2 * DIM + 2 * (means + items)]


def test_the_pages_are_made_once():
    search = ItemIndex(head=RowHead(100), page_size=16)
    assert search.layout is search.layout


def test_a_head_without_rows_and_numbers_below_one_are_refused():
    with pytest.raises(TypeError, match="search by item-head"):
        ItemIndex(head=ItemTable(3))
    for name in ("num_leaves", "pages", "refined", "page_size"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            ItemIndex(head=HEAD, **{name: 0})
