"""Value-guided decoding, compared with plain Python and by hand; failures of other code."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.heads import HeadedModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.padding import NO_ITEM
from sidestep.search.budget import Budget
from sidestep.search.exclusion import Exclusion
from sidestep.search.policy import Scope
from sidestep.search.tree import nodes_per_depth, num_unevaluated
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.search.ved import ValueGuidedDecoding
from sidestep.step import HistoryBatch
from tests.waiting import WAITING

from .fakes import PrefixTable, ValueTable, brute_force, catalogs, found, histories_of
from .ved_reference import Reference

CUBE = np.array(list(itertools.product(range(4), repeat=3)))


def paths_of(tree, trie, user):
    """Prefixes of a user's tree in the order in which they were made."""
    states = tree.states[user][tree.is_node[user]]
    return [tuple(code for code in path if code >= 0) for path in trie.path(states).tolist()]


@pytest.mark.parametrize("paths", [st.just(1), st.integers(2, 9)], ids=["sequential", "rounds"])
@settings(max_examples=60)
@given(
    st.data(),
    catalogs(),
    st.integers(1, 3),
    st.integers(1, 30),
    st.sampled_from(["priority", "always", "never"]),
    st.sampled_from([(0.1, 0.1, 1.0), (2.0, 0.0, 1.0), (0.0, 1.0, 0.0)]),
    st.sampled_from(["legal", "codebook"]),
    st.integers(0, 9),
)
def test_it_is_the_plain_algorithm_node_for_node(
    paths, data, catalog, warm_width, more, root_gate, weights, normaliser, seed
):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), ValueTable(sizes)
    tokens = 1 + warm_width * len(sizes) + more
    policy = ValueGuidedDecoding(
        budget=tokens,
        num_leaves=5,
        warm_width=warm_width,
        exploration=weights[0],
        entropy_weight=weights[1],
        value_weight=weights[2],
        root_gate=root_gate,
        paths_per_round=data.draw(paths),
        normaliser=normaliser,
        seed=seed,
    )
    users = (3, 8, 5)
    answer = policy.search(model, histories_of(*users), Scope(trie=trie))
    for user, first in enumerate(users):
        reference = Reference(policy, model, histories_of(first), trie, tokens=tokens)
        made = [node.prefix for node in reference.created]
        assert paths_of(answer.tree, trie, user) == made
        leaves = answer.leaves[user][answer.leaves[user] != NO_STATE]
        assert [tuple(path) for path in trie.path(leaves).tolist()] == reference.answer()
        # Exactly the budget, unless every prefix of the trie is in the tree.
        assert int(answer.spent.tokens[user]) == len(made) == min(tokens, trie.num_nodes())


@settings(max_examples=30)
@given(catalogs(), st.integers(1, 3), st.integers(1, 30), st.integers(1, 5))
def test_laws_with_many_paths_a_round(catalog, warm_width, more, paths):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), ValueTable(sizes)
    tokens = 1 + warm_width * len(sizes) + more
    policy = ValueGuidedDecoding(
        budget=tokens, num_leaves=6, warm_width=warm_width, paths_per_round=paths
    )
    histories = histories_of(3, 8)
    answer = policy.search(model, histories, Scope(trie=trie))
    assert answer.spent.tokens.tolist() == [min(tokens, trie.num_nodes())] * 2
    log_probs = brute_force(model, histories, ids)
    for user in range(2):
        made = paths_of(answer.tree, trie, user)
        assert len(made) == len(set(made))
        leaves = answer.leaves[user][answer.leaves[user] != NO_STATE].tolist()
        assert len(leaves) == len(set(leaves))
        assert all(leaf >= trie.first_leaf for leaf in leaves)
        own = found(answer, trie, user)
        assert own == pytest.approx({path: log_probs[user][path] for path in own}, abs=1e-4)
        scores = answer.scores[user].tolist()
        assert scores == sorted(scores, reverse=True)
    counts = nodes_per_depth(answer.tree, len(sizes))
    assert counts.sum(dim=1).tolist() == answer.spent.tokens.tolist()
    assert (counts[:, 0] == 1).all()


