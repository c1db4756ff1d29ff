"""Adaptive precision: the choice, its two ends, and that a resumed run chooses alike."""

import copy
import json
import math
import os
import re
import signal
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training_toy import NextInRing, ring_windows

from sidestep.notices import Listener, told_to
from sidestep.training.config import AdaptivePrecisionConfig, TrainingConfig
from sidestep.training.layer_precision import (
    AdaptivePrecision,
    Assignment,
    LayerFigures,
    rounding_error,
)
from sidestep.training.loop import train
from sidestep.training.processes import Processes
from sidestep.training.sharing import Alone
from sidestep.training.tally import Sums, Tally
from sidestep.training.update import Update

from .test_item_loss import BATCH, WINDOWS, transformer

CPU = torch.device("cpu")
UNIT = 2.0**-10
"""A rounding error; with it, products of small whole numbers are exact."""


def layer(name, trace, flops) -> LayerFigures:
    return LayerFigures(name=name, trace=trace, rounding_error=UNIT, flops=flops)


def alone(tensor):
    return tensor


# The choice


@pytest.mark.parametrize(
    ("share", "kept"),
    [(1.0, "abcd"), (0.9, "abc"), (0.6, "acd"), (0.4, "ac"), (0.3, "cd"), (0.1, "c"), (0.0, "")],
)
def test_worked_example(share, kept):
    """Shares of the work .3, .5, .1 and .1; traces 6, 5, 4 and 0: scores 20, 10, 40 and 0 units.

    So the order is c, a, b, d. With .6, c and a take .4; b no longer fits, and d does. With .3, c
    takes .1; neither a nor b fits in .2, and d does.
    """
    layers = [layer("a", 6.0, 30), layer("b", 5.0, 50), layer("c", 4.0, 10), layer("d", 0.0, 10)]
    chosen = Assignment.of(layers, fp32_share=share)
    assert chosen.fp32 == set(kept)
    assert chosen.bf16 == set("abcd") - set(kept)


def test_equal_scores_are_taken_in_the_order_of_the_network():
    layers = [layer("b", 1.0, 10), layer("a", 1.0, 10), layer("c", 1.0, 10)]
    assert Assignment.of(layers, fp32_share=0.4).fp32 == {"b"}


def test_a_layer_that_never_computed_is_in_no_table():
    chosen = Assignment.of([layer("a", 1.0, 10), layer("idle", 9.0, 0)], fp32_share=1.0)
    assert [one.name for one in chosen.layers] == ["a"]
    assert chosen.fp32 == {"a"}


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 1000)), min_size=1, max_size=12),
    st.floats(0, 1),
)
def test_the_share_is_never_exceeded_and_no_layer_that_fits_is_left(figures, share):
    layers = [layer(str(place), *one) for place, one in enumerate(figures)]
    chosen = Assignment.of(layers, fp32_share=share)
    total = sum(one.flops for one in layers)
    spent = sum(one.flops for one in layers if one.name in chosen.fp32)
    assert spent <= share * total
    assert all(spent + one.flops > share * total for one in layers if one.name in chosen.bf16)
    assert chosen.fp32_share == pytest.approx(spent / total)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 1000)), min_size=1, max_size=12))
def test_with_the_whole_share_all_layers_stay(figures):
    layers = [layer(str(place), *one) for place, one in enumerate(figures)]
    assert not Assignment.of(layers, fp32_share=1.0).bf16


def test_the_rounding_error_is_that_of_bfloat16():
    """1 + 2⁻⁹ lies a quarter of a step of 2⁻⁷ above 1, and rounds to 1; whole numbers are exact."""
    one = nn.Linear(2, 1)
    with torch.no_grad():
        one.weight.copy_(torch.tensor([[1 + 2**-9, 3.0]]))
        one.bias.copy_(torch.tensor([2 + 2**-8]))
    assert rounding_error(one).item() == pytest.approx((2**-18 + 0 + 2**-16) / 3)


def test_the_log_names_every_layer():
    chosen = Assignment.of([layer("a", 4.0, 30), layer("b", 1.0, 10)], fp32_share=0.8)
    told = json.loads(json.dumps(chosen.as_json()))
    assert told["fp32_share"] == 0.75
    assert told["layers"]["a"] == {
        "precision": "fp32",
        "trace": 4.0,
        "rounding_error": UNIT,
        "sensitivity": 4 * UNIT,
        "share": 0.75,
    }
    assert told["layers"]["b"]["precision"] == "bf16"
    assert chosen.in_words() == (
        "1 of 2 linear layers compute in fp32 (75% of their work): a. The others compute in bf16."
    )


# The forward pass


def adaptive_update(precision="adaptive", **adaptive) -> Update:
    objective = transformer()
    objective.prepare(WINDOWS)
    config = TrainingConfig(
        precision=precision,
        adaptive_precision=AdaptivePrecisionConfig(**adaptive) if adaptive else None,
        device="cpu",
    )
    return Update(Alone(objective, Processes()), config, Processes())


