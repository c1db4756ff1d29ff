"""Alignment: every algorithm reaches the known optimum, and keeps its laws."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.trie import Trie
from sidestep.data.windows import WindowBatch, Windows
from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.objectives.value import step_rewards
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.step import HistoryBatch
from sidestep.training.alignment import AlignmentObjective
from sidestep.training.alignment_config import AlignmentConfig, LoopValueConfig
from sidestep.training.config import TrainingConfig
from sidestep.training.loop import train
from sidestep.training.objective_config import NextCodeConfig, RewardTerm
from sidestep.training.optimizer import adamw
from sidestep.training.rewards import Rewards, RewardSources
from sidestep.training.schedule import learning_rate_at
from sidestep.training.value import value_loss

IDS = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 2]])
SIZES = (3, 3)
TRIE = Trie.build(IDS, SIZES)
LEAVES = TRIE.leaf_of(torch.arange(len(IDS)))
SCOPE = Scope(trie=TRIE)
BATCH = WindowBatch(
    items=torch.tensor([[0, 2, 1], [3, 1, NO_ITEM]]),
    lengths=torch.tensor([3, 2]),
    is_target=torch.tensor([[False, True, True], [False, True, False]]),
    num_targets=3,
)


def a_policy(seed: int = 0, dropout: float = 0.3, dim: int = 8, **shape) -> Transformer:
    torch.manual_seed(seed)
    config = TransformerConfig(
        dim=dim,
        num_layers=1,
        num_heads=2,
        history="items",
        item_embedding=True,
        dropout=dropout,
        **shape,
    )
    network = Transformer(config, IDS, SIZES)
    torch.nn.init.normal_(network.code_embedding.weight)
    torch.nn.init.normal_(network.item_embedding.weight)
    return network


def an_objective(policy=None, *, rewards=("exact",), value=None, embeddings=None, **config):
    policy = policy or a_policy()
    head = None
    if value is not None:
        torch.manual_seed(1)
        dim = policy.code_embedding.weight.shape[1]
        head = ValueHead(ValueHeadConfig(num_heads=2), dim=dim, num_levels=2)
        embeddings = LeafEmbeddings.of(torch.eye(len(IDS)), SCOPE)
    terms = tuple(RewardTerm(reward=name) for name in rewards)
    settings = AlignmentConfig.model_validate({"rewards": terms, "value": value, **config})
    made = Rewards(terms, RewardSources())
    return AlignmentObjective(
        policy, SCOPE, made, settings, head=head, embeddings=embeddings
    ).train()


def windows_of(num: int = 24) -> Windows:
    """Windows in which item (i + 1) % 6 follows item i, so that the best answer is known."""
    items = np.array([item for start in range(num) for item in (start % 6, (start + 1) % 6)])
    return Windows(
        items=items,
        starts=np.arange(0, 2 * num, 2),
        lengths=np.full(num, 2),
        first_target=np.ones(num, dtype=np.int64),
    )


RING = WindowBatch(
    items=torch.tensor([[item, (item + 1) % 6] for item in range(6)]),
    lengths=torch.full((6,), 2),
    is_target=torch.tensor([[False, True]] * 6),
    num_targets=6,
)
"""Every item once, as `windows_of` has them."""


def improved(
    objective: AlignmentObjective, *, num_steps: int, learning_rate: float
) -> list[dict[str, float]]:
    """The parts of every step of a training on `RING`, without log and checkpoints."""
    optimizer = adamw(
        objective,
        weight_decay=0.0,
        betas=(0.9, 0.98),
        rate_factors=objective.learning_rate_factors,
    )
    seen = []
    for step in range(num_steps):
        rate = learning_rate_at(
            step,
            num_steps=num_steps,
            warmup_steps=num_steps // 20,
            peak=learning_rate,
            floor=0.1 * learning_rate,
        )
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
        loss = objective(RING)
        loss.loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step()
        seen.append({name: float(part) for name, part in loss.parts.items()})
    return seen


def first_choices(policy: Transformer) -> list[int]:
    """Item that the policy recommends first after each item."""
    histories = HistoryBatch(
        items=torch.arange(6)[:, None], lengths=torch.ones(6, dtype=torch.long)
    )
    found = BeamSearch(num_beams=6).search(policy.eval(), histories, Scope(trie=TRIE)).leaves
    return [LEAVES.tolist().index(leaf) for leaf in found[:, 0].tolist()]


CAUTIOUS = {"kl_weight": 0.3}
"""For searches that do not see all items: the policy must not forget the right item too early."""

ALGORITHMS = {
    "grpo": {},
    "gspo": {"ratio": "sequence"},
    "dapo": {"clip_high": 0.28, "repair": "drop"},
    "reinforce with a baseline": {"scaling": "leave-one-out", "clip_low": None, "clip_high": None},
    "dr. grpo": {"scaling": "mean-only"},
    "expected reward": {"weighting": "policy", "scaling": "mean-only"},
    "towards the best policy of the group": {"optimum_temperature": 0.05, "kl_weight": 1e-3},
    "sibling": {"group_weight": None, "sibling_weight": 1.0},
    "joint": {"sibling_weight": 1.0},
}

RECIPES = {
    **ALGORITHMS,
    "off policy": {"sibling_weight": 1.0, "steps_per_rollout_policy": 3},
    "k3 and a reference that follows": {"kl": "k3", "steps_per_reference": 4},
    "sampled": {**CAUTIOUS, "rollouts": {"search": "sampling", "num_samples": 4}},
    "narrow, the target joined": {
        **CAUTIOUS,
        "rollouts": {"search": "beam", "num_beams": 2},
        "repair": "target",
    },
    "narrow, resampled": {
        **CAUTIOUS,
        "rollouts": {"search": "beam", "num_beams": 2},
        "repair": "resample",
    },
    "narrow, hinted": {
        **CAUTIOUS,
        "rollouts": {"search": "beam", "num_beams": 2},
        "repair": "hint",
    },
    "vstar": {
        **CAUTIOUS,
        "sibling_weight": 1.0,
        "rollouts": {"search": "ved", "budget": 12, "num_leaves": 4, "warm_width": 2},
        "value": {},
    },
}


THROUGH_THE_LOOP = ("narrow, hinted", "vstar")
"""Those that are trained with log and checkpoints, like any other training."""

STEPS = dict.fromkeys(RECIPES, 40) | {
    "sampled": 60,
    "narrow, the target joined": 60,
    "narrow, resampled": 100,
}
"""At least twice as many as are needed."""

RATES = dict.fromkeys(RECIPES, 0.03) | {
    "sampled": 0.02,
    "narrow, the target joined": 0.02,
    "narrow, resampled": 0.01,
}


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in THROUGH_THE_LOOP])
def test_every_algorithm_climbs_to_the_known_optimum(name):
    """A bandit of six items: the reward is known, and so is the answer that has all of it.

    The network is wide enough to be right long before the last step, so that the last bits of a
    processor decide nothing: weights that differ by a thousandth arrive there, too.
    """
    policy = a_policy(dropout=0.0, dim=32)
    rollouts = {"search": "beam", "num_beams": 6}
    objective = an_objective(policy, **{"rollouts": rollouts, **RECIPES[name]})
    assert first_choices(policy) != [1, 2, 3, 4, 5, 0]
    objective.train()
    steps = improved(objective, num_steps=STEPS[name], learning_rate=RATES[name])
    assert first_choices(policy) == [1, 2, 3, 4, 5, 0]
    assert steps[-1]["target_log_prob"] > steps[0]["target_log_prob"]
    assert steps[-1]["entropy_1"] < steps[0]["entropy_1"]


@pytest.mark.parametrize("name", THROUGH_THE_LOOP)
def test_through_the_loop_it_climbs_to_the_known_optimum(tmp_path, name):
    policy = a_policy(dropout=0.0)
    objective = an_objective(policy, **RECIPES[name])
    assert first_choices(policy) != [1, 2, 3, 4, 5, 0]
    config = TrainingConfig(
        epochs=6,
        batch_size=24,
        learning_rate=0.02,
        weight_decay=0.0,
        device="cpu",
        log_every=2,
    )
    train(objective, windows_of(720), config, folder=tmp_path, seed=0)
    assert first_choices(policy) == [1, 2, 3, 4, 5, 0]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [line["parts"] for line in lines if line["kind"] == "step"]
    assert steps[-1]["target_log_prob"] > steps[0]["target_log_prob"]
    assert steps[-1]["entropy_1"] < steps[0]["entropy_1"]


def test_it_arrives_at_the_best_of_rewards_and_divergence_and_stays():
    """π* ∝ π_ref exp(R / τ): log-odds of the answer against the others grow by 1 / τ, no more."""

    def log_probs(policy):
        histories = HistoryBatch(
            items=torch.arange(6)[:, None], lengths=torch.ones(6, dtype=torch.long)
        )
        found = BeamSearch(num_beams=6).search(policy.eval(), histories, Scope(trie=TRIE))
        return found.log_probs.gather(1, found.leaves.argsort(dim=1))

    beams = {"search": "beam", "num_beams": 6}
    objective = an_objective(rollouts=beams, optimum_temperature=0.5, kl_weight=1e-9)
    before = log_probs(objective.policy)
    improved(objective, num_steps=150, learning_rate=0.01)
    gained = log_probs(objective.policy) - before
    answers = (LEAVES.sort().values == LEAVES[(torch.arange(6) + 1) % 6][:, None]).float()
    expected = answers / 0.5
    centred = [x - x.mean(dim=1, keepdim=True) for x in (gained, expected)]
    torch.testing.assert_close(*centred, atol=0.1, rtol=0)


def test_the_first_step_is_that_of_reinforce():
    """At ρ = 1, the gradient is that of Σ A log π. Dropout is off, as otherwise ρ is not 1."""
    objective = an_objective(kl_weight=None)
    loss = objective(BATCH)
    assert float(loss.loss.detach()) == pytest.approx(0.0, abs=1e-6)  # advantages have mean 0
    assert float(loss.parts["clipped"]) == 0
    weights = objective.policy.code_embedding.weight
    ours = torch.autograd.grad(loss.loss, weights)[0]
    histories, futures = objective.prompts(BATCH)
    group = objective.rolled_out(histories, futures)
    step = group.tree.read(objective.policy, histories)
    whole = group.tree.code_log_probs(
        group.tree.node_log_probs(step, TRIE.legal(group.tree.slot_states))
    ).sum(dim=2)
    rewards = group.rewards[:, :6]
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    advantages = centred / (centred.square().mean(dim=1, keepdim=True).sqrt() + 1e-6)
    raised = (advantages * whole[:, :6]).sum(dim=1).mean() / (6 * 2)  # |C| and L
    theirs = torch.autograd.grad(-raised, weights)[0]
    torch.testing.assert_close(ours, theirs)
    assert ours.abs().sum() > 0


@pytest.mark.parametrize(
    ("rollouts", "temperature"),
    [
        ({"search": "beam", "num_beams": 16}, 1.0),
        ({"search": "beam", "num_beams": 4}, 0.6),
        ({"search": "beam", "num_beams": 4, "normaliser": "codebook"}, 1.0),
    ],
)
def test_weighed_by_the_policy_it_is_the_gradient_of_the_expected_reward(rollouts, temperature):
    """E = Σ π_C(c) R(c) over the candidates, divided by the number of levels like all such terms.

    π is the policy that is trained, whatever score the search ranks by.
    """
    objective = an_objective(
        rollouts=rollouts,
        temperature=temperature,
        weighting="policy",
        scaling="mean-only",
        kl_weight=None,
    )
    weights = objective.policy.code_embedding.weight
    ours = torch.autograd.grad(objective(BATCH).loss, weights)[0]
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    futures, histories = BATCH.after(users, positions, 1), BATCH.before(users, positions)
    group = objective.rolled_out(histories, futures)
    step = group.tree.read(objective.policy, histories)
    by_slot = group.tree.node_log_probs(
        step, TRIE.legal(group.tree.slot_states), temperature=temperature
    )
    whole = group.tree.code_log_probs(by_slot).sum(dim=2)
    shares = whole.masked_fill(~group.is_member, -torch.inf).softmax(dim=1)
    expected = (shares * group.rewards).sum(dim=1).mean() / 2
    theirs = torch.autograd.grad(-expected, weights)[0]
    torch.testing.assert_close(ours, theirs)


def test_towards_the_optimum_every_step_has_the_gradient_of_the_cross_entropy():
    """Cross-entropy from the group's best policy to the current one, also for another searcher."""
    objective = an_objective(
        rollouts={"search": "beam", "num_beams": 4},
        optimum_temperature=0.5,
        steps_per_rollout_policy=3,
        kl_weight=1e-9,
    )
    optimizer = torch.optim.SGD(objective.policy.parameters(), lr=20.0)
    histories, futures = objective.prompts(BATCH)
    reference = objective.rolled_out(histories, futures).old_log_probs.sum(dim=2)
    weights = objective.policy.code_embedding.weight
    for _ in range(2):
        loss = objective(BATCH)
        ours = torch.autograd.grad(loss.loss, weights, retain_graph=True)[0]
        group = objective.rolled_out(histories, futures)
        step = group.tree.read(objective.policy, histories)
        whole = group.tree.code_log_probs(
            group.tree.node_log_probs(step, TRIE.legal(group.tree.slot_states))
        ).sum(dim=2)
        best = (reference + group.rewards / 0.5).masked_fill(~group.is_member, -torch.inf)
        own = whole.masked_fill(~group.is_member, -torch.inf).log_softmax(dim=1)
        terms = torch.where(group.is_member, best.softmax(dim=1) * own, 0.0)
        theirs = torch.autograd.grad(-terms.sum(dim=1).mean() / 2, weights)[0]  # L = 2 codes
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
        assert float(loss.parts["clipped"]) == 0
        loss.loss.backward()
        optimizer.step()
        objective.after_step()
    assert (whole - group.old_log_probs.sum(dim=2)).abs().max() > 0.2