@pytest.mark.parametrize("paths", [1, 3])
def test_a_user_gets_the_same_list_alone_in_any_batch_and_in_any_order(paths):
    trie, model = Trie.build(CUBE, (4, 4, 4)), ValueTable((4, 4, 4))
    policy = ValueGuidedDecoding(budget=30, num_leaves=6, warm_width=2, paths_per_round=paths)
    together = policy.search(model, histories_of(5, 2, 9), Scope(trie=trie))
    turned = policy.search(model, histories_of(9, 5), Scope(trie=trie))
    alone = policy.search(model, histories_of(5), Scope(trie=trie))
    assert together.leaves[0].tolist() == alone.leaves[0].tolist() == turned.leaves[1].tolist()
    assert together.leaves[2].tolist() == turned.leaves[0].tolist()
    assert paths_of(together.tree, trie, 0) == paths_of(alone.tree, trie, 0)
    other = replace(policy, seed=1).search(model, histories_of(5, 2, 9), Scope(trie=trie))
    assert not other.leaves.equal(together.leaves)


@pytest.mark.parametrize("paths", [1, 3, 7])
def test_no_call_is_padded_while_every_user_has_something_to_grow(paths):
    trie, model = Trie.build(CUBE, (4, 4, 4)), ValueTable((4, 4, 4))
    policy = ValueGuidedDecoding(budget=50, num_leaves=6, warm_width=2, paths_per_round=paths)
    answer = policy.search(model, histories_of(*range(6)), Scope(trie=trie))
    assert answer.tree.is_node.shape == (6, 50)
    assert answer.tree.is_node.all()


@pytest.mark.parametrize("normaliser", ["legal", "codebook"])
def test_users_who_run_out_of_items_early_change_nothing_for_the_others(normaliser):
    trie, model = Trie.build(CUBE, (4, 4, 4)), ValueTable((4, 4, 4))
    gone = torch.full((3, 62), NO_ITEM)
    gone[0, :62] = torch.arange(62)
    gone[1, :40] = torch.arange(20, 60)
    policy = ValueGuidedDecoding(
        budget=60, num_leaves=6, warm_width=1, paths_per_round=5, normaliser=normaliser
    )

    def searched(users):
        scope = Scope(trie=trie, excluded=Exclusion.of(gone[users], trie))
        return policy.search(model, histories_of(*users), scope)

    together = searched([0, 1, 2])
    # The first has two items left, below one prefix.
    assert together.spent.tokens.tolist() == [5, 34, 60]
    for user in range(3):
        alone = searched([user])
        assert paths_of(together.tree, trie, user) == paths_of(alone.tree, trie, 0)
        assert together.leaves[user].tolist() == alone.leaves[0].tolist()


def test_values_that_are_no_numbers_are_refused():
    class Broken(ValueTable):
        def extend(self, *arguments, **options):
            step, context = super().extend(*arguments, **options)
            return replace(step, value=step.value * torch.nan), context

    policy = ValueGuidedDecoding(budget=30, num_leaves=6, warm_width=2)
    with pytest.raises(
        ValueError, match="a value that is not a finite number: weights of its network"
    ):
        policy.search(Broken((4, 4, 4)), histories_of(1), Scope(trie=Trie.build(CUBE, (4, 4, 4))))


def test_a_short_history_in_a_padded_batch_of_a_real_network_gets_its_own_answer():
    torch.manual_seed(0)
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2)
    ids = torch.from_numpy(CUBE)
    backbone = Transformer(shape, ids, (4, 4, 4)).eval()
    torch.nn.init.normal_(backbone.code_embedding.weight)
    head = ValueHead(ValueHeadConfig(num_heads=2), dim=8, num_levels=3)
    model, trie = HeadedModel(backbone, head), Trie.build(CUBE, (4, 4, 4))
    policy = ValueGuidedDecoding(budget=30, num_leaves=6, warm_width=2)
    items = torch.tensor([[3, NO_ITEM, NO_ITEM], [1, 2, 60]])
    both = HistoryBatch(items=items, lengths=torch.tensor([1, 3]))
    one = HistoryBatch(items=items[:1, :1], lengths=torch.tensor([1]))
    together = policy.search(model, both, Scope(trie=trie))
    alone = policy.search(model, one, Scope(trie=trie))
    assert together.leaves[0].tolist() == alone.leaves[0].tolist()
    assert together.spent.tokens.tolist() == [30, 30]
    # Siblings are scored by their own state: no two nodes of the tree tie.
    scores = together.tree.scores[0][together.tree.is_node[0]].tolist()
    assert len(set(scores)) == len(scores)


