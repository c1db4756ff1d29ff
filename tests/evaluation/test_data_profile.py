import polars as pl
import pytest

from sidestep.data.dataset import Dataset
from sidestep.data.importers.lcrec import import_lcrec, lcrec_files
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable
from sidestep.data.splits import leave_one_out
from sidestep.evaluation.data_profile import TextCoverage, profile


def small_dataset(**changes):
    """Ann took a, a, b, then c and d at once; bob took a; nobody took e."""
    columns = {
        "user_ids": ["ann", "ann", "bob", "ann", "ann", "ann"],
        "item_ids": ["a", "a", "a", "b", "c", "d"],
        "timestamps": [10, 20, 25, 30, 40, 40],
    }
    return Dataset(
        interactions=Interactions.from_columns(**{**columns, **changes}),
        items=ItemTable(
            pl.DataFrame(
                {
                    "item_id": list("abcde"),
                    "title": ["one", "two words", None, "  ", "three  more words"],
                    "brand": pl.Series([None] * 5, dtype=pl.String),
                }
            )
        ),
        name="small",
    )


def profiled(dataset):
    return profile(dataset, leave_one_out(dataset.histories()))


def test_a_small_dataset_by_hand():
    found = profiled(small_dataset())
    assert (found.users, found.items, found.interactions) == (2, 5, 6)
    assert found.density == pytest.approx(6 / 10)
    assert (found.lengths.mean, found.lengths.median, found.lengths.max) == (3, 3, 5)
    assert found.untouched_items == 1
    assert found.repeat_share == pytest.approx(1 / 6)
    # Counts 0, 1, 1, 1, 3: 2 · (2 + 3 + 4 + 15) / (5 · 6) - 6 / 5
    assert found.popularity_gini == pytest.approx(0.4)
    assert (found.times.first, found.times.last) == (10, 40)
    assert found.times.equal_share == pytest.approx(2 / 6)
    assert found.times.tied_target_share == 1.0  # of one test row: ann took c and d at once
    assert found.texts == {
        "title": TextCoverage(item_share=3 / 5, mean_words=2.0),
        "brand": TextCoverage(item_share=0.0, mean_words=0.0),
    }
    assert (found.strategy, found.evaluated_users) == ("leave-one-out", 1)
    assert (found.validation_rows, found.test_rows) == (1, 1)
    # Training ends at 30, before ann's last item.
    assert found.leave_one_out_leak.rows == 0


def test_what_others_do_later_leaks():
    found = profiled(small_dataset(timestamps=[10, 20, 99, 30, 40, 40]))
    assert found.leave_one_out_leak.rows == 1
    # Of ann's three and bob's one training interaction, bob's is later.
    assert found.leave_one_out_leak.interactions == pytest.approx(1 / 4)


def test_equal_times_of_different_users_decide_nothing():
    assert profiled(small_dataset(timestamps=[10, 20, 10, 30, 40, 50])).times.equal_share == 0


def test_without_times_or_interactions_less_is_known():
    assert profiled(small_dataset(timestamps=None)).times is None
    assert profiled(small_dataset(timestamps=None)).leave_one_out_leak is None
    empty = profiled(small_dataset(user_ids=[], item_ids=[], timestamps=[]))
    assert (empty.users, empty.lengths.max, empty.repeat_share) == (0, 0, 0)
    assert (empty.popularity_gini, empty.untouched_items, empty.times) == (0, 5, None)


@pytest.mark.parametrize("name", ["scientific", "beauty"])
def test_real_data_is_as_large_as_its_table_says(real_data, name):
    users, items, interactions = {
        "scientific": (8_317, 4_344, 58_492),
        "beauty": (22_363, 12_101, 198_502),
    }[name]
    found = profiled(import_lcrec(*lcrec_files(real_data / name)))
    assert (found.users, found.items, found.interactions) == (users, items, interactions)
    assert found.evaluated_users == found.test_rows == users
    assert found.untouched_items == 0
