from dataclasses import replace

import pytest
import torch

from sidestep.model.config import RpgConfig
from sidestep.model.rpg import Rpg
from sidestep.padding import NO_ITEM
from tests.model.batches import history_of
from tests.model.counted_flops import counted_flops

IDS = torch.tensor([[0, 1, 3], [1, 1, 0], [2, 0, 3], [0, 1, 3], [2, 1, 1]], dtype=torch.int32)
"""Items 0 and 3 have the same codes."""

SIZES = (3, 2, 4)
HISTORIES = history_of(torch.tensor([[4, 1, 2], [0, 1, NO_ITEM], [NO_ITEM] * 3]))


def build(**shape) -> Rpg:
    torch.manual_seed(0)
    small = {"dim": 8, "num_layers": 2, "num_heads": 2, "ffn_dim": 12, "max_items": 3}
    model = Rpg.of_codes(RpgConfig(**{**small, **shape}), IDS, SIZES)
    for weights in model.parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.4)
    return model.eval()


@torch.no_grad()
def test_an_item_is_read_as_the_mean_of_the_vectors_of_its_codes():
    model = build()
    codes = model.code_embedding.weight
    # Item 2 has the codes 2, 0 and 3; those of a codebook stand behind those before.
    expected = (codes[2] + codes[3 + 0] + codes[3 + 2 + 3]) / 3
    torch.testing.assert_close(model.catalog_vectors()[2], expected)
    torch.testing.assert_close(model.item_vectors(HISTORIES)[0, 2], expected)


@torch.no_grad()
def test_a_score_is_the_sum_of_the_log_probabilities_of_the_codes():
    model = build(temperature=0.2)
    states = model.last_states(HISTORIES)
    scores = model.scores(states, HISTORIES)
    assert scores.shape == (3, 5)
    unit = torch.nn.functional.normalize
    for user, state in enumerate(states):
        expected, first = torch.zeros(5), 0
        for book, size in enumerate(SIZES):
            hidden = model.head_weight[book] @ state + model.head_bias[book]
            head = state + hidden * hidden.sigmoid()
            vectors = model.code_embedding.weight[first : first + size]
            logits = unit(vectors, dim=-1) @ unit(head, dim=0) / 0.2
            expected += logits.log_softmax(0)[IDS[:, book].long()]
            first += size
        torch.testing.assert_close(scores[user], expected)


@torch.no_grad()
def test_the_probabilities_of_all_code_sets_sum_to_one_and_equal_codes_tie():
    every = torch.cartesian_prod(*(torch.arange(size) for size in SIZES)).int()
    model = build()
    scores = model.scores(model.last_states(HISTORIES), HISTORIES)
    torch.testing.assert_close(scores[:, 0], scores[:, 3])
    model.semantic_ids = every
    whole = model.scores(torch.randn(4, 8), HISTORIES)
    torch.testing.assert_close(whole.exp().sum(dim=1), torch.ones(4))


@torch.no_grad()
def test_later_items_and_padding_do_not_change_earlier_states():
    model = build()
    states = model.states(HISTORIES)
    other = model.states(history_of(torch.tensor([[4, 1, 0], [0, 1, 4], [2, 2, 2]])))
    torch.testing.assert_close(other[0, :3], states[0, :3])
    torch.testing.assert_close(other[1, :3], states[1, :3])
    torch.testing.assert_close(other[2, :1], states[2, :1])
    assert not other[0, 3].allclose(states[0, 3], atol=1e-3)
    torch.testing.assert_close(model.last_states(HISTORIES)[1], states[1, 2])


@torch.no_grad()
def test_a_weight_scales_an_item_where_it_is_read():
    model = build()
    weighted = replace(HISTORIES, weights=torch.tensor([[1.0, 0.25, 1.0]] * 3))
    vectors = model.item_vectors(HISTORIES)
    torch.testing.assert_close(model.item_vectors(weighted)[0, 1], 0.25 * vectors[0, 1])
    torch.testing.assert_close(model.item_vectors(weighted)[0, 2], vectors[0, 2])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="histories of 4 items; the network was built for 3"):
        build().states(history_of(torch.tensor([[1, 2, 3, 4]])))
    with pytest.raises(ValueError, match="dim 8 must be a multiple of num_heads 3"):
        build(num_heads=3)
    with pytest.raises(ValueError, match="semantic IDs reach"):
        Rpg.of_codes(RpgConfig(dim=8), IDS, (3, 2, 3))


def test_its_flops_are_those_that_pytorch_counts_but_for_the_masks():
    model = build()
    histories = history_of(torch.tensor([[1, 2, 3]]))
    counted, _ = counted_flops(lambda: model.scores(model.last_states(histories), histories))
    # The counter counts columns that a mask hides: 4 x 4 instead of 10 in each of two layers.
    hidden = 2 * 4 * 8 * (4 * 4 - 10)
    assert model.flops(torch.tensor([3])).tolist() == [counted - hidden]
