import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.model.config import SasRecConfig
from sidestep.model.sasrec import SasRec
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch
from tests.model.batches import history_of
from tests.model.counted_flops import counted_flops

SEMANTIC_IDS = torch.tensor([[item // 3, item % 3] for item in range(9)], dtype=torch.int32)
SIZES = (3, 4)


@pytest.fixture(params=[False, True], ids=["own vectors", "code sums"])
def model(request):
    return tiny(code_embedding=request.param)


def tiny(semantic_ids=SEMANTIC_IDS, **changes):
    torch.manual_seed(0)
    config = SasRecConfig(**{"dim": 16, "max_items": 6, **changes})
    model = SasRec.of_codes(config, semantic_ids, SIZES)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def states(model, *rows):
    return model.states(history_of(torch.tensor(rows)))


@torch.no_grad()
def test_later_items_do_not_change_earlier_states(model):
    first, second = states(model, [1, 2, 3, 4, 5]), states(model, [1, 2, 3, 8, 0])
    torch.testing.assert_close(first[:, :4], second[:, :4])
    assert not first[:, 4].allclose(second[:, 4], atol=1e-2)
    assert not first[:, 5].allclose(second[:, 5], atol=1e-2)


@torch.no_grad()
def test_padding_and_other_users_change_nothing(model):
    alone = states(model, [4, 7])
    padded = states(model, [4, 7, NO_ITEM, NO_ITEM], [1, 2, 3, 4])
    torch.testing.assert_close(padded[:1, :3], alone)


@torch.no_grad()
def test_order_matters(model):
    first, second = states(model, [1, 2, 3]), states(model, [2, 1, 3])
    assert not first[:, 3].allclose(second[:, 3], atol=1e-2)


@torch.no_grad()
def test_an_empty_history_has_the_state_of_the_start(model):
    nothing = model.states(history_of(torch.zeros(2, 0, dtype=torch.long)))
    assert nothing.shape == (2, 1, 16)
    torch.testing.assert_close(states(model, [5, 1])[:, :1], nothing[:1])
    padded = states(model, [NO_ITEM, NO_ITEM])
    torch.testing.assert_close(padded[:, :1], nothing[:1])


def test_what_is_computed_does_not_depend_on_grad(model):
    recorded = states(model, [1, 2, 3])
    with torch.no_grad():
        torch.testing.assert_close(states(model, [1, 2, 3]), recorded, atol=1e-5, rtol=1e-5)


def test_scores_are_products_with_the_item_embeddings():
    model = tiny()
    scores = model.scores(torch.eye(16), history_of(torch.tensor([[1, 2]] * 16)))
    assert scores.shape == (16, model.num_items)
    torch.testing.assert_close(scores, model.item_embedding.weight.T)


@torch.no_grad()
def test_the_vector_of_an_item_is_the_sum_of_its_codes_and_its_own():
    model = tiny(code_embedding=True)
    codes, own = model.code_embedding.weight, model.item_embedding.weight
    assert codes.shape == (3 + 4, 16)
    vectors = model.catalog_vectors()
    # Item 5 has the codes (1, 2); those of the second level stand behind the three of the first.
    torch.testing.assert_close(vectors[5], codes[1] + codes[3 + 2] + own[5])
    torch.testing.assert_close(vectors[6], codes[2] + codes[3 + 0] + own[6])
    scores = model.scores(torch.eye(16), history_of(torch.tensor([[1, 2]] * 16)))
    torch.testing.assert_close(scores, vectors.T)
    # Reading an item by its sum is reading it by the same vector as one of its own.
    plain = tiny()
    plain.load_state_dict({**model.state_dict(), "item_embedding.weight": vectors}, strict=False)
    torch.testing.assert_close(states(model, [5, 6, 0]), states(plain, [5, 6, 0]))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=2, max_size=9))
@torch.no_grad()
def test_without_own_vectors_items_are_told_apart_by_their_codes_alone(codes):
    model = tiny(torch.tensor(codes), code_embedding=True)
    model.item_embedding.weight.zero_()
    first, last = states(model, [0]), states(model, [len(codes) - 1])
    scores = model.scores(first[:, -1], history_of(torch.tensor([[0]])))[0]
    for one, its_codes in enumerate(codes):
        for other, other_codes in enumerate(codes):
            is_alike = torch.isclose(scores[one], scores[other], atol=1e-6)
            assert bool(is_alike) == (its_codes == other_codes)
    assert torch.allclose(first, last, atol=1e-6) == (codes[0] == codes[-1])


def test_code_vectors_are_learned_from_what_is_read_and_what_is_scored():
    model = tiny(code_embedding=True)
    histories = history_of(torch.tensor([[5]]))
    found = model.states(histories)[:, -1]
    model.scores(found.detach(), histories)[0, 2].backward()  # item 2 has the codes (0, 2)
    learned = model.code_embedding.weight.grad.abs().sum(dim=1) > 0
    assert learned.tolist() == [True, False, False, False, False, True, False]
    model.zero_grad()
    found[0, 0].backward()  # item 5 has the codes (1, 2)
    learned = model.code_embedding.weight.grad.abs().sum(dim=1) > 0
    assert learned.tolist() == [False, True, False, False, False, True, False]


def test_without_code_embedding_semantic_ids_change_nothing():
    torch.manual_seed(0)
    plain = SasRec(SasRecConfig(dim=16), 9)
    torch.manual_seed(0)
    given_ids = SasRec.of_codes(SasRecConfig(dim=16), SEMANTIC_IDS, SIZES)
    weights = given_ids.state_dict()
    assert weights.keys() == plain.state_dict().keys()
    assert all(torch.equal(weights[name], each) for name, each in plain.state_dict().items())
    assert given_ids.semantic_ids is None
    assert "code_embedding" not in SasRecConfig().model_dump(mode="json")
    assert SasRecConfig(code_embedding=True).model_dump(mode="json")["code_embedding"] is True


def test_semantic_ids_are_held_as_they_are_and_are_no_weights():
    model = tiny(code_embedding=True)
    assert model.semantic_ids is SEMANTIC_IDS
    assert model.state_dict().keys() - tiny().state_dict().keys() == {"code_embedding.weight"}


def test_semantic_ids_that_are_missing_or_of_other_items_are_refused():
    config = SasRecConfig(dim=16, code_embedding=True)
    with pytest.raises(ValueError, match="the semantic IDs of all 9 items, got none"):
        SasRec(config, 9)
    with pytest.raises(ValueError, match="the semantic IDs of all 8 items, got 9"):
        SasRec(config, 8, semantic_ids=SEMANTIC_IDS, codebook_sizes=SIZES)
    with pytest.raises(ValueError, match=r"semantic IDs reach \[2, 2\], outside codebooks"):
        SasRec(config, 9, semantic_ids=SEMANTIC_IDS, codebook_sizes=(2, 4))


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
@pytest.mark.parametrize("code_embedding", [False, True])
@torch.no_grad()
def test_some_items_score_as_they_do_among_all(temperature, repeat_bias, code_embedding):
    model = tiny(temperature=temperature, repeat_bias=repeat_bias, code_embedding=code_embedding)
    if repeat_bias:
        model.item_head.begin_at(-3.0)
    histories = history_of(torch.tensor([[1, 2], [8, 0]]))
    found = states(model, [1, 2], [8, 0])[:, -1]
    whole = model.scores(found, histories)
    for items in (torch.arange(9), torch.tensor([0, 2, 5])):
        rows = model.item_rows() if len(items) == 9 else model.item_rows(items)
        some = model.row_scores(found, rows, items, histories)
        torch.testing.assert_close(some, whole[:, items])


def test_a_history_beyond_the_positions_is_refused(model):
    assert states(model, [1, 2, 3, 4, 5, 6]).shape == (1, 7, 16)
    with pytest.raises(ValueError, match="histories of 7 items; SASRec was built for 6"):
        states(model, [1, 2, 3, 4, 5, 6, 7])


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="dim 10 must be a multiple of num_heads 4"):
        SasRecConfig(dim=10, num_heads=4)