def stepped(update, num_steps=1):
    torch.manual_seed(1)
    for _ in range(num_steps):
        update.step([BATCH], Tally(CPU, Sums()), learning_rate=0.1)
    return update.sharing.trained.state_dict()


def assert_same(ours, theirs):
    for name, weights in ours.items():
        assert torch.equal(weights, theirs[name]), name


def test_with_the_whole_share_it_is_fp32_bit_for_bit():
    adaptive = adaptive_update(fp32_share=1.0, every_steps=2, sampled_steps=1)
    assert_same(stepped(adaptive, 5), stepped(adaptive_update("fp32"), 5))
    assert adaptive.adaptive.assignment is not None


def test_without_any_share_it_is_bf16_bit_for_bit_after_the_first_choice():
    adaptive = adaptive_update(fp32_share=0.0, every_steps=2, sampled_steps=1)
    stepped(adaptive)
    assert adaptive.adaptive.bf16 == {one.name for one in adaptive.adaptive.assignment.layers}
    # The same weights and optimizer, in plain bf16 from here on.
    plain = adaptive_update("bf16")
    plain.sharing.trained.load_state_dict(adaptive.sharing.trained.state_dict())
    state = copy.deepcopy(adaptive.state_dict())
    plain.load_state_dict({key: state[key] for key in ("state", "param_groups")})
    assert_same(stepped(adaptive, 4), stepped(plain, 4))
    fp32 = stepped(adaptive_update("fp32"), 5)
    assert not torch.equal(fp32["model.start"], plain.sharing.trained.state_dict()["model.start"])


