from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.model.config import SasRecConfig
from sidestep.model.sasrec import SasRec
from tests.model.batches import history_of
from tests.model.counted_flops import counted_flops
from tests.model.item_network_contract import SEMANTIC_IDS, SIZES, ItemNetworkContract, states


class TestSasRec(ItemNetworkContract):
    network = SasRec


class TestWithLigrLayers(ItemNetworkContract):
    network = SasRec
    settings: ClassVar = {"layers": "ligr"}


def tiny(semantic_ids=SEMANTIC_IDS, **changes):
    return TestSasRec().build(semantic_ids, **changes)


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
    assert "layers" not in SasRecConfig().model_dump(mode="json")
    assert SasRecConfig(code_embedding=True).model_dump(mode="json")["code_embedding"] is True


def test_semantic_ids_that_are_missing_or_of_other_items_are_refused():
    config = SasRecConfig(dim=16, code_embedding=True)
    with pytest.raises(ValueError, match="the semantic IDs of all 9 items, got none"):
        SasRec(config, 9)
    with pytest.raises(ValueError, match="the semantic IDs of all 8 items, got 9"):
        SasRec(config, 8, semantic_ids=SEMANTIC_IDS, codebook_sizes=SIZES)
    with pytest.raises(ValueError, match=r"semantic IDs reach \[2, 2\], outside codebooks"):
        SasRec(config, 9, semantic_ids=SEMANTIC_IDS, codebook_sizes=(2, 4))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="dim 10 must be a multiple of num_heads 4"):
        SasRecConfig(dim=10, num_heads=4)


@pytest.mark.parametrize("layers", ["transformer", "ligr"])
@pytest.mark.parametrize("code_embedding", [False, True])
def test_its_flops_are_those_that_pytorch_counts_but_for_masked_columns(code_embedding, layers):
    model = tiny(num_layers=2, code_embedding=code_embedding, layers=layers)
    histories = history_of(torch.tensor([[1, 2, 3]]))
    counted, _ = counted_flops(lambda: model.scores(states(model, [1, 2, 3])[:, -1], histories))
    # Four positions in two layers of width 16: 6 of 16 columns are later than their query.
    assert model.flops(torch.tensor([3])).tolist() == [counted - 2 * 4 * 16 * 6]
