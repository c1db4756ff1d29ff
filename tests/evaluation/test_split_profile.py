"""The profile of a split, counted by hand."""

import polars as pl

from sidestep.data.dataset import Dataset
from sidestep.data.new_split import new_split
from sidestep.evaluation.split_profile import part_starts, split_counts

LOG = pl.DataFrame(
    {
        "user_id": ["u", "u", "u", "v", "v", "w"],
        "item_id": ["a", "b", "c", "a", "d", "a"],
        "timestamp": [1, 20, 31, 2, 32, 3],
    }
)


def profiled(strategy, **named):
    dataset = Dataset.from_frames(LOG)
    histories = dataset.histories()
    split = new_split(histories, strategy, **named)
    return split_counts(dataset, histories, split), part_starts(split)


def test_every_interaction_and_unseen_target_of_a_split_by_time_is_counted():
    counts, starts = profiled("global-time", moments=("10", "30"))
    assert counts == {
        "interactions": 6,
        "training_interactions": 3,
        "validation_targets": 1,
        "test_targets": 2,
        "held_out_as_context_only": 0,
        "users": 3,
        "users_in_training_only": 1,
        "items_unseen_in_training": 3,
        "validation_targets_unseen_in_training": 1,
        "test_targets_unseen_in_training": 2,
    }
    assert starts == {"validation": 10, "test": 30}


def test_leave_one_out_begins_at_no_moment():
    counts, starts = profiled("leave-one-out")
    assert starts == {}
    assert counts["training_interactions"] + counts["held_out_as_context_only"] == 4
