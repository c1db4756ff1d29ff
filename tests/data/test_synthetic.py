import numpy as np
import pytest
import torch

from sidestep.data.batches import history_batch
from sidestep.data.splits import leave_one_out
from sidestep.data.synthetic import GroundTruth, SyntheticShopConfig, synthetic_shop
from sidestep.step import HistoryBatch

SMALL = SyntheticShopConfig(
    num_users=400, num_departments=2, kinds_per_department=3, items_per_kind=6, max_length=20
)
SHOP, TRUTH = synthetic_shop(SMALL, seed=0)


def batch(*histories):
    width = max(1, *map(len, histories))
    return HistoryBatch(
        items=torch.tensor([[*items, *[-1] * (width - len(items))] for items in histories]),
        lengths=torch.tensor([len(items) for items in histories]),
    )


def test_worked_example():
    # Two kinds, a: items 0 and 1, b: items 2 and 3; 0 <-> 2 and 1 <-> 3 are complements.
    truth = GroundTruth(
        popularity=np.array([0.1, 0.4, 0.2, 0.3]),
        kind_of=np.array([0, 0, 1, 1]),
        complement_of=np.array([2, 3, 0, 1]),
        affinity=np.array([[0.75, 0.25], [0.25, 0.75]]),
        complement_share=0.5,
        taste_share=0.3,
        taste_decay=0.5,
    )
    probs = truth.next_item_probs(batch([], [0], [0, 2]))
    np.testing.assert_allclose(probs[0], [0.1, 0.4, 0.2, 0.3])
    # After 0, taste is (.75, .25): item 1 gets .3 · .75 · .4/.5 + .2 · .4, item 2 gets
    # .5 + .3 · .25 · .2/.5 + .2 · .2, item 3 gets .3 · .25 · .3/.5 + .2 · .3; 0 is past.
    after_0 = np.array([0, 0.26, 0.57, 0.105])
    np.testing.assert_allclose(probs[1], after_0 / after_0.sum())
    # After 0 and 2, taste is (.5 · .75 + .25, .5 · .25 + .75) / 1.5 = (5/12, 7/12); the
    # complement of 2 is 0, which is past.
    after_both = np.array([0, 0.3 * 5 / 12 * 0.8 + 0.08, 0, 0.3 * 7 / 12 * 0.6 + 0.06])
    np.testing.assert_allclose(probs[2], after_both / after_both.sum())


def test_the_same_seed_gives_the_same_shop():
    again, _ = synthetic_shop(SMALL, seed=0)
    other, _ = synthetic_shop(SMALL, seed=1)
    assert again.interactions.frame.equals(SHOP.interactions.frame)
    assert again.items.frame.equals(SHOP.items.frame)
    assert again.sources == SHOP.sources != other.sources
    assert not other.interactions.frame.equals(SHOP.interactions.frame)


def test_truth_and_dataset_agree():
    rows = leave_one_out(SHOP.histories()).test
    probs = TRUTH.next_item_probs(history_batch(rows.histories))
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    users = np.arange(len(rows))
    assert (probs[users, rows.targets] > 0).all()
    for row in range(len(rows)):
        assert (probs[row, rows.histories.of(row)] == 0).all()
    # Calibration: expected and observed hits of the best guess agree within three standard errors.
    best = probs.max(axis=1)
    hits = (probs.argmax(axis=1) == rows.targets).mean()
    error = np.sqrt((best * (1 - best)).sum()) / len(rows)
    assert abs(hits - best.mean()) < 3 * error


def test_one_user_never_changes_the_probabilities_of_another():
    together = TRUTH.next_item_probs(batch([1, 2, 3, 4], [7], []))
    np.testing.assert_allclose(together[1:2], TRUTH.next_item_probs(batch([7])))
    np.testing.assert_allclose(together[2], TRUTH.popularity)


def test_lengths_are_as_configured():
    lengths = SHOP.histories().lengths
    assert lengths.min() >= SMALL.min_length
    assert lengths.max() <= SMALL.max_length
    assert abs(lengths.mean() - SMALL.mean_length) < 1


def test_stamps_are_whole_days_in_the_true_order():
    frame = SHOP.interactions.frame
    assert (frame["timestamp"] % 86_400 == 0).all()
    histories = SHOP.histories()
    in_file = frame["item_id"].replace_strict(SHOP.items.index_of).to_list()
    assert histories.items.tolist() == in_file


def test_complements_share_brand_and_series_and_texts_tell_items_apart():
    frame = SHOP.items.frame
    complement = frame[TRUTH.complement_of]
    assert complement["brand"].equals(frame["brand"])
    assert not (complement["categories"] == frame["categories"]).any()
    assert frame["title"].n_unique() == len(SHOP.items)
    assert frame.null_count().sum_horizontal().item() == 0


def test_the_default_shop_rewards_those_who_read_the_sequence():
    dataset, truth = synthetic_shop(SyntheticShopConfig(), seed=0)
    assert (dataset.stats().users, dataset.stats().items) == (2000, 600)
    split = leave_one_out(dataset.histories())
    counts = np.bincount(split.train.histories.items, minlength=600).astype(float)

    def hits_at_10(scores):
        of_target = scores[np.arange(len(scores)), split.test.targets]
        return ((scores > of_target[:, None]).sum(axis=1) < 10).mean()

    best = hits_at_10(truth.next_item_probs(history_batch(split.test.histories)))
    assert best > 4 * hits_at_10(np.tile(counts, (len(split.test), 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"complement_share": 0.6, "taste_share": 0.5}, "below 1"),
        ({"mean_length": 99}, "between"),
        ({"num_departments": 1, "items_per_kind": 3}, "buys an item twice"),
        ({"num_user": 3}, "num_user"),
    ],
)  # fmt: skip
def test_an_impossible_shop_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SyntheticShopConfig(**change)


def test_a_shop_may_be_large_and_its_users_few():
    config = SyntheticShopConfig(num_users=3, items_per_kind=401)
    dataset, _ = synthetic_shop(config, seed=5)
    assert len(dataset.items) == config.num_items == 12_030
    with pytest.raises(ValueError, match="not be negative"):
        synthetic_shop(SMALL, seed=-1)
