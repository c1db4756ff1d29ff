"""The item head on its own. The tests of the Transformer test its use there."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.model.item_head import ItemHead
from sidestep.padding import NO_ITEM
from tests.model.batches import history_of

NUM_ITEMS = 5
histories = st.lists(
    st.lists(st.integers(0, NUM_ITEMS - 1), max_size=4), min_size=1, max_size=4
).map(lambda rows: history_of(torch.tensor([[*row, *[NO_ITEM] * (4 - len(row))] for row in rows])))


@given(histories, st.floats(-1, 1))
def test_what_a_history_holds_gets_the_bias_once_and_nothing_else_does(past, repeat):
    head = ItemHead(3, None, has_repeat_bias=True)
    head.repeat.data.fill_(repeat)
    states, rows = torch.randn(len(past.lengths), 3), torch.randn(NUM_ITEMS, 3)
    added = head(states, past, rows) - states @ rows.T
    for user, items in enumerate(past.items.tolist()):
        expected = [10 * repeat if item in items else 0.0 for item in range(NUM_ITEMS)]
        torch.testing.assert_close(added[user], torch.tensor(expected), atol=1e-4, rtol=1e-4)


@given(histories, st.booleans(), st.data())
def test_one_item_scores_as_it_does_among_all(past, has_repeat_bias, data):
    head = ItemHead(3, None, has_repeat_bias=has_repeat_bias)
    for parameter in head.parameters():
        parameter.data.fill_(-0.4)
    users = len(past.lengths)
    states, rows = torch.randn(users, 3), torch.randn(NUM_ITEMS, 3)
    chosen = st.lists(st.integers(0, NUM_ITEMS - 1), min_size=users, max_size=users)
    items = torch.tensor(data.draw(chosen))
    whole = head(states, past, rows)[torch.arange(users), items]
    found = head.scores_of_lists(states, items[:, None], past.items, rows[items][:, None])
    torch.testing.assert_close(found[:, 0], whole)


@given(histories, st.booleans(), st.sets(st.integers(0, NUM_ITEMS - 1), min_size=1))
def test_some_items_score_as_they_do_among_all(past, has_repeat_bias, chosen):
    head = ItemHead(3, NUM_ITEMS, has_repeat_bias=has_repeat_bias)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    states, items = torch.randn(len(past.lengths), 3), torch.tensor(sorted(chosen))
    scores = head.scores_of_rows(states, head.own_rows(items), items, past)
    torch.testing.assert_close(scores, head(states, past)[:, items])
    assert head.own_rows(None) is head.weight


def test_a_tied_head_has_no_rows_and_a_plain_one_nothing_else():
    names = [
        sorted(ItemHead(3, num_rows, has_repeat_bias=has_bias).state_dict())
        for num_rows, has_bias in ((NUM_ITEMS, False), (None, False), (None, True))
    ]
    assert names == [["weight"], [], ["repeat"]]
