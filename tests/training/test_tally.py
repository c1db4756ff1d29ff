import json

import pytest
import torch

from sidestep.training.objective import Loss
from sidestep.training.tally import Sums, Tally


def a_loss(value, **parts):
    return Loss(
        loss=torch.tensor(value),
        num_targets=1,
        parts={name: torch.tensor(part) for name, part in parts.items()},
    )


def test_means_weigh_by_targets():
    tally = Tally(torch.device("cpu"), Sums())
    tally.add_loss(a_loss(1.0, code=4.0), num_targets=1)
    tally.add_loss(a_loss(2.0, code=8.0), num_targets=3)
    tally.add_step(torch.tensor(0.5), num_targets=4, seconds=2.0)
    means = tally.read(tally.tensor()).means()
    # (1 + 3 * 2) / 4 and (4 + 3 * 8) / 4
    assert means == {"loss": 1.75, "parts": {"code": 7.0}, "grad_norm": 0.5, "targets_per_s": 2.0}


def test_a_tally_goes_on_from_json():
    whole = Tally(torch.device("cpu"), Sums())
    for value in (0.1, 0.7):
        whole.add_loss(a_loss(value), num_targets=3)
        whole.add_step(torch.tensor(value), num_targets=3, seconds=0.5)

    first = Tally(torch.device("cpu"), Sums())
    first.add_loss(a_loss(0.1), num_targets=3)
    first.add_step(torch.tensor(0.1), num_targets=3, seconds=0.5)
    saved = json.loads(json.dumps(first.read(first.tensor()).as_json()))
    second = Tally(torch.device("cpu"), Sums(**saved))
    second.add_loss(a_loss(0.7), num_targets=3)
    second.add_step(torch.tensor(0.7), num_targets=3, seconds=0.5)
    assert second.read(second.tensor()) == whole.read(whole.tensor())


def test_terms_that_change_their_names_are_refused():
    tally = Tally(torch.device("cpu"), Sums())
    tally.add_loss(a_loss(1.0, code=1.0), num_targets=1)
    with pytest.raises(ValueError, match="the same ones at every step"):
        tally.add_loss(a_loss(1.0, item=1.0), num_targets=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_shows(value):
    tally = Tally(torch.device("cpu"), Sums())
    tally.add_loss(a_loss(1.0), num_targets=1)
    assert tally.read(tally.tensor()).is_finite()
    tally.add_step(torch.tensor(value), num_targets=1, seconds=1.0)
    assert not tally.read(tally.tensor()).is_finite()
