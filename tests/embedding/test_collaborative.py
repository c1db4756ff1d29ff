import json

import numpy as np
import pytest

from sidestep.embedding.collaborative import cooccurrence_svd, item_table_vectors
from sidestep.embedding.config import CollaborativeConfig


def flat(*sequences):
    """Sequences of users as items and offsets."""
    items = np.array([item for sequence in sequences for item in sequence], dtype=np.int64)
    return items, np.cumsum([0, *(len(sequence) for sequence in sequences)])


def vectors_of(*sequences, num_items, **config):
    config = CollaborativeConfig(**{"dim": 2, "window": 2, **config})
    return cooccurrence_svd(*flat(*sequences), config, num_items=num_items, seed=0)


def test_items_of_the_same_users_are_near_and_unseen_items_are_zero():
    vectors = vectors_of(*[[0, 1, 2], [2, 1, 0], [3, 4, 5], [5, 4, 3]] * 3, num_items=8)
    similarity = vectors @ vectors.T
    assert similarity[:3, :3].min() > 0.9
    assert similarity[3:6, 3:6].min() > 0.9
    assert abs(similarity[:3, 3:6]).max() < 0.1
    assert not vectors[6:].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[:6], axis=1), 1, rtol=1e-5)


def test_worked_example_of_pmi():
    # [0, 1, 2]: the pairs (0, 1) and (1, 2) at distance 1 and (0, 2) at distance 2 count 1, 1 and
    # 1/2, each in both directions, so the items count 3/2, 2, 3/2 and the total is 5.
    pmi = np.array([[0, np.log(5 / 3), np.log(10 / 9)], [0, 0, np.log(5 / 3)], [0, 0, 0]])
    values, directions = np.linalg.eigh(pmi + pmi.T)
    expected = (directions * abs(values)) @ directions.T  # U S U' of the SVD
    lengths = np.sqrt(np.diag(expected))
    vectors = vectors_of([0, 1, 2], num_items=3, dim=3, smoothing=1.0)
    np.testing.assert_allclose(
        vectors @ vectors.T, expected / np.outer(lengths, lengths), atol=1e-5
    )


def test_pairs_never_cross_users_nor_the_window():
    # Users [0, 1] and [2, 3]: 1 and 2 are neighbours only in the flat array.
    apart = vectors_of([0, 1], [2, 3], num_items=4, dim=4)
    together = vectors_of([0, 1, 2, 3], num_items=4, window=1)
    assert abs(apart[:2] @ apart[2:].T).max() < 1e-5
    assert abs(together[0] @ together[2]) > 0.5  # both are next to 1


def test_the_same_seed_gives_the_same_vectors():
    sequences = np.random.default_rng(0).integers(0, 30, (40, 6)).tolist()
    assert np.array_equal(
        vectors_of(*sequences, num_items=30, dim=5), vectors_of(*sequences, num_items=30, dim=5)
    )


@pytest.mark.parametrize(
    ("sequences", "config", "words"),
    [
        ([[0], [1]], {}, "no two items"),
        ([[]], {}, "no two items"),
        ([[1, 1, 1]], {}, "no two items"),
        ([[0, 9]], {}, "must lie in 0..3, got 0..9"),
        ([[0, 1]], {"dim": 5}, "only 4 items"),
        ([[0, 1]], {"shift": 1000.0}, "exceeds shift"),
    ],
)
def test_sequences_that_give_no_vectors_are_refused(sequences, config, words):
    with pytest.raises(ValueError, match=words):
        vectors_of(*sequences, num_items=4, **config)


def test_vectors_of_the_training_part_know_nothing_of_the_targets(real_data):
    histories = json.loads((real_data / "scientific" / "Scientific.inter.json").read_text())
    training = [items[:-2] for items in histories.values()][:500]
    vectors = vectors_of(*training, num_items=4344, dim=16)
    seen = {item for items in training for item in items}
    assert {int(item) for item in np.flatnonzero(vectors.any(axis=1))} <= seen


def test_an_item_table_is_unit_length_but_zero_for_items_nobody_took_in_training():
    table = np.array([[3, 4], [0.01, -0.02], [0, -2]], dtype=np.float32)
    vectors = item_table_vectors(table, np.array([5, 0, 1]))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0], [0, -1]], rtol=1e-6)
