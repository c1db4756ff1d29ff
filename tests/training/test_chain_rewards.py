import numpy as np
import pytest
import torch

from sidestep.data.windows import Windows, window_batch
from sidestep.model.config import DiffuReasonConfig, LaresConfig
from sidestep.model.diffureason import DiffuReason
from sidestep.model.lares import Lares
from sidestep.training.chain_rewards import ChainRewardObjective
from sidestep.training.objective_config import GroupRewardConfig

from .objective_contract import ObjectiveContract

WINDOWS = Windows(
    items=np.array([0, 2, 1, 3, 1]),
    starts=np.array([0, 3]),
    lengths=np.array([3, 2]),
    first_target=np.array([1, 0]),
)
BATCH = window_batch(WINDOWS, np.arange(2))
USERS, POSITIONS = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 0, 1])
ITEMS = torch.tensor([2, 1, 3, 1])


def a_lares() -> Lares:
    return Lares(LaresConfig(dim=8, num_layers=1, max_items=2, mean_depth=2, dropout=0.5), 5)


def a_diffureason() -> DiffuReason:
    shape = {"dim": 8, "num_layers": 1, "max_items": 2, "temperature": None, "num_refinements": 2}
    return DiffuReason(DiffuReasonConfig(**shape), 5)


NETWORKS = [a_lares, a_diffureason]


def objective(make=a_lares, **config) -> ChainRewardObjective:
    torch.manual_seed(0)
    network = make().requires_grad_(requires_grad=False)
    for weights in network.parameters():
        if weights.ndim > 1:
            torch.nn.init.normal_(weights, std=0.6)
    return ChainRewardObjective(network, GroupRewardConfig(cutoff=2, **config))


class TestChainRewards(ObjectiveContract):
    batch = BATCH

    def make(self):
        return objective()


class TestRefinementRewards(ObjectiveContract):
    batch = BATCH

    def make(self):
        return objective(a_diffureason)


def chains_that_chance_decides(network, inputs):
    """The chains of the next draw, at all positions."""
    if isinstance(network, Lares):
        depth, first = network.draw_depth(), network.draw_first(inputs)
        return network.recur(inputs, depth=depth, first=first)
    return network.refine(network.think(inputs), torch.randn_like(inputs))


def by_hand(made, num_chains):
    """Rewards, and log-probabilities at every step, of the chains that the next seed draws."""
    network, rewards, log_probs = made.network, [], []
    read = BATCH.before(torch.arange(2), BATCH.lengths - 1)
    inputs = network.inputs(read)
    for _ in range(num_chains):
        chains = chains_that_chance_decides(network, inputs)[USERS, POSITIONS]
        scores = chains @ network.item_embedding.weight.T
        logs = scores.log_softmax(dim=-1)[torch.arange(4), :, ITEMS]
        places = [
            1 + sum(float(other) > float(row[item]) for other in row)
            for row, item in zip(scores[:, -1].detach(), ITEMS.tolist(), strict=True)
        ]
        rewards.append([float(place <= 2) for place in places])
        log_probs.append(logs)
    return torch.tensor(rewards).T, log_probs


@pytest.mark.parametrize("make", NETWORKS)
def test_the_gradient_is_that_of_log_likelihoods_weighed_by_advantages(make):
    made = objective(make, group_size=3, kl_weight=None)
    torch.manual_seed(5)
    rewards, log_probs = by_hand(made.eval(), 3)
    std = rewards.std(dim=1, keepdim=True, unbiased=False)
    advantages = (rewards - rewards.mean(dim=1, keepdim=True)) / (std + 1e-6)
    assert (advantages != 0).any()  # some groups have chains that hit and chains that miss
    of_chains = [logs.mean(dim=1) for logs in log_probs]
    expected = -(advantages * torch.stack(of_chains, dim=1)).mean()
    expected.backward()
    weights = list(made.network.parameters())
    wanted = [each.grad.clone() for each in weights]
    made.zero_grad()
    torch.manual_seed(5)
    loss = made.train()(BATCH)
    loss.loss.backward()
    for own, other in zip(weights, wanted, strict=True):
        torch.testing.assert_close(own.grad, other, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(loss.parts["reward"], rewards.mean())
    torch.testing.assert_close(
        loss.parts["zero_advantage"], (advantages == 0).all(dim=1).float().mean()
    )


@pytest.mark.parametrize("make", NETWORKS)
def test_the_network_of_before_holds_it_back(make):
    made = objective(make, group_size=2, kl_weight=0.7)
    torch.manual_seed(5)
    assert made(BATCH).parts["kl"] == 0  # nothing has moved
    with torch.no_grad():
        made.network.item_embedding.weight.mul_(1.5)
    before = objective(make, group_size=2).eval()
    torch.manual_seed(5)
    _, old = by_hand(before, 2)
    torch.manual_seed(5)
    rewards, new = by_hand(made.eval(), 2)
    apart = [(o - n).exp() - (o - n) - 1 for o, n in zip(old, new, strict=True)]
    expected = torch.stack([each.mean(dim=1) for each in apart]).mean()
    torch.manual_seed(5)
    loss = made(BATCH)
    torch.testing.assert_close(loss.parts["kl"], expected.detach())
    # At a ratio of 1 the gain is the mean advantage, which is 0.
    torch.testing.assert_close(loss.loss, 0.7 * expected, atol=1e-5, rtol=1e-5)
    assert rewards.shape == (4, 2)
