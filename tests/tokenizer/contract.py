"""The laws that every tokenizer passes, on a data set whose answer is obvious: a checkerboard.

A tokenizer's test file subclasses `TokenizerContract`, or `ResidualContract` if levels go from
coarse to fine, and implements `fit`.
"""

import numpy as np
import pytest

from sidestep.tokenizer.collisions import num_distinct, resolve_collisions
from sidestep.tokenizer.methods import kind_of, load_fitted
from sidestep.tokenizer.tokenizer import FittedTokenizer

SIZES = (4, 2)


def checkerboard(copies=6, seed=0):
    """Eight tight clusters: four far corners, each split in two. Returns vectors and clusters."""
    corners = np.array([[0, 0], [0, 20], [20, 0], [20, 20]], dtype=np.float32)
    split = np.array([1, 0], dtype=np.float32)
    centres = np.concatenate([corners - split, corners + split])
    clusters = np.tile(np.arange(8), copies)
    noise = np.random.default_rng(seed).normal(0, 0.01, (len(clusters), 2))
    return (centres[clusters] + noise).astype(np.float32), clusters


def scattered(num_items=60, dim=6):
    return np.random.default_rng(0).normal(size=(num_items, dim)).astype(np.float32)


class TokenizerContract:
    """Subclass it and implement `fit(vectors, codebook_sizes, seed)`, which returns a `Fit`."""

    def fit(self, vectors, codebook_sizes, seed):
        raise NotImplementedError

    board_sizes = SIZES
    """Codebooks with room for the clusters of the checkerboard."""

    def test_items_of_different_clusters_have_different_semantic_ids(self):
        vectors, clusters = checkerboard()
        fit = self.fit(vectors, self.board_sizes, 0)
        for semantic_ids in (fit.semantic_ids, fit.tokenizer.encode(vectors)):
            pairs = zip(clusters, semantic_ids.tolist(), strict=True)
            found = {(cluster, *row) for cluster, row in pairs}
            assert len(found) == len({row[1:] for row in found})

    def test_what_is_fitted_keeps_the_protocol(self):
        vectors, _ = checkerboard()
        assert isinstance(self.fit(vectors, SIZES, 0).tokenizer, FittedTokenizer)

    @pytest.mark.parametrize("sizes", [(4, 2), (3,), (2, 3, 5), (8, 8)])
    def test_codes_lie_in_their_codebooks(self, sizes):
        vectors = scattered()
        fit = self.fit(vectors, sizes, 0)
        assert fit.tokenizer.codebook_sizes == sizes
        assert fit.tokenizer.dim == 6
        for semantic_ids in (fit.semantic_ids, fit.tokenizer.encode(3 * vectors)):
            assert semantic_ids.shape == (len(vectors), len(sizes))
            assert (semantic_ids >= 0).all()
            assert (semantic_ids < sizes).all()

    def test_the_same_seed_gives_the_same_codes(self):
        vectors = scattered()
        first = self.fit(vectors, (8, 8), 3)
        second = self.fit(vectors, (8, 8), 3)
        assert np.array_equal(first.semantic_ids, second.semantic_ids)
        new = scattered(200)
        assert np.array_equal(first.tokenizer.encode(new), second.tokenizer.encode(new))
        other = self.fit(vectors, (8, 8), 4)
        assert not np.array_equal(first.tokenizer.encode(new), other.tokenizer.encode(new))

    def test_permuted_items_get_permuted_codes(self):
        vectors = scattered()
        tokenizer = self.fit(vectors, (8, 8), 0).tokenizer
        order = np.random.default_rng(1).permutation(60)
        assert np.array_equal(tokenizer.encode(vectors)[order], tokenizer.encode(vectors[order]))

    def test_codes_of_an_item_do_not_depend_on_the_others(self):
        vectors = scattered()
        tokenizer = self.fit(vectors, (8, 8), 0).tokenizer
        alone = [tokenizer.encode(vectors[row : row + 1])[0] for row in range(10)]
        assert np.array_equal(tokenizer.encode(vectors)[:10], alone)
        assert tokenizer.encode(vectors[:0]).shape == (0, 2)

    def test_semantic_ids_stand_for_vectors_nearer_than_the_mean(self):
        vectors = scattered()
        fit = self.fit(vectors, (8, 8), 0)
        left = np.square(vectors - fit.tokenizer.reconstruct(fit.semantic_ids)).sum()
        assert left < 0.8 * np.square(vectors - vectors.mean(axis=0)).sum()

    def test_the_last_code_is_of_the_codeword_nearest_to_the_last_residual(self):
        vectors = scattered()
        tokenizer = self.fit(vectors, (8, 8), 0).tokenizer
        semantic_ids = tokenizer.encode(vectors)
        residuals = tokenizer.last_residuals(vectors, semantic_ids)
        distances = np.square(residuals[:, None] - tokenizer.last_codewords).sum(axis=2)
        is_nearest = semantic_ids[:, -1] == distances.argmin(axis=1)
        assert is_nearest.mean() >= self.share_at_the_nearest

    share_at_the_nearest = 1.0
    """Least share of items with the nearest code; less than 1 if not only distance decides."""

    def test_collisions_can_be_reassigned(self):
        vectors = scattered()
        fit = self.fit(vectors, (4, 60), 0)
        resolved = resolve_collisions(fit, vectors, policy="reassign")
        assert num_distinct(resolved.semantic_ids) == len(vectors)

    def test_saved_tokenizers_encode_alike(self, tmp_path):
        vectors = scattered()
        tokenizer = self.fit(vectors, (8, 8), 0).tokenizer
        path = tmp_path / "tokenizer.safetensors"
        tokenizer.save(path)
        loaded = load_fitted(kind_of(tokenizer), path)
        assert loaded.codebook_sizes == (8, 8)
        new = scattered(200)
        codes = tokenizer.encode(new)
        assert np.array_equal(loaded.encode(new), codes)
        assert np.array_equal(loaded.reconstruct(codes), tokenizer.reconstruct(codes))
        assert np.array_equal(
            loaded.last_residuals(new, codes), tokenizer.last_residuals(new, codes)
        )

    def test_damaged_and_foreign_files_are_refused(self, tmp_path):
        vectors, _ = checkerboard()
        tokenizer = self.fit(vectors, SIZES, 0).tokenizer
        path = tmp_path / "tokenizer.safetensors"
        tokenizer.save(path)
        whole = path.read_bytes()
        for content, words in (
            (whole[:-4], r"tokenizer\.safetensors: damaged"),
            (whole.replace(b" tokenizer", b" something"), r"something, not an? \S+ tokenizer"),
            (whole.replace(rb"schema_version\": 3", rb"schema_version\": 9"), "schema version 9"),
        ):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=words):
                type(tokenizer).load(path)

    def test_vectors_of_another_embedding_are_refused(self):
        vectors, _ = checkerboard()
        tokenizer = self.fit(vectors, SIZES, 0).tokenizer
        with pytest.raises(ValueError, match="width 2, got width 3"):
            tokenizer.encode(np.zeros((1, 3), dtype=np.float32))
        with pytest.raises(ValueError, match=r"1 of 2 vectors .* the first is item 1"):
            tokenizer.encode(np.array([[0, 0], [np.nan, 0]], dtype=np.float32))

    def test_fitting_leaves_the_callers_vectors_alone(self):
        vectors, _ = checkerboard()
        before = vectors.copy()
        fit = self.fit(vectors, SIZES, 0)
        fit.tokenizer.last_residuals(vectors, fit.tokenizer.encode(vectors))
        assert np.array_equal(vectors, before)

    def test_vectors_that_cannot_fill_the_codebooks_are_refused(self):
        for vectors, sizes, words in (
            (np.zeros((3, 2)), (2, 4), "level 2 has 4 codes, but there are only 3 items"),
            (np.zeros((9, 2)), (4, 2), "all 9 items have the same vector.*embed more text"),
            (np.array([[0.0], [np.nan], [np.inf]]), (2,), "2 of 3 vectors .* first is item 1"),
        ):
            with pytest.raises(ValueError, match=words):
                self.fit(vectors.astype(np.float32), sizes, 0)


