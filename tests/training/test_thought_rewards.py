"""The reward stage of STREAM-Rec: each reward by hand, and the gradient that they give."""

import math
from dataclasses import replace

import pytest
import torch

from sidestep.catalog.trie import Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.config import StreamRecConfig
from sidestep.model.stream_rec import StreamRec
from sidestep.padding import NO_ITEM
from sidestep.training import thought_rewards
from sidestep.training.objective_config import ThoughtRewardConfig
from sidestep.training.thought_rewards import (
    AskedTargets,
    ThoughtRewardObjective,
    answer_log_probs,
    drawn_path,
    is_item,
    path_log_probs,
)

from .objective_contract import ObjectiveContract

IDS = torch.tensor([[0, 1], [1, 1], [1, 0]])
SIZES = (2, 2)
BATCH = WindowBatch(
    items=torch.tensor([[0, 2, 1], [2, 1, NO_ITEM]]),
    lengths=torch.tensor([3, 2]),
    is_target=torch.tensor([[False, True, True], [True, True, False]]),
    num_targets=4,
)
USERS, POSITIONS = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 0, 1])
ITEMS = torch.tensor([2, 1, 2, 1])


def objective(**config) -> ThoughtRewardObjective:
    torch.manual_seed(0)
    shape = StreamRecConfig(dim=8, num_layers=1, num_heads=2, dropout=0.5, num_thoughts=2)
    network = StreamRec(shape, IDS, SIZES).requires_grad_(requires_grad=False)
    return ThoughtRewardObjective(network, ThoughtRewardConfig(num_negatives=2, **config))


class TestThoughtRewards(ObjectiveContract):
    batch = BATCH

    def make(self):
        return objective(group_size=3)


def flat(*path: int) -> list[int]:
    """A path of two thoughts, as flat code ids, and the codes of two levels."""
    first, second, one, two = path
    return [first, second, one, SIZES[0] + two]


def with_plain_vectors(made):
    """Codes of orthogonal vectors, and states that are sums of the vectors of thoughts."""
    network = made.policy.eval()
    with torch.no_grad():
        network.code_embedding.weight.copy_(torch.eye(8)[:4])
        for layer in (network.to_state[0], network.to_state[2]):
            layer.weight.copy_(torch.eye(8))
    return network


def asked(network, direct=0.0) -> AskedTargets:
    histories = BATCH.before(USERS, POSITIONS)
    return AskedTargets(
        items=ITEMS,
        histories=histories,
        memory=network.read(histories).memory,
        direct=torch.full((4, 2), direct),
    )


def test_an_answer_has_the_format_if_some_item_has_its_codes():
    trie = Trie.build(IDS.numpy(), SIZES)
    answers = torch.tensor([[0, 1], [1, 0], [1, 1], [0, 0]])
    assert is_item(trie, answers).tolist() == [True, True, True, False]
    # Codes that belong to other first codes, in a larger tree.
    larger = Trie.build(torch.tensor([[0, 0, 1], [2, 1, 0]]).numpy(), (3, 2, 2))
    answers = torch.tensor([[0, 0, 1], [2, 1, 0], [2, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]])
    assert is_item(larger, answers).tolist() == [True, True, False, False, False, False]


def test_rewards_of_answers_by_format_and_by_their_first_codes():
    made = objective()
    network = with_plain_vectors(made)
    # The next items are 2, 1, 2, 1: codes (1, 0) and (1, 1).
    answers = [flat(0, 0, 1, 0), flat(0, 0, 1, 0), flat(0, 0, 0, 0), flat(0, 0, 0, 1)]
    rewards = made.rewards(asked(network), torch.tensor(answers))
    assert rewards["format"].tolist() == [1, 1, 0, 1]
    # (0, 0) agrees with (1, 0) in the second code alone, which does not count.
    assert rewards["prefix"].tolist() == [1, 0.5, 0, 0]


