"""Training of a value head: the loss sees the values that a search sees, and the head learns."""

import json

import numpy as np
import pytest
import torch

from sidestep.catalog.catalog import Catalog
from sidestep.catalog.trie import Trie
from sidestep.data.splits import leave_one_out
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.data.windows import WindowBatch, training_windows, window_batch
from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.heads import HeadedModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.padding import NO_ITEM
from sidestep.runs.kinds.transformer import TransformerRun
from sidestep.runs.kinds.value import ValueRun
from sidestep.runs.plan import Material
from sidestep.search.beam import BeamSearch
from sidestep.search.config import GuidanceConfig
from sidestep.search.policy import Scope
from sidestep.search.sampling import Sampling
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.step import HistoryBatch
from sidestep.training.config import TrainingConfig, ValidationConfig
from sidestep.training.fit import TrainingRun, fit
from sidestep.training.objective_config import ValueTrainingConfig
from sidestep.training.value import ValueObjective, tree_and_path
from tests.training.candidate_trees import tree_of

from . import test_set_distillation

IDS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1]])
TRIE = Trie.build(IDS, (2, 2))
LEAVES = TRIE.leaf_of(torch.arange(5))
BATCH = WindowBatch(
    items=torch.tensor([[0, 2, 1], [3, 1, NO_ITEM]]),
    lengths=torch.tensor([3, 2]),
    is_target=torch.tensor([[False, True, True], [True, True, False]]),
    num_targets=4,
)


def objective_of(num_beams=2, embeddings=None, policy=None, **config) -> ValueObjective:
    torch.manual_seed(0)
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, dropout=0.5)
    backbone = Transformer(shape, IDS, (2, 2))
    torch.nn.init.normal_(backbone.code_embedding.weight)
    head = ValueHead(ValueHeadConfig(num_heads=2), dim=8, num_levels=2)
    embeddings = torch.eye(5) if embeddings is None else embeddings
    policy = policy or BeamSearch(num_beams=num_beams)
    settings = ValueTrainingConfig(**config)
    return ValueObjective(head, backbone, Scope(trie=TRIE), embeddings, policy, settings)


def set_objective_of(policy=None, **config) -> ValueObjective:
    """The objective beside a network over sets."""
    torch.manual_seed(0)
    head = ValueHead(ValueHeadConfig(num_heads=2), dim=8, num_levels=3)
    return ValueObjective(
        head,
        test_set_distillation.a_policy(),
        test_set_distillation.SPACE,
        torch.eye(6),
        policy or BeamSearch(num_beams=2),
        ValueTrainingConfig(**config),
    )


@torch.no_grad()
@pytest.mark.parametrize("include_target", [True, False])
def test_the_values_of_sets_that_are_trained_are_those_that_a_value_beam_reads(include_target):
    lowered, space = set_objective_of(), test_set_distillation.SPACE
    histories = HistoryBatch(
        items=torch.tensor([[0, 2], [3, NO_ITEM]]), lengths=torch.tensor([2, 1])
    )
    targets = torch.tensor([1, 5])
    backbone = lowered.backbone.eval()
    wide = ValueBeamSearch(num_beams=9, candidates=9)
    found = wide.search(HeadedModel(backbone, lowered.head), histories, space)
    leaves = found.leaves[:, :6].masked_fill(
        found.leaves[:, :6] == space.state_of(targets)[:, None], -1
    )
    tree, is_on_path = tree_and_path(
        lowered.ways,
        backbone,
        histories,
        leaves,
        space.state_of(targets),
        include_target=include_target,
    )
    assert tree.leaves.shape[1] == 6 + include_target
    hidden = tree.read(backbone, histories).hidden
    roots, values = tree.values(lowered.head, hidden)
    known = found.tree
    for user in range(2):
        by_state = dict(zip(known.states[user].tolist(), known.scores[user].tolist(), strict=True))
        own = test_set_distillation.SETS[targets[user]].tolist()
        for candidate in tree.is_candidate[user].nonzero()[:, 0].tolist():
            states = tree.states[user, candidate].tolist()
            assert states[-1] == int(tree.leaves[user, candidate])
            for level, state in enumerate(states):
                value = float(values[user, candidate, level])
                assert value == pytest.approx(by_state[state], abs=1e-5)
                codes = set(space.features(torch.tensor([[state]]))[0, 0].tolist()) - {-1}
                assert bool(is_on_path[user, candidate, level]) == (codes <= set(own))
    step, _ = HeadedModel(backbone, lowered.head).encode(histories, capacity=1)
    torch.testing.assert_close(step.value[:, 0], roots)