class Seen(nn.Module):
    """Two linear layers, of which a search asks the second in float32 in any case."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.frozen = (nn.Linear(4, 4) for _ in range(3))
        self.frozen.requires_grad_(False)

    def forward(self, inputs):
        return self.first(inputs), self.second(inputs), self.frozen(inputs)


def chosen_for(network, fp32) -> AdaptivePrecision:
    made = AdaptivePrecision(network, AdaptivePrecisionConfig(every_steps=10), CPU, alone)
    names = ("first", "second")
    layers = tuple(layer(name, 1.0, 10) for name in names)
    made.assignment = Assignment(layers=layers, fp32=frozenset(fp32))
    made._num_steps = 5  # no sampled step
    return made


def test_each_layer_computes_in_its_precision_and_is_left_as_it_was():
    network, inputs = Seen(), torch.randn(3, 4)
    before = dict(vars(network.first))
    first, second, _ = network(inputs)
    with chosen_for(network, {"first"}).forward(scale=1.0):
        ours, rounded, frozen = network(inputs)
        of_rounded_inputs = network.first(inputs.to(torch.bfloat16))
    assert torch.equal(ours, first)
    assert of_rounded_inputs.dtype == torch.float32
    assert rounded.dtype == frozen.dtype == torch.bfloat16
    assert not torch.equal(rounded.float(), second)
    assert vars(network.first) == before


def test_an_error_in_a_forward_pass_leaves_the_layers_as_they_were():
    network = Seen()
    network.first.forward = own = network.second.forward  # as hooks of other libraries do
    with (
        pytest.raises(RuntimeError, match="mine"),
        chosen_for(network, {"first"}).forward(scale=1.0),
    ):
        raise RuntimeError("mine")
    assert vars(network.first)["forward"] == own
    assert "forward" not in vars(network.second)


def test_a_layer_that_computes_in_float32_in_any_case_is_not_chosen():
    network, inputs = Seen(), torch.randn(3, 4)
    made = chosen_for(network, set())
    made._num_steps = 10  # a period begins
    with made.forward(scale=1.0):
        network.first(inputs).sum().backward()
        with torch.autocast("cpu", enabled=False):
            network.second(inputs).sum().backward()
    made._num_steps = 13
    chosen = made.after_step(3)
    assert [one.name for one in chosen.layers] == ["first"]


def test_a_batch_that_keeps_others_company_is_not_sampled():
    network, inputs = Seen(), torch.randn(3, 4)
    made = AdaptivePrecision(network, AdaptivePrecisionConfig(sampled_steps=1), CPU, alone)
    for is_counted in (True, False):
        with made.forward(scale=1.0, is_counted=is_counted):
            network.first(inputs).sum().backward()
    (figures,) = made.after_step(3).layers
    assert figures.flops == 2 * 3 * 16


def test_a_network_without_a_linear_layer_that_learns_is_refused():
    with pytest.raises(ValueError, match=r"no linear layer that learns: set training.precision"):
        AdaptivePrecision(nn.Embedding(2, 2), AdaptivePrecisionConfig(), CPU, alone)


def test_choices_come_when_they_are_due():
    update = adaptive_update(every_steps=3, sampled_steps=2)
    chosen = []
    for _ in range(9):
        stepped(update)
        chosen.append(update.assigned is not None)
    assert chosen == [False, True, False, False, True, False, False, True, False]


def test_figures_of_a_step_are_those_of_plain_gradients():
    """The output layer of a feed-forward part, against gradients that the test takes itself."""
    update = adaptive_update(fp32_share=0.5, every_steps=5, sampled_steps=1)
    twin = transformer()
    twin.prepare(WINDOWS)
    seen = []
    down = twin.model.blocks[0].ffn.down
    down.register_forward_hook(lambda _, inputs, outputs: seen.append((inputs[0], outputs)))
    loss = twin(BATCH)
    ((inputs, outputs),) = seen
    (gradient,) = torch.autograd.grad(loss.loss, outputs)
    # The gradient of one target's loss is that of the mean times the number of targets.
    n = BATCH.num_targets
    expected = inputs.square().sum(-1).mean() * (gradient * n).square().sum() / n
    stepped(update)
    figures = {one.name: one for one in update.assigned.layers}["model.blocks.0.ffn.down"]
    assert figures.trace == pytest.approx(expected.item(), rel=1e-5)
    assert figures.flops == 2 * down.weight.numel() * inputs[..., 0].numel()
    # The head multiplies by its rows itself, in float32, so there is nothing to choose.
    assert "model.head" not in {one.name for one in update.assigned.layers}


# The run

CONFIG = TrainingConfig(
    epochs=3,
    batch_size=4,
    learning_rate=0.05,
    log_every=4,
    precision="adaptive",
    adaptive_precision=AdaptivePrecisionConfig(fp32_share=0.5, every_steps=5, sampled_steps=2),
    device="cpu",
)


class Deep(NextInRing):
    """The toy with two more linear layers."""

    def __init__(self):
        super().__init__(dropout=0.5)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.wide, self.narrow = nn.Linear(8, 16), nn.Linear(16, 8)
        self.norm = nn.Sequential(self.norm, self.wide, nn.Tanh(), self.narrow)


def trained(folder, *, stop_at=None, resume=False, config=CONFIG):
    def report(progress):
        if progress.step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    objective = Deep()
    result = train(
        objective, ring_windows(24), config, folder=folder, seed=3, resume=resume, report=report
    )
    return objective, result


def lines_of(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "precision"]


@pytest.mark.usefixtures("sigint_is_as_in_a_terminal")
@pytest.mark.parametrize("stop_at", [1, 2, 6, 9])  # between samples, at a choice, later
def test_an_interrupted_run_resumes_to_the_same_bits_and_choices(tmp_path, stop_at):
    whole, _ = trained(tmp_path / "whole")
    _, result = trained(tmp_path / "other", stop_at=stop_at)
    assert result.stopped == "interrupted"
    resumed, result = trained(tmp_path / "other", resume=True)
    assert result.stopped == "finished"
    assert_same(resumed.state_dict(), whole.state_dict())
    lines = lines_of(tmp_path / "other")
    assert lines == lines_of(tmp_path / "whole")
    assert [line["step"] for line in lines] == [2, 7, 12, 17]
    for line in lines:
        precisions = {one["precision"] for one in line["layers"].values()}
        assert precisions == {"fp32", "bf16"}
        assert 0 < line["fp32_share"] <= 0.5
        assert all(math.isfinite(one["sensitivity"]) for one in line["layers"].values())


@pytest.mark.parametrize(
    ("sampled_steps", "expected"),
    [(2, r"At the end, \d of 3 linear layers compute in fp32"), (20, "before the first choice")],
)
def test_the_end_of_a_run_is_told(tmp_path, sampled_steps, expected):
    told = []
    adaptive = AdaptivePrecisionConfig(every_steps=20, sampled_steps=sampled_steps)
    config = CONFIG.model_copy(update={"adaptive_precision": adaptive})
    with told_to(Listener(note=told.append, warn=told.append, working=nullcontext)):
        trained(tmp_path, config=config)
    (sentence,) = told
    assert re.search(expected, sentence)


def test_another_share_is_another_run(tmp_path):
    trained(tmp_path)
    other = CONFIG.model_copy(update={"adaptive_precision": AdaptivePrecisionConfig()})
    with pytest.raises(ValueError, match=r"another run: config.adaptive_precision.every_steps"):
        trained(tmp_path, resume=True, config=other)


def test_runs_of_other_precisions_keep_their_identity():
    """A configuration of an older version is equal to one of today."""
    assert "adaptive_precision" not in TrainingConfig().model_dump(mode="json")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"precision": "bf16", "adaptive_precision": {}}, "set precision to adaptive"),
        (
            {"precision": "adaptive", "adaptive_precision": {"sampled_steps": 9, "every_steps": 8}},
            "sampled_steps 9 must not be above every_steps 8",
        ),
        ({"precision": "adaptive", "adaptive_precision": {"fp32_share": 1.1}}, "fp32_share"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, expected):
    with pytest.raises(ValueError, match=expected):
        TrainingConfig(**settings)
