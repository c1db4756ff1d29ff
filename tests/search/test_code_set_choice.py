"""A policy that chooses the codebook of each state: one way to each set, and certain codes free."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.model.code_set_t5 import CodeSetT5
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.config import ProcessRewardConfig
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.search.beam import BeamSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.process_reward import ProcessReward
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.search.ved import ValueGuidedDecoding
from sidestep.step import HistoryBatch
from tests.catalog.test_space import TITLES

SIZES = (3, 4, 3, 2)
HISTORIES = HistoryBatch(items=torch.tensor([[0, 1], [4, 2]]), lengths=torch.tensor([2, 2]))


def codes_of(seed: int, num_items: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(n, (num_items,), generator=generator) for n in SIZES], dim=1)


def network(codes, order, seed=0, form=CodeSetTransformer):
    torch.manual_seed(seed)
    config = form.Config(dim=8, num_layers=1, num_heads=2, order=order, order_seed=seed)
    model = form(config, codes, SIZES).eval()
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.6)
    return model


@torch.no_grad()
@settings(max_examples=20)
@given(
    st.integers(0, 500),
    st.sampled_from(["confident", "informative", "fixed", "random"]),
    st.sampled_from([CodeSetTransformer, CodeSetT5]),
)
def test_the_probabilities_of_all_sets_sum_to_one_and_no_set_comes_twice(seed, order, form):
    codes = codes_of(seed)
    space = SetSpace.of_codes(codes, SIZES)
    found = BeamSearch(num_beams=24).search(network(codes, order, seed, form), HISTORIES, space)
    for user in range(2):
        leaves = found.leaves[user][found.leaves[user] != NO_STATE].tolist()
        assert len(leaves) == len(set(leaves)) == len({tuple(row) for row in codes.tolist()})
        assert float(found.log_probs[user].exp().sum()) == pytest.approx(1, abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("form", [CodeSetTransformer, CodeSetT5])
@pytest.mark.parametrize("order", ["confident", "informative", "fixed"])
def test_a_way_has_the_probability_that_it_has_code_by_code(order, form):
    """The certain codes at its end change nothing: the loop without them says the same."""
    codes = codes_of(3)
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, order, form=form)
    found = BeamSearch(num_beams=24).search(model, HISTORIES, space)
    for user, item in ((0, 5), (1, 7)):
        state, total = space.root(2), 0.0
        step, context = model.encode(HISTORIES, capacity=4)
        for depth in range(4):
            legal = step.followed(space.legal(state))
            assert legal[user, 0].any()
            logs = step.logits.masked_fill(~legal, -torch.inf).log_softmax(dim=2)
            own = space.actions_of(torch.tensor([item]))[0].tolist()
            [action] = [a for a in own if legal[user, 0, a]]
            total += float(logs[user, 0, action])
            actions = torch.full((2, 1), action)
            state = space.child(state, actions)
            at = torch.full((2, 1), depth)
            step, context = model.extend(context, actions, at, at + 1, is_node=at >= 0)
        [column] = (found.leaves[user] == state[user]).nonzero()[:, 0].tolist()
        assert float(found.log_probs[user, column]) == pytest.approx(total, abs=1e-4)


@torch.no_grad()
def test_certain_codes_cost_no_token():
    """The first codebook tells all three items apart: one code decides."""
    codes = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0]])
    space = SetSpace.of_codes(codes, SIZES)
    histories = HistoryBatch(items=torch.tensor([[0], [2]]), lengths=torch.tensor([1, 1]))
    found = BeamSearch(num_beams=3).search(network(codes, "confident"), histories, space)
    assert found.spent.tokens.tolist() == [1, 1]
    assert sorted(found.leaves[0].tolist()) == sorted(space.state_of(torch.arange(3)).tolist())


@torch.no_grad()
@settings(max_examples=20)
@given(st.integers(0, 500), st.lists(st.integers(0, 11), max_size=6))
def test_no_search_reaches_a_set_that_no_item_in_scope_has(seed, gone):
    codes = codes_of(seed)
    is_there = torch.ones(12, dtype=torch.bool)
    is_there[gone] = False
    space = SetSpace.of_codes(codes, SIZES).among(is_there).without(torch.tensor([[0], [1]]))
    for search in (BeamSearch(num_beams=3), Sampling(num_samples=3, seed=seed)):
        found = search.search(network(codes, "confident", seed), HISTORIES, space)
        for user in range(2):
            expected = {i for i in range(12) if is_there[i] and i != user}
            states = found.leaves[user : user + 1]
            items = space.items(states.expand(2, -1))[user]
            is_found = states[0] != NO_STATE
            assert (items[is_found] >= 0).any(dim=1).all()
            assert set(items[items >= 0].tolist()) <= expected
            wanted = {tuple(codes[i].tolist()) for i in expected}
            assert int(is_found.sum()) == min(3, len(wanted))


class Valued:
    """A network over sets with a value of each node, by a fixed function of the node's state."""

    def __init__(self, network):
        self.network = network
        self.codebook_sizes, self.num_actions = network.codebook_sizes, network.num_actions

    def encode(self, histories, *, capacity):
        step, context = self.network.encode(histories, capacity=capacity)
        return self._valued(step), context

    def extend(self, context, *nodes, **how):
        step, context = self.network.extend(context, *nodes, **how)
        return self._valued(step), context

    def _valued(self, step):
        return replace(step, value=torch.sin(step.hidden.sum(dim=2) * 3.1))