def test_rewards_of_sets_are_those_of_their_paths_and_items():
    """Golden: with orthogonal items, a wrong set costs its weight and a right one gains it."""
    lowered = set_objective_of(policy=BeamSearch(num_beams=6), weights=(0.5, 1.0, 2.0))
    loss = lowered(BATCH)
    assert float(loss.parts["missed"]) == 0
    assert set(loss.parts) == {"depth_0", "depth_1", "depth_2", "depth_3", "reward", "missed"}
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    total, number = 0.0, 0
    for user, position in zip(users, positions, strict=True):
        histories = BATCH.before(user[None], position[None])
        target = BATCH.items[user, position][None]
        every = test_set_distillation.SPACE.state_of(torch.arange(6))[None]
        leaf = test_set_distillation.SPACE.state_of(target)
        tree, _ = tree_and_path(
            lowered.ways, lowered.backbone, histories, every, leaf, include_target=True
        )
        for level, weight in enumerate((0.5, 1.0, 2.0)):
            below = {}
            for item, state in enumerate(tree.states[0, :6, level].tolist()):
                below.setdefault(state, []).append(item)
            for items in below.values():
                cosine = (int(target) in items) / len(items) ** 0.5
                total += weight if int(target) in items else -weight * (1 - cosine)
                number += 1
    assert float(loss.parts["reward"]) == pytest.approx(total / number, abs=1e-5)


def test_values_of_sets_need_a_network_that_chooses_codebooks():
    with pytest.raises(ValueError, match="take a network of kind code-sets"):
        ValueObjective(
            ValueHead(ValueHeadConfig(num_heads=2), dim=8, num_levels=3),
            objective_of().backbone,
            test_set_distillation.SPACE,
            torch.eye(6),
            BeamSearch(num_beams=2),
            ValueTrainingConfig(),
        )


@torch.no_grad()
def test_the_values_that_are_trained_are_those_that_a_search_reads():
    lowered = objective_of()
    histories = HistoryBatch(
        items=torch.tensor([[0, 2], [3, NO_ITEM]]), lengths=torch.tensor([2, 1])
    )
    tree = tree_of(LEAVES[torch.tensor([[0, 1, 2], [2, 3, 0]])], None, TRIE)
    roots, values = tree.values(lowered.head, tree.read(lowered.backbone.eval(), histories).hidden)
    model = HeadedModel(lowered.backbone, lowered.head)
    for candidate in range(3):
        step, context = model.encode(histories, capacity=2)
        torch.testing.assert_close(step.value[:, 0], roots)
        for level in range(2):
            place = torch.full((2, 1), level)
            step, context = model.extend(
                context,
                tree.codes[:, candidate, level : level + 1],
                place,
                place + 1,
                is_node=torch.ones(2, 1, dtype=torch.bool),
            )
            torch.testing.assert_close(step.value[:, 0], values[:, candidate, level])


def test_every_step_draws_candidates_anew_also_after_a_resume():
    def missed(objective):
        return float(objective(BATCH).parts["missed"])

    lowered = objective_of(policy=Sampling(num_samples=1, temperature=5.0))
    drawn = []
    for _ in range(12):
        drawn.append(missed(lowered))
        assert missed(lowered) == drawn[-1]  # within a step, nothing changes
        lowered.after_step()
    assert len(set(drawn)) > 1
    resumed = objective_of(policy=Sampling(num_samples=1, temperature=5.0, seed=0))
    resumed.load_state_dict(lowered.state_dict())
    assert missed(resumed) == missed(lowered)
    assert int(resumed.num_steps) == 12


def test_every_target_is_searched_from_its_own_history_and_only_the_head_learns():
    lowered = objective_of()
    lowered.train()
    loss = lowered(BATCH)
    assert loss.num_targets == 4
    assert set(loss.parts) == {"depth_0", "depth_1", "depth_2", "reward", "missed"}
    assert loss.parts["missed"] > 0
    depths = torch.stack([loss.parts[f"depth_{depth}"] for depth in range(3)])
    torch.testing.assert_close(loss.loss.detach(), depths.mean())
    by_target = []
    for user, position in BATCH.is_target.nonzero().tolist():
        items = BATCH.items[user : user + 1, : position + 1]
        is_target = (torch.arange(position + 1) == position)[None]
        alone = WindowBatch(
            items=items, lengths=torch.tensor([position + 1]), is_target=is_target, num_targets=1
        )
        by_target.append(lowered(alone).loss)
    torch.testing.assert_close(torch.stack(by_target).mean(), loss.loss)
    loss.loss.backward()
    assert all(weights.grad is None for weights in lowered.backbone.parameters())
    assert all(weights.grad is not None for weights in lowered.head.parameters())


