"""Tuning: trials are trainings, validation alone judges them, and what fails is counted."""

import json
import signal
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import polars as pl
import pytest

from sidestep.bundle.folder import load
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of
from sidestep.data.splits import nothing_held_out
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.evaluation.evaluator import evaluate
from sidestep.runs.config import checked_run, read_config
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.runs.search_space import space_of, tunable
from sidestep.runs.study import OpenTrial
from sidestep.runs.study_folder import StudyFolder
from sidestep.runs.train import train_run
from sidestep.runs.tuning import Asked, plan_tuning, tune_run

TINY = {
    "kind": "sasrec",
    "model": {"dim": 8, "num_layers": 1, "num_heads": 1, "dropout": 0.2},
    "training": {"epochs": 2, "batch_size": 32, "device": "cpu", "learning_rate": 0.003},
    "validation": {"num_users": None},
}
RATES = {"training.learning_rate": "log:1e-3..1e-2"}
INFO = RunInfo(dataset="dataset", catalog=None, seed=0)


@pytest.fixture(scope="module")
def data():
    shop, _ = synthetic_shop(
        SyntheticShopConfig(num_users=40, num_departments=2, items_per_kind=4), 0
    )
    log = shop.interactions.frame.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64))
    return Dataset.from_frames(log, shop.items.frame)


def asked(space=RATES, *, changes=None, **settings):
    config = tunable(checked_run({**TINY, **(changes or {})}, "test"))
    return Asked(config=config, space=space_of(config, space, only=True), **settings)


def no_watch(number, settings):
    return nullcontext(lambda progress: None)


def tuned(study, data, path, watch=no_watch):
    return tune_run(study, data, None, folder=StudyFolder(path), info=INFO, watch=watch)


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    """A study of three trials, and its folder."""
    path = tmp_path_factory.mktemp("tuned") / "study"
    return tuned(asked(num_trials=3), data, path), StudyFolder(path)


def test_every_trial_is_a_run_of_its_own(done):
    study, folder = done
    assert [trial.number for trial in study.tuning.trials] == [0, 1, 2]
    for trial in study.tuning.trials:
        run = folder.trial(trial.number)
        config = read_config(run.config)
        assert config.training.learning_rate == trial.settings["training.learning_rate"]
        assert run.info().seed == 0
        lines = [json.loads(line) for line in run.log.read_text().splitlines()]
        scores = [line["validation"] for line in lines if line["kind"] == "epoch"]
        assert trial.score == max(scores)
        assert lines[-1]["kind"] == "stop"
        assert run.bundle.is_dir()


def test_the_first_trial_has_the_settings_of_the_configuration(done):
    assert done[0].tuning.trials[0].settings == {"training.learning_rate": 0.003}


def test_the_best_configuration_is_left_with_the_number_of_trials(done):
    study, folder = done
    best = max(study.tuning.trials, key=lambda trial: trial.score)
    config = read_config(folder.best)
    assert config == study.config
    assert config.trials == 3
    assert config.training.learning_rate == best.settings["training.learning_rate"]
    assert config.model == asked().config.model
    kept = json.loads(folder.results.read_text())
    assert kept["best"] == best.number
    assert [trial["score"] for trial in kept["trials"]] == [
        trial.score for trial in study.tuning.trials
    ]
    assert "Validation by trial" in folder.page.read_text()


def test_a_table_has_the_best_trial_first(done):
    study, _ = done
    assert study.trials["score"].is_sorted(descending=True)
    assert study.trials["score"][0] == study.score
    assert study.trials.columns[-2:] == ["training.learning_rate", "seconds"]


def test_the_same_study_again_trains_nothing_and_more_trials_go_on(done, data):
    study, folder = done

    def never(number, settings):
        raise AssertionError("there is nothing to train")

    assert tuned(asked(num_trials=3), data, folder.path, never) == study
    more = tuned(asked(num_trials=4), data, folder.path)
    assert more.tuning.trials[:3] == study.tuning.trials
    assert more.config.trials == 4
    fewer = tuned(asked(num_trials=2), data, folder.path, never)
    assert fewer.config.trials == 4, "trials that were made are counted"


