"""Tree distillation: the codes learn at every visited node what the item head knows."""

import json

import pytest
import torch

from sidestep.catalog.trie import NO_STATE
from sidestep.search.beam import BeamSearch
from sidestep.search.item_support import node_log_sums
from sidestep.search.policy import Scope
from sidestep.step import HistoryBatch
from sidestep.training.choice_tree import ChoiceTree
from sidestep.training.config import TrainingConfig
from sidestep.training.head_distillation import OtherTeacher, RankerBeside
from sidestep.training.loop import train
from sidestep.training.objective_config import TreeDistillationConfig
from sidestep.training.tree_distillation import (
    TreeDistillationObjective,
    distinct_leaves,
    next_code_log_probs,
)

from .test_alignment import BATCH, IDS, LEAVES, TRIE, a_policy, windows_of

HEAD = {"item_head": True, "tied_item_head": True}


def taught_policy(**shape):
    """A policy whose item head is sure of something, and whose codes know nothing of it."""
    policy = a_policy(**{**HEAD, **shape})
    torch.nn.init.normal_(policy.head.weight)
    return policy


def an_objective(policy=None, **config):
    settings = {"candidates": {"search": "beam", "num_beams": 3}, "teacher_leaves": 2, **config}
    return TreeDistillationObjective(
        policy or taught_policy(),
        TRIE,
        TreeDistillationConfig.model_validate(settings),
        max_history=20,
    ).train()