def test_rewards_are_those_of_the_leaves_that_items_share():
    embeddings = torch.eye(5)
    embeddings[4] = embeddings[0]  # items 3 and 4 share the leaf 11
    lowered = objective_of(num_beams=4, embeddings=7 * embeddings)
    window = WindowBatch(
        items=torch.tensor([[2, 0]]),
        lengths=torch.tensor([2]),
        is_target=torch.tensor([[False, True]]),
        num_targets=1,
    )
    # Below the first code 1 are e2 and (e3 + e0) / 2; their mean has cosine 1/4 / √(3/8) with e0.
    first = [0.3, -0.3 * (1 - 0.25 / 0.375**0.5)]
    second = [1.0, -1.0, -1.0, -(1 - 0.5**0.5)]
    reward = float(lowered(window).parts["reward"])
    assert reward == pytest.approx(sum(first + second) / 6, abs=1e-6)


def test_without_the_target_a_search_that_misses_it_sees_no_right_leaf():
    found_all = objective_of(num_beams=4, include_target=False)(BATCH)
    assert found_all.parts["missed"] == 0
    with_target = objective_of(num_beams=4, include_target=True)(BATCH)
    torch.testing.assert_close(found_all.loss, with_target.loss)
    narrow = objective_of(num_beams=1, include_target=False)(BATCH)
    wide = objective_of(num_beams=1, include_target=True)(BATCH)
    assert wide.parts["reward"] > narrow.parts["reward"]


def test_items_and_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 embeddings for a catalog of 5 items"):
        objective_of(embeddings=torch.eye(3))
    with pytest.raises(ValueError, match="weights has 1 entries, but semantic IDs have 2 codes"):
        objective_of(weights=(1.0,))


def test_on_a_shop_the_loss_falls_and_right_prefixes_are_worth_more(tmp_path):
    dataset, truth = synthetic_shop(
        SyntheticShopConfig(
            num_users=150,
            num_departments=2,
            kinds_per_department=2,
            items_per_kind=6,
            max_length=20,
        ),
        seed=0,
    )
    split = leave_one_out(dataset.histories(), min_context=1)
    kinds = truth.kind_of
    series = np.array([(kinds[:item] == kind).sum() for item, kind in enumerate(kinds)])
    catalog = Catalog.build(
        [str(item) for item in range(len(kinds))], np.stack([kinds, series], axis=1), (4, 6)
    )
    training = TrainingConfig(epochs=6, batch_size=32, device="cpu", log_every=5)
    material = Material(split, catalog, 8)
    of_policy = TransformerRun(
        model=TransformerConfig(dim=16, num_layers=1, num_heads=2, history="items")
    ).learning(material, seed=0)
    validation = ValidationConfig(num_users=10)
    run = TrainingRun(training=training, folder=tmp_path / "policy", seed=0, validation=validation)
    fit(of_policy, run)
    policy = of_policy.network
    before = {name: weights.clone() for name, weights in policy.state_dict().items()}
    embeddings = torch.nn.functional.one_hot(torch.from_numpy(kinds)).float()
    config = ValueRun(
        backbone="beside",
        embeddings="beside",
        model=ValueHeadConfig(num_heads=2),
        objective=ValueTrainingConfig(targets_per_window=3),
        guidance=GuidanceConfig(likelihood_weight=0.0),
        training=training.model_copy(update={"learning_rate": 5e-3, "validate_every": 6}),
        validation=ValidationConfig(num_beams=4),
    )
    head = config.network(material, policy, seed=0)
    # A narrow beam would show unlikely prefixes only if they are right.
    search = Sampling(num_samples=12, temperature=2.0)
    result = fit(
        config.learning(material, policy, head, embeddings, search),
        TrainingRun(
            training=config.training,
            folder=tmp_path / "value",
            seed=0,
            validation=config.validation,
        ),
    )
    assert result.best_epoch == 6  # the only epoch that was validated by a search
    lines = [json.loads(line) for line in (tmp_path / "value" / "log.jsonl").open()]
    losses = [line["loss"] for line in lines if line["kind"] == "step"]
    assert losses[-1] < 0.7 * losses[0]
    for name, weights in policy.state_dict().items():
        assert torch.equal(weights, before[name])
    windows = training_windows(split.train, 8)
    batch = window_batch(windows, np.arange(len(windows)))
    last = batch.lengths - 1
    rows = torch.arange(len(last))
    items = batch.items.masked_fill(torch.arange(batch.items.shape[1]) >= last[:, None], NO_ITEM)
    everything = catalog.trie.leaf_of(torch.arange(len(kinds))).expand(len(last), -1)
    tree = tree_of(everything, None, catalog.trie)
    with torch.no_grad():
        histories = HistoryBatch(items=items, lengths=last)
        _, values = tree.values(head, tree.read(policy, histories).hidden)
    targets = batch.items[rows, last]
    for level in range(2):
        right = values[rows, targets, level]
        is_other = tree.is_first[..., level] & (
            tree.states[..., level] != tree.states[rows, targets, level, None]
        )
        below = (values[..., level] < right[:, None]) & is_other
        assert below.sum() / is_other.sum() > 0.6
