import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.baselines.window_popularity import WindowPopularity
from sidestep.data.histories import Histories
from sidestep.padding import NO_MOMENT
from sidestep.step import HistoryBatch

NUM_ITEMS = 4
DAY = 86_400
START = 1_600_000_000


def events_of(items, days, *, per_second=1, **more):
    """One user's events, some days after the start."""
    times = [(START + int(day * DAY)) * per_second for day in days]
    return Histories(
        items=np.array(items, dtype=np.int32),
        offsets=np.array([0, len(items)]),
        user_ids=("u",),
        timestamps=np.array(times, dtype=np.int64),
        **more,
    )


def asked_at(*days, per_second=1):
    moments = [NO_MOMENT if day is None else (START + int(day * DAY)) * per_second for day in days]
    return HistoryBatch(
        items=torch.full((len(days), 1), -1),
        lengths=torch.zeros(len(days), dtype=torch.long),
        moments=torch.tensor(moments),
    )


EVENTS = ([1, 1, 1, 0, 0, 2], [0, 1, 2, 8, 9, 20])


@pytest.mark.parametrize("per_second", [1, 1000])
def test_only_the_days_before_the_moment_count(per_second):
    recommender = WindowPopularity.fit(
        events_of(*EVENTS, per_second=per_second), NUM_ITEMS, max_history=5, window_days=7
    )
    asked = asked_at(2, 8.5, 9, 22, None, per_second=per_second)
    counts = recommender.scores(asked).floor().tolist()
    assert counts == [
        [0, 2, 0, 0],  # the event at the moment itself does not count
        [1, 1, 0, 0],
        [1, 1, 0, 0],  # day 2 is the first of seven days before day 9
        [0, 0, 1, 0],  # later than all events: the last seven days of the training part
        [0, 0, 1, 0],
    ]
    assert recommender.recommend(asked, NUM_ITEMS).items.tolist() == [
        [1, 0, 2, 3],
        [1, 0, 2, 3],  # equal in the window: the whole training part orders
        [1, 0, 2, 3],
        [2, 1, 0, 3],
        [2, 1, 0, 3],
    ]
    assert (recommender.name, recommender.score_kind) == ("popularity-7d", "count")
    assert recommender.flops(asked).tolist() == [0] * 5


def test_without_a_moment_the_window_ends_with_the_training_part():
    recommender = WindowPopularity.fit(events_of(*EVENTS), NUM_ITEMS, max_history=5, window_days=12)
    nobody = HistoryBatch(items=torch.full((2, 1), -1), lengths=torch.zeros(2, dtype=torch.long))
    assert recommender.scores(nobody).floor().tolist() == [[1, 0, 1, 0]] * 2


def test_events_count_by_their_weights_as_targets():
    weights = np.array([3.0, 0.0, 0.3, 0.1, 0.2, 0.3])
    recommender = WindowPopularity.fit(
        events_of([0, 0, 1, 2, 2, 3], [0, 9, 9, 9, 9, 9], target_weights=weights),
        NUM_ITEMS,
        max_history=5,
        window_days=2,
    )
    # Weight 0 is no target. 0.1 + 0.2 and 0.3 tie, and their whole counts tie, too. However large
    # the whole count of an item is, the window comes first.
    found = recommender.recommend(asked_at(10), NUM_ITEMS)
    assert found.items.tolist() == [[1, 2, 3, 0]]
    assert len(found.scores[0, :3].unique()) == 1


def test_the_events_of_several_users_are_put_in_the_order_of_time():
    two = Histories(
        items=np.array([3, 2, 1, 0], dtype=np.int32),
        offsets=np.array([0, 2, 4]),
        user_ids=("a", "b"),
        timestamps=START + DAY * np.array([0, 20, 1, 2]),
    )
    recommender = WindowPopularity.fit(two, NUM_ITEMS, max_history=5, window_days=2)
    assert recommender.scores(asked_at(1.5, 3)).floor().tolist() == [[0, 1, 0, 1], [1, 1, 0, 0]]


moments = st.lists(st.integers(-3, 40), min_size=1, max_size=5)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=12), moments)
def test_the_scores_are_those_of_plain_counting_whatever_the_batch(events, days):
    events = sorted(events, key=lambda event: event[1])
    items, times = [item for item, _ in events], [day for _, day in events]
    if not events:
        return
    recommender = WindowPopularity.fit(
        events_of(items, times), NUM_ITEMS, max_history=5, window_days=5
    )
    found = recommender.scores(asked_at(*days)).floor().tolist()
    for row, day in enumerate(days):
        end = min(day, times[-1] + 1 / DAY)
        expected = [0] * NUM_ITEMS
        for item, at in events:
            expected[item] += end - 5 <= at < end
        assert found[row] == expected


def test_what_was_kept_scores_alike_and_what_is_another_recommenders_is_refused():
    made = WindowPopularity.fit(events_of(*EVENTS), NUM_ITEMS, max_history=5, window_days=7)
    kept = dict(made.arrays())
    again = WindowPopularity.from_arrays(kept, NUM_ITEMS, max_history=5)
    asked = asked_at(3, 9, None)
    assert torch.equal(again.scores(asked), made.scores(asked))
    assert again.name == "popularity-7d"
    broken = {
        "event_items": (kept["event_items"] + 2, "event_items names items"),
        "event_times": (kept["event_times"][::-1], "event_times falls"),
        "event_weights": (kept["event_weights"][1:], "event_weights has not one entry"),
        "event_weights ": (-kept["event_weights"], "no finite number above 0"),
        "window": (np.array(0), "window is no whole number from 1"),
        "window_days": (np.ones(2, dtype=np.int64), "window_days is no whole number"),
    }
    for name, (array, words) in broken.items():
        with pytest.raises(ValueError, match=words):
            WindowPopularity.from_arrays({**kept, name.strip(): array}, NUM_ITEMS, max_history=5)
    del kept["window"]
    with pytest.raises(ValueError, match="window is missing"):
        WindowPopularity.from_arrays(kept, NUM_ITEMS, max_history=5)


def test_times_that_are_missing_or_count_no_seconds_are_refused():
    without = events_of(*EVENTS)
    numbered = Histories(
        items=without.items,
        offsets=without.offsets,
        user_ids=without.user_ids,
        timestamps=np.arange(len(without.items)),
    )
    untimed = Histories(items=without.items, offsets=without.offsets, user_ids=without.user_ids)
    for histories, words in ((untimed, "have no times"), (numbered, "how long a day is")):
        with pytest.raises(ValueError, match=words):
            WindowPopularity.fit(histories, NUM_ITEMS, max_history=5, window_days=7)
    with pytest.raises(TypeError, match="no setting 'days'"):
        WindowPopularity.fit(without, NUM_ITEMS, max_history=5, days=7)
