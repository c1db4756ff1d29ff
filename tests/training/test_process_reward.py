"""The objective of a process reward model against plain Python, and its training end to end."""

import pytest
import torch

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.config import ProcessRewardConfig, TransformerConfig
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.transformer import Transformer
from sidestep.padding import NO_ITEM
from sidestep.recommender import GenerativeRecommender
from sidestep.runs.kinds.process_reward import ProcessRewardRun
from sidestep.runs.plan import Material
from sidestep.search.beam import BeamSearch
from sidestep.search.config import GuidanceConfig
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.policy import Scope
from sidestep.search.process_reward import ProcessReward
from sidestep.search.scorer import Guidance
from sidestep.step import HistoryBatch
from sidestep.training.config import TrainingConfig, ValidationConfig
from sidestep.training.fit import TrainingRun, fit
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.next_code_set import NextCodeSetObjective
from sidestep.training.objective_config import (
    NextCodeConfig,
    NextCodeSetConfig,
    ProcessRewardTrainingConfig,
)
from sidestep.training.process_reward import ProcessRewardObjective
from tests.runs.test_learning import a_catalog, a_split

from . import test_set_distillation

IDS = torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0]])
TRIE = Trie.build(IDS, (2, 2))
BATCH = WindowBatch(
    items=torch.tensor([[0, 2, 1], [3, 1, NO_ITEM]]),
    lengths=torch.tensor([3, 2]),
    is_target=torch.tensor([[False, True, True], [True, True, False]]),
    num_targets=4,
)


def backbone_of(ids=IDS, sizes=(2, 2), *, dropout=0.5) -> Transformer:
    torch.manual_seed(0)
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items", dropout=dropout)
    network = Transformer(shape, ids, sizes)
    torch.nn.init.normal_(network.code_embedding.weight)  # so that untrained states differ
    return network


def objective_of(*, dropout=0.5, **config) -> ProcessRewardObjective:
    backbone = backbone_of(dropout=dropout)
    network = ProcessRewardModel(
        ProcessRewardConfig(dim=4), num_features=TRIE.num_nodes(), memory_dim=8
    )
    torch.nn.init.normal_(network.embedding.weight)
    settings = ProcessRewardTrainingConfig(**config)
    return ProcessRewardObjective(network, backbone, Scope(trie=TRIE), settings)


def set_objective_of(**config) -> ProcessRewardObjective:
    """The objective beside a network over sets; without dropout."""
    backbone = test_set_distillation.a_policy(dropout=0.0, item_head=False, tied_item_head=False)
    space = test_set_distillation.SPACE
    network = ProcessRewardModel(
        ProcessRewardConfig(dim=4, dot_product=True), num_features=space.num_features, memory_dim=8
    )
    torch.nn.init.normal_(network.embedding.weight)
    return ProcessRewardObjective(network, backbone, space, ProcessRewardTrainingConfig(**config))


def test_the_loss_of_sets_is_what_the_search_will_see_after_the_sets_on_the_way():
    lowered = set_objective_of()
    loss = lowered(BATCH)
    scorer, space = ProcessReward(network=lowered.network), test_set_distillation.SPACE
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    contrasts = lowered.contrasts.draw(lowered.backbone.eval(), BATCH, users, positions)
    total = 0.0
    for depth, contrast in enumerate(contrasts, start=1):
        for row, (user, position) in enumerate(BATCH.is_target.nonzero().tolist()):
            before = HistoryBatch(
                items=BATCH.items[user : user + 1, :position], lengths=torch.tensor([position])
            )
            scores_of = scorer.begin(before, *lowered.backbone.encode(before, capacity=0), space)
            others = contrast.others[row][contrast.others[row] != NO_STATE]
            states = torch.cat([contrast.own[row : row + 1], others])
            total -= float(scores_of(states[None], depth)[0].log_softmax(0)[0].detach())
    assert float(loss.loss.detach()) == pytest.approx(total / 4, abs=1e-5)
    assert set(loss.parts) == {f"{part}_{n}" for part in ("prefix", "auc") for n in (1, 2, 3)}


def test_the_sets_of_a_beam_are_among_the_others():
    lowered, alone = set_objective_of(beam_negatives=6), set_objective_of()
    loss, without = lowered(BATCH), alone(BATCH)
    assert float(loss.parts["prefix_3"]) > float(without.parts["prefix_3"])
    assert {"beam_auc_1", "beam_auc_3"} <= set(loss.parts)
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    beams = lowered._beams(BATCH, users, positions)
    space = test_set_distillation.SPACE
    # Six beams hold all six items, so that in the end the loss is over all items.
    assert all(len(set(row)) == 6 for row in beams[-1].tolist())
    assert bool(space.is_complete(beams[-1]).all())


