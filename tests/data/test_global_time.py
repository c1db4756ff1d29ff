import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from sidestep.data.global_time import Periods, global_time, periods_by_share, strategy_in_words
from sidestep.data.histories import Histories
from sidestep.data.splits import Split, leave_one_out
from sidestep.data.time_leak import time_leak

TARGETS = ("last", "first", "random", "every")


def timed(*users):
    """Histories from (time, item) pairs; users are u0, u1, ..."""
    users = [sorted(user, key=lambda pair: pair[0]) for user in users]
    pairs = [pair for user in users for pair in user]
    return Histories(
        items=np.array([item for _, item in pairs], dtype=np.int64),
        timestamps=np.array([time for time, _ in pairs], dtype=np.int64),
        offsets=np.cumsum([0, *map(len, users)]),
        user_ids=tuple(f"u{row}" for row in range(len(users))),
    )


def worded(rows):
    """(user, history, target, time) of every row."""
    return [
        (user_id, rows.histories.of(row).tolist(), int(rows.targets[row]), int(rows.times[row]))
        for row, user_id in enumerate(rows.histories.user_ids)
    ]


# Training is before 10, validation before 20. u2 has no training part, u3 has no target.
FOUR = timed(
    [(1, 1), (2, 2), (11, 3), (12, 4), (21, 5), (22, 6), (23, 7)],
    [(9, 1), (10, 8), (20, 9)],
    [(15, 2), (25, 3)],
    [(3, 4), (4, 4)],
)
PERIODS = Periods(validation_from=10, test_from=20)


def test_worked_example():
    split = global_time(FOUR, PERIODS)
    train = split.train.histories
    assert train.user_ids == ("u0", "u1", "u3")
    assert [train.of(row).tolist() for row in range(3)] == [[1, 2], [1], [4, 4]]
    assert split.train.first_target.tolist() == [0, 0, 0]
    # u2's first interaction has no history, so it is no target.
    assert worded(split.validation) == [("u0", [1, 2, 3], 4, 12), ("u1", [1], 8, 10)]
    assert worded(split.test) == [
        ("u0", [1, 2, 3, 4, 5, 6], 7, 23),
        ("u1", [1, 8], 9, 20),
        ("u2", [2], 3, 25),
    ]
    assert split.strategy == "global-time@10,20,last"
    assert split.num_training_only == 1


def test_the_first_or_every_target_may_be_asked_for():
    first, every = (global_time(FOUR, PERIODS, targets=which) for which in ("first", "every"))
    assert worded(first.validation)[0] == ("u0", [1, 2], 3, 11)
    assert worded(first.test)[0] == ("u0", [1, 2, 3, 4], 5, 21)
    assert [target for _, _, target, _ in worded(every.validation)] == [3, 4, 8]
    assert worded(every.test)[:3] == [
        ("u0", [1, 2, 3, 4], 5, 21),
        ("u0", [1, 2, 3, 4, 5], 6, 22),
        ("u0", [1, 2, 3, 4, 5, 6], 7, 23),
    ]
    assert len({split.strategy for split in (first, every)}) == 2


def test_a_random_target_is_one_of_the_period_and_depends_on_its_user_alone():
    every, drawn = (global_time(FOUR, PERIODS, targets=which) for which in ("every", "random"))
    for all_rows, rows in ((every.validation, drawn.validation), (every.test, drawn.test)):
        assert all(row in worded(all_rows) for row in worded(rows))
        assert rows.histories.user_ids == tuple(dict.fromkeys(all_rows.histories.user_ids))
    alone = global_time(FOUR.select(np.array([0, 1])), PERIODS, targets="random")
    assert worded(alone.test) == worded(drawn.test)[:2]


def test_random_targets_are_early_middle_and_late_ones():
    many = timed(*[[(1, 1), (11, 2), *((20 + at, at) for at in range(4))] for _ in range(200)])
    split = global_time(many, PERIODS, targets="random")
    counts = np.bincount(split.test.targets, minlength=4)
    assert counts.sum() == 200
    assert counts.min() >= 30  # each is drawn by a quarter of 200 users, give or take


def test_all_targets_of_a_period_may_be_asked_for_after_one_history():
    split = global_time(FOUR, PERIODS, targets="all")
    assert worded(split.validation) == [
        ("u0", [1, 2], 3, 11),
        ("u0", [1, 2], 4, 12),
        ("u1", [1], 8, 10),
    ]
    assert worded(split.test) == [
        *(("u0", [1, 2, 3, 4], item, time) for item, time in ((5, 21), (6, 22), (7, 23))),
        ("u1", [1, 8], 9, 20),
        ("u2", [2], 3, 25),
    ]
    assert split.strategy == "global-time@10,20,all"


def test_an_item_that_comes_twice_in_a_period_is_one_target_after_one_history():
    histories = timed([(1, 1), (2, 2), (21, 5), (22, 6), (23, 5)], [(1, 3), (12, 4), (13, 4)])
    split = global_time(histories, PERIODS, targets="all")
    assert worded(split.test) == [("u0", [1, 2], 5, 21), ("u0", [1, 2], 6, 22)]
    assert worded(split.validation) == [("u1", [3], 4, 12)]


def test_context_before_a_training_target_is_as_in_leave_one_out():
    assert global_time(FOUR, PERIODS).train.num_targets == 5
    assert global_time(FOUR, PERIODS, min_context=2).train.num_targets == 0
    with pytest.raises(ValueError, match="must not be negative"):
        global_time(FOUR, PERIODS, min_context=-1)


