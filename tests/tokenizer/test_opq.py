import numpy as np
import pytest

from sidestep.tokenizer.collisions import resolve_collisions
from sidestep.tokenizer.opq import Opq, OpqConfig, balanced_axes
from tests.tokenizer.contract import TokenizerContract, scattered


def fit(vectors, codebook_sizes, seed=0, **config):
    return Opq(OpqConfig(codebook_sizes=codebook_sizes, **config)).fit(vectors, seed=seed)


class TestOpq(TokenizerContract):
    board_sizes = (8, 8)  # a level that sees only one direction may see two clusters in one place

    def fit(self, vectors, codebook_sizes, seed):
        return fit(vectors, codebook_sizes, seed, num_starts=3)


class TestProductQuantisation(TokenizerContract):
    def fit(self, vectors, codebook_sizes, seed):
        return fit(vectors, codebook_sizes, seed, num_starts=3, rotate=False)


def test_a_rotation_keeps_distances():
    rotation = fit(scattered(200), (8, 8, 8)).tokenizer.rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(6), atol=1e-5)


def test_a_rotation_pays_where_dimensions_vary_together():
    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(400, 4)) * [4, 2, 0.2, 0.1] @ generator.normal(size=(4, 8))
    errors = []
    for rotate in (True, False):
        done = fit(mixed.astype(np.float32), (16, 16), rotate=rotate)
        errors.append(np.square(mixed - done.tokenizer.reconstruct(done.semantic_ids)).sum())
    assert errors[0] < 0.8 * errors[1]


def test_rounds_of_rotating_lower_the_error():
    # Skewed independent directions of nearly equal variance, which principal axes do not find.
    generator = np.random.default_rng(1)
    turned = np.linalg.qr(generator.normal(size=(4, 4)))[0]
    vectors = (generator.exponential(size=(400, 4)) ** 2 @ turned).astype(np.float32)
    errors = []
    for rounds in (1, 30):
        done = fit(vectors, (16, 16), rotation_iterations=rounds, num_starts=3)
        errors.append(np.square(vectors - done.tokenizer.reconstruct(done.semantic_ids)).sum())
    assert errors[1] < 0.95 * errors[0]


def test_axes_are_dealt_out_by_the_product_of_their_variances():
    # Variances 2^9, 2^7, 2^6 and 1 times the last, along the coordinates: the largest goes to the
    # first level, and so do 2^7 and 2^6 to the second, whose products are 1 and 2^7 by then.
    spread = np.sqrt([1.0, 2.0**6, 2.0**9, 2.0**7])
    vectors = np.concatenate([np.diag(spread), -np.diag(spread)]).astype(np.float32)
    axes = balanced_axes(vectors, 2)
    assert np.abs(axes).argmax(axis=0).tolist() == [2, 0, 3, 1]
    np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-6)


def test_fewer_items_than_dimensions_and_dimensions_that_never_vary_can_be_learned():
    generator = np.random.default_rng(0)
    vectors = np.zeros((20, 50), dtype=np.float32)
    vectors[:, :40] = generator.normal(size=(20, 40))
    done = fit(vectors, (4, 4, 4))
    assert np.isfinite(done.tokenizer.rotation).all()
    assert len(np.unique(done.semantic_ids, axis=0)) > 10


def test_a_rotation_may_be_learned_from_a_sample(monkeypatch):
    monkeypatch.setattr("sidestep.tokenizer.opq._ROTATION_ITEMS", 60)
    vectors = scattered(200)
    sampled, again = (fit(vectors, (8, 8), seed=3) for _ in range(2))
    np.testing.assert_array_equal(sampled.tokenizer.rotation, again.tokenizer.rotation)
    monkeypatch.undo()
    whole = fit(vectors, (8, 8), seed=3)
    assert not np.array_equal(sampled.tokenizer.rotation, whole.tokenizer.rotation)
    assert len(sampled.semantic_ids) == 200


def test_levels_share_out_the_dimensions_and_zeros_fill_them_up():
    vectors = scattered(200, 5)
    tokenizer = fit(vectors, (8, 4), rotate=False).tokenizer
    assert [codewords.shape for codewords in tokenizer.levels] == [(8, 3), (4, 3)]
    semantic_ids = tokenizer.encode(vectors)
    np.testing.assert_array_equal(
        tokenizer.last_residuals(vectors, semantic_ids),
        np.pad(vectors[:, 3:], ((0, 0), (0, 1))),
    )


def test_reassignment_moves_items_by_the_dimensions_of_the_last_level_alone():
    # Two clusters by the first dimension; the last dimension tells the items of a cluster apart.
    vectors = np.array([[0, 1], [0, 1.2], [9, 5], [9, 1.1]], dtype=np.float32)
    done = fit(vectors, (2, 3), rotate=False, num_starts=5)
    # Codewords of the last level: 1.1 of three items, and twice 5 or a split of them.
    before = done.semantic_ids
    after = resolve_collisions(done, vectors, policy="reassign").semantic_ids
    assert after[:, 0].tolist() == before[:, 0].tolist()
    assert len(set(after[:2, 1].tolist())) == 2
    codewords = done.tokenizer.last_codewords[:, 0]
    moved = np.square(codewords[after[:, 1]] - vectors[:, 1])
    best = np.sort(codewords)
    assert moved[:2].sum() == pytest.approx((best[0] - 1) ** 2 + (best[1] - 1.2) ** 2, abs=1e-6)
    assert after[2:].tolist() == before[2:].tolist()


def test_more_levels_than_dimensions_are_refused():
    with pytest.raises(ValueError, match="2 for 3 levels; use wider vectors"):
        fit(scattered(60, 2), (4, 4, 4))


def test_the_first_codes_alone_leave_the_other_levels_at_their_mean():
    vectors = scattered(50, 4)
    done = fit(vectors, (4, 6), rotate=False)
    first = done.tokenizer.reconstruct_first(done.semantic_ids, 1)
    whole = done.tokenizer.reconstruct(done.semantic_ids)
    np.testing.assert_array_equal(first[:, :2], whole[:, :2])
    np.testing.assert_allclose(first[:, 2:], np.tile(whole[:, 2:].mean(axis=0), (50, 1)), rtol=1e-5)


def test_more_codes_than_a_rotation_asks_for_items_can_be_learned(monkeypatch):
    monkeypatch.setattr("sidestep.tokenizer.opq._ROTATION_ITEMS", 10)
    assert fit(scattered(100), (40, 4)).tokenizer.codebook_sizes == (40, 4)