def test_rewards_of_states_by_cosine_and_by_place():
    made = objective()
    network = with_plain_vectors(made)
    # Flat ids: item 0 is {0, 3}, item 1 is {1, 3}, item 2 is {1, 2}.
    thoughts = [flat(1, 2, 0, 0), flat(0, 3, 0, 0), flat(1, 1, 0, 0), flat(2, 2, 0, 0)]
    rewards = made.rewards(asked(network), torch.tensor(thoughts))
    # {1, 2} is item 2. {0, 3} shares one of two codes with item 1. Twice 1 has the cosine
    # 2 / (2 √2) with item 2. Twice 2 has none with item 1.
    assert rewards["state"].tolist() == pytest.approx([1, 0.5, 0.5**0.5, 0], abs=1e-6)
    # Item 0 is before item 1 after {0, 3}, item 2 is after {2, 2}; a tie takes no place.
    second = 1 / math.log2(3)
    assert rewards["rank"].tolist() == pytest.approx([1, second, 1, second], abs=1e-6)


@torch.no_grad()
def test_the_gain_is_that_of_the_right_answer_whatever_was_answered():
    made = objective()
    network = made.policy.eval()
    right = [flat(3, 1, *IDS[item].tolist()) for item in ITEMS.tolist()]
    wrong = torch.tensor([flat(3, 1, 0, 1)] * 4)
    likelihoods = path_log_probs(network, asked(network).memory, torch.tensor(right))[:, 2:]
    expected = likelihoods.mean(dim=1) + 0.25
    torch.testing.assert_close(made.rewards(asked(network, -0.25), wrong)["gain"], expected)


@torch.no_grad()
def test_log_probabilities_are_those_of_the_search_that_thinks_so():
    """After greedy thoughts, the codes of an item are as likely as a search finds."""
    network = objective().policy.eval()
    histories = BATCH.before(USERS, POSITIONS)
    memory = network.read(histories).memory
    path = torch.cat([network.thoughts(memory), network.flat_codes(ITEMS)], dim=1)
    logs = path_log_probs(network, memory, path)
    root, context = network.encode(histories, capacity=1)
    first = IDS[ITEMS, 0][:, None]
    own = root.logits[:, 0].log_softmax(dim=-1).gather(1, first)[:, 0]
    torch.testing.assert_close(logs[:, 2], own)
    step, _ = network.extend(
        context,
        first,
        torch.zeros_like(first),
        torch.ones_like(first),
        is_node=torch.ones_like(first, dtype=torch.bool),
    )
    own = step.logits[:, 0].log_softmax(dim=-1).gather(1, IDS[ITEMS, 1][:, None])[:, 0]
    torch.testing.assert_close(logs[:, 3], own)
    torch.testing.assert_close(logs[:, 2:], answer_log_probs(network, memory, path, 2))
    # The thoughts are the likeliest ones among all codes.
    states = network.path_states(memory, path[:, :-1])
    by_code = network.thought_logits(states[:, :2]).log_softmax(dim=-1)
    torch.testing.assert_close(logs[:, :2], by_code.amax(dim=-1))


@torch.no_grad()
def test_each_step_of_a_sequence_is_drawn_by_the_probabilities_after_the_steps_before():
    torch.manual_seed(0)
    network = objective().policy.eval()
    network.code_embedding.weight.mul_(2)
    for block in network.decoder_blocks:  # so that the steps before matter
        block.attention.out.weight.mul_(3)
    one = BATCH.before(torch.zeros(2000, dtype=torch.long), torch.ones(2000, dtype=torch.long))
    memory = network.read(one).memory
    paths = drawn_path(network, memory)
    assert paths.shape == (2000, 4)
    for step, codes in enumerate([range(4), range(4), range(2), range(2, 4)]):
        probs = []
        for code in codes:
            asked_for = paths.clone()
            asked_for[:, step] = code
            probs.append(path_log_probs(network, memory, asked_for)[:, step].exp())
        by_code = torch.stack(probs, dim=1)
        torch.testing.assert_close(by_code.sum(dim=1), torch.ones(2000))
        # The likeliest code after the own steps before is drawn as often as its probability says.
        best = by_code.argmax(dim=1) + codes.start
        assert step in (0, 3) or by_code.std(dim=0).max() > 0.2
        share = (paths[:, step] == best).float().mean()
        torch.testing.assert_close(share, by_code.amax(dim=1).mean(), atol=0.04, rtol=0)


