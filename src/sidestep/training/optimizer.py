"""Optimizers as the loop builds them: AdamW, SparseAdam for rows of items, and clipping."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer, SparseAdam


def adamw(
    module: nn.Module,
    *,
    weight_decay: float,
    betas: tuple[float, float],
    rate_factors: Mapping[str, float] | None = None,
    leave_out: Iterable[Tensor] = (),
) -> AdamW:
    """AdamW over the trainable parameters of a module; the loop sets the learning rate.

    Matrices decay. Vectors (norms, biases, start tokens) and the tables of `nn.Embedding` do not:
    a row that no batch names would shrink for nothing. A matrix that is also an embedding (a tied
    head) counts as the embedding.

    Source: AdamW (arXiv:1711.05101).

    Args:
        module: holds the parameters.
        weight_decay: of matrices.
        betas: how much is remembered of gradients and of their squares.
        rate_factors: by the start of parameter names, what the loop multiplies the rate by; it
            stands in each group as `rate_factor`.
        leave_out: parameters that another optimizer moves.

    Raises:
        ValueError: nothing is trainable.
    """
    factors, elsewhere = rate_factors or {}, {id(weights) for weights in leave_out}
    tables = {
        id(table.weight)
        for table in module.modules()
        if isinstance(table, (nn.Embedding, nn.EmbeddingBag))
    }
    trainable = [
        (name, one)
        for name, one in module.named_parameters()
        if one.requires_grad and id(one) not in elsewhere
    ]
    if not trainable:
        raise ValueError("nothing to train: no parameter of the objective requires a gradient.")

    def factor(name: str) -> float:
        return next((by for start, by in factors.items() if name.startswith(start)), 1.0)

    groups = [
        {
            "params": [
                weights
                for name, weights in trainable
                if factor(name) == by and (weights.ndim >= 2 and id(weights) not in tables) == does
            ],
            "weight_decay": weight_decay if does else 0.0,
            "rate_factor": by,
        }
        for by in sorted({factor(name) for name, _ in trainable})
        for does in (True, False)
    ]
    # One fused pass over the parameters: the loop of small calls costs more than the arithmetic.
    is_fused = all(weights.device.type in {"cpu", "cuda"} for _, weights in trainable)
    return AdamW(groups, lr=0.0, betas=betas, fused=is_fused)


def sparse_adam(
    module: nn.Module,
    tables: Sequence[Tensor],
    *,
    betas: tuple[float, float],
    rate_factors: Mapping[str, float] | None = None,
) -> SparseAdam:
    """SparseAdam over tables of a module, which moves the rows that have a gradient.

    A row that a batch does not read stays where it is, and so do its moments: they are moments over
    the batches that read the row. Rows do not decay.

    Args:
        module: holds the tables.
        tables: parameters with sparse gradients.
        betas: how much is remembered of gradients and of their squares.
        rate_factors: see `adamw`.
    """
    factors, wanted = rate_factors or {}, {id(weights) for weights in tables}
    groups = [
        {
            "params": [weights],
            "rate_factor": next((by for at, by in factors.items() if name.startswith(at)), 1.0),
        }
        for name, weights in module.named_parameters()
        if id(weights) in wanted
    ]
    return SparseAdam(groups, lr=1.0, betas=betas)  # the loop sets the rate; 0 is refused here


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Float[Tensor, ""]:
    """Shortens the gradient to a norm, as `torch.nn.utils.clip_grad_norm_`; it may be sparse.

    Args:
        parameters: whose gradients together are the gradient.
        max_norm: the longest norm.

    Returns:
        The norm before.
    """
    dense, gradients, rows = [], [], []
    for weights in parameters:
        gradient = weights.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            # The parts of one row are added up first: the norm is that of the sum.
            weights.grad = gradient.coalesce()
            rows.append(weights.grad.values())
        else:
            dense.append(weights)
            gradients.append(gradient)
    norm = torch.nn.utils.get_total_norm([*gradients, *rows])
    torch.nn.utils.clip_grads_with_norm_(dense, max_norm, norm)
    for values in rows:
        values.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Puts an optimizer back to where it was when its state was saved.

    Raises:
        ValueError: the state is of other parameters, or lacks what the loop reads of a group.
    """
    groups, kept = state["param_groups"], state["state"]
    if any("rate_factor" not in group for group in groups):
        raise ValueError("its optimizer says nothing of rate_factor")
    # A fused step reads and writes what it is given, of whatever size.
    for own, saved in zip(optimizer.param_groups, groups, strict=True):
        for weights, number in zip(own["params"], saved["params"], strict=True):
            for name, value in kept.get(number, {}).items():
                if name != "step" and value.shape != weights.shape:
                    raise ValueError(f"its optimizer has {name} of another shape")
    optimizer.load_state_dict(dict(state))