class ResidualContract(TokenizerContract):
    """Further laws of tokenizers whose levels go from coarse to fine, in the space of vectors."""

    def test_one_semantic_id_per_cluster(self):
        vectors, _ = checkerboard()
        assert num_distinct(self.fit(vectors, SIZES, 0).semantic_ids) == 8

    def test_one_first_code_per_corner(self):
        vectors, clusters = checkerboard()
        first = self.fit(vectors, SIZES, 0).semantic_ids[:, 0]
        assert len(set(zip(clusters % 4, first.tolist(), strict=True))) == 4

    def test_each_level_comes_closer_to_the_vectors(self):
        vectors = scattered(100, 5)
        fit = self.fit(vectors, (8, 8, 8), 0)
        semantic_ids = fit.semantic_ids
        left = [vectors]
        for level in range(3):
            left.append(left[-1] - fit.tokenizer.levels[level][semantic_ids[:, level]])
        errors = [float(np.square(residual).sum()) for residual in left]
        assert errors == sorted(errors, reverse=True)
        np.testing.assert_allclose(
            fit.tokenizer.reconstruct(semantic_ids), vectors - left[-1], atol=1e-5
        )
        np.testing.assert_allclose(
            fit.tokenizer.last_residuals(vectors, semantic_ids), left[-2], atol=1e-6
        )