USERS = st.lists(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=8), min_size=1, max_size=6
)


@settings(max_examples=60)
@given(USERS, st.integers(1, 29), st.integers(1, 10), st.sampled_from(TARGETS))
def test_nothing_is_learned_late_and_nothing_is_lost(users, validation_from, length, targets):
    histories = timed(*users)
    periods = Periods(validation_from=validation_from, test_from=validation_from + length)
    try:
        split = global_time(histories, periods, targets=targets)
    except ValueError as error:
        if "leave" not in str(error):
            raise
        reject()
    learned = split.train.histories.timestamps
    assert (learned < periods.validation_from).all()
    of_user = {user_id: sorted(user, key=lambda pair: pair[0])
               for user_id, user in zip(histories.user_ids, users, strict=True)}  # fmt: skip
    asked = set()
    for rows, begin, end in (
        (split.validation, periods.validation_from, periods.test_from),
        (split.test, periods.test_from, np.inf),
    ):
        assert ((rows.times >= begin) & (rows.times < end)).all()
        for row, (user_id, history, target, time) in enumerate(worded(rows)):
            # The history is all interactions before this one, and the target is its item.
            past = of_user[user_id][: len(history)]
            assert history == [item for _, item in past]
            assert of_user[user_id][len(history)] == (time, target)
            assert (rows.histories.timestamps[: rows.histories.offsets[row + 1]] >= 0).all()
            assert all(before <= time for before, _ in past)
            assert history
            asked.add((user_id, len(history)))
    assert len(asked) == len(split.validation) + len(split.test)
    # Held out and never a target: first interactions, and the others of a period.
    num_unasked = 0
    for user_id, user in of_user.items():
        for position, (time, _) in enumerate(user):
            if time >= periods.validation_from and (user_id, position) not in asked:
                assert position == 0 or targets != "every"
                num_unasked += 1
    assert len(learned) + len(asked) + num_unasked == len(histories.items)
    leak = time_leak(split)
    assert (leak.rows, leak.interactions) == (0, 0)


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
)
def test_periods_hold_their_shares_but_for_ties(times, validation, test):
    times = np.array(times, dtype=np.int64)
    try:
        periods = periods_by_share(times, validation=validation, test=test)
    except ValueError as error:
        if "too few moments" not in str(error):
            raise
        reject()
    num = len(times)
    assert times.min() < periods.validation_from < periods.test_from
    # Without the interactions of the first moment, a period is no longer too large.
    assert (times > periods.test_from).sum() < max(1, round(num * test))
    assert (times >= periods.test_from).sum() >= round(num * test)
    assert (times >= periods.validation_from).sum() >= round(num * (validation + test))


def test_what_cannot_be_split_by_time_is_told():
    untimed = Histories(
        items=np.array([1, 2]), offsets=np.array([0, 2]), user_ids=("u",), timestamps=None
    )
    with pytest.raises(ValueError, match=r"no timestamps.*import them with their times"):
        global_time(untimed, PERIODS)
    with pytest.raises(ValueError, match=r"no test row; the timestamps run from 1 to 25"):
        global_time(FOUR, Periods(validation_from=10, test_from=99))
    with pytest.raises(ValueError, match="nothing before validation"):
        global_time(FOUR, Periods(validation_from=0, test_from=20))
    with pytest.raises(ValueError, match="20 is not before 20"):
        Periods(validation_from=20, test_from=20)
    with pytest.raises(ValueError, match="leave some for training"):
        periods_by_share(FOUR.timestamps, validation=0.5, test=0.5)


def test_the_times_of_targets_survive_saving(tmp_path):
    split = global_time(FOUR, PERIODS)
    split.save(tmp_path / "split")
    loaded = Split.load(tmp_path / "split")
    assert loaded.test.times.tolist() == [23, 20, 25]
    assert loaded.fingerprint() == split.fingerprint()
    assert loaded.fingerprint() != global_time(FOUR, PERIODS, targets="every").fingerprint()


def test_leave_one_out_leaks_what_others_did_later():
    # Test targets at 3 and 9; training is 1 of u0 and 6, 7 of u1: two of three are after 3.
    histories = timed([(1, 0), (2, 0), (3, 0)], [(6, 0), (7, 0), (8, 0), (9, 0)])
    leak = time_leak(leave_one_out(histories))
    assert leak.rows == 0.5
    assert leak.interactions == pytest.approx((2 / 3 + 0) / 2)
    assert time_leak(leave_one_out(Histories(
        items=histories.items, offsets=histories.offsets, user_ids=histories.user_ids
    ))) is None  # fmt: skip


def test_the_moment_of_a_target_is_not_after_it():
    leak = time_leak(leave_one_out(timed([(1, 0), (2, 0), (3, 0)], [(3, 1), (3, 1), (4, 1)])))
    assert leak.rows == 0


def test_a_strategy_is_told_by_dates():
    told = strategy_in_words("global-time@1513901860,1513988260,last")
    assert told == "global time, validation from 2017-12-22 00:17, test from 2017-12-23 00:17"
    told = strategy_in_words("global-time@1513901860000,1513988260000,every")
    assert told.endswith("test from 2017-12-23 00:17, targets every")
    told = strategy_in_words("global-time@7000,9000,last")
    assert told == "global time, validation from 7,000, test from 9,000"
    assert strategy_in_words("leave-one-out") == "leave-one-out"