def test_next_codes_by_hand():
    """Six items in three buckets of first codes: 0 has three, 1 has two, 2 has one."""
    probs = torch.tensor([[0.1, 0.2, 0.1, 0.3, 0.1, 0.2]])
    masses = node_log_sums(probs.log(), TRIE)
    first = TRIE.child(torch.tensor([[0, 0]]), torch.tensor([[0, 1]]))
    states = torch.cat([torch.tensor([[0]]), first, torch.tensor([[NO_STATE]])], dim=1)
    found = next_code_log_probs(masses, states, TRIE).exp()
    expected = [[0.4, 0.4, 0.2], [0.25, 0.5, 0.25], [0.75, 0.25, 0.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_an_item_that_the_teacher_rules_out_has_no_code():
    logits = torch.tensor([[0.0, -torch.inf, 0.0, -torch.inf, -torch.inf, 0.0]])
    masses = node_log_sums(logits.log_softmax(dim=1), TRIE)
    states = TRIE.child(torch.tensor([[0, 0]]), torch.tensor([[0, 1]]))
    found = next_code_log_probs(masses, states, TRIE).exp()
    torch.testing.assert_close(found, torch.tensor([[[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]]))


def test_leaves_stand_once_in_their_order():
    leaves = torch.tensor([[7, 5, 7, NO_STATE, 9, 5], [NO_STATE, 4, 4, 4, 4, 4]])
    expected = [[7, 5, 9, *[NO_STATE] * 3], [4, *[NO_STATE] * 5]]
    assert distinct_leaves(leaves).tolist() == expected


def test_the_loss_is_least_where_policy_and_teacher_agree(tmp_path):
    """The divergence falls to zero, and the beam then ranks as the teacher does."""
    objective = an_objective(drop_share=0.0, open_prompts=False)
    teacher = objective.teacher
    config = TrainingConfig(
        epochs=80, batch_size=24, learning_rate=0.03, weight_decay=0.0, device="cpu", log_every=1
    )
    histories = HistoryBatch(items=torch.arange(6)[:, None], lengths=torch.ones(6).long())
    with torch.no_grad():
        root, _ = teacher.encode(histories, capacity=1)
        right = teacher.item_logits(root.hidden[:, 0], histories).log_softmax(dim=1)
    train(objective, windows_of(), config, folder=tmp_path, seed=0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    parts = [line["parts"] for line in lines if line["kind"] == "step"]
    assert parts[0]["divergence"] > 0.2
    assert parts[-1]["divergence"] < 0.02
    found = BeamSearch(num_beams=6).search(objective.policy.eval(), histories, Scope(trie=TRIE))
    by_leaf = {int(leaf): item for item, leaf in enumerate(LEAVES)}
    for row in range(6):
        items = [by_leaf[leaf] for leaf in found.leaves[row].tolist()]
        probs = found.log_probs[row].exp()
        torch.testing.assert_close(probs, right[row, items].exp(), atol=0.05, rtol=0)


def test_the_teacher_stays_as_it_is_and_the_head_learns_if_asked():
    for head_weight in (None, 1.0):
        objective = an_objective(head_weight=head_weight)
        before = {k: v.clone() for k, v in objective.teacher.state_dict().items()}
        loss = objective(BATCH)
        loss.loss.backward()
        optimizer = torch.optim.SGD(objective.policy.parameters(), lr=0.1)
        optimizer.step()
        for name, value in objective.teacher.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert ("head" in loss.parts) == (head_weight is not None)
        assert not torch.equal(objective.policy.head.weight, before["head.weight"])


def test_at_the_first_step_the_head_is_the_teacher():
    assert float(an_objective()(BATCH).parts["head"]) == pytest.approx(0, abs=1e-6)


def test_a_ranker_teaches_beside_the_head():
    class Sure:
        """A ranker that knows nothing but the last item of the catalog."""

        def scores(self, histories):
            return 100.0 * torch.eye(len(IDS))[torch.full((len(histories.lengths),), 5)]

        def flops(self, histories):
            return None

    objective = TreeDistillationObjective(
        taught_policy(),
        TRIE,
        TreeDistillationConfig(drop_share=0.0),
        max_history=20,
        beside=RankerBeside(ranker=Sure()),
    )
    histories = HistoryBatch(items=torch.tensor([[0]]), lengths=torch.tensor([1]))
    assert float(objective.teacher_logits(histories).exp()[0, 5]) == pytest.approx(1)


def test_heads_of_several_networks_teach_as_a_product_of_experts():
    """The teacher is the mean of their log-probabilities, and the other network does not learn."""
    policy, other = taught_policy(), taught_policy()
    for weights in other.parameters():
        torch.nn.init.normal_(weights)
    objective = TreeDistillationObjective(
        policy,
        TRIE,
        TreeDistillationConfig(drop_share=0.0),
        max_history=20,
        others=[OtherTeacher(network=other, max_history=1)],
    )
    histories = HistoryBatch(items=torch.tensor([[2, 0]]), lengths=torch.tensor([2]))

    def log_probs(network, shown):
        root, _ = network.eval().encode(shown, capacity=1)
        return network.item_logits(root.hidden[:, 0], shown).log_softmax(dim=1)

    with torch.no_grad():
        both = log_probs(objective.teacher, histories) + log_probs(other, histories.latest(1))
    found = objective.teacher_logits(histories)
    torch.testing.assert_close(found, (both / 2).log_softmax(dim=1))
    objective.train()
    loss = objective(BATCH)
    assert float(loss.parts["head"]) > 0.01, "the other head says something else"
    loss.loss.backward()
    assert all(weights.grad is None for weights in other.parameters())


def test_equal_steps_thin_alike_and_later_ones_do_not():
    lengths = []
    for _ in range(2):
        objective = an_objective(whole_share=0.0, drop_share=0.5)
        drawn = []
        for _ in range(8):
            drawn.append(objective.prompts(BATCH).lengths.tolist())
            objective.after_step()
        lengths.append(drawn)
    assert lengths[0] == lengths[1]
    assert len({tuple(drawn) for drawn in lengths[0]}) > 1


def test_open_prompts_end_at_the_target():
    whole = {"drop_share": 0.0}
    assert an_objective(**whole).prompts(BATCH).lengths.tolist() == [2, 3, 2]
    assert an_objective(open_prompts=False, **whole).prompts(BATCH).lengths.tolist() == [1, 2, 1]


def test_a_network_without_an_item_head_is_refused():
    with pytest.raises(ValueError, match="item_head: true"):
        an_objective(a_policy())


def test_prefixes_whose_code_items_choose_are_left_out():
    policy = taught_policy(last_code_head="items")
    assert policy.rows_choose_first_alone
    loss = an_objective(policy, learned_nodes="rows")(BATCH)
    assert float(loss.parts["teacher_mass"]) == 0.0  # no leaf is looked for
    everywhere = an_objective(policy)
    tree = ChoiceTree.above(LEAVES[None], TRIE)
    assert tree.is_node.any()
    assert everywhere._is_left_out(TRIE) is None
    assert an_objective(policy, learned_nodes="rows")._is_left_out(TRIE)(tree.states).all()


def test_where_rows_choose_everywhere_all_visited_prefixes_are_learned():
    losses = [an_objective(learned_nodes=nodes)(BATCH).loss.detach() for nodes in ("all", "rows")]
    assert float(losses[0]) == pytest.approx(float(losses[1]))


ROWS = {"learned_weights": "rows", "learned_nodes": "rows", "head_weight": None}


def test_rows_alone_learn_and_the_head_stays_the_teacher():
    policy = taught_policy(last_code_head="items", rows_per_code=2, dropout=0.0)
    objective = an_objective(policy, drop_share=0.0, **ROWS)
    loss = objective(BATCH)
    loss.loss.backward()
    assert "head" not in loss.parts
    moved = {name for name, weights in policy.named_parameters() if weights.grad is not None}
    assert moved == {"head.weight", "head_more"}


def test_rows_learn_at_a_rate_of_their_own():
    policy = taught_policy(rows_per_code=2)
    factors = an_objective(policy, rows_rate_factor=20.0).learning_rate_factors
    assert factors == {"policy.head.weight": 20.0, "policy.head_more": 20.0}


def test_rows_that_are_read_elsewhere_too_cannot_learn_alone():
    class Tied(type(taught_policy())):
        @property
        def code_rows(self):
            return ()

    policy = taught_policy()
    policy.__class__ = Tied
    with pytest.raises(ValueError, match="learned_weights: rows needs a network whose codes"):
        an_objective(policy, **ROWS)
