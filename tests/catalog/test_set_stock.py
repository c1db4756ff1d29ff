import numpy as np
import torch

from sidestep.catalog.posting_lists import PostingLists
from sidestep.catalog.set_stock import InStock, UserStock
from sidestep.padding import NO_ITEM

# Actions of the items: 0 2, 0 3, 1 3, 1 2. Item 3 is not in stock.
LISTS = PostingLists.build(np.array([[0, 0], [0, 1], [1, 1], [1, 0]], dtype=np.int32), (2, 2))
SHARED = InStock.of(LISTS, torch.tensor([True, True, True, False]))
# The first user must not get items 1 and 3, the second not item 0.
STOCK = UserStock(shared=SHARED).without(torch.tensor([[3, 1], [0, NO_ITEM]]))


def test_sets_of_up_to_one_code_have_a_row_where_pairs_are_counted():
    actions = torch.tensor([[-1, -1], [1, -1], [-1, 2], [0, 2], [-1, -1]])
    is_end = torch.tensor([False, False, False, False, True])
    assert SHARED.rows(actions, is_end).tolist() == [0, 2, 3, -1, SHARED.no_row]
    sparse = InStock.of(PostingLists.build(np.zeros((1, 2), dtype=np.int32), (9, 9)), None)
    assert sparse.rows(actions, is_end).tolist() == [0, -1, -1, -1, sparse.no_row]


def test_a_code_is_legal_that_leads_to_an_item_of_the_user():
    # After nothing, after action 0, after action 3, and without a row.
    rows = torch.tensor([[0, 1, 4, -1], [0, 1, 4, -1]])
    assert STOCK.legal(LISTS, rows).int().tolist() == [
        [[1, 1, 1, 1], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
        [[1, 1, 0, 1], [0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]],
    ]
    shared = UserStock(shared=SHARED).legal(LISTS, rows)
    assert shared[0].int().tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_all_ways_to_ask_for_the_items_of_a_user_agree():
    may_get = [[True, False, True, False], [False, True, True, False]]
    assert STOCK.mask(LISTS, 2).tolist() == may_get
    items = torch.arange(4).expand(2, 1, 4)
    assert (STOCK.kept(items)[:, 0] != NO_ITEM).tolist() == may_get
    users = torch.arange(2).repeat_interleave(4)
    has = STOCK.has(LISTS, torch.arange(4).repeat(2), users)
    assert has is not None
    assert has.view(2, 4).tolist() == may_get
    everything = UserStock(shared=InStock.of(LISTS, None))
    assert everything.has(LISTS, torch.arange(4), torch.zeros(4).long()) is None


def test_what_is_excluded_stays_so():
    more = STOCK.without(torch.tensor([[0], [2]]))
    assert more.mask(LISTS, 2).tolist() == [
        [False, False, True, False],
        [False, True, False, False],
    ]
