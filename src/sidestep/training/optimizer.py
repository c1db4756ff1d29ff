"""AdamW as the loop builds it: what decays and what does not."""

from torch import nn
from torch.optim import AdamW


def adamw(module: nn.Module, *, weight_decay: float, betas: tuple[float, float]) -> AdamW:
    """AdamW over the trainable parameters of a module; the loop sets the learning rate.

    Matrices decay. Vectors (norms, biases, start tokens) and the tables of `nn.Embedding` do not:
    a row that no batch names would shrink for nothing. A matrix that is also an embedding (a tied
    head) counts as the embedding.

    Source: AdamW (arXiv:1711.05101).
    """
    tables = {
        id(table.weight)
        for table in module.modules()
        if isinstance(table, (nn.Embedding, nn.EmbeddingBag))
    }
    trainable = [weights for weights in module.parameters() if weights.requires_grad]
    if not trainable:
        raise ValueError("nothing to train: no parameter of the objective requires a gradient.")
    decays = [weights.ndim >= 2 and id(weights) not in tables for weights in trainable]
    groups = [
        {
            "params": [weights for weights, does in zip(trainable, decays, strict=True) if does],
            "weight_decay": weight_decay,
        },
        {
            "params": [
                weights for weights, does in zip(trainable, decays, strict=True) if not does
            ],
            "weight_decay": 0.0,
        },
    ]
    # One fused pass over the parameters: the loop of small calls costs more than the arithmetic.
    is_fused = all(weights.device.type in {"cpu", "cuda"} for weights in trainable)
    return AdamW(groups, lr=0.0, betas=betas, fused=is_fused)