@pytest.mark.parametrize("root_gate", ["priority", "never"])
def test_it_goes_on_beyond_its_warm_start_and_inner_nodes_grow(root_gate):
    trie, model = Trie.build(CUBE, (4, 4, 4)), ValueTable((4, 4, 4))
    policy = ValueGuidedDecoding(budget=40, warm_width=2, root_gate=root_gate)
    answer = policy.search(model, histories_of(*range(6)), Scope(trie=trie))
    counts = nodes_per_depth(answer.tree, 3)
    assert counts.sum(dim=1).tolist() == [40] * 6
    assert (counts[:, 3] > 2).all()  # leaves beyond those of the warm start
    assert (counts[:, 1:3] > 2).any(dim=1).all()  # and prefixes


def test_a_root_that_always_passes_takes_a_token_of_every_traversal_while_it_can():
    ids = np.array(list(itertools.product(range(12), range(6), range(6))))
    trie, model = Trie.build(ids, (12, 6, 6)), ValueTable((12, 6, 6))
    made = {}
    for gate in ("always", "priority", "never"):
        # Without entropies, the root passes its gate if its children have values of 0 or less.
        policy = ValueGuidedDecoding(budget=30, warm_width=2, root_gate=gate, entropy_weight=0.0)
        answer = policy.search(model, histories_of(*range(20)), Scope(trie=trie))
        made[gate] = int(nodes_per_depth(answer.tree, 3)[:, 1].sum())
    assert made["always"] > made["priority"] > made["never"]


def test_a_warm_start_that_would_take_the_whole_budget_is_refused():
    trie, model = Trie.build(CUBE, (4, 4, 4)), ValueTable((4, 4, 4))
    policy = ValueGuidedDecoding(budget=25, warm_width=8)
    with pytest.raises(ValueError, match="takes up to 25 of 25 tokens"):
        policy.search(model, histories_of(1), Scope(trie=trie))
    assert Budget().tokens(3) == 33  # published: 1 + 2B, 1 + 4B, 1 + 8B
    assert Budget(times=2).tokens(3) == 65
    assert Budget(times=4).tokens(3) == 129
    answer = ValueGuidedDecoding().search(model, histories_of(1), Scope(trie=trie))
    assert answer.spent.tokens.tolist() == [33]


def test_a_budget_beyond_all_prefixes_takes_no_memory_beyond_theirs():
    sizes = (2, 3)
    trie = Trie.build(torch.tensor([[0, 0], [0, 1], [1, 2]]), sizes)
    policy = ValueGuidedDecoding(budget=10**15, num_leaves=3, warm_width=2)
    answer = policy.search(ValueTable(sizes), histories_of(3), Scope(trie=trie))
    assert answer.spent.tokens.tolist() == [trie.num_nodes()]


def test_too_few_leaves_are_completed_below_the_most_valued_prefixes_and_counted():
    trie, model = Trie.build(CUBE, (4, 4, 4)), ValueTable((4, 4, 4))
    policy = ValueGuidedDecoding(budget=8, num_leaves=9, warm_width=2)
    answer = policy.search(model, histories_of(1, 2), Scope(trie=trie))
    num_leaves = nodes_per_depth(answer.tree, 3)[:, 3]
    num_above = nodes_per_depth(answer.tree, 3)[:, 2]
    expected = torch.minimum(4 * num_above, torch.tensor(9))
    assert (answer.leaves != NO_STATE).sum(dim=1).tolist() == expected.tolist()
    assert num_unevaluated(answer).tolist() == (expected - num_leaves).tolist()
    assert answer.spent.tokens.tolist() == [8, 8]
    # The score of a completed leaf says its place: the lowest value, less its rank.
    for scores, evaluated, listed in zip(answer.scores, num_leaves, expected, strict=True):
        places = torch.arange(1, int(listed - evaluated) + 1)
        torch.testing.assert_close(scores[evaluated:listed], scores[evaluated - 1] - places)