def test_the_second_step_on_the_same_rollouts_is_clipped():
    """The rollout policy is the policy before the step, so ρ is not 1 after a long step."""
    objective = an_objective(steps_per_rollout_policy=2, sibling_weight=1.0, kl_weight=None)
    optimizer = torch.optim.SGD(objective.policy.parameters(), lr=5.0)
    first = objective(BATCH)
    assert float(first.parts["clipped"]) == 0
    first.loss.backward()
    optimizer.step()
    objective.after_step()
    second = objective(BATCH)
    assert float(second.parts["clipped"]) > 0
    assert second.parts["reward"] == first.parts["reward"]  # the same candidates
    objective.after_step()  # from now on, the current policy makes the rollouts
    assert float(objective(BATCH).parts["clipped"]) == 0


def test_with_dropout_rollouts_are_those_of_a_policy_that_knows_less():
    """The ratio stays 1 at the step after the rollouts, whatever the dropout masks were."""
    objective = an_objective(a_policy(dropout=0.9), dropout=True, kl_weight=None)
    torch.manual_seed(0)
    first, second = objective(BATCH), objective(BATCH)
    assert first.parts["target_log_prob"] != second.parts["target_log_prob"]
    assert float(first.parts["clipped"]) == float(first.loss.detach().abs() > 1e-6) == 0
    still = objective.eval()
    assert still(BATCH).parts["target_log_prob"] == still(BATCH).parts["target_log_prob"]


