import numpy as np
import pytest

from sidestep.tokenizer.opq import Opq, OpqConfig
from sidestep.tokenizer.vectors import advice, check_fittable, suggested_codebook_sizes


def numbers(num_distinct, copies=1):
    return np.repeat(np.arange(num_distinct, dtype=np.float32)[:, None], copies, axis=0)


@pytest.mark.parametrize(
    ("num_distinct", "size"), [(5000, 256), (1024, 256), (1023, 128), (300, 64), (3, 2)]
)
def test_suggested_codebooks_fit_the_catalog(num_distinct, size):
    wide = np.repeat(numbers(num_distinct, copies=2), 3, axis=1)
    assert suggested_codebook_sizes(wide) == (size,) * 3


@pytest.mark.parametrize(("num_items", "dim", "sizes"), [(5, 2, (2, 2)), (9, 1, (2,))])
def test_tiny_catalogs_get_codebooks_that_they_can_fill(num_items, dim, sizes):
    vectors = np.random.default_rng(0).normal(size=(num_items, dim)).astype(np.float32)
    assert suggested_codebook_sizes(vectors) == sizes
    fit = Opq(OpqConfig(codebook_sizes=sizes)).fit(vectors, seed=0)
    assert fit.semantic_ids.shape == (num_items, len(sizes))


def test_codebooks_that_fit_need_no_advice():
    assert advice(numbers(1000), (64, 64, 64), must_be_distinct=True) == []


@pytest.mark.parametrize(
    ("vectors", "sizes", "words"),
    [
        # 1,000 items need 4,000 semantic IDs, and 16³ = 4,096 is the next cube.
        (numbers(1000), (10, 10, 10), "1,000 semantic IDs for 1,000 items, .* about 16 codes each"),
        (numbers(100), (50, 50), "first level has 50 codes for 100 items, .* 25 or fewer"),
        (numbers(500, copies=9), (64, 64, 8), "9 items have the same vector .* size to 9"),
    ],
)
def test_codebooks_that_do_not_suit_the_catalog_are_told_with_the_remedy(vectors, sizes, words):
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(*advice(vectors, sizes, must_be_distinct=True))


def test_fewer_semantic_ids_than_items_that_need_one_are_refused():
    with pytest.raises(ValueError, match=r"only 100 semantic IDs for 1,001 items; .* about 32"):
        advice(numbers(1001), (10, 10), must_be_distinct=True)
    assert len(advice(numbers(1001), (10, 10), must_be_distinct=False)) == 1


def test_one_item_has_nothing_to_be_told_from():
    with pytest.raises(ValueError, match="there are 1 items; import a dataset of two"):
        check_fittable(numbers(1), (2,))