def test_joint_training_of_sets_draws_other_orders_at_every_step_and_after_a_resume():
    joint, other = (set_objective_of(joint=NextCodeConfig()) for _ in range(2))
    items = torch.zeros(40, 3, dtype=torch.long)
    first = joint.next_code._orders(items)
    joint.after_step()
    second = joint.next_code._orders(items)
    assert not second.equal(first)
    other.load_state_dict(joint.state_dict())
    assert other.next_code._orders(items).equal(second)


def test_joint_training_of_sets_lowers_the_sum_of_both_losses():
    alone, joint = set_objective_of(), set_objective_of(joint=NextCodeConfig())
    codes = NextCodeSetObjective(joint.backbone, NextCodeSetConfig())
    both = joint(BATCH)
    torch.testing.assert_close(both.loss, alone(BATCH).loss + codes(BATCH).loss)
    with pytest.raises(ValueError, match="joint: beam_aware weighs codes in an order"):
        set_objective_of(joint=NextCodeConfig(beam_aware={}))


def test_the_loss_is_what_the_search_will_see_at_every_target_and_depth():
    lowered = objective_of()
    loss = lowered(BATCH)
    scorer = ProcessReward(network=lowered.network)
    total = 0.0
    for user, position in BATCH.is_target.nonzero().tolist():
        before = HistoryBatch(
            items=BATCH.items[user : user + 1, :position], lengths=torch.tensor([position])
        )
        scores_of = scorer.begin(
            before, *lowered.backbone.encode(before, capacity=0), Scope(trie=TRIE)
        )
        leaf = TRIE.leaf_of(BATCH.items[user, position])
        for depth in (1, 2):
            nodes = list(TRIE.nodes_at(depth))
            scores = scores_of(torch.tensor([nodes]), depth)[0]
            own = nodes.index(int(TRIE.ancestor(leaf, depth)))
            total -= float(scores.log_softmax(0)[own].detach())
    assert loss.num_targets == 4
    assert float(loss.loss.detach()) == pytest.approx(total / 4, abs=1e-5)
    assert float(loss.parts["prefix_1"] + loss.parts["prefix_2"]) == pytest.approx(total / 4, 1e-4)
    assert 0 <= float(loss.parts["auc_2"]) <= 1


def test_a_search_takes_its_beam_the_reading_of_histories_and_every_score():
    scored_by = objective_of()
    histories = HistoryBatch(items=BATCH.items, lengths=BATCH.lengths)
    scope, backbone = Scope(trie=TRIE), scored_by.backbone.eval()
    guidance = Guidance(scorer=ProcessReward(network=scored_by.network))
    policy = GuidedBeamSearch(guidance=guidance, num_beams=2, candidates=3)
    guided = policy.search(backbone, histories, scope)
    plain = BeamSearch(num_beams=2).search(backbone, histories, scope)
    assert len(set(histories.lengths.tolist())) > 1
    more = scored_by.network.flops(histories.lengths + 1, guided.spent.scored)
    assert guided.spent.flops.tolist() == (plain.spent.flops + more).tolist()


@pytest.mark.parametrize(("num_negatives", "beam_negatives"), [(1, 4), (64, 2), (64, 4)])
def test_drawn_and_found_prefixes_count_once_together(num_negatives, beam_negatives):
    # Together, these are all prefixes of each depth, 2 and then 4: a full softmax.
    lowered = objective_of(num_negatives=num_negatives, beam_negatives=beam_negatives)
    loss = lowered(BATCH)
    torch.testing.assert_close(loss.loss, objective_of()(BATCH).loss)
    assert 0 <= float(loss.parts["beam_auc_2"]) <= 1


def test_states_come_with_dropout_only_where_it_is_asked_for():
    plain, noisy = objective_of(), objective_of(backbone_dropout=True)  # the backbone drops half
    assert torch.equal(plain(BATCH).loss, plain(BATCH).loss)
    assert not torch.equal(noisy(BATCH).loss, noisy(BATCH).loss)
    assert not noisy.backbone.training
    noisy.eval()
    assert torch.equal(noisy(BATCH).loss, plain(BATCH).loss)


def test_the_backbone_is_neither_trained_nor_kept():
    lowered = objective_of(num_negatives=1)
    lowered.train()
    lowered(BATCH).loss.backward()
    assert all(weights.grad is None for weights in lowered.backbone.parameters())
    assert all(weights.grad is not None for weights in lowered.network.parameters())
    assert not any("backbone" in name for name in lowered.state_dict())
    assert not lowered.backbone.training