def test_a_reference_follows_only_when_it_is_told_to():
    for every, expected in ((None, True), (1, False)):
        objective = an_objective(steps_per_reference=every)
        with torch.no_grad():
            objective.policy.code_embedding.weight.mul_(2)
        assert float(objective(BATCH).parts["kl"]) > 0
        objective.after_step()
        assert (float(objective(BATCH).parts["kl"]) > 1e-9) == expected


def test_copies_are_in_checkpoints_only_where_they_change():
    names = {name.partition(".")[0] for name in an_objective().state_dict()}
    assert names == {"policy", "num_steps"}
    moving = an_objective(steps_per_reference=5, steps_per_rollout_policy=2).state_dict()
    assert {name.partition(".")[0] for name in moving} == {
        "policy",
        "num_steps",
        "reference",
        "rollout_policy",
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"rollouts": {"search": "sampling", "num_samples": 3}, "sibling_weight": 1.0},
        {"steps_per_rollout_policy": 3, "steps_per_reference": 4, "repair": "resample"},
        {"likelihood": {}, "value": {}},
    ],
)
def test_interrupted_and_resumed_it_ends_with_the_same_bits(tmp_path, settings):
    config = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.01, device="cpu")

    def trained(folder, max_seconds=None, resume=False):
        objective = an_objective(**settings)
        limited = config.model_copy(update={"max_seconds": max_seconds})
        result = train(
            objective, windows_of(), limited, folder=tmp_path / folder, seed=3, resume=resume
        )
        return objective.state_dict(), result

    whole, _ = trained("whole")
    budget = 1e-6
    for _ in range(20):
        _, part = trained("parts", max_seconds=budget, resume=True)
        if part.step >= 5:
            break
        budget = part.seconds + 0.05
    assert part.stopped == "budget"
    resumed, result = trained("parts", resume=True)
    assert result.stopped == "finished"
    for name, weights in whole.items():
        assert torch.equal(resumed[name], weights), name


