import pytest
import torch
from torch import nn

from sidestep.training.optimizer import adamw


class Tied(nn.Module):
    """A tied head, a free one, a norm and a start vector."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.tied = nn.Linear(3, 4, bias=False)
        self.tied.weight = self.embedding.weight
        self.free = nn.Linear(3, 4)
        self.norm = nn.RMSNorm(3)
        self.start = nn.Parameter(torch.zeros(3))


def test_only_matrices_that_are_no_embedding_decay():
    module = Tied()
    decaying, others = adamw(module, weight_decay=0.1, betas=(0.9, 0.98)).param_groups
    assert decaying["weight_decay"] == 0.1
    assert [id(weights) for weights in decaying["params"]] == [id(module.free.weight)]
    assert others["weight_decay"] == 0.0
    assert {id(weights) for weights in others["params"]} == {
        id(module.embedding.weight),
        id(module.free.bias),
        id(module.norm.weight),
        id(module.start),
    }


def test_frozen_weights_are_left_out_and_a_frozen_module_is_refused():
    module = Tied()
    module.free.requires_grad_(False)
    decaying, _ = adamw(module, weight_decay=0.1, betas=(0.9, 0.98)).param_groups
    assert not decaying["params"]
    with pytest.raises(ValueError, match="nothing to train"):
        adamw(module.requires_grad_(False), weight_decay=0.1, betas=(0.9, 0.98))


def test_what_learns_at_another_rate_has_groups_of_its_own():
    module = Tied()
    groups = adamw(
        module, weight_decay=0.1, betas=(0.9, 0.98), rate_factors={"free.": 10.0}
    ).param_groups
    by_factor = {
        (group["rate_factor"], group["weight_decay"]): [id(one) for one in group["params"]]
        for group in groups
    }
    assert by_factor[10.0, 0.1] == [id(module.free.weight)]
    assert by_factor[10.0, 0.0] == [id(module.free.bias)]
    assert by_factor[1.0, 0.1] == []
    assert len(by_factor[1.0, 0.0]) == 3