def test_a_graph_is_fitted_in_every_trial_and_all_validation_rows_judge_it(data, tmp_path):
    """Nothing is trained, so there is neither an epoch nor a step, and nothing is pruned."""
    config = tunable(checked_run({"kind": "graph"}, "test"))
    study = Asked(config=config, space=space_of(config), num_trials=4)
    done = tuned(study, data, tmp_path / "study")
    folder = StudyFolder(tmp_path / "study")
    assert {trial.outcome for trial in done.tuning.trials} == {"finished"}
    assert {(trial.best_epoch, trial.steps) for trial in done.tuning.trials} == {(None, 0)}
    assert len({trial.score for trial in done.tuning.trials}) > 1
    best = done.tuning.best
    loaded = load(folder.trial(best.number).bundle)
    rows = split_of(data).validation
    assert evaluate(loaded.recommender(), rows).metrics["NDCG@10"] == best.score
    assert read_config(folder.best).trials == 4
    again = RunFolder(tmp_path / "best")
    train_run(done.config, data, None, folder=again, info=INFO)
    assert load(again.bundle).manifest.training == {"trials": 4}


def test_a_graph_with_vectors_also_tunes_their_weight():
    space = checked_run({"kind": "graph", "embeddings": "vectors.npy"}, "test").search_space
    assert "similarity_weight" in space
    assert "similarity_weight" not in checked_run({"kind": "graph"}, "test").search_space


def test_a_fit_that_was_killed_before_its_end_was_told_is_made_again(data, tmp_path):
    config = tunable(checked_run({"kind": "graph"}, "test"))
    study = Asked(config=config, space=space_of(config), num_trials=1)

    def killed(number, settings):
        run = StudyFolder(tmp_path / "study").trial(number)
        train_run(config, data, None, folder=run, info=INFO)
        return nullcontext(lambda progress: None)

    done = tuned(study, data, tmp_path / "study", killed)
    assert done.tuning.best.score > 0


def test_trials_of_an_earlier_study_count(data, tmp_path):
    again = tuned(asked(changes={"trials": 5}, num_trials=1), data, tmp_path / "study")
    assert again.config.trials == 6


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"prune": False}, "prune was True and is False"),
        ({"space": {"model.dropout": "0.1..0.5"}}, "space.model.dropout was None and is"),
        (
            {"changes": {"training": {**TINY["training"], "epochs": 3}}},
            "config.training.epochs was 2 and is 3",
        ),
    ],
)
def test_the_folder_of_another_study_is_refused(done, data, changed, words):
    with pytest.raises(ValueError, match="belongs to another study") as error:
        tuned(asked(num_trials=3, **changed), data, done[1].path)
    assert words in str(error.value)


def test_other_data_are_another_study(done, data):
    fewer = Dataset.from_frames(data.interactions.frame.head(200), data.items.frame)
    with pytest.raises(ValueError, match="belongs to another study: data"):
        tuned(asked(num_trials=3), fewer, done[1].path)


