"""Weights of target events: every objective multiplies the loss of a target by its weight."""

from dataclasses import replace

import pytest
import torch

from sidestep.data.windows import WindowBatch
from sidestep.model.config import SasRecConfig
from sidestep.model.sasrec import SasRec
from sidestep.training.next_item import NextItemObjective
from sidestep.training.objective_config import BeamAwareConfig, NextItemConfig

from . import test_alignment, test_next_code, test_preference, test_process_reward, test_value
from .test_alignment import BATCH

WEIGHTS = torch.tensor([[9.0, 0.3, 1.0], [9.0, 0.5, 9.0]])
"""Weights of positions that are not predicted must not count."""

VALUE = {"gamma": 0.9}


def next_item(**config) -> NextItemObjective:
    torch.manual_seed(0)
    network = SasRec(SasRecConfig(dim=8, num_layers=1, num_heads=2, max_items=4, dropout=0.0), 6)
    return NextItemObjective(network, NextItemConfig(**config))


def next_code(**config):
    """Next-code objective on the items of the other objectives, with both heads."""
    config = {"item_weight": 0.5, "distillation_weight": 2.0, **config}
    policy = test_alignment.a_policy(dropout=0.0, item_head=True)
    return test_next_code.NextCodeObjective(policy, test_next_code.NextCodeConfig(**config))


def process_reward():
    ids, trie = test_alignment.IDS, test_alignment.TRIE
    backbone = test_process_reward.backbone_of(ids, test_alignment.SIZES)
    network = test_process_reward.ProcessRewardModel(
        test_process_reward.ProcessRewardConfig(dim=4),
        num_features=trie.num_nodes(),
        memory_dim=8,
    )
    settings = test_process_reward.ProcessRewardTrainingConfig()
    return test_process_reward.ProcessRewardObjective(
        network, backbone, test_process_reward.Scope(trie=trie), settings
    )


def value():
    return test_value.ValueObjective(
        test_value.ValueHead(test_value.ValueHeadConfig(num_heads=2), dim=8, num_levels=2),
        test_alignment.a_policy(),
        test_value.Scope(trie=test_alignment.TRIE),
        torch.eye(6),
        test_value.BeamSearch(num_beams=3),
        test_value.ValueTrainingConfig(),
    )


SEPARATE = {
    "next item": next_item,
    "next item, smoothed": lambda: next_item(label_smoothing=0.1),
    "next code": next_code,
    "next code, smoothed": lambda: next_code(label_smoothing=0.1),
    "process reward": process_reward,
    "process reward of sets": test_process_reward.set_objective_of,
    "value": value,
    "value of sets": test_value.set_objective_of,
    "preference": lambda: test_preference.an_objective(likelihood_weight=0.5),
}
"""Objectives whose loss of a target does not depend on other targets."""

TOGETHER = {
    "beam-aware": lambda: next_code(beam_aware=BeamAwareConfig(width=1)),
    "group": lambda: test_alignment.an_objective(kl_weight=0.3, rewards=("exact", "rank")),
    "k3": lambda: test_alignment.an_objective(kl_weight=0.3, kl="k3", rewards=("rank",)),
    "hints": lambda: test_alignment.an_objective(repair="hint", rewards=("exact", "rank")),
    "with values": lambda: test_alignment.an_objective(value=VALUE, rewards=("exact", "rank")),
}
"""Objectives that compare targets with each other, or divide by a sum over all targets."""


def lowered(make, batch: WindowBatch):
    """A new objective without dropout, and its loss, which is always the same for a batch."""
    torch.manual_seed(3)
    objective = make().train()
    for module in objective.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.manual_seed(4)
    return objective, objective(batch).loss


def gradient_of(make, weights: torch.Tensor | None) -> torch.Tensor:
    """Gradient of the loss at all parameters. The loss itself is 0 if policy equals reference."""
    objective, loss = lowered(make, replace(BATCH, target_weights=weights))
    loss.backward()
    given = [p.grad.flatten() for p in objective.parameters() if p.grad is not None]
    return torch.cat(given)


def alone(user: int, position: int) -> WindowBatch:
    """Windows of `BATCH` with only one target."""
    is_target = torch.zeros_like(BATCH.is_target)
    is_target[user, position] = True
    return replace(BATCH, is_target=is_target, num_targets=1)


@pytest.mark.parametrize("name", SEPARATE)
def test_the_loss_is_the_sum_of_weighted_losses_by_the_number_of_targets(name):
    make = SEPARATE[name]
    expected = sum(
        WEIGHTS[user, position] * lowered(make, alone(user, position))[1].detach()
        for user, position in BATCH.is_target.nonzero().tolist()
    )
    _, found = lowered(make, replace(BATCH, target_weights=WEIGHTS))
    torch.testing.assert_close(found.detach(), expected / 3, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", {**SEPARATE, **TOGETHER})
def test_the_gradient_is_linear_in_the_weights_and_those_of_one_change_nothing(name):
    make = {**SEPARATE, **TOGETHER}[name]
    plain = gradient_of(make, None)
    torch.testing.assert_close(gradient_of(make, torch.ones(2, 3)), plain, atol=1e-6, rtol=1e-5)
    some = gradient_of(make, WEIGHTS)
    rest = gradient_of(make, 1 - WEIGHTS)
    torch.testing.assert_close(some + rest, plain, atol=2e-5, rtol=1e-4)
    assert float((some - plain).abs().max()) > 1e-4


def test_the_figure_of_the_divergence_is_that_of_the_policy_whatever_targets_weigh():
    def kl(weights):
        torch.manual_seed(0)
        objective = test_alignment.an_objective(kl_weight=0.3, rewards=("rank",))
        with torch.no_grad():
            objective.policy.head.weight += 0.5
        return objective(replace(BATCH, target_weights=weights)).parts["kl"]

    assert float(kl(None)) > 0
    assert torch.equal(kl(WEIGHTS), kl(None))
