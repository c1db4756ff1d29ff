"""Studies: trials that survive the process, and draws that do not depend on it."""

import pytest

from sidestep.runs.search_space import read_values
from sidestep.runs.study import Study

SPACE = {
    "rate": read_values("log:1e-4..1e-2", "test"),
    "dim": read_values("8,16,32", "test"),
    "layers": read_values("1..4", "test"),
}
START = {"rate": 1e-3, "dim": "16"}


def opened(folder, **settings):
    given = {"seed": 0, "start": START, "pruned_after": 1} | settings
    return Study(folder / "trials.journal", SPACE, **given)


def score_of(settings):
    return settings["rate"] * settings["dim"] / settings["layers"]


def finish(trial):
    trial.finish(score_of(trial.settings), best_epoch=2, steps=10, seconds=1.5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The trials of a study that was never interrupted."""
    study = opened(tmp_path_factory.mktemp("whole"))
    for _ in range(8):
        finish(study.next_trial())
    return study.closed()


def test_the_first_trial_has_the_values_of_the_start(whole):
    assert whole[0].settings["rate"] == 1e-3
    assert whole[0].settings["dim"] == 16
    assert [trial.number for trial in whole] == list(range(8))
    assert len({tuple(trial.settings.items()) for trial in whole}) == 8


def test_a_trial_keeps_what_came_of_it(whole):
    trial = whole[3]
    assert trial.outcome == "finished"
    assert trial.score == score_of(trial.settings)
    assert (trial.best_epoch, trial.steps, trial.seconds, trial.reason) == (2, 10, 1.5, None)


def test_a_process_per_trial_draws_the_same(tmp_path, whole):
    for _ in range(8):
        finish(opened(tmp_path).next_trial())
    assert opened(tmp_path).closed() == whole


def test_an_open_trial_is_taken_up_and_counted_once(tmp_path, whole):
    for number in range(8):
        for _ in range(2):  # twice: begun, and lost with its process
            assert opened(tmp_path).next_trial().number == number
        study = opened(tmp_path)
        assert len(study.closed()) == number
        finish(study.next_trial())
    assert opened(tmp_path).closed() == whole


def test_another_seed_draws_others(tmp_path, whole):
    study = opened(tmp_path, seed=1)
    finish(study.next_trial())
    assert study.next_trial().settings != whole[1].settings


def test_half_a_line_and_a_lock_of_a_killed_process_are_removed(tmp_path, whole):
    study = opened(tmp_path)
    finish(study.next_trial())
    trial = study.next_trial()
    journal = tmp_path / "trials.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_code":6,"worker_')
    (tmp_path / "trials.journal.lock").symlink_to(journal)
    again = opened(tmp_path)
    assert not (tmp_path / "trials.journal.lock").is_symlink()
    assert len(again.closed()) == 1
    taken_up = again.next_trial()
    assert (taken_up.number, taken_up.settings) == (1, trial.settings)
    finish(taken_up)
    assert opened(tmp_path).closed() == whole[:2]


def below_the_median(folder, **settings):
    study = opened(folder, **settings)
    for _ in range(3):
        trial = study.next_trial()
        assert not trial.is_hopeless(0.5, epoch=1)
        assert not trial.is_hopeless(0.6, epoch=2)
        finish(trial)
    return study, study.next_trial()


def test_a_trial_below_the_median_is_hopeless(tmp_path):
    study, trial = below_the_median(tmp_path)
    assert trial.is_hopeless(0.4, epoch=1)
    trial.prune(0.4, best_epoch=1, steps=5, seconds=1.0)
    assert study.closed()[-1].outcome == "pruned"
    assert study.closed()[-1].score == 0.4


def test_a_trial_above_the_median_is_not(tmp_path):
    _, trial = below_the_median(tmp_path)
    assert not trial.is_hopeless(0.55, epoch=1)


def test_no_trial_is_hopeless_early_or_without_pruning(tmp_path):
    (tmp_path / "early").mkdir()
    _, trial = below_the_median(tmp_path / "early", pruned_after=2)
    assert not trial.is_hopeless(0.4, epoch=1)
    assert trial.is_hopeless(0.4, epoch=2)
    (tmp_path / "never").mkdir()
    _, trial = below_the_median(tmp_path / "never", pruned_after=None)
    assert not trial.is_hopeless(0.0, epoch=2)


def test_a_resumed_training_may_repeat_a_validation(tmp_path, recwarn):
    _, trial = below_the_median(tmp_path)
    assert trial.is_hopeless(0.4, epoch=1)
    assert opened(tmp_path).next_trial().is_hopeless(0.4, epoch=1)
    assert not recwarn


def test_a_failed_trial_says_why(tmp_path):
    study = opened(tmp_path)
    study.next_trial().fail("too large.")
    [trial] = opened(tmp_path).closed()
    assert (trial.outcome, trial.score, trial.reason) == ("failed", None, "too large.")
    assert trial.settings["dim"] == 16
    assert study.next_trial().number == 1
