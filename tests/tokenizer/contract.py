"""The laws that every tokenizer passes, on a data set whose answer is obvious: a checkerboard.

A tokenizer's test file imports `TokenizerContract` and gives it a `fit`.
"""

import numpy as np
import pytest

SIZES = (4, 2)


def checkerboard(copies=6, seed=0):
    """Eight tight clusters: four far corners, each split in two. Returns vectors and clusters."""
    corners = np.array([[0, 0], [0, 20], [20, 0], [20, 20]], dtype=np.float32)
    split = np.array([1, 0], dtype=np.float32)
    centres = np.concatenate([corners - split, corners + split])
    clusters = np.tile(np.arange(8), copies)
    noise = np.random.default_rng(seed).normal(0, 0.01, (len(clusters), 2))
    return (centres[clusters] + noise).astype(np.float32), clusters


class TokenizerContract:
    """Subclass it and implement `fit(vectors, codebook_sizes, seed)`."""

    def fit(self, vectors, codebook_sizes, seed):
        raise NotImplementedError

    def test_one_semantic_id_per_cluster_and_one_first_code_per_corner(self):
        vectors, clusters = checkerboard()
        semantic_ids = self.fit(vectors, SIZES, 0).encode(vectors)
        pairs = zip(clusters, semantic_ids.tolist(), strict=True)
        found = {(cluster, *row) for cluster, row in pairs}
        assert len(found) == len({row[1:] for row in found}) == 8
        assert len({(cluster % 4, first) for cluster, first, _ in found}) == 4

    @pytest.mark.parametrize("sizes", [(4, 2), (3,), (2, 3, 5), (8, 8)])
    def test_codes_lie_in_their_codebooks(self, sizes):
        vectors, _ = checkerboard()
        codebooks = self.fit(vectors, sizes, 0)
        semantic_ids = codebooks.encode(vectors)
        assert codebooks.codebook_sizes == sizes
        assert semantic_ids.shape == (len(vectors), len(sizes))
        assert (semantic_ids >= 0).all()
        assert (semantic_ids < sizes).all()

    def test_the_same_seed_gives_the_same_codes(self):
        vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
        first = self.fit(vectors, (8, 8), 3)
        second = self.fit(vectors, (8, 8), 3)
        assert np.array_equal(first.encode(vectors), second.encode(vectors))
        other = self.fit(vectors, (8, 8), 4)
        assert not np.array_equal(first.encode(vectors), other.encode(vectors))

    def test_permuted_items_get_permuted_codes(self):
        vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
        codebooks = self.fit(vectors, (8, 8), 0)
        order = np.random.default_rng(1).permutation(60)
        assert np.array_equal(codebooks.encode(vectors)[order], codebooks.encode(vectors[order]))

    def test_each_level_comes_closer_to_the_vectors(self):
        vectors = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
        codebooks = self.fit(vectors, (8, 8, 8), 0)
        semantic_ids = codebooks.encode(vectors)
        left = [vectors]
        for level in range(3):
            left.append(left[-1] - codebooks.levels[level][semantic_ids[:, level]])
        errors = [float(np.square(residual).sum()) for residual in left]
        assert errors == sorted(errors, reverse=True)
        np.testing.assert_allclose(
            codebooks.reconstruct(semantic_ids), vectors - left[-1], atol=1e-5
        )
        np.testing.assert_allclose(
            codebooks.last_residuals(vectors, semantic_ids), left[-2], atol=1e-6
        )

    def test_saved_codebooks_encode_alike(self, tmp_path):
        vectors, _ = checkerboard()
        codebooks = self.fit(vectors, SIZES, 0)
        codebooks.save(tmp_path / "codebooks.safetensors")
        loaded = type(codebooks).load(tmp_path / "codebooks.safetensors")
        assert loaded.codebook_sizes == SIZES
        assert np.array_equal(loaded.encode(vectors), codebooks.encode(vectors))
