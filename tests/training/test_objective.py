"""Every objective passes the contract of objectives."""

import pytest
import torch

from sidestep.training.config import TrainingConfig
from sidestep.training.loop import train
from sidestep.training.objective_config import NextCodeConfig, RewardTerm
from sidestep.training.rewards import Rewards, RewardSources, item_head_scores

from . import (
    test_alignment,
    test_event_weights,
    test_next_code,
    test_next_code_set,
    test_preference,
    test_process_reward,
    test_set_distillation,
    test_tree_distillation,
    test_value,
)
from .objective_contract import ObjectiveContract
from .training_toy import NextInRing, ring_windows


class TestNextItem(ObjectiveContract):
    batch = test_alignment.BATCH

    def make(self):
        return test_event_weights.next_item()


class TestNextCode(ObjectiveContract):
    batch = test_next_code.BATCH

    def make(self):
        return test_next_code.objective(item_weight=0.5)


class TestNextCodeSet(ObjectiveContract):
    batch = test_next_code.BATCH

    def make(self):
        return test_next_code_set.objective(item_weight=0.5, distillation_weight=1.0)


class TestProcessReward(ObjectiveContract):
    batch = test_process_reward.BATCH

    def make(self):
        return test_process_reward.objective_of(dropout=0.0)


class TestProcessRewardOfSets(ObjectiveContract):
    batch = test_process_reward.BATCH

    def make(self):
        return test_process_reward.set_objective_of(num_negatives=2)


class TestJointProcessRewardOfSets(ObjectiveContract):
    batch = test_process_reward.BATCH
    draws_by_place = True  # orders of codebooks

    def make(self):
        return test_process_reward.set_objective_of(joint=NextCodeConfig())


class TestJointProcessReward(ObjectiveContract):
    batch = test_process_reward.BATCH

    def make(self):
        return test_process_reward.objective_of(dropout=0.0, joint=NextCodeConfig())


class TestValue(ObjectiveContract):
    batch = test_value.BATCH

    def make(self):
        return test_value.objective_of()


class TestValueOfSets(ObjectiveContract):
    batch = test_value.BATCH

    def make(self):
        return test_value.set_objective_of()


class TestSetDistillation(ObjectiveContract):
    batch = test_alignment.BATCH

    def make(self):
        return test_set_distillation.an_objective()


class TestTreeDistillation(ObjectiveContract):
    batch = test_alignment.BATCH

    def make(self):
        return test_tree_distillation.an_objective()


class TestTreeDistillationWithoutTheHead(ObjectiveContract):
    batch = test_alignment.BATCH

    def make(self):
        return test_tree_distillation.an_objective(head_weight=None)


class TestPreference(ObjectiveContract):
    batch = test_alignment.BATCH

    def make(self):
        return test_preference.an_objective()


@pytest.fixture(
    params=[
        {},
        {"steps_per_reference": 2, "steps_per_rollout_policy": 3, "clip_high": None},
        {"value": {}},
        {"likelihood": {}, "kl_weight": None},
    ]
)
def alignment(request):
    return request.param


class TestAlignment(ObjectiveContract):
    batch = test_alignment.BATCH

    @pytest.fixture(autouse=True)
    def _settings(self, alignment):
        self.settings = alignment

    def make(self):
        return test_alignment.an_objective(**self.settings)


def test_the_networks_of_rewards_are_declared():
    """The item head judges as it was before: a copy that no step changes."""
    policy = test_alignment.a_policy(item_head=True)
    sources = RewardSources(item_head=item_head_scores(policy))
    terms = (RewardTerm(reward="item-head"), RewardTerm(reward="exact"))
    settings = test_alignment.AlignmentConfig(rewards=terms)
    objective = test_alignment.AlignmentObjective(
        policy, test_alignment.SCOPE, Rewards(terms, sources), settings
    )
    assert set(objective.frozen) == {"rewards.item-head"}
    objective.to(torch.float64)
    judge = objective.frozen["rewards.item-head"]
    assert next(judge.parameters()).dtype == torch.float64
    unasked = Rewards((RewardTerm(reward="exact"),), sources)
    assert not unasked.modules


def test_a_weight_that_learns_undeclared_is_named(tmp_path):
    class Hidden(NextInRing):
        @property
        def trained(self):
            return {"embedding": self.embedding, "norm": self.norm}

    config = TrainingConfig(epochs=1, device="cpu")
    with pytest.raises(ValueError, match=r"Hidden\.trained declares no module .* head\.weight"):
        train(Hidden(), ring_windows(4), config, folder=tmp_path, seed=0)