def test_groups_without_different_rewards_are_repaired():
    """A narrow search misses the target; with each repair, the policy learns all the same."""
    narrow = {"rollouts": {"search": "beam", "num_beams": 2}, "kl_weight": None}
    plain = an_objective(**narrow)(BATCH).parts
    assert float(plain["zero_advantage"]) > 0
    joined = an_objective(**narrow, repair="target")(BATCH).parts
    assert float(joined["zero_advantage"]) == 0
    assert float(joined["found"]) == 1
    assert float(plain["candidates"]) == 2 < float(joined["candidates"]) <= 3
    hinted = an_objective(**narrow, repair="hint")(BATCH).parts
    assert float(hinted["found"]) > float(plain["found"])
    assert float(hinted["tokens"]) > float(plain["tokens"])


def test_a_dropped_group_does_not_thin_the_others():
    narrow = {"rollouts": {"search": "beam", "num_beams": 2}, "kl_weight": None}
    gradients = {}
    for repair in ("none", "drop"):
        objective = an_objective(**narrow, repair=repair)
        loss = objective(BATCH)
        gradients[repair] = torch.autograd.grad(loss.loss, objective.policy.head.weight)[0]
        share = 1 - float(loss.parts["zero_advantage"])
    assert 0 < share < 1
    torch.testing.assert_close(gradients["none"], gradients["drop"] * share)


