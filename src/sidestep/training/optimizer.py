"""AdamW as the loop builds it: what decays, what does not, and what learns at its own rate."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer


def adamw(
    module: nn.Module,
    *,
    weight_decay: float,
    betas: tuple[float, float],
    rate_factors: Mapping[str, float] | None = None,
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

    Raises:
        ValueError: nothing is trainable.
    """
    factors = rate_factors or {}
    tables = {
        id(table.weight)
        for table in module.modules()
        if isinstance(table, (nn.Embedding, nn.EmbeddingBag))
    }
    trainable = [(name, one) for name, one in module.named_parameters() if one.requires_grad]
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