def test_a_folder_of_something_else_is_refused(data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"not a study's folder \(it holds notes.txt\)"):
        tuned(asked(), data, tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        tuned(asked(), data, tmp_path / "notes.txt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_in_which_another_process_tunes_is_refused(done, data):
    with (
        done[1].held(),
        pytest.raises(ValueError, match="another process is tuning here"),
    ):
        tuned(asked(num_trials=9), data, done[1].path)


def test_no_trials_are_refused():
    with pytest.raises(ValueError, match="--trials 0: ask for at least one trial"):
        asked(num_trials=0)


def test_the_test_rows_are_not_looked_at(done, data, tmp_path):
    """Another item at the end of every history, which is the test row, changes no trial."""
    frame = data.interactions.frame
    is_last = pl.int_range(pl.len()).over("user_id") == pl.len().over("user_id") - 1
    other = frame.with_columns(
        item_id=pl.when(is_last).then(pl.col("item_id").shuffle(seed=0)).otherwise("item_id")
    )
    assert not other.equals(frame)
    changed = Dataset.from_frames(other, data.items.frame)
    again = tuned(asked(num_trials=3), changed, tmp_path / "study")
    told = [(trial.settings, trial.score) for trial in again.tuning.trials]
    assert told == [(trial.settings, trial.score) for trial in done[0].tuning.trials[:3]]


def test_settings_that_do_not_fit_together_fail_and_count(data, tmp_path):
    """Each value alone fits; a width of 9 and two heads do not fit together."""
    space = {"model.dim": "8,9", "model.num_heads": "1,2", "model.num_layers": "1,2"}
    study = tuned(asked(space, num_trials=6), data, tmp_path / "study")
    failed = [trial for trial in study.tuning.trials if trial.outcome == "failed"]
    assert failed
    for trial in study.tuning.trials:
        is_impossible = (trial.settings["model.dim"], trial.settings["model.num_heads"]) == (9, 2)
        assert (trial.outcome == "failed") == is_impossible
    assert "dim 9 must be a multiple of num_heads 2" in failed[0].reason
    assert study.config.trials == 6
    page = StudyFolder(tmp_path / "study").page.read_text()
    assert "must be a multiple" in page


def test_a_training_that_diverges_fails(data, tmp_path):
    space = {"training.learning_rate": "0.003,100000000.0"}
    training = {**TINY["training"], "learning_rate": 1e8, "max_grad_norm": None, "log_every": 1}
    study = asked(space, changes={"training": training}, num_trials=1)
    with pytest.raises(ValueError, match=r"none of the 1 trials came to an end: .*finite"):
        tuned(study, data, tmp_path / "study")


@contextmanager
def interrupting(number, settings):
    def report(progress):
        if number == 1 and progress.step == 3:
            signal.raise_signal(signal.SIGINT)

    yield report


@pytest.fixture
def ctrl_c():
    """A process started in the background may ignore Ctrl-C, and training respects that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_leaves_the_trial_open(done, data, tmp_path, ctrl_c):
    with pytest.raises(KeyboardInterrupt, match="Interrupted in trial 1 at step 3"):
        tuned(asked(num_trials=3), data, tmp_path / "study", interrupting)
    again = tuned(asked(num_trials=3), data, tmp_path / "study")
    for trial, whole in zip(again.tuning.trials, done[0].tuning.trials, strict=False):
        assert replace(trial, seconds=0.0) == replace(whole, seconds=0.0)
    assert len(again.tuning.trials) == 3


def test_a_hopeless_trial_is_stopped_and_counted(data, tmp_path, monkeypatch):
    """`test_study` tests which trials are hopeless."""
    judged = []

    def is_hopeless(trial, score, *, epoch):
        judged.append((trial.number, epoch, score))
        return trial.number == 1 and epoch == 2

    monkeypatch.setattr(OpenTrial, "is_hopeless", is_hopeless)
    changes = {"training": {**TINY["training"], "epochs": 3}}
    study = tuned(asked(changes=changes, num_trials=2), data, tmp_path / "study")
    whole, pruned = study.tuning.trials
    # The last validation ends a trial in any case.
    assert [(number, epoch) for number, epoch, _ in judged] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert (whole.outcome, pruned.outcome) == ("finished", "pruned")
    assert pruned.steps == whole.steps * 2 / 3
    assert pruned.score == max(score for number, _, score in judged if number == 1)
    assert not StudyFolder(tmp_path / "study").trial(1).bundle.exists()
    assert study.tuning.best == whole
    assert study.config.trials == 2


def test_a_plan_writes_nothing(data, tmp_path):
    sizes, time = plan_tuning(asked(), data, None, folder=StudyFolder(tmp_path / "study"))
    assert sizes["epochs"] == 2
    assert time.seconds > 0
    assert not (tmp_path / "study").exists()


def test_without_validation_rows_nothing_is_chosen(data, tmp_path):
    whole = replace(data, split=nothing_held_out(data.histories()))
    with pytest.raises(ValueError, match="nothing tells which trial is best"):
        tuned(asked(), whole, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_configuration_that_cannot_be_trained_is_no_trial(data, tmp_path):
    config = tunable(checked_run({"kind": "transformer"}, "test"))
    study = Asked(config=config, space=space_of(config))
    with pytest.raises(ValueError, match="needs semantic IDs"):
        tuned(study, data, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_optuna_is_asked_for_before_anything_is_written(data, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'sidestep\[tune\]'"):
        tuned(asked(), data, tmp_path / "study")
    assert not (tmp_path / "study").exists()