def test_the_gradient_is_that_of_sequences_weighed_by_advantages(monkeypatch):
    made = objective(group_size=2, kl_weight=None)
    network = made.policy.eval()
    paths = [
        torch.tensor([flat(1, 2, 1, 0), flat(0, 3, 1, 1), flat(2, 2, 0, 0), flat(2, 0, 1, 0)]),
        torch.tensor([flat(3, 0, 0, 0), flat(1, 1, 0, 1), flat(1, 2, 1, 0), flat(2, 0, 1, 0)]),
    ]
    weights = {"format": 1.0, "prefix": 0.5, "state": 2.0, "gain": 0.3, "rank": 0.7}
    made.config = made.config.model_copy(
        update={f"{name}_weight": weight for name, weight in weights.items()}
    )
    given = asked(network)
    own = answer_log_probs(network, given.memory, network.flat_codes(ITEMS)).detach()
    rewards = [made.rewards(replace(given, direct=own), path) for path in paths]
    totals = torch.stack(
        [sum(weight * each[name] for name, weight in weights.items()) for each in rewards], dim=1
    )
    # Of two, the better one has the advantage 1 and the other -1; equal ones have 0.
    advantages = (totals - totals.mean(dim=1, keepdim=True)).sign()
    advantages[3] = 0.0
    logs = [path_log_probs(network, given.memory, path).mean(dim=1) for path in paths]
    (-(advantages * torch.stack(logs, dim=1)).mean()).backward()
    learning = [each for each in network.parameters() if each.requires_grad]
    wanted = [each.grad.clone() for each in learning]
    made.zero_grad()
    drawn = iter(paths)
    monkeypatch.setattr(thought_rewards, "drawn_path", lambda *_: next(drawn))
    loss = made.train()(BATCH)
    loss.loss.backward()
    for each, other in zip(learning, wanted, strict=True):
        torch.testing.assert_close(each.grad, other, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(loss.parts["reward"], totals.mean())
    torch.testing.assert_close(loss.parts["zero_advantage"], torch.tensor(0.25))
    for name in weights:
        both = torch.stack([each[name] for each in rewards])
        torch.testing.assert_close(loss.parts[name], both.mean())


def test_the_network_of_before_holds_it_back(monkeypatch):
    path = torch.tensor([flat(1, 2, 1, 0), flat(0, 3, 1, 1), flat(2, 2, 0, 0), flat(2, 0, 1, 0)])
    monkeypatch.setattr(thought_rewards, "drawn_path", lambda *_: path)
    made = objective(group_size=2, kl_weight=0.7)
    assert abs(made(BATCH).parts["kl"]) < 1e-6  # nothing has moved
    before, network = objective().policy.eval(), made.policy.eval()
    with torch.no_grad():
        network.code_embedding.weight.mul_(1.5)
        ours, theirs = asked(network).memory, asked(before).memory
        apart = path_log_probs(before, theirs, path) - path_log_probs(network, ours, path)
    expected = (apart.exp() - apart - 1).mean()
    assert expected > 0.01
    loss = made(BATCH)
    torch.testing.assert_close(loss.parts["kl"], expected)
    # Both sequences of a group are the same, so no advantage adds to the divergence.
    torch.testing.assert_close(loss.loss.detach(), 0.7 * expected)
    assert loss.parts["zero_advantage"] == 1


def test_rewards_that_all_weigh_nothing_are_refused():
    names = ("format", "prefix", "state", "gain", "rank")
    with pytest.raises(ValueError, match="all five rewards have the weight 0"):
        ThoughtRewardConfig(**{f"{name}_weight": 0.0 for name in names})
