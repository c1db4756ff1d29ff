"""Trials of a study: their order, the best of them, and the best so far."""

import pytest

from sidestep.evaluation.tuning import Trial, Tuning, in_words


def trial(number, score, outcome="finished", **others):
    given = {"settings": {}, "best_epoch": 1, "steps": 10, "seconds": 2.0} | others
    return Trial(number=number, outcome=outcome, score=score, **given)


def study(*trials):
    return Tuning(metric="NDCG@10", space={"model.dim": "8,16"}, trials=trials)


TRIALS = study(
    trial(0, 0.2),
    trial(1, 0.9, "pruned"),
    trial(2, None, "failed", reason="too large."),
    trial(3, 0.4),
    trial(4, 0.4),
    trial(5, 0.3),
)


def test_the_best_is_the_earliest_finished_one_of_the_highest_score():
    assert TRIALS.best.number == 3


def test_finished_trials_come_first_each_part_by_its_score():
    assert [each.number for each in TRIALS.ranked] == [3, 4, 5, 0, 1, 2]


def test_the_best_so_far_never_falls_and_leaves_out_what_was_not_finished():
    assert TRIALS.best_so_far == [(0, 0.2), (3, 0.4), (4, 0.4), (5, 0.4)]


def test_without_a_finished_trial_the_reasons_are_told_once():
    failed = [trial(number, None, "failed", reason="too large.") for number in range(3)]
    with pytest.raises(ValueError, match=r"^none of the 3 trials came to an end: too large\.$"):
        _ = study(*failed).best
    told = study(*failed).as_json()
    assert (told["best"], told["num_trials"]) == (None, 3)


def test_a_score_of_zero_is_a_score():
    assert study(trial(0, 0.0)).best.number == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *[(0.00123, "0.00123"), (1e-5, "1e-05"), (64, "64"), (True, "true"), (None, "null")],
        *[("items", "items"), ([0.9, 0.98], "[0.9, 0.98]")],
    ],
)
def test_values_in_words(value, words):
    assert in_words(value) == words