def test_hinted_codes_are_learned_by_likelihood_and_not_by_advantage():
    """A beam of two misses the target. With a hint, both candidates share its first code."""
    objective = an_objective(
        rollouts={"search": "beam", "num_beams": 2}, repair="hint", kl_weight=None
    )
    histories, futures = objective.prompts(BATCH)
    targets = futures[:, 0]
    group = objective.rolled_out(histories, futures)
    is_hinted = (group.first_free == 1) & group.learns
    assert is_hinted.any()
    reading = objective.read(group, histories)
    credit = objective.credit(group, reading)
    assert not credit.is_counted["group"][is_hinted][..., 0].any()
    assert credit.is_counted["group"][is_hinted][..., 1].any()
    # Without advantages, only the likelihood of the hinted codes is left.
    flat = {name: torch.zeros_like(given) for name, given in credit.advantages.items()}
    flattened = replace(credit, advantages=flat)
    loss, _ = objective.loss(group, flattened, reading, histories, targets)
    tree = group.tree
    step = tree.read(objective.policy, histories)
    logs = tree.code_log_probs(tree.node_log_probs(step, TRIE.legal(tree.slot_states)))
    at = (tree.leaves == TRIE.leaf_of(targets)[:, None]).byte().argmax(dim=1)
    first = logs[torch.arange(len(at)), at, 0]
    torch.testing.assert_close(loss, -(first * is_hinted).sum() / (len(targets) * 2))


def test_every_search_of_a_step_draws_anew():
    """Hints draw by the number of the step; a repeated draw has noise of its own."""
    for repair in ("hint", "resample"):
        objective = an_objective(
            rollouts={"search": "sampling", "num_samples": 2}, repair=repair, kl_weight=None
        )
        seeds = []
        searched = type(objective.rollouts)._searched

        def watched(self, search, *rest, seen=seeds, inner=searched, **more):
            seen.append(search.seed)
            return inner(self, search, *rest, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(objective.rollouts), "_searched", watched)
            for _ in range(2):
                objective(BATCH)
                objective.after_step()
        assert {0, 1} <= set(seeds)
        if repair == "hint":
            assert set(seeds) == {0, 1}
            assert seeds.count(1) > 1
        else:
            assert len(set(seeds)) == 4


