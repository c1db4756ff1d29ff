from dataclasses import replace

import pytest
import torch

from sidestep.model.config import RpgConfig
from sidestep.model.rpg import Rpg
from sidestep.training.objective_config import ParallelCodesConfig
from sidestep.training.parallel_codes import ParallelCodesObjective

from .objective_contract import ObjectiveContract
from .test_next_code import BATCH, IDS

SIZES = (2, 3)


def objective(**config) -> ParallelCodesObjective:
    torch.manual_seed(0)
    shape = RpgConfig(dim=8, num_layers=1, num_heads=2, ffn_dim=8, max_items=2, dropout=0.0)
    return ParallelCodesObjective(Rpg(shape, IDS, SIZES), ParallelCodesConfig(**config))


class TestParallelCodes(ObjectiveContract):
    batch = BATCH

    def make(self):
        return objective()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_that_of_every_code_of_the_targets(weighted, smoothing):
    made = objective(label_smoothing=smoothing)
    weights = torch.tensor([[9.0, 0.5, 1.0], [0.25, 2.0, 9.0]])
    batch = replace(BATCH, target_weights=weights) if weighted else BATCH
    before = replace(BATCH.histories.without_last(), lengths=BATCH.lengths - 1)
    states = made.network.states(before)
    expected = told = 0.0
    for user, position, item in ((0, 1, 2), (0, 2, 1), (1, 0, 3), (1, 1, 1)):
        weight = float(weights[user, position]) if weighted else 1.0
        logs = made.network.code_log_probs(states[user, position][None])
        for book in range(2):
            hit = -logs[book][0, IDS[item, book]]
            spread = -logs[book].mean()
            expected = expected + weight * ((1 - smoothing) * hit + smoothing * spread) / 4
            told = told + weight * hit / 2 / 4
    loss = made(batch)
    torch.testing.assert_close(loss.loss, expected)
    torch.testing.assert_close(loss.parts["codes"], told.detach())
