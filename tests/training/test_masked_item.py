from dataclasses import replace

import pytest
import torch

from sidestep.model.bert4rec import Bert4Rec
from sidestep.model.config import Bert4RecConfig
from sidestep.padding import NO_ITEM
from sidestep.training.masked_item import MaskedItemObjective
from sidestep.training.objective_config import MaskedItemConfig

from .objective_contract import ObjectiveContract
from .test_next_code import BATCH


def objective(**config) -> MaskedItemObjective:
    torch.manual_seed(0)
    shape = Bert4RecConfig(dim=8, num_layers=1, max_items=2, dropout=0.0)
    return MaskedItemObjective(Bert4Rec(shape, 5), MaskedItemConfig(**config))


class TestMaskedItem(ObjectiveContract):
    batch = BATCH

    def make(self):
        return objective(mask_share=0.5)


@pytest.mark.parametrize("last_share", [0.0, 0.3, 1.0])
def test_targets_are_masked_by_their_share_and_each_window_has_one(last_share):
    made = objective(mask_share=0.4, last_share=last_share)
    torch.manual_seed(1)
    masks = torch.stack([made.masks(BATCH) for _ in range(3000)])
    assert masks.any(dim=2).all()
    assert not masks[:, ~BATCH.is_target].any()
    # Of the two targets of a window, the first is masked where it is drawn, and the window is not
    # one in which the last is masked alone.
    share = masks[:, 0, 1].float().mean()
    torch.testing.assert_close(share, torch.tensor((1 - last_share) * 0.4), atol=0.03, rtol=0)
    # The last is masked alone, or drawn, or stands in for a window in which nothing was drawn.
    share = masks[:, 0, 2].float().mean()
    expected = last_share + (1 - last_share) * (0.4 + 0.6 * 0.6)
    torch.testing.assert_close(share, torch.tensor(expected), atol=0.03, rtol=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_that_of_the_masked_items_at_the_states_of_their_masks(weighted):
    made = objective()
    weights = torch.tensor([[9.0, 9.0, 0.5], [0.3, 9.0, 9.0]])
    batch = replace(BATCH, target_weights=weights) if weighted else BATCH
    masks = torch.tensor([[False, False, True], [True, False, False]])
    made.masks = lambda _: masks
    states = made.network.masked_states(batch.histories, masks)
    table = made.network.item_embedding.weight
    expected = 0.0
    for user, position, item, weight in ((0, 2, 1, 0.5), (1, 0, 3, 0.3)):
        logs = (table @ states[user, position]).log_softmax(0)
        expected = expected - logs[item] * (weight if weighted else 1) / 2
    torch.testing.assert_close(made(batch).loss, expected)
    assert made(batch).num_targets == batch.num_targets


def test_a_masked_item_changes_nothing_but_the_loss_of_its_own():
    """The state at a mask does not see the item, so no state tells the answer."""
    made = objective()
    masks = torch.tensor([[False, True, False], [True, False, False]])
    items = BATCH.items.clone()
    items[0, 1], items[1, 0] = 4, 0
    other = replace(BATCH, items=items)
    assert items[1, 2] == NO_ITEM
    found = [made.network.masked_states(batch.histories, masks) for batch in (BATCH, other)]
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1, :2], found[1][1, :2])
