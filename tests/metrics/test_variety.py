import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.metrics.distribution import entropy_bits
from sidestep.metrics.variety import distinct_labels, intra_list_distance, label_entropy_bits

lists = st.lists(st.integers(-1, 4), min_size=1, max_size=8)


@given(lists)
def test_labels_are_counted_as_a_set_counts_them(labels):
    found = distinct_labels(torch.tensor([labels, labels[::-1]]))
    assert found.tolist() == [len({label for label in labels if label >= 0})] * 2


@given(lists)
def test_the_entropy_of_a_list_is_that_of_its_counts(labels):
    counts = torch.bincount(torch.tensor([label for label in labels if label >= 0]).long())
    found = label_entropy_bits(torch.tensor([labels]))
    assert found.item() == pytest.approx(entropy_bits(counts.numpy()))


def test_worked_entropies():
    labels = torch.tensor([[0, 0, 1, 1], [0, 1, 2, 3], [5, 5, 5, 5], [0, 0, 0, 1]])
    # The last: -3/4 log2 3/4 - 1/4 log2 1/4.
    last = 0.75 * math.log2(4 / 3) + 0.5
    assert label_entropy_bits(labels).tolist() == pytest.approx([1.0, 2.0, 0.0, last])


def test_distances_of_a_worked_example():
    vectors = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [0.0, 0.0]])
    lists_of = torch.tensor([[0, 1, -1], [0, 2, -1], [0, 1, 2], [0, 3, -1], [0, 0, -1]])
    # Orthogonal 1, opposite 2; of three items the mean of 1, 2 and 1; a zero vector has cosine 0.
    expected = [1.0, 2.0, 4 / 3, 1.0, 0.0]
    assert intra_list_distance(lists_of, vectors).tolist() == pytest.approx(expected)


def test_a_list_of_one_item_has_no_distance():
    assert intra_list_distance(torch.tensor([[1, -1]]), torch.eye(2)).isnan().all()