def test_likelihood_alone_is_supervised_training():
    objective = an_objective(
        a_policy(dropout=0.0), group_weight=None, likelihood=NextCodeConfig(), kl_weight=None
    )
    loss = objective(BATCH)
    assert loss.parts["likelihood"] == loss.loss.detach()
    assert set(loss.parts) == {"likelihood", "code_1", "code_2"}


def test_values_learn_at_their_own_rate_and_leave_the_policy_alone():
    objective = an_objective(value={"learning_rate_factor": 7.0}, kl_weight=None)
    assert objective.learning_rate_factors == {"head.": 7.0}
    assert {name.partition(".")[0] for name, _ in objective.named_parameters()} == {
        "policy",
        "head",
    }
    with_value = torch.autograd.grad(
        objective(BATCH).loss, objective.policy.code_embedding.weight, retain_graph=True
    )[0]
    alone = an_objective(kl_weight=None)
    without = torch.autograd.grad(alone(BATCH).loss, alone.policy.code_embedding.weight)[0]
    torch.testing.assert_close(with_value, without)
    moving = an_objective(value={"detach_backbone": False}, kl_weight=None)
    moved = torch.autograd.grad(moving(BATCH).loss, moving.policy.code_embedding.weight)[0]
    assert not torch.allclose(moved, without)


def test_limits_end_the_run(tmp_path):
    config = TrainingConfig(epochs=9, batch_size=6, learning_rate=0.05, device="cpu", log_every=1)
    objective = an_objective(max_kl=0.05)
    result = train(objective, windows_of(), config, folder=tmp_path / "kl", seed=0)
    assert result.stopped == "limit"
    again = train(
        an_objective(max_kl=0.05), windows_of(), config, folder=tmp_path / "kl", seed=0, resume=True
    )
    assert (again.stopped, again.step) == ("limit", result.step)  # the run has ended
    sure = an_objective(min_entropy=0.9)
    assert not sure.limit_reached({"entropy_1": 1.0, "kl": 9.0})
    assert sure.limit_reached({"entropy_1": 0.8, "kl": 0.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_weight": None}, "there is nothing to learn"),
        ({"weighting": "policy", "sibling_weight": 1.0}, "weighting 'policy' is of whole"),
        ({"ratio": "sequence", "sibling_weight": 1.0}, "ratio 'sequence' is of whole"),
        ({"ratio": "sequence", "repair": "hint"}, "ratio 'sequence' is of whole"),
        ({"optimum_temperature": 0.1, "kl_weight": None}, "against the policy of before"),
        ({"optimum_temperature": 0.1, "sibling_weight": 1.0}, "takes the place of advantages"),
        ({"reward_horizon": 3}, "reward_horizon is 3, but with targets_per_window 1 no target"),
        ({"kl_weight": None, "max_kl": 0.1}, "max_kl needs the reference policy"),
        ({"dropout": True, "steps_per_rollout_policy": 2}, "dropout would part the policy"),
        ({"kl_weight": None, "steps_per_reference": 2}, "steps_per_reference needs the reference"),
        (
            {"group_weight": None, "likelihood": {}, "min_entropy": 1.0},
            "min_entropy needs rollouts",
        ),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AlignmentConfig.model_validate(settings)


def test_what_is_missing_is_named():
    made = Rewards((RewardTerm(reward="exact"),), RewardSources())
    with pytest.raises(ValueError, match="the backbone has no value head"):
        AlignmentObjective(a_policy(), SCOPE, made, AlignmentConfig(value=LoopValueConfig()))
    head = ValueHead(ValueHeadConfig(num_heads=2), dim=8, num_levels=2)
    with pytest.raises(ValueError, match="name the file of 'sidestep embed' as embeddings"):
        AlignmentObjective(
            a_policy(), SCOPE, made, AlignmentConfig(value=LoopValueConfig()), head=head
        )
    with pytest.raises(ValueError, match="likelihood: item_weight is None, but the model has an"):
        an_objective(a_policy(item_head=True), likelihood=NextCodeConfig())
    with pytest.raises(ValueError, match=r"value.weights has 1 entries, but semantic IDs have 2"):
        an_objective(value={"weights": (1.0,)})


def test_open_prompts_ask_what_nobody_knows():
    """The history holds the target; nothing else depends on the target."""
    seen = []

    def reward(scene):
        seen.append(scene.histories)
        return scene.leaves.float()

    settings = AlignmentConfig(
        rewards=(RewardTerm(reward="novelty"),), open_prompts=True, kl_weight=None
    )
    objective = AlignmentObjective(a_policy(), SCOPE, reward, settings, max_history=2).train()
    loss = objective(BATCH)
    assert seen[0].items.tolist() == [[0, 2], [2, 1], [3, 1]]  # the second is cut to two items
    assert seen[0].lengths.tolist() == [2, 2, 2]
    assert {"found", "matched", "target_log_prob"}.isdisjoint(loss.parts)
    assert torch.autograd.grad(loss.loss, objective.policy.head.weight)[0].abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "the reward 'rank-aware' asks what came next"),
        ({"rewards": [{"reward": "novelty"}], "repair": "hint"}, "the repairs 'target' and 'hint'"),
        ({"rewards": [{"reward": "novelty"}], "value": {}}, "open_prompts: values and"),
    ],
)
def test_open_prompts_refuse_what_needs_a_target(settings, message):
    with pytest.raises(ValueError, match=message):
        AlignmentConfig.model_validate({"open_prompts": True, **settings})


