"""Pairs of items: the sums of their weights, worked by hand."""

import numpy as np

from sidestep.item_pairs import pair_sums


def test_a_pair_weighs_as_its_distance_and_its_two_items_say():
    items, offsets = np.array([0, 1, 0]), np.array([0, 3])
    sums = pair_sums(
        items,
        offsets,
        2,
        factors=[1.0, 0.5],
        first_weights=np.array([2.0, 3.0, 5.0]),
        second_weights=np.array([7.0, 0.0, 11.0]),
    )
    assert sums.toarray().tolist() == [[0.5 * 2 * 11, 0], [3 * 11, 0]]
    assert sums.nnz == 2  # a pair of weight 0 is no entry