def test_what_is_excluded_or_unavailable_does_not_exist():
    trie, model = Trie.build(CUBE, (4, 4, 4)), ValueTable((4, 4, 4))
    gone = torch.tensor([list(range(0, 20)), list(range(30, 50))])
    is_available = torch.arange(64) % 3 > 0
    available = trie.availability(is_available)
    scope = Scope(trie=trie, available=available, excluded=Exclusion.of(gone, trie, available))
    policy = ValueGuidedDecoding(budget=200, num_leaves=64, warm_width=2)
    answer = policy.search(model, histories_of(1, 2), scope)
    for user in range(2):
        leaves = answer.leaves[user][answer.leaves[user] != NO_STATE]
        items = set(trie.items(leaves[None])[0, :, 0].tolist())
        left = {item for item in range(64) if item % 3 and item not in gone[user].tolist()}
        assert items == left
    some = trie.availability(torch.zeros(64, dtype=torch.bool))
    nothing = policy.search(model, histories_of(1), Scope(trie=trie, available=some))
    assert (nothing.leaves == NO_STATE).all()
    assert nothing.spent.tokens.tolist() == [1]


@pytest.mark.parametrize(("weight", "kind"), [(0.0, "value"), (0.3, "value + log_prob")])
def test_with_all_of_the_trie_in_the_tree_the_answer_is_the_ranking_by_value(weight, kind):
    trie, model = Trie.build(CUBE, (4, 4, 4)), ValueTable((4, 4, 4))
    policy = ValueGuidedDecoding(
        budget=200, num_leaves=64, warm_width=2, answer_likelihood_weight=weight
    )
    whole = ValueBeamSearch(num_beams=64, candidates=64, likelihood_weight=weight)
    answer, expected = (
        search.search(model, histories_of(1), Scope(trie=trie)) for search in (policy, whole)
    )
    assert answer.score_kind == kind
    assert answer.leaves.tolist() == expected.leaves.tolist()
    torch.testing.assert_close(answer.scores, expected.scores)


def test_a_model_without_values_is_refused():
    trie = Trie.build(CUBE, (4, 4, 4))
    with pytest.raises(ValueError, match="put a value head onto it"):
        ValueGuidedDecoding().search(PrefixTable((4, 4, 4)), histories_of(1), Scope(trie=trie))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"warm_width": 0}, "warm_width must be at least 1, got 0"),
        ({"paths_per_round": 0}, "paths_per_round must be at least 1"),
        ({"exploration": -1.0}, "exploration must be 0 or more, got -1.0"),
        ({"exploration": math.inf}, "exploration must be 0 or more, got inf"),
        ({"answer_likelihood_weight": -0.1}, "answer_likelihood_weight must be 0 or more"),
        ({"gamma": 1.5}, "gamma must lie in 0..1, got 1.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        ValueGuidedDecoding(**changes)


class Waits(TorchDispatchMode):
    """Counts the operations that wait for the device, what is copied from it aside."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += func.overloadpacket.__name__ in WAITING
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("paths", [1, 4])
def test_a_round_waits_for_nothing_of_the_device_but_what_the_model_says(paths):
    sizes = (5, 5, 5)
    trie = Trie.build(np.array(list(itertools.product(range(5), repeat=3))), sizes)
    numbers = []
    for budget in (20, 60):
        policy = ValueGuidedDecoding(
            budget=budget, warm_width=3, num_leaves=3, paths_per_round=paths
        )
        with Waits() as waits:
            policy.search(ValueTable(sizes), histories_of(1, 2), Scope(trie=trie))
        numbers.append(waits.number)
    assert numbers[0] == numbers[1] > 0