def test_the_item_head_learns_only_where_likelihood_does():
    """A weight without a gradient would stop training on several devices."""
    for settings, learns in (({}, False), ({"likelihood": {"item_weight": 1.0}}, True)):
        objective = an_objective(a_policy(item_head=True), **settings)
        objective(BATCH).loss.backward()
        head = objective.policy.item_head.weight
        assert head.requires_grad == learns
        assert all(one.grad is not None for one in objective.parameters() if one.requires_grad)


def test_values_are_discounted_in_the_search_as_they_are_learned():
    ved = {"search": "ved", "budget": 12, "num_leaves": 4, "warm_width": 2}
    assert an_objective(rollouts=ved, value={"gamma": 0.8}).rollouts.search.gamma == 0.8
    told = {**ved, "gamma": 0.7}
    assert an_objective(rollouts=told, value={"gamma": 0.8}).rollouts.search.gamma == 0.7


@torch.no_grad()
def test_values_in_the_loop_are_discounted_as_they_are_told():
    """The loss in the log is the loss of TD targets at exactly this gamma."""
    for gamma in (0.0, 0.6):
        objective = an_objective(value={"gamma": gamma}, kl_weight=None)
        histories, futures = objective.prompts(BATCH)
        targets = futures[:, 0]
        group = objective.rolled_out(histories, futures)
        step = group.tree.read(objective.policy, histories)
        rewards = step_rewards(
            objective.embeddings.at(group.tree.leaves),
            objective.embeddings.items[targets],
            group.tree.states == TRIE.prefixes(TRIE.leaf_of(targets))[:, None],
            group.tree.shared,
            objective.value_weights,
        )
        told, other = (
            value_loss(
                objective.head, group.tree, step.hidden, rewards, gamma=own, weights=None
            ).mean()
            for own in (gamma, 0.99)
        )
        found = objective(BATCH).parts["value"]
        torch.testing.assert_close(found, told)
        assert (found - other).abs() > 1e-4


def test_values_in_the_loop_refuse_weights_of_which_none_counts():
    with pytest.raises(ValueError, match="no level has a weight above 0"):
        AlignmentConfig.model_validate({"value": {"weights": (0.0, 0.0)}})


def test_rewards_see_as_much_of_the_future_as_is_asked_for():
    seen = {}

    def reward(scene):
        seen["futures"] = scene.futures.tolist()
        return torch.rand(scene.leaves.shape)

    objective = an_objective(reward_horizon=3, targets_per_window=None)
    objective.rollouts = replace(objective.rollouts, reward=reward)
    objective(BATCH)
    # The targets of BATCH: item 2 before 1, item 1 at the end, item 1 at the end of a shorter one.
    assert seen["futures"] == [[2, 1, NO_ITEM], [1, NO_ITEM, NO_ITEM], [1, NO_ITEM, NO_ITEM]]
