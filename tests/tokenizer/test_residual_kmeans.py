import numpy as np
import pytest
from pydantic import ValidationError

from sidestep.tokenizer.codebooks import ResidualCodebooks, nearest
from sidestep.tokenizer.residual_kmeans import (
    ResidualKMeans,
    ResidualKMeansConfig,
    suggested_codebook_sizes,
)
from tests.tokenizer.contract import TokenizerContract, checkerboard


def fit(vectors, codebook_sizes, seed=0, **config):
    config = ResidualKMeansConfig(codebook_sizes=codebook_sizes, **config)
    return ResidualKMeans(config).fit(vectors, seed=seed)


class TestResidualKMeans(TokenizerContract):
    def fit(self, vectors, codebook_sizes, seed):
        return fit(vectors, codebook_sizes, seed, num_starts=3)


class TestResidualKMeansByMiniBatches(TokenizerContract):
    def fit(self, vectors, codebook_sizes, seed):
        return fit(vectors, codebook_sizes, seed, num_starts=3, max_full_items=1)


def test_as_many_codes_as_items_reproduce_the_vectors():
    vectors = np.array([[0, 0], [1, 0], [0, 5]], dtype=np.float32)
    codebooks = fit(vectors, (3, 2))
    np.testing.assert_allclose(codebooks.reconstruct(codebooks.encode(vectors)), vectors, atol=1e-6)


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


def test_fitting_leaves_the_callers_vectors_alone():
    vectors, _ = checkerboard()
    before = vectors.copy()
    codebooks = fit(vectors, (4, 2))
    codebooks.last_residuals(vectors, codebooks.encode(vectors))
    assert np.array_equal(vectors, before)


@pytest.mark.parametrize(
    ("vectors", "sizes", "words"),
    [
        (np.zeros((3, 2)), (2, 4), "level 2 has 4 codes, but there are only 3 items"),
        (np.zeros((9, 2)), (4, 2), "only 1 distinct vectors; lower codebook_sizes"),
        (np.array([[0.0], [np.nan], [np.inf]]), (2,), "2 of 3 vectors .* the first is item 1"),
    ],
)
def test_vectors_that_cannot_fill_the_codebooks_are_refused(vectors, sizes, words):
    with pytest.raises(ValueError, match=words):
        fit(vectors, sizes)


@pytest.mark.parametrize("config", [{"codebook_sizes": ()}, {"codebook_sizes": (4, 1)}, {"k": 3}])
def test_configurations_that_mean_nothing_are_refused(config):
    with pytest.raises(ValidationError):
        ResidualKMeansConfig(**config)


def test_vectors_of_another_embedding_are_refused():
    vectors, _ = checkerboard()
    with pytest.raises(ValueError, match="width 2, got width 3"):
        fit(vectors, (4, 2)).encode(np.zeros((1, 3), dtype=np.float32))


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "codebooks.safetensors"
    vectors, _ = checkerboard()
    fit(vectors, (4, 2)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(ValueError, match=r"codebooks\.safetensors: damaged"):
        ResidualCodebooks.load(path)
    path.write_bytes(whole.replace(b"sidestep.codebooks", b"elsewhere.codebook"))
    with pytest.raises(ValueError, match="not a file of codebooks"):
        ResidualCodebooks.load(path)
    path.write_bytes(whole.replace(rb"schema_version\": \"1", rb"schema_version\": \"9"))
    with pytest.raises(ValueError, match="schema version 9"):
        ResidualCodebooks.load(path)


@pytest.mark.parametrize(
    ("num_distinct", "size"), [(5000, 256), (1024, 256), (1023, 128), (300, 64), (3, 2)]
)
def test_suggested_codebooks_fit_the_catalog(num_distinct, size):
    vectors = np.repeat(np.arange(num_distinct, dtype=np.float32)[:, None], 2, axis=0)
    assert suggested_codebook_sizes(vectors) == (size,) * 3
