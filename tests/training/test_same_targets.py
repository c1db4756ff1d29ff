import numpy as np
import pytest
import torch

from sidestep.data.windows import Windows, window_batch
from sidestep.training.same_targets import SameTargets

WINDOWS = Windows(
    items=np.array([0, 2, 1, 3, 1, 5, 1]),
    starts=np.array([0, 3]),
    lengths=np.array([3, 4]),
    first_target=np.array([1, 0]),
)


def test_partners_are_all_histories_with_the_same_next_item():
    """Item 1 is next after (0, 2), after (3) and after (3, 1, 5); item 2 after (0) alone."""
    same, batch = SameTargets.of(WINDOWS), window_batch(WINDOWS, np.arange(2))
    rows, positions = torch.tensor([0, 0, 1]), torch.tensor([2, 1, 3])
    torch.manual_seed(0)
    found: list[set] = [set(), set(), set()]
    for _ in range(40):
        partners = same.partners(batch, rows, positions)
        for kept, items, length in zip(found, partners.items, partners.lengths, strict=True):
            kept.add(tuple(items[:length].tolist()))
    of_item_1 = {(0, 2), (3,), (3, 1, 5)}
    assert found == [of_item_1, {(0,)}, of_item_1]


def test_an_item_that_is_no_target_is_refused():
    others = WINDOWS.select(np.array([1]))
    batch = window_batch(WINDOWS, np.arange(2))
    with pytest.raises(ValueError, match="item 2 is no target of the windows"):
        SameTargets.of(others).partners(batch, torch.tensor([0]), torch.tensor([1]))
