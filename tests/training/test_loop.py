import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import training_toy
from safetensors.torch import load_file, save_file
from training_toy import RUN, NextInRing, ring_windows, run_toy

from sidestep.training.checkpoint import checkpoints
from sidestep.training.config import TrainingConfig
from sidestep.training.loop import train
from sidestep.training.objective import Loss
from sidestep.training.progress import Progress, Validated


def lines_of(folder, kind):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def state_of(folder):
    return json.loads((checkpoints(folder)[-1] / "state.json").read_text())


def without_times(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    times = {"seconds", "training_s", "targets_per_s"}
    return [{name: line[name] for name in line.keys() - times} for line in lines]


def assert_same_weights(one, other):
    for (name, weights), (_, others) in zip(
        one.state_dict().items(), other.state_dict().items(), strict=True
    ):
        assert torch.equal(weights, others), name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, *run_toy(folder)


@pytest.fixture(autouse=True)
def as_in_a_terminal(sigint_is_as_in_a_terminal):
    """Every test here may send a signal."""


def stop_at(step, how):
    def report(progress: Progress):
        if progress.step == step:
            how()

    return report


def run_with(folder, report, *, resume=False, config=RUN, seed=7, windows=None, **others):
    objective = NextInRing(dropout=0.5)
    result = train(
        objective,
        ring_windows(24) if windows is None else windows,
        config,
        folder=folder,
        seed=seed,
        validate=training_toy.Head(objective),
        resume=resume,
        report=report,
        **others,
    )
    return objective, result


def test_a_killed_process_resumes_to_the_same_bits(tmp_path, uninterrupted):
    whole_folder, whole, whole_result = uninterrupted
    process = subprocess.Popen([sys.executable, training_toy.__file__, str(tmp_path)])
    try:
        # Two steps into the second epoch; one checkpoint per step and one at the epoch's end.
        while not any(path.name >= "checkpoint-000008" for path in checkpoints(tmp_path)):
            assert process.poll() is None, "the process ended before it could be killed"
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert 8 <= state_of(tmp_path)["step"] <= 10

    resumed, result = run_toy(tmp_path, resume=True)
    assert_same_weights(resumed, whole)
    assert result.best_score == whole_result.best_score
    assert result.best_epoch == whole_result.best_epoch
    assert result.step == whole_result.step == 18
    assert without_times(tmp_path) == without_times(whole_folder)


def test_ctrl_c_finishes_the_step_and_saves(tmp_path, uninterrupted):
    press = stop_at(9, lambda: os.kill(os.getpid(), signal.SIGINT))
    _, result = run_with(tmp_path, press)
    assert result.stopped == "interrupted"
    assert result.step == state_of(tmp_path)["step"] == 9  # the line of step 12 spans this
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    resumed, result = run_with(tmp_path, None, resume=True)
    assert result.stopped == "finished"
    assert_same_weights(resumed, uninterrupted[1])
    assert without_times(tmp_path) == without_times(uninterrupted[0])


def test_sigterm_after_the_last_step_of_an_epoch_validates_after_the_resume(
    tmp_path, uninterrupted
):
    _, result = run_with(tmp_path, stop_at(6, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert (result.stopped, result.step, result.best_epoch) == ("interrupted", 6, None)
    resumed, result = run_with(tmp_path, None, resume=True)
    assert_same_weights(resumed, uninterrupted[1])
    assert without_times(tmp_path) == without_times(uninterrupted[0])


def test_the_second_ctrl_c_aborts_at_once(tmp_path):
    def press_twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_with(tmp_path, stop_at(2, press_twice))


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background job
    press = stop_at(2, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert run_with(tmp_path, press)[1].stopped == "finished"


def test_a_half_written_checkpoint_is_ignored_and_cleared(tmp_path, uninterrupted):
    run_with(tmp_path, stop_at(8, lambda: os.kill(os.getpid(), signal.SIGINT)))
    half = tmp_path / ".checkpoint-000099.abc"
    half.mkdir()
    (half / "state.json").write_text("{")
    resumed, _ = run_with(tmp_path, None, resume=True)
    assert_same_weights(resumed, uninterrupted[1])
    assert not half.exists()
    assert len(checkpoints(tmp_path)) == 2


@pytest.mark.parametrize("name", ["optimizer.pt", "state.json", "weights.safetensors"])
def test_a_damaged_checkpoint_is_named(tmp_path, name):
    run_with(tmp_path, stop_at(8, lambda: os.kill(os.getpid(), signal.SIGINT)))
    newest = checkpoints(tmp_path)[-1]
    damaged = newest / name
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"{newest.name} is damaged.*delete it"):
        run_with(tmp_path, None, resume=True)


def test_a_checkpoint_without_a_part_of_its_state_is_named(tmp_path):
    run_with(tmp_path, stop_at(8, lambda: os.kill(os.getpid(), signal.SIGINT)))
    newest = checkpoints(tmp_path)[-1]
    (newest / "files.json").unlink()  # older versions keep no hashes
    state = json.loads((newest / "state.json").read_text())
    del state["line"]
    (newest / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=rf"{newest.name} is damaged \(state.json lacks 'line'\)"):
        run_with(tmp_path, None, resume=True)


def test_a_checkpoint_without_the_random_state_of_a_process_is_named(tmp_path):
    run_with(tmp_path, stop_at(8, lambda: os.kill(os.getpid(), signal.SIGINT)))
    newest = checkpoints(tmp_path)[-1]
    (newest / "files.json").unlink()  # older versions keep no hashes
    torch.save([], newest / "random_states.pt")
    with pytest.raises(ValueError, match=r"damaged \(random_states.pt has none for process 0\)"):
        run_with(tmp_path, None, resume=True)


def test_a_checkpoint_of_another_version_is_named(tmp_path):
    run_with(tmp_path, stop_at(8, lambda: os.kill(os.getpid(), signal.SIGINT)))
    newest = checkpoints(tmp_path)[-1]
    (newest / "files.json").unlink()  # older versions keep no hashes
    optimizer = torch.load(newest / "optimizer.pt", weights_only=True)
    for group in optimizer["param_groups"]:
        del group["rate_factor"]
    torch.save(optimizer, newest / "optimizer.pt")
    with pytest.raises(ValueError, match=r"another version of Sidestep \(.*rate_factor\); resume"):
        run_with(tmp_path, None, resume=True)
    for group in optimizer["param_groups"]:
        group["rate_factor"] = 1.0
    first = min(optimizer["state"])
    optimizer["state"][first]["exp_avg"] = torch.zeros(3)
    torch.save(optimizer, newest / "optimizer.pt")
    with pytest.raises(
        ValueError, match=r"another version of Sidestep \(.*exp_avg of another shape"
    ):
        run_with(tmp_path, None, resume=True)
    torch.save({}, newest / "optimizer.pt")
    with pytest.raises(ValueError, match=rf"{newest.name} is damaged \(optimizer.pt.*delete it"):
        run_with(tmp_path, None, resume=True)
    weights = load_file(newest / "weights.safetensors")
    name, _ = weights.popitem()
    save_file(weights, newest / "weights.safetensors")
    with pytest.raises(ValueError, match=rf"another version of Sidestep \({name} is missing in it"):
        run_with(tmp_path, None, resume=True)


def test_a_finished_run_resumes_to_its_end(tmp_path, uninterrupted):
    first, _ = run_toy(tmp_path)
    again, result = run_toy(tmp_path, resume=True)
    assert result.stopped == "finished"
    assert_same_weights(again, first)
    assert without_times(tmp_path) == without_times(uninterrupted[0])
    assert_same_weights(first, uninterrupted[1])  # and the same seed gives the same weights


def test_another_seed_gives_other_weights(tmp_path, uninterrupted):
    other, _ = run_with(tmp_path, None, seed=8)
    assert not torch.equal(other.head.weight, uninterrupted[1].head.weight)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 8}, "seed was 7 and is 8"),
        ({"config": RUN.model_copy(update={"weight_decay": 0.3})}, "config.weight_decay was 0.1"),
        ({"windows": ring_windows(23)}, "windows was"),
        ({"about": {"model": {"dim": 9}}}, "about.model.dim was 8 and is 9"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, named):
    about = {"model": {"dim": 8}}
    press = stop_at(2, lambda: os.kill(os.getpid(), signal.SIGINT))
    run_with(tmp_path, press, about=about)
    with pytest.raises(ValueError, match=rf"belongs to another run.*{named}.*to start anew"):
        run_with(tmp_path, None, resume=True, **{"about": about, **change})


def test_an_earlier_run_is_not_overwritten(tmp_path):
    run_with(tmp_path, stop_at(2, lambda: os.kill(os.getpid(), signal.SIGINT)))
    with pytest.raises(ValueError, match="resume it, train into another folder, or delete"):
        run_with(tmp_path, None)


def test_a_used_up_budget_stops_cleanly_and_a_larger_one_goes_on(tmp_path, uninterrupted):
    short = RUN.model_copy(update={"max_seconds": 1e-6})
    _, result = run_with(tmp_path, None, config=short)
    assert (result.stopped, result.step) == ("budget", 0)
    long = RUN.model_copy(update={"max_seconds": 1e6})
    resumed, longer = run_with(tmp_path, None, config=long, resume=True)
    assert longer.stopped == "finished"
    assert longer.seconds > result.seconds
    assert_same_weights(resumed, uninterrupted[1])


def test_patience_stops_and_the_best_weights_come_back(tmp_path):
    objective = NextInRing()
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    kept = []

    def validate():
        kept.append(objective.head.weight.detach().clone())
        return Validated(score=next(scores))

    config = TrainingConfig(epochs=9, batch_size=8, patience=2)
    result = train(objective, ring_windows(16), config, folder=tmp_path, seed=0, validate=validate)
    assert (result.stopped, result.best_score, result.best_epoch) == ("patience", 0.3, 2)
    assert torch.equal(objective.head.weight, kept[1])
    assert torch.equal(load_file(result.weights)["head.weight"], kept[1])
    assert [line["validation"] for line in lines_of(tmp_path, "epoch")] == [0.1, 0.3, 0.2, 0.3]


def test_a_validation_that_draws_does_not_shift_the_training(tmp_path):
    rising = iter(range(99))

    def validate():
        # The last is the best.
        return Validated(score=next(rising) + torch.rand(()).item() / 2)

    weights = []
    for name, score in (("with", validate), ("without", None)):
        objective = NextInRing(dropout=0.5)
        train(objective, ring_windows(24), RUN, folder=tmp_path / name, seed=7, validate=score)
        weights.append(objective.head.weight)
    assert torch.equal(*weights)


def test_validation_comes_every_few_epochs_and_after_the_last(tmp_path):
    config = TrainingConfig(epochs=5, batch_size=8, validate_every=2)

    def always():
        return Validated(score=1.0, metrics={"HR@50": 0.5})

    train(NextInRing(), ring_windows(8), config, folder=tmp_path, seed=0, validate=always)
    validations = [line["validation"] for line in lines_of(tmp_path, "epoch")]
    assert validations == [None, 1.0, None, 1.0, 1.0]
    told = [line["metrics"] for line in lines_of(tmp_path, "epoch")]
    assert told == [{}, {"HR@50": 0.5}, {}, {"HR@50": 0.5}, {"HR@50": 0.5}]


def test_the_ring_is_learned(tmp_path):
    config = TrainingConfig(epochs=25, batch_size=8, learning_rate=0.05)
    train(NextInRing(), ring_windows(32), config, folder=tmp_path, seed=0)
    epochs = lines_of(tmp_path, "epoch")
    assert epochs[0]["loss"] > 1.5
    assert epochs[-1]["loss"] < 0.1
    assert epochs[-1]["parts"]["hits"] == 1.0


class Recorded(NextInRing):
    """Objective that records the norm of its gradient just before the optimizer steps."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0

    def forward(self, batch):
        loss = super().forward(batch)
        return Loss(loss=loss.loss * self.scale, num_targets=loss.num_targets, parts={})


def first_step(folder, **settings):
    """The change of the weights in one step, and the logged norm."""
    objective = Recorded()
    before = objective.head.weight.detach().clone()
    config = TrainingConfig(
        epochs=1, batch_size=8, warmup_share=0, weight_decay=0, learning_rate=0.01, **settings
    )
    train(objective, ring_windows(8), config, folder=folder, seed=0)
    norm = lines_of(folder, "step")[0]["grad_norm"]
    return (objective.head.weight.detach() - before).abs().mean().item(), norm


def test_gradients_are_clipped_and_logged_before_clipping(tmp_path):
    free, norm = first_step(tmp_path / "free", max_grad_norm=None)
    # Adam forgets the scale of its gradients, except against its epsilon of 1e-8: clipped to a
    # norm of 1e-9 they hardly move the weights.
    clipped, same_norm = first_step(tmp_path / "clipped", max_grad_norm=1e-9)
    assert norm == same_norm > 0.1
    assert free == pytest.approx(0.01, rel=0.2)
    assert clipped < 0.05 * free


def test_the_log_holds_the_learning_rates_of_the_schedule(tmp_path):
    config = TrainingConfig(
        epochs=2, batch_size=2, learning_rate=1.0, warmup_share=0.25, log_every=1
    )
    train(NextInRing(), ring_windows(8), config, folder=tmp_path, seed=0)
    rates = [line["learning_rate"] for line in lines_of(tmp_path, "step")]
    # Eight steps, two of warm-up, then cosine from 1 to .1 over six; cos(pi/3) = 1/2.
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[4] == pytest.approx(0.1 + 0.9 * 0.75)
    assert rates[5] == pytest.approx(0.55)
    assert rates[6] == pytest.approx(0.1 + 0.9 * 0.25)


def test_accumulation_equals_the_larger_batch(tmp_path):
    # Batches of 4, 4 and 4 windows hold different numbers of targets.
    trained = []
    for name, batch_size, steps in (("small", 4, 3), ("large", 12, 1)):
        trained.append(NextInRing())
        config = TrainingConfig(
            epochs=3, batch_size=batch_size, accumulation_steps=steps, learning_rate=0.05
        )
        train(trained[-1], ring_windows(12), config, folder=tmp_path / name, seed=1)
    small, large = trained
    for weights, others in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(weights, others, atol=1e-6, rtol=1e-5)
    losses = [
        [line["loss"] for line in lines_of(tmp_path / name, "epoch")] for name in ("small", "large")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    objective = Recorded()
    objective.scale = float("nan")
    config = TrainingConfig(epochs=2, batch_size=8)
    with pytest.raises(FloatingPointError, match=r"lower training\.learning_rate"):
        train(objective, ring_windows(8), config, folder=tmp_path, seed=0)
    assert not checkpoints(tmp_path)


def test_bf16_runs_where_it_is_asked_for(tmp_path):
    config = TrainingConfig(epochs=25, batch_size=8, learning_rate=0.05, precision="bf16")
    train(NextInRing(), ring_windows(32), config, folder=tmp_path, seed=0)
    assert lines_of(tmp_path, "epoch")[-1]["loss"] < 0.1


def test_no_windows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no training windows"):
        train(NextInRing(), ring_windows(0), RUN, folder=tmp_path, seed=0)


def test_training_leaves_the_callers_random_streams_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    run_toy(Path(tmp_path))
    assert torch.equal(torch.rand(4), expected)


def test_who_watches_is_shown_the_parts_that_the_objective_wants_watched(tmp_path):
    class Watched(NextInRing):
        """Objective with one watched part."""

        @property
        def watched_parts(self):
            return ("hits", "what is not told in this run")

    told = []
    train(
        Watched(),
        ring_windows(24),
        RUN,
        folder=tmp_path,
        seed=0,
        validate=lambda: Validated(score=1.0, metrics={"HR@1": 0.5}),
        report=told.append,
    )
    assert told[0].parts == {}
    assert told[0].metrics == {}
    steps, epochs = (lines_of(tmp_path, kind) for kind in ("step", "epoch"))
    assert told[-2].parts == {"hits": steps[-1]["parts"]["hits"]}
    assert told[-1].metrics == {"HR@1": 0.5}
    # At the end of an epoch, the figures are those of the whole epoch, not of its last batches.
    assert told[-1].parts == {"hits": epochs[-1]["parts"]["hits"]}
    assert told[-1].loss == epochs[-1]["loss"] != steps[-1]["loss"]


def test_an_objective_is_told_of_steps_learns_at_its_own_rates_and_may_end_the_run(tmp_path):
    class Limited(NextInRing):
        """Objective that freezes some weights, and stops after the second line in the log."""

        steps = lines = 0

        @property
        def learning_rate_factors(self):
            return {"embedding": 0.0}

        def after_step(self):
            self.steps += 1

        def limit_reached(self, parts):
            assert set(parts) == {"hits"}
            self.lines += 1
            return self.lines == 2

    objective = Limited()
    before = objective.embedding.weight.detach().clone()
    head = objective.head.weight.detach().clone()
    result = train(objective, ring_windows(24), RUN, folder=tmp_path, seed=0)
    assert (result.stopped, result.step, objective.steps) == ("limit", 6, 6)
    assert torch.equal(objective.embedding.weight, before)
    assert not torch.equal(objective.head.weight, head)
    rates = [line["learning_rate"] for line in lines_of(tmp_path, "step")]
    assert all(rate > 0 for rate in rates)
