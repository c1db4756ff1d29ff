import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sidestep.training.optimizer import adamw, clip_gradients, sparse_adam


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


def test_what_another_optimizer_moves_is_left_out_and_keeps_its_rate():
    module = Tied()
    table = module.embedding.weight
    groups = adamw(module, weight_decay=0.1, betas=(0.9, 0.98), leave_out=[table]).param_groups
    assert all(weights is not table for group in groups for weights in group["params"])
    (rows,) = sparse_adam(
        module, [table], betas=(0.9, 0.98), rate_factors={"embedding.": 3.0}
    ).param_groups
    assert (rows["params"], rows["rate_factor"]) == ([table], 3.0)


def with_gradients(indices, values, dense):
    """A table with a sparse gradient and a vector with a dense one."""
    table, vector = nn.Parameter(torch.zeros(5, 2)), nn.Parameter(torch.zeros(3))
    table.grad = torch.sparse_coo_tensor(indices[None], values, (5, 2))
    vector.grad = dense.clone()
    return table, vector


@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_a_sparse_gradient_is_clipped_like_the_same_dense_one(seed, longest):
    torch.manual_seed(seed)
    gradients = torch.randint(5, (6,)), torch.randn(6, 2), torch.randn(3)
    sparse, dense = with_gradients(*gradients), with_gradients(*gradients)
    dense[0].grad = dense[0].grad.to_dense()
    norm = torch.nn.utils.clip_grad_norm_(dense, longest)
    torch.testing.assert_close(clip_gradients(sparse, longest), norm)
    torch.testing.assert_close(sparse[0].grad.to_dense(), dense[0].grad)
    torch.testing.assert_close(sparse[1].grad, dense[1].grad)


def test_the_clipping_of_dense_gradients_is_that_of_torch_to_the_bit():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.zeros(7)) for _ in range(2))
    ours.grad = torch.randn(7)
    theirs.grad = ours.grad.clone()
    assert torch.equal(clip_gradients([ours], 0.3), nn.utils.clip_grad_norm_([theirs], 0.3))
    assert torch.equal(ours.grad, theirs.grad)