def values_of_all(model, space, user, items):
    """The value of each item after all its codes, and log π, one call of the network at a time."""
    histories = HISTORIES.select(torch.tensor([user]))
    found = {}
    for item in items:
        step, context = model.encode(histories, capacity=4)
        state, total = space.root(1), 0.0
        own = space.actions_of(torch.tensor([item]))[0].tolist()
        for depth in range(len(SIZES)):
            legal = step.followed(space.legal(state))
            logs = step.logits.masked_fill(~legal, -torch.inf).log_softmax(dim=2)[0, 0]
            [action] = [code for code in own if legal[0, 0, code]]
            total += float(logs[action])
            one = torch.tensor([[action]])
            state = space.child(state, one)
            step, context = model.extend(
                context, one, one * 0 + depth, one * 0 + depth + 1, is_node=one >= 0
            )
        found[int(state)] = (float(step.value), total)
    return found


@torch.no_grad()
@pytest.mark.parametrize("order", ["confident", "informative", "fixed"])
def test_a_value_beam_reads_the_value_of_every_set_with_all_its_codes(order):
    codes = codes_of(3)
    space, model = SetSpace.of_codes(codes, SIZES), Valued(network(codes, order))
    found = ValueBeamSearch(num_beams=24, candidates=24).search(model, HISTORIES, space)
    for user in range(2):
        expected = values_of_all(model, space, user, range(len(codes)))
        leaves = found.leaves[user][found.leaves[user] != NO_STATE].tolist()
        assert sorted(leaves) == sorted(expected)
        for column, leaf in enumerate(leaves):
            told = (float(found.scores[user, column]), float(found.log_probs[user, column]))
            assert told == pytest.approx(expected[leaf], abs=1e-4)
        # Every prefix of every set costs a token.
        assert int(found.spent.tokens[user]) == int(found.tree.is_node[user].sum())


@torch.no_grad()
@pytest.mark.parametrize("order", ["confident", "informative", "fixed"])
@pytest.mark.parametrize("paths", [1, 3])
def test_value_guided_decoding_grows_the_sets_that_the_network_chooses(order, paths):
    codes = codes_of(3)
    space, model = SetSpace.of_codes(codes, SIZES), Valued(network(codes, order))
    whole = ValueGuidedDecoding(budget=99, num_leaves=24, warm_width=2, paths_per_round=paths)
    every = whole.search(model, HISTORIES, space)
    some = ValueGuidedDecoding(budget=21, num_leaves=3, warm_width=2, paths_per_round=paths)
    found = some.search(model, HISTORIES, space)
    alone = some.search(model, HISTORIES.select(torch.tensor([1])), space)
    assert found.spent.tokens.tolist() == [21, 21]
    assert alone.leaves[0].tolist() == found.leaves[1].tolist()
    for user in range(2):
        expected = values_of_all(model, space, user, range(len(codes)))
        leaves = every.leaves[user][every.leaves[user] != NO_STATE].tolist()
        assert sorted(leaves) == sorted(expected)
        for column, leaf in enumerate(leaves):
            told = (float(every.scores[user, column]), float(every.log_probs[user, column]))
            assert told == pytest.approx(expected[leaf], abs=1e-4)
        own = found.leaves[user][found.leaves[user] != NO_STATE].tolist()
        assert len(own) == len(set(own)) == 3
        assert set(own) <= set(leaves)


def test_a_guided_beam_over_sets_keeps_the_best_by_their_process_reward():
    codes = codes_of(5)
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, "confident")
    torch.manual_seed(1)
    reward = ProcessRewardModel(
        ProcessRewardConfig(dim=4, dot_product=True),
        num_features=space.num_features,
        memory_dim=8,
    )
    torch.nn.init.normal_(reward.embedding.weight)
    scorer = ProcessReward(network=reward)
    with torch.no_grad():
        wide = GuidedBeamSearch(guidance=Guidance(scorer=scorer), num_beams=24, candidates=24)
        found = wide.search(model, HISTORIES, space)
        scores_of = scorer.begin(HISTORIES, *model.encode(HISTORIES, capacity=0), space)
        every = space.state_of(torch.arange(len(codes)))
        scores = scores_of(every.expand(2, -1), 4)
    for user in range(2):
        expected = dict(zip(every.tolist(), scores[user].tolist(), strict=True))
        is_found = found.leaves[user] != NO_STATE
        own = zip(
            found.leaves[user][is_found].tolist(),
            found.scores[user][is_found].tolist(),
            strict=True,
        )
        assert dict(own) == pytest.approx(expected, abs=1e-5)


def test_a_process_reward_of_other_codes_is_refused():
    codes = codes_of(5)
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, "confident")
    reward = ProcessRewardModel(ProcessRewardConfig(dim=4), num_features=9, memory_dim=8)
    scorer, root = ProcessReward(network=reward), model.encode(HISTORIES, capacity=0)
    with pytest.raises(
        ValueError, match="has rows for 9 prefixes or codes, but the catalog has 12"
    ):
        scorer.begin(HISTORIES, *root, space)
    with pytest.raises(TypeError, match="prm needs a space that describes its states"):
        scorer.begin(HISTORIES, *root, TITLES)
