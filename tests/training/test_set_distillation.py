"""Distillation over sets: every open codebook learns, at every visited set, what the head knows."""

import json

import pytest
import torch

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.config import CodeSetConfig
from sidestep.search.beam import BeamSearch
from sidestep.step import HistoryBatch
from sidestep.training.config import TrainingConfig
from sidestep.training.head_distillation import OtherTeacher
from sidestep.training.loop import train
from sidestep.training.objective_config import TreeDistillationConfig
from sidestep.training.set_distillation import SetDistillationObjective, SetTree

from .test_alignment import BATCH, windows_of

# Any two items differ in two codebooks or more, so that no code of one codebook tells all.
IDS = torch.tensor([[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1], [0, 2, 1], [1, 2, 0]])
SIZES = (2, 3, 2)
SPACE = SetSpace.of_codes(IDS, SIZES)
SETS = IDS + torch.tensor([0, 2, 5])


def a_policy(**shape) -> CodeSetTransformer:
    torch.manual_seed(0)
    head = {"item_embedding": True, "item_head": True, "tied_item_head": True}
    config = CodeSetConfig(dim=8, num_layers=1, num_heads=2, **{"dropout": 0.3, **head, **shape})
    network = CodeSetTransformer(config, IDS, SIZES)
    for name, weights in network.named_parameters():
        if "embedding" in name:
            torch.nn.init.normal_(weights)
    return network


def an_objective(policy=None, **config):
    settings = {"candidates": {"search": "beam", "num_beams": 4}, **config}
    return SetDistillationObjective(
        policy or a_policy(),
        SPACE,
        TreeDistillationConfig.model_validate(settings),
        max_history=20,
    ).train()


def after_each_item():
    return HistoryBatch(items=torch.arange(6)[:, None], lengths=torch.ones(6).long())


@torch.no_grad()
@pytest.mark.parametrize("order", ["confident", "informative", "fixed"])
def test_one_pass_over_the_tree_reads_what_the_search_was_told(order):
    policy, histories = a_policy(order=order).eval(), after_each_item()
    found = BeamSearch(num_beams=4).search(policy, histories, SPACE)
    tree = SetTree.of(found.tree, SPACE)
    step = tree.read(policy, histories)
    legal = SPACE.legal(tree.states)
    logs = step.logits.masked_fill(~step.followed(legal), -torch.inf).log_softmax(dim=2)
    assert int(tree.is_slot.sum()) == int(found.tree.is_node.sum())
    assert tree.is_slot.any(dim=0).all()
    columns = (tree.is_slot & (tree.depths > 0)).nonzero().tolist()
    assert len(columns) > 6
    for user, slot in columns:
        above, action = int(tree.parents[user, slot]), int(tree.actions[user, slot])
        state, child = tree.states[user : user + 1, [above, slot]].split(1, dim=1)
        assert SPACE.child(state, torch.tensor([[action]])).equal(child)
        total, total_above = (
            found.tree.log_probs[user][found.tree.is_node[user]][number] for number in (slot, above)
        )
        torch.testing.assert_close(
            logs[user, above, action], total - total_above, atol=1e-5, rtol=0
        )


def test_the_masses_are_those_of_the_items_that_have_the_set_and_the_code():
    objective = an_objective()
    probs = torch.tensor([[0.05, 0.1, 0.15, 0.2, 0.2, 0.3]])
    with_first = int(SPACE.child(torch.tensor([[0]]), torch.tensor([[0]])))  # items 0, 1 and 4
    states = torch.tensor([[0, with_first, NO_STATE]])
    root, inner, missing = objective._masses(states, probs)[0]
    expected = [sum(float(probs[0, i]) for i in range(6) if a in SETS[i]) for a in range(7)]
    assert root.tolist() == pytest.approx(expected)
    assert inner.tolist() == pytest.approx([0, 0, 0.05, 0.1, 0.2, 0.1, 0.25])
    assert missing.tolist() == [0] * 7
    deciding = objective._is_deciding(objective._masses(states, probs))[0].tolist()
    assert deciding == [[True] * 3, [False, True, True], [False] * 3]


def test_heads_of_other_networks_teach_sets_too():
    policy, other = a_policy(), a_policy()
    for weights in other.parameters():
        torch.nn.init.normal_(weights)
    objective = SetDistillationObjective(
        policy,
        SPACE,
        TreeDistillationConfig(drop_share=0.0),
        max_history=20,
        others=[OtherTeacher(network=other.eval(), max_history=20)],
    )
    alone = an_objective(drop_share=0.0).eval()(BATCH)
    assert float(alone.parts["head"]) == pytest.approx(0, abs=1e-5)
    assert float(objective.eval()(BATCH).parts["head"]) > 0.01


