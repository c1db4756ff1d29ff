"""Candidate trees: one pass over many candidates gives the same as one pass per candidate."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch
from sidestep.training.candidate_tree import CandidateTree, read_nodes
from tests.training.candidate_trees import tree_of

IDS = torch.tensor([[0, 0, 1], [0, 0, 2], [0, 1, 0], [1, 0, 0], [1, 2, 1], [2, 1, 1], [2, 1, 1]])
SIZES = (3, 3, 3)
TRIE = Trie.build(IDS, SIZES)
LEAVES = TRIE.leaf_of(torch.arange(len(IDS)))
DISTINCT = LEAVES.unique()
HISTORIES = HistoryBatch(
    items=torch.tensor([[0, 3, 5], [4, NO_ITEM, NO_ITEM]]), lengths=torch.tensor([3, 1])
)


def a_network() -> Transformer:
    torch.manual_seed(0)
    network = Transformer(TransformerConfig(dim=8, num_layers=2, num_heads=2), IDS, SIZES)
    torch.nn.init.normal_(network.code_embedding.weight)
    return network.eval()


def chosen(seed: int, users: int = 2, width: int = 4) -> torch.Tensor:
    """Distinct leaves of every user, in any order, some users with fewer."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(users):
        row = DISTINCT[torch.randperm(len(DISTINCT), generator=generator)[:width]]
        row[int(torch.randint(1, width + 1, (1,), generator=generator)) :] = NO_STATE
        rows.append(row)
    return torch.stack(rows)


def test_a_missed_target_joins_the_tree_and_a_found_one_is_there_once():
    found = torch.stack([LEAVES[[0, 1]], LEAVES[[2, 3]], torch.tensor([int(LEAVES[1]), NO_STATE])])
    tree = tree_of(found, LEAVES[[1, 1, 1]], TRIE)
    assert tree.is_candidate.tolist() == [
        [True, True, False],
        [True, True, True],
        [True, False, False],
    ]
    assert tree.is_found[1].tolist() == [True, True, False]
    assert tree.leaves[1].tolist() == LEAVES[[2, 3, 1]].tolist()
    assert tree.codes[1].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 2]]
    assert tree_of(found, None, TRIE).leaves.equal(found)


def test_what_candidates_share_is_one_node():
    tree = tree_of(LEAVES[None, :3], None, TRIE)
    # 0 - (0 - (1, 2), 1 - 0): one node of one code, two nodes of two codes, three of three.
    assert tree.depths[0].sort().values.tolist() == [1, 2, 2, 3, 3, 3]
    assert tree.is_node.all()
    assert tree.slots[0, 0, :2].equal(tree.slots[0, 1, :2])
    assert (tree.parents < torch.arange(1, 7)).all()


@given(st.integers(0, 1000))
@settings(max_examples=15)
def test_the_tree_says_of_each_candidate_what_it_says_alone(seed):
    network, found = a_network(), chosen(seed)
    tree = tree_of(found, LEAVES[[2, 6]], TRIE)

    def log_probs(one: CandidateTree) -> torch.Tensor:
        return one.code_log_probs(
            one.node_log_probs(one.read(network, HISTORIES), TRIE.legal(one.slot_states))
        )

    together = log_probs(tree)
    alone = [
        log_probs(tree_of(tree.leaves[:, place, None], None, TRIE))
        for place in range(tree.leaves.shape[1])
        if tree.is_candidate[:, place].all()
    ]
    places = [place for place in range(tree.leaves.shape[1]) if tree.is_candidate[:, place].all()]
    torch.testing.assert_close(together[:, places], torch.cat(alone, dim=1))
    assert together[~tree.is_candidate].eq(0).all()
    (ours,) = torch.autograd.grad(together[:, places].sum(), network.code_embedding.weight)
    (theirs,) = torch.autograd.grad(sum(a.sum() for a in alone), network.code_embedding.weight)
    torch.testing.assert_close(ours, theirs)


@given(st.integers(0, 1000), st.floats(0.5, 3))
@settings(max_examples=10)
def test_probabilities_of_all_leaves_sum_to_one(seed, temperature):
    every = DISTINCT[torch.randperm(len(DISTINCT), generator=torch.Generator().manual_seed(seed))]
    tree = tree_of(every.expand(2, -1), None, TRIE)
    step = tree.read(a_network(), HISTORIES)
    whole = tree.code_log_probs(
        tree.node_log_probs(step, TRIE.legal(tree.slot_states), temperature=temperature)
    ).sum(dim=2)
    torch.testing.assert_close(whole.exp().sum(dim=1), torch.ones(2))


def test_gradients_are_those_of_finite_differences():
    """On a catalog of 7 items, in float64, through the whole tree at once."""
    network = a_network().double()
    tree = tree_of(chosen(3), LEAVES[[2, 6]], TRIE)
    weights = torch.linspace(-1, 1, tree.codes.numel()).view_as(tree.codes)
    parameter = network.code_embedding.weight

    def loss() -> torch.Tensor:
        by_slot = network_log_probs(network, tree)
        return (tree.code_log_probs(by_slot) * weights).sum()

    def network_log_probs(model: Transformer, one: CandidateTree) -> torch.Tensor:
        step = one.read(model, HISTORIES)
        # Not `node_log_probs`, which is float32 and has too few digits for differences.
        logits = step.logits.masked_fill(~TRIE.legal(one.slot_states), -torch.inf)
        is_empty = torch.isneginf(logits).all(dim=-1, keepdim=True)
        return logits.masked_fill(is_empty, 0.0).log_softmax(dim=-1)

    (gradient,) = torch.autograd.grad(loss(), parameter)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    step = 1e-5
    with torch.no_grad():
        parameter += step * direction
        above = loss()
        parameter -= 2 * step * direction
        below = loss()
    slope = float((above - below) / (2 * step))
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5)


def test_a_tree_without_a_node_is_read_at_its_root():
    network, none = a_network(), torch.zeros(2, 0, dtype=torch.long)
    step = read_nodes(network, HISTORIES, none, none, none, is_node=none.bool())
    root, _ = network.encode(HISTORIES, capacity=1)
    assert step.logits.equal(root.logits)
    assert step.hidden.equal(root.hidden)
