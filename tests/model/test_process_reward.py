from dataclasses import replace

import pytest
import torch

from sidestep.model.config import ProcessRewardConfig
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.step import HistoryStates
from tests.model.counted_flops import counted_flops


def network_of(**config):
    torch.manual_seed(0)
    shape = ProcessRewardConfig(dim=8, num_heads=2, num_blocks=2, **config)
    return ProcessRewardModel(shape, num_features=30, memory_dim=6).eval()


def history_of(*counts, width=5):
    torch.manual_seed(1)
    states = torch.randn(len(counts), width, 6)
    return HistoryStates(states=states, counts=torch.tensor(counts))


PREFIXES = torch.tensor([[3, 7, 29, 3], [1, 2, 4, 5]])[..., None]
"""One feature each, as the nodes of a trie have."""


@pytest.mark.parametrize("dot_product", [False, True])
def test_a_prefix_is_scored_alike_alone_and_among_others(dot_product):
    network = network_of(dot_product=dot_product)
    memory = network.remember(history_of(2, 5))
    together = network(memory, PREFIXES)
    assert together[0, 0] == together[0, 3]
    for column in range(4):
        alone = network(memory, PREFIXES[:, column : column + 1])
        assert alone[:, 0].tolist() == pytest.approx(together[:, column].tolist(), abs=1e-6)


@pytest.mark.parametrize("dot_product", [False, True])
def test_only_the_history_is_seen_not_its_padding(dot_product):
    network = network_of(dot_product=dot_product)
    history = history_of(2, 5)
    changed = history.states.clone()
    changed[0, 2:] = 100.0
    same = HistoryStates(states=changed, counts=history.counts)
    other = HistoryStates(states=changed, counts=history.counts + 1)
    scores = network(network.remember(history), PREFIXES)
    assert torch.equal(network(network.remember(same), PREFIXES), scores)
    assert not torch.allclose(network(network.remember(other), PREFIXES)[0], scores[0])


@pytest.mark.parametrize("dot_product", [False, True])
def test_a_row_of_memory_is_that_of_a_user_who_sees_less(dot_product):
    network = network_of(dot_product=dot_product)
    whole, short = history_of(5, 5), history_of(3, 3)
    is_visible = (torch.arange(5) < 3).expand(2, -1)
    rows = network.remember(whole).of(torch.tensor([1, 0]), is_visible)
    expected = network(network.remember(short), PREFIXES.flip(0)).flip(0)
    assert torch.allclose(network(rows, PREFIXES), expected, atol=1e-6)


def test_the_inner_product_is_that_of_the_prefix_and_the_last_state_seen():
    network, history = network_of(dot_product=True), history_of(2, 5)
    memory = network.remember(history)
    added = network(memory, PREFIXES) - network(replace(memory, states=None), PREFIXES)
    last = network.last(history.states[torch.arange(2), torch.tensor([1, 4])])
    embedded = network.embedding.weight[PREFIXES[..., 0]]
    torch.testing.assert_close(added, (embedded * last[:, None]).sum(dim=2))


@torch.no_grad()
def test_a_set_is_the_sum_of_its_codes_and_padding_adds_nothing():
    """The blocks see the sum, and the inner product of a set is the sum of those of its codes."""
    network = network_of(dot_product=True)
    memory = network.remember(history_of(3))
    sets = torch.tensor([[[3, -1, 9, -1], [9, 3, -1, -1], [3, -1, -1, -1], [9, -1, -1, -1]]])
    scores = network(memory, sets)[0].tolist()
    products = (network(memory, sets) - network(replace(memory, states=None), sets))[0].tolist()
    assert products[0] == pytest.approx(products[2] + products[3], abs=1e-6)
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    network.embedding.weight[5] = network.embedding.weight[[3, 9]].sum(dim=0)
    of_sum = network(memory, torch.tensor([[[5]]]))
    assert float(of_sum) == pytest.approx(scores[0], abs=1e-6)


def test_hashed_prefixes_share_rows_and_all_rows_are_used():
    network = network_of(hashed_rows=4)
    assert network.embedding.weight.shape == (4, 8)
    memory = network.remember(history_of(3))
    scores = network(memory, torch.arange(30)[None, :, None])[0]
    assert len({round(score, 5) for score in scores.tolist()}) == 4


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="dim 8 must be a multiple of num_heads 3"):
        ProcessRewardConfig(dim=8, num_heads=3)


@pytest.mark.parametrize("dot_product", [False, True])
def test_its_flops_are_those_that_pytorch_counts(dot_product):
    network, history = network_of(dot_product=dot_product), history_of(5, 5)
    counted, _ = counted_flops(lambda: network(network.remember(history), PREFIXES))
    of_users = network.flops(history.counts, torch.tensor([4, 4]))
    assert of_users.sum() == counted
    # Padding is no history and is not scored.
    assert network.flops(torch.tensor([5, 2]), torch.tensor([4, 0]))[0] == of_users[0]
    half = network.flops(torch.tensor([2]), torch.tensor([0]))
    assert half * 2 == network.flops(torch.tensor([4]), torch.tensor([0]))
