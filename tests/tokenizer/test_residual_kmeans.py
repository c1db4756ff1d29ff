import numpy as np
import pytest
from pydantic import ValidationError

from sidestep.tokenizer.codebooks import nearest
from sidestep.tokenizer.residual_kmeans import ResidualKMeans, ResidualKMeansConfig
from tests.tokenizer.contract import ResidualContract


def fit(vectors, codebook_sizes, seed=0, **config):
    config = ResidualKMeansConfig(codebook_sizes=codebook_sizes, **config)
    return ResidualKMeans(config).fit(vectors, seed=seed)


class TestResidualKMeans(ResidualContract):
    def fit(self, vectors, codebook_sizes, seed):
        return fit(vectors, codebook_sizes, seed, num_starts=3)


class TestResidualKMeansByMiniBatches(ResidualContract):
    def fit(self, vectors, codebook_sizes, seed):
        return fit(vectors, codebook_sizes, seed, num_starts=3, max_full_items=1)


def test_as_many_codes_as_items_reproduce_the_vectors():
    vectors = np.array([[0, 0], [1, 0], [0, 5]], dtype=np.float32)
    done = fit(vectors, (3, 2))
    np.testing.assert_allclose(done.tokenizer.reconstruct(done.semantic_ids), vectors, atol=1e-6)


def test_the_nearest_codeword_wins_and_the_lower_code_wins_ties():
    codewords = np.array([[0, 0], [2, 0], [2, 0], [9, 9]], dtype=np.float32)
    vectors = np.array([[0.9, 0], [1.1, 0], [1, 0], [8, 7]], dtype=np.float32)
    assert nearest(vectors, codewords).tolist() == [0, 1, 0, 3]


def test_encoding_in_chunks_is_encoding_at_once(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    codewords = vectors[:7].copy()
    at_once = nearest(vectors, codewords)
    distances = np.square(vectors[:, None] - codewords).sum(axis=2)
    assert np.array_equal(at_once, distances.argmin(axis=1))
    monkeypatch.setattr("sidestep.tokenizer.codebooks._CHUNK_BYTES", 7 * 4 * 3)
    assert np.array_equal(nearest(vectors, codewords), at_once)


def test_a_price_counts_like_a_squared_distance():
    codewords = np.array([[0], [10]], dtype=np.float32)
    vectors = np.array([[1.9], [2.1]], dtype=np.float32)
    # At 2 the squared distances are 4 and 64: a price of 60 makes them equal.
    prices = np.array([60, 0], dtype=np.float32)
    assert nearest(vectors, codewords, prices).tolist() == [0, 1]


@pytest.mark.parametrize("config", [{"codebook_sizes": ()}, {"codebook_sizes": (4, 1)}, {"k": 3}])
def test_configurations_that_mean_nothing_are_refused(config):
    with pytest.raises(ValidationError):
        ResidualKMeansConfig(**config)
