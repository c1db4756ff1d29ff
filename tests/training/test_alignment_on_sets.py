"""Alignment of policies over sets of codes: rewards of REG4Rec, likelihood, and what is refused."""

import itertools

import pytest
import torch

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.set_space import SetSpace
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.config import CategoryHeadConfig, CodeSetConfig, ValueHeadConfig
from sidestep.model.value_head import ValueHead
from sidestep.search.beam import BeamSearch
from sidestep.search.config import NamedSearch
from sidestep.step import HistoryBatch
from sidestep.training.alignment import AlignmentObjective
from sidestep.training.alignment_config import AlignmentConfig
from sidestep.training.next_code_set import NextCodeSetObjective
from sidestep.training.objective_config import ValueTrainingConfig
from sidestep.training.rewards import Rewards, RewardSources, code_sums
from sidestep.training.rollout_figures import passed_slots
from sidestep.training.value import ValueObjective
from tests.training.test_alignment import RING, improved

SIZES = (3, 2, 2)
IDS = torch.tensor(list(itertools.product(range(3), range(2), range(2))))[::2]
SPACE = SetSpace.of_codes(IDS, SIZES)
CATEGORIES = torch.tensor([0, 1, 0, 1, 2, -1])
EMBEDDINGS = torch.tensor([[1.0, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [0, -1]])
HEAD = CategoryHeadConfig(column="kind", values=("a", "b", "c"))
REG4REC = ("step-hit", "category-hit", "step-consistency", "path")
HISTORIES = HistoryBatch(items=RING.items[:, :1], lengths=torch.ones(6, dtype=torch.long))


def a_policy(order="confident", **shape):
    torch.manual_seed(0)
    config = CodeSetConfig(dim=16, num_layers=1, num_heads=2, dropout=0.0, order=order, **shape)
    network = CodeSetTransformer(config, IDS, SIZES)
    torch.nn.init.normal_(network.code_embedding.weight)
    return network


def an_objective(policy=None, rewards=("exact",), head=None, **config):
    policy = policy or a_policy()
    settings = AlignmentConfig.model_validate(
        {
            "rewards": [{"reward": name} for name in rewards],
            "rollouts": {"search": "sampling", "num_samples": 4},
            "kl_weight": None,
            **config,
        }
    )
    sources = RewardSources(
        embeddings=LeafEmbeddings.of(EMBEDDINGS, SPACE),
        head_categories=CATEGORIES,
        codes=IDS,
        code_sums=lambda: code_sums(policy),
    )
    return AlignmentObjective(
        policy,
        SPACE,
        Rewards(settings.rewards, sources),
        settings,
        head=head,
        embeddings=sources.embeddings,
        categories=CATEGORIES,
    ).train()


def share_of_targets(policy):
    """The probability of the targets of `RING`, on average."""
    found = BeamSearch(num_beams=6).search(policy.eval(), HISTORIES, SPACE)
    targets = SPACE.state_of(RING.items[:, 1])
    is_own = found.leaves == targets[:, None]
    return float(found.log_probs.masked_fill(~is_own, -torch.inf).exp().sum(dim=1).mean())


@pytest.mark.parametrize("config", [{}, {"sibling_weight": 1.0, "group_weight": None}])
@pytest.mark.parametrize("order", ["confident", "informative", "random"])
def test_a_policy_over_sets_learns_what_is_rewarded(order, config):
    policy = a_policy(order)
    before = share_of_targets(policy)
    improved(an_objective(policy, **config), num_steps=30, learning_rate=0.03)
    after = share_of_targets(policy)
    assert after > 2 * before, (before, after)


def test_the_first_step_has_a_ratio_of_one_and_no_divergence():
    objective = an_objective(kl_weight=0.1)
    histories, futures = objective.prompts(RING)
    group = objective.rolled_out(histories, futures)
    reading = objective.read(group, histories)
    whole = reading.log_probs.sum(dim=2).detach()
    torch.testing.assert_close(whole[group.is_member], group.log_probs[group.is_member])
    assert objective(RING).parts["kl"] == pytest.approx(0.0, abs=1e-5)


def test_the_rewards_of_reg4rec_are_read_from_the_category_head():
    policy = a_policy(category_head=HEAD)
    objective = an_objective(
        policy, REG4REC, ratio="sequence", reward_horizon=2, targets_per_window=None
    )
    loss = objective(RING)
    loss.loss.backward()
    assert 0 < float(loss.parts["reward"]) <= 4
    assert policy.code_embedding.weight.grad.abs().sum() > 0
    assert policy.category_head.weight.grad is None


def test_candidates_are_compared_with_the_target_by_embeddings():
    loss = an_objective(rewards=("semantic",))(RING)
    assert 0 < float(loss.parts["best_reward"]) <= 1


def test_rewards_of_a_category_head_need_one():
    with pytest.raises(
        ValueError, match=r"'category-hit' failed: .* train the policy with model\.cat"
    ):
        an_objective(rewards=("category-hit",))(RING)


def test_the_likelihood_beside_is_that_of_sets():
    policy = a_policy(category_head=HEAD)
    objective = an_objective(policy, likelihood={"learned_steps": 2})
    [beside] = objective._likelihood
    assert isinstance(beside, NextCodeSetObjective)
    assert beside.config.learned_steps == 2
    loss = objective(RING)
    assert {"likelihood", "step_1", "step_2", "category"} <= set(loss.parts)
    assert policy.category_head.weight.requires_grad


def test_the_likelihood_beside_draws_anew_at_every_step_and_after_a_resume():
    objective, other = (an_objective(likelihood={"learned_steps": 1}) for _ in range(2))
    [beside], [of_other] = objective._likelihood, other._likelihood
    items = torch.zeros(40, 3, dtype=torch.long)
    first = beside._orders(items)
    objective.after_step()
    second = beside._orders(items)
    assert not second.equal(first)
    other.load_state_dict(objective.state_dict())
    assert of_other._orders(items).equal(second)


def test_a_short_way_dilutes_no_figure():
    """Only the nodes at which a candidate goes on count for entropies and divergence."""
    objective = an_objective()
    group = objective.rolled_out(*objective.prompts(RING))
    tree = group.tree
    assert not tree.is_step.all()
    passed = passed_slots(tree, group.is_member)
    leaves = set(SPACE.state_of(torch.arange(len(IDS))).tolist())
    assert leaves.isdisjoint(tree.slot_states[passed].tolist())


VED = {"search": "ved", "budget": 12, "num_leaves": 4, "warm_width": 2}


def a_head():
    torch.manual_seed(1)
    return ValueHead(ValueHeadConfig(num_heads=2), dim=16, num_levels=3)


@pytest.mark.parametrize("order", ["confident", "informative"])
def test_values_in_the_loop_have_the_loss_of_values_alone(order):
    policy, head = a_policy(order), a_head()
    objective = an_objective(policy, head=head, rollouts=VED, value={"gamma": 0.9})
    found = objective(RING).parts["value"]
    alone = ValueObjective(
        head,
        policy,
        SPACE,
        EMBEDDINGS,
        NamedSearch.model_validate({**VED, "gamma": 0.9}).policy(),
        ValueTrainingConfig(gamma=0.9),
    )
    torch.testing.assert_close(found, alone(RING).loss.detach())
    assert found > 0


def test_policy_and_values_learn_together_on_sets():
    policy, head = a_policy(), a_head()
    objective = an_objective(policy, head=head, rollouts=VED, value={}, sibling_weight=1.0)
    before, error = share_of_targets(policy), float(objective(RING).parts["value"])
    improved(objective, num_steps=30, learning_rate=0.03)
    assert share_of_targets(policy) > 2 * before
    assert float(objective(RING).parts["value"]) < error


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"dropout": True}, "would choose other codebooks"),
        ({"repair": "hint"}, "sets of codes have no first code"),
        ({"likelihood": {"beam_aware": {}}}, "likelihood: "),
    ],
)
def test_what_reads_prefixes_is_refused(config, words):
    with pytest.raises(ValueError, match=words):
        an_objective(**config)
    with pytest.raises(ValueError, match="needs the trie"):
        an_objective(rewards=("prefix",))(RING)
