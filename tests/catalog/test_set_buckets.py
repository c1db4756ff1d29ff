import numpy as np
import torch

from sidestep.catalog.set_buckets import SetBuckets
from sidestep.padding import NO_ITEM


def test_equal_codes_share_a_bucket_under_its_first_item():
    codes = np.array([[1, 0], [0, 2], [1, 0], [0, 1], [1, 0]], dtype=np.int32)
    buckets = SetBuckets.build(codes, (2, 3), np.array([1, 9, 7, 0, 1]))
    assert buckets.first_items.tolist() == [0, 1, 0, 3, 0]
    # By popularity, then by index.
    assert buckets.items_with(torch.tensor([0, 3, NO_ITEM])).tolist() == [
        [2, 0, 4],
        [3, NO_ITEM, NO_ITEM],
        [NO_ITEM, NO_ITEM, NO_ITEM],
    ]
    assert SetBuckets.build(codes, (2, 3), None).items_with(torch.tensor([0])).tolist() == [
        [0, 2, 4]
    ]


def test_codes_that_fill_more_than_64_bits_are_told_apart():
    sizes = (2**20, 2**20, 2**20, 2**20, 3)
    codes = np.random.default_rng(0).integers(0, sizes, (50, 5), dtype=np.int32)
    for column in range(5):
        changed = codes.copy()
        changed[:, column] = (changed[:, column] + 1) % sizes[column]
        both = np.concatenate([codes, changed, codes])
        firsts = SetBuckets.build(both, sizes, None).first_items.tolist()
        assert firsts == [*range(100), *range(50)]