def test_the_weights_of_a_user_sum_to_one_and_follow_the_teacher():
    objective = an_objective(uniform_share=0.0)
    policy, histories = objective.policy.eval(), after_each_item()
    found = BeamSearch(num_beams=4).search(policy, histories, SPACE)
    tree = SetTree.of(found.tree, SPACE)
    probs = objective.teacher_logits(histories).exp()
    masses = objective._masses(tree.states, probs)
    weights = objective._node_weights(tree, masses, objective._is_deciding(masses))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(6))
    assert (weights[:, 0] == weights.amax(dim=1)).all()  # every item is below the root


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, [0.5, 0.5, 0.0]), (0.5, [0.25, 0.75, 0.0]), (1.0, [0.0, 1.0, 0.0])],
)
def test_the_chosen_codebook_has_its_share_of_the_loss_and_open_ones_the_rest(share, expected):
    objective = an_objective(chosen_share=share)
    followed = torch.tensor([[[False, False, True, False, True, False, False]]])
    is_open = torch.tensor([[[True, True, False]]])
    torch.testing.assert_close(
        objective._codebook_shares(followed, is_open), torch.tensor([[expected]])
    )
    nothing = torch.zeros_like(followed), torch.zeros_like(is_open)
    assert not objective._codebook_shares(*nothing).any()


def test_a_search_that_decides_pairs_is_refused():
    with pytest.raises(ValueError, match="learns one code per step"):
        an_objective(candidates={"search": "beam", "num_beams": 4, "codes_per_step": 2})


def test_the_divergence_falls_and_the_beam_then_ranks_as_the_teacher_does(tmp_path):
    objective = an_objective(a_policy(dropout=0.0), drop_share=0.0, open_prompts=False)
    config = TrainingConfig(
        epochs=160, batch_size=24, learning_rate=0.03, weight_decay=0.0, device="cpu", log_every=1
    )
    histories = after_each_item()
    with torch.no_grad():
        right = objective.teacher_logits(histories)
    train(objective, windows_of(), config, folder=tmp_path, seed=0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    parts = [line["parts"] for line in lines if line["kind"] == "step"]
    assert parts[0]["divergence"] > 0.1
    assert parts[-1]["divergence"] < 0.02
    found = BeamSearch(num_beams=6).search(objective.policy.eval(), histories, SPACE)
    items = SPACE.items(found.leaves)[..., 0]
    probs = found.log_probs.exp()
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(6))
    torch.testing.assert_close(probs, right.gather(1, items).exp(), atol=0.06, rtol=0)


def test_the_head_learns_only_if_asked():
    for head_weight in (None, 1.0):
        loss = an_objective(head_weight=head_weight)(BATCH)
        assert ("head" in loss.parts) == (head_weight is not None)


class NoSearch:
    """A search that must not run."""

    def search(self, *_):
        raise AssertionError("where rows choose the first code alone, no search is needed")


def by_items(few_items: int, **shape):
    return a_policy(last_code_head="items", few_items=few_items, **shape)


@torch.no_grad()
@pytest.mark.parametrize(("first", "depths"), [(0, {0, 1}), (1, {0})])
def test_only_sets_at_which_rows_choose_are_visited(first, depths):
    """A code of the first codebook has three items, and a code of the second has two."""
    policy, histories = by_items(2, order="fixed").eval(), after_each_item()
    policy.order = (torch.arange(3.0) - first) % 3
    trees = [
        an_objective(policy, learned_nodes=nodes)._visited(policy, histories, SPACE)
        for nodes in ("rows", "all")
    ]
    rows, everywhere = (
        [{s for s in states if s != NO_STATE} for states in tree.states.tolist()] for tree in trees
    )
    assert set(trees[0].depths[trees[0].is_slot].tolist()) == depths
    assert set(trees[1].depths[trees[1].is_slot].tolist()) == {0, 1}
    assert (rows == everywhere) == (depths == {0, 1})


def test_where_rows_choose_everywhere_all_visited_sets_are_learned():
    losses = [an_objective(learned_nodes=nodes)(BATCH).loss.detach() for nodes in ("all", "rows")]
    assert float(losses[0]) == pytest.approx(float(losses[1]))


@pytest.mark.parametrize(
    ("weights", "num_rows", "tolerance"), [("network", 1, 0.06), ("rows", 3, 0.02)]
)
def test_the_first_code_is_learned_without_a_search(tmp_path, weights, num_rows, tolerance):
    objective = an_objective(
        by_items(3, order="fixed", dropout=0.0, rows_per_code=num_rows),
        learned_weights=weights,
        learned_nodes="rows",
        drop_share=0.0,
        open_prompts=False,
    )
    objective.search = NoSearch()
    config = TrainingConfig(
        epochs=4, batch_size=24, learning_rate=0.03, weight_decay=0.0, device="cpu", log_every=40
    )
    histories = after_each_item()
    with torch.no_grad():
        right = objective.teacher_logits(histories)
    train(objective, windows_of(24 * 40), config, folder=tmp_path, seed=0)
    found = BeamSearch(num_beams=6).search(objective.policy.eval(), histories, SPACE)
    items = SPACE.items(found.leaves)[..., 0]
    torch.testing.assert_close(
        found.log_probs.exp(), right.gather(1, items).exp(), atol=tolerance, rtol=0
    )


def test_rows_alone_need_the_loss_of_the_head():
    with pytest.raises(ValueError, match="learned_nodes: rows needs a head_weight"):
        an_objective(learned_nodes="rows", head_weight=None)
