import numpy as np
import pytest

from sidestep.tokenizer.balanced_kmeans import BalancedKMeans, BalancedKMeansConfig, means
from tests.tokenizer.contract import ResidualContract


def fit(vectors, codebook_sizes, seed=0, **config):
    config = BalancedKMeansConfig(codebook_sizes=codebook_sizes, **config)
    return BalancedKMeans(config).fit(vectors, seed=seed)


def lopsided(num_items, seed=0):
    """Vectors of a cluster with most items, and a few items far from it."""
    generator = np.random.default_rng(seed)
    scales = np.where(np.arange(num_items) % 5, 0.3, 4.0)
    return (generator.normal(size=(num_items, 4)) * scales[:, None]).astype(np.float32)


class TestBalancedKMeans(ResidualContract):
    share_at_the_nearest = 0.5

    def fit(self, vectors, codebook_sizes, seed):
        return fit(vectors, codebook_sizes, seed)


@pytest.mark.parametrize("num_items", [301, 2000])  # exact, and by prices
def test_at_every_level_codes_have_equally_many_items(num_items):
    semantic_ids = fit(lopsided(num_items), (16, 7)).semantic_ids
    for codes, size in zip(semantic_ids.T, (16, 7), strict=True):
        counts = np.bincount(codes, minlength=size)
        assert counts.max() - counts.min() <= 1


def test_new_items_of_the_same_kind_fill_the_codes_evenly():
    done = fit(lopsided(4000), (16, 16))
    for codes in done.tokenizer.encode(lopsided(4000, seed=1)).T:
        counts = np.bincount(codes, minlength=16)
        assert counts.max() < 1.6 * 4000 / 16
    known = done.tokenizer.encode(lopsided(4000)) == done.semantic_ids
    assert known[:, 0].mean() > 0.85


def test_codewords_of_a_sample_serve_all_items():
    vectors = lopsided(3000)
    whole, sampled = fit(vectors, (16,)), fit(vectors, (16,), items_per_code=30)
    errors = [
        np.square(vectors - done.tokenizer.reconstruct(done.semantic_ids)).sum()
        for done in (whole, sampled)
    ]
    assert errors[1] < 1.15 * errors[0]
    assert np.ptp(np.bincount(sampled.semantic_ids[:, 0])) <= 1


def test_means_are_of_the_items_of_each_code():
    vectors = np.array([[1], [5], [3], [9]], dtype=np.float32)
    assert means(vectors, np.array([1, 0, 1, 0]), 2).tolist() == [[7], [2]]
