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
from sidestep.search.sampling import Sampling
from sidestep.step import HistoryBatch
from sidestep.training.candidate_tree import CandidateTree
from sidestep.training.config import TrainingConfig, ValidationConfig
from sidestep.training.fit import TrainingRun, fit
from sidestep.training.objective_config import ValueTrainingConfig
from sidestep.training.value import ValueObjective

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
    return ValueObjective(head, backbone, TRIE, embeddings, policy, ValueTrainingConfig(**config))


@torch.no_grad()
def test_the_values_that_are_trained_are_those_that_a_search_reads():
    lowered = objective_of()
    histories = HistoryBatch(
        items=torch.tensor([[0, 2], [3, NO_ITEM]]), lengths=torch.tensor([2, 1])
    )
    tree = CandidateTree.of(LEAVES[torch.tensor([[0, 1, 2], [2, 3, 0]])], None, TRIE)
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
    tree = CandidateTree.of(everything, None, catalog.trie)
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