@pytest.mark.parametrize("code_embedding", [False, True])
def test_its_flops_are_those_that_pytorch_counts_but_for_masked_columns(code_embedding):
    model = tiny(num_layers=2, code_embedding=code_embedding)
    histories = history_of(torch.tensor([[1, 2, 3]]))
    counted, _ = counted_flops(lambda: model.scores(states(model, [1, 2, 3])[:, -1], histories))
    # Four positions in two layers of width 16: 6 of 16 columns are later than their query.
    assert model.flops(torch.tensor([3])).tolist() == [counted - 2 * 4 * 16 * 6]


@pytest.mark.parametrize("code_embedding", [False, True])
def test_a_weight_scales_the_vector_of_an_item_where_it_is_read(code_embedding):
    network = tiny(code_embedding=code_embedding)
    items, lengths = torch.tensor([[3, 1, 2]]), torch.tensor([3])
    plain = HistoryBatch(items=items, lengths=lengths)
    ones = HistoryBatch(items=items, lengths=lengths, weights=torch.ones(1, 3))
    assert torch.equal(network.states(ones), network.states(plain))
    weighted = HistoryBatch(items=items, lengths=lengths, weights=torch.tensor([[1, 0.2, 1]]))
    scaled = copy.deepcopy(network)
    with torch.no_grad():
        # The own vector makes up for the codes, which other items share.
        vector = network.catalog_vectors()[1]
        scaled.item_embedding.weight[1] -= 0.8 * vector
    torch.testing.assert_close(network.states(weighted), scaled.states(plain))
