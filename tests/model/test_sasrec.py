import copy

import pytest
import torch

from sidestep.model.config import SasRecConfig
from sidestep.model.sasrec import SasRec
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch
from tests.model.batches import history_of
from tests.model.counted_flops import counted_flops


def tiny(**changes):
    torch.manual_seed(0)
    config = SasRecConfig(**{"dim": 16, "max_items": 6, **changes})
    model = SasRec(config, num_items=9)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def states(model, *rows):
    return model.states(history_of(torch.tensor(rows)))


@torch.no_grad()
def test_later_items_do_not_change_earlier_states():
    model = tiny()
    first, second = states(model, [1, 2, 3, 4, 5]), states(model, [1, 2, 3, 8, 0])
    torch.testing.assert_close(first[:, :4], second[:, :4])
    assert not first[:, 4].allclose(second[:, 4], atol=1e-2)
    assert not first[:, 5].allclose(second[:, 5], atol=1e-2)


@torch.no_grad()
def test_padding_and_other_users_change_nothing():
    model = tiny()
    alone = states(model, [4, 7])
    padded = states(model, [4, 7, NO_ITEM, NO_ITEM], [1, 2, 3, 4])
    torch.testing.assert_close(padded[:1, :3], alone)


@torch.no_grad()
def test_order_matters():
    model = tiny()
    first, second = states(model, [1, 2, 3]), states(model, [2, 1, 3])
    assert not first[:, 3].allclose(second[:, 3], atol=1e-2)


@torch.no_grad()
def test_an_empty_history_has_the_state_of_the_start():
    model = tiny()
    nothing = model.states(history_of(torch.zeros(2, 0, dtype=torch.long)))
    assert nothing.shape == (2, 1, 16)
    torch.testing.assert_close(states(model, [5, 1])[:, :1], nothing[:1])
    padded = states(model, [NO_ITEM, NO_ITEM])
    torch.testing.assert_close(padded[:, :1], nothing[:1])


def test_what_is_computed_does_not_depend_on_grad():
    model = tiny()
    recorded = states(model, [1, 2, 3])
    with torch.no_grad():
        torch.testing.assert_close(states(model, [1, 2, 3]), recorded, atol=1e-5, rtol=1e-5)


def test_scores_are_products_with_the_item_embeddings():
    model = tiny()
    scores = model.scores(torch.eye(16), history_of(torch.tensor([[1, 2]] * 16)))
    assert scores.shape == (16, model.num_items)
    torch.testing.assert_close(scores, model.item_embedding.weight.T)


@torch.no_grad()
@pytest.mark.parametrize("temperature", [None, 0.5])
def test_a_repeat_bias_is_added_to_what_the_history_holds(temperature):
    plain, model = tiny(temperature=temperature), tiny(temperature=temperature, repeat_bias=True)
    histories = history_of(torch.tensor([[1, 2], [8, NO_ITEM]]))
    found = torch.randn(2, 16)
    before = plain.scores(found, histories)
    torch.testing.assert_close(model.scores(found, histories), before)  # it begins at 0
    model.item_head.repeat.fill_(-0.3)
    for user, item in ((0, 1), (0, 2), (1, 8)):
        before[user, item] -= 3
    torch.testing.assert_close(model.scores(found, histories), before)


@torch.no_grad()
def test_a_temperature_scores_by_the_cosine():
    model = tiny(temperature=0.5)
    histories = history_of(torch.tensor([[1, 2]]))
    found = states(model, [1, 2])[:, -1]
    scores = model.scores(found, histories)
    items = model.item_embedding.weight
    expected = torch.nn.functional.cosine_similarity(found[:, None], items[None], dim=-1) / 0.5
    torch.testing.assert_close(scores, expected)
    items.mul_(torch.arange(1, 10)[:, None])  # lengths of vectors must not matter
    torch.testing.assert_close(model.scores(found, histories), scores)


@pytest.mark.parametrize("temperature", [None, 0.5])
@pytest.mark.parametrize("repeat_bias", [False, True])
@torch.no_grad()
def test_some_items_score_as_they_do_among_all(temperature, repeat_bias):
    model = tiny(temperature=temperature, repeat_bias=repeat_bias)
    if repeat_bias:
        model.item_head.begin_at(-3.0)
    histories = history_of(torch.tensor([[1, 2], [8, 0]]))
    found = states(model, [1, 2], [8, 0])[:, -1]
    whole = model.scores(found, histories)
    for items in (torch.arange(9), torch.tensor([0, 2, 5])):
        rows = model.item_rows() if len(items) == 9 else model.item_rows(items)
        some = model.row_scores(found, rows, items, histories)
        torch.testing.assert_close(some, whole[:, items])


def test_a_history_beyond_the_positions_is_refused():
    model = tiny()
    assert states(model, [1, 2, 3, 4, 5, 6]).shape == (1, 7, 16)
    with pytest.raises(ValueError, match="histories of 7 items; SASRec was built for 6"):
        states(model, [1, 2, 3, 4, 5, 6, 7])


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="dim 10 must be a multiple of num_heads 4"):
        SasRecConfig(dim=10, num_heads=4)


def test_its_flops_are_those_that_pytorch_counts_but_for_masked_columns():
    model = tiny(num_layers=2)
    histories = history_of(torch.tensor([[1, 2, 3]]))
    counted, _ = counted_flops(lambda: model.scores(states(model, [1, 2, 3])[:, -1], histories))
    # Four positions in two layers of width 16: 6 of 16 columns are later than their query.
    assert model.flops(torch.tensor([3])).tolist() == [counted - 2 * 4 * 16 * 6]


def test_a_weight_scales_the_vector_of_an_item_where_it_is_read():
    network = tiny()
    items, lengths = torch.tensor([[3, 1, 2]]), torch.tensor([3])
    plain = HistoryBatch(items=items, lengths=lengths)
    ones = HistoryBatch(items=items, lengths=lengths, weights=torch.ones(1, 3))
    assert torch.equal(network.states(ones), network.states(plain))
    weighted = HistoryBatch(items=items, lengths=lengths, weights=torch.tensor([[1, 0.2, 1]]))
    scaled = copy.deepcopy(network)
    with torch.no_grad():
        scaled.item_embedding.weight[1] *= 0.2
    torch.testing.assert_close(network.states(weighted), scaled.states(plain))
