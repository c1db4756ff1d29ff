from dataclasses import replace

import pytest
import torch
from torch import nn

from sidestep.model.reading import READERS, InputVectors
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch

HISTORIES = HistoryBatch(
    items=torch.tensor([[1, 0], [2, NO_ITEM]]),
    lengths=torch.tensor([2, 1]),
    weights=torch.tensor([[1.0, 0.5], [2.0, 0.0]]),
)
UNWEIGHTED = HistoryBatch(items=HISTORIES.items, lengths=HISTORIES.lengths)
SEMANTIC_IDS = torch.tensor([[0, 0], [0, 1], [1, 1]])


@pytest.fixture
def inputs():
    """Flat code id c has the vector (c, 1); item i has (0, 10 i)."""
    codes = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    items = torch.tensor([[0.0, 0.0], [0.0, 10.0], [0.0, 20.0]])
    return InputVectors(
        flat_codes=lambda items: SEMANTIC_IDS[items.clamp(min=0)] + torch.tensor([0, 2]),
        codes=nn.Embedding.from_pretrained(codes),
        items=nn.Embedding.from_pretrained(items),
    )


def test_a_reader_of_codes_writes_the_codes_of_each_item(inputs):
    reader = READERS["codes"]
    vectors = reader.vectors(inputs, UNWEIGHTED)
    assert vectors[0].tolist() == [[0, 1], [3, 1], [0, 1], [2, 1]]
    assert reader.prompt_lengths(UNWEIGHTED, num_levels=2).tolist() == [5, 3]


def test_a_reader_of_codes_refuses_weights(inputs):
    with pytest.raises(ValueError, match="this network reads items as codes"):
        READERS["codes"].vectors(inputs, HISTORIES)


def test_a_reader_of_items_writes_the_sum_of_codes_and_item_by_weight(inputs):
    reader = READERS["items"]
    vectors = reader.vectors(inputs, HISTORIES)
    assert vectors[0].tolist() == [[3, 12], [1, 1]]  # (0 + 3, 1 + 1 + 10), half of (2, 2)
    assert vectors[1, 0].tolist() == [8, 44]
    assert reader.prompt_lengths(HISTORIES, num_levels=2).tolist() == [3, 2]


def test_the_vectors_of_the_catalog_are_those_of_every_item(inputs):
    assert inputs.catalog_vectors(3).equal(inputs.item_vectors(torch.arange(3)))


def test_items_without_codes_are_read_by_the_vectors_of_their_own(inputs):
    own = replace(inputs, codes=None)
    assert READERS["items"].vectors(own, HISTORIES)[0].tolist() == [[0, 10], [0, 0]]
    assert own.catalog_vectors(3).equal(inputs.items.weight)


def test_codes_of_the_last_item_continue_a_prompt_of_codes():
    reader = READERS["codes"]
    assert reader.branching(HISTORIES.items).tolist() == [[0], [NO_ITEM]]
    before, codes = torch.arange(3.0).view(1, 3, 1), torch.tensor([[[[7.0]]]])
    prompt = reader.next_item_prompt(before, codes)
    assert prompt.vectors.flatten().tolist() == [0, 1, 2, 7]
    assert prompt.positions.tolist() == [0, 1, 2, 3]
    assert prompt.mask is None


def test_codes_of_every_item_branch_off_a_prompt_of_items():
    reader = READERS["items"]
    assert reader.branching(HISTORIES.items) is HISTORIES.items
    before, codes = torch.arange(2.0).view(1, 2, 1), torch.tensor([[[[7.0]], [[8.0]]]])
    prompt = reader.next_item_prompt(before, codes)
    assert prompt.vectors.flatten().tolist() == [0, 7, 1, 8]
    assert prompt.positions.tolist() == [0, 1, 1, 2]
    assert prompt.mask[0].int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],  # the branch of the first item
        [1, 0, 1, 0],  # the second item of the trunk does not see the branch of the first one
        [1, 0, 1, 1],
    ]