def test_joint_training_lowers_the_sum_of_both_losses():
    alone, joint = objective_of(), objective_of(joint=NextCodeConfig())
    codes = NextCodeObjective(joint.backbone, NextCodeConfig())
    for lowered in (alone, joint, codes):
        lowered.eval()  # no dropout, so that the sum is exact
    both = joint(BATCH)
    torch.testing.assert_close(both.loss, alone(BATCH).loss + codes(BATCH).loss)
    assert {"prefix_1", "code_1"} <= set(both.parts)


def test_a_joint_loss_that_does_not_fit_the_backbone_is_refused_by_name():
    with pytest.raises(ValueError, match="joint: item_weight is 1"):
        objective_of(joint=NextCodeConfig(item_weight=1.0))


@pytest.mark.parametrize("beam_negatives", [0, 1])
def test_the_scores_of_joint_training_move_the_backbone(beam_negatives):
    joint = objective_of(dropout=0.0, beam_negatives=beam_negatives, joint=NextCodeConfig())
    joint.train()
    weights = joint.backbone.code_embedding.weight
    (of_both,) = torch.autograd.grad(joint(BATCH).loss, weights)
    (of_codes,) = torch.autograd.grad(joint.next_code(BATCH).loss, weights)
    assert joint.backbone.training
    assert not torch.allclose(of_both, of_codes, atol=1e-4)
    assert all(parameter.requires_grad for parameter in joint.backbone.parameters())
    assert any("next_code" in name for name in joint.state_dict())


def fitted(config, catalog, backbone, folder, *, resume=False):
    """A trained process reward model beside a backbone, and the result of its training."""
    material = Material(a_split(), catalog, 4)
    network = config.network(material, backbone, seed=0)
    learning = config.learning(material, backbone, network)
    run = TrainingRun(
        training=config.training,
        folder=folder,
        seed=0,
        validation=config.validation,
        resume=resume,
    )
    return network, fit(learning, run)


def test_trained_it_tells_the_next_items_prefixes_from_others(tmp_path):
    catalog = a_catalog()
    backbone = backbone_of(catalog.semantic_ids, catalog.codebook_sizes)
    config = ProcessRewardRun(
        backbone="beside",
        model=ProcessRewardConfig(dim=16),
        objective=ProcessRewardTrainingConfig(num_negatives=8),
        guidance=GuidanceConfig(likelihood_weight=0.0),
        training=TrainingConfig(epochs=60, batch_size=12, learning_rate=0.02, device="cpu"),
        validation=ValidationConfig(num_beams=4),
    )
    network, result = fitted(config, catalog, backbone, tmp_path)
    # The next item of such users follows from their last item; the test asks as in training.
    guidance = Guidance(scorer=ProcessReward(network=network))
    policy = GuidedBeamSearch(guidance=guidance, num_beams=4, candidates=12)
    scope = Scope(trie=catalog.trie)
    guided = GenerativeRecommender(backbone.eval(), scope, policy, max_history=None)
    items = (torch.arange(12)[:, None] + torch.arange(2)) % 12
    histories = HistoryBatch(items=items, lengths=torch.full((12,), 2))
    found = guided.recommend(histories, 1).items[:, 0]
    hits = int((found == (items[:, -1] + 1) % 12).sum())
    assert result.best_score > 0.4
    assert hits >= 9


def test_a_run_is_not_continued_beside_another_backbone(tmp_path):
    catalog = a_catalog()
    backbone = backbone_of(catalog.semantic_ids, catalog.codebook_sizes)
    config = ProcessRewardRun(
        backbone="beside",
        model=ProcessRewardConfig(dim=4),
        objective=ProcessRewardTrainingConfig(num_negatives=2),
        training=TrainingConfig(epochs=1, batch_size=12, device="cpu"),
        validation=ValidationConfig(num_beams=4),
    )

    def trained():
        return fitted(config, catalog, backbone, tmp_path, resume=True)[0]

    first = trained().embedding.weight
    assert torch.equal(trained().embedding.weight, first)
    with torch.no_grad():
        backbone.start += 1
    with pytest.raises(ValueError, match=r"another run: about\.backbone was"):
        trained()


def test_a_network_of_another_trie_is_refused():
    lowered = objective_of()
    other = Trie.build(IDS[:2], (2, 2))
    scorer = ProcessReward(network=lowered.network)
    histories = HistoryBatch(items=torch.tensor([[0]]), lengths=torch.tensor([1]))
    with pytest.raises(ValueError, match="has rows for 7 prefixes or codes, but the catalog has"):
        scorer.begin(histories, *lowered.backbone.encode(histories, capacity=0), Scope(trie=other))
