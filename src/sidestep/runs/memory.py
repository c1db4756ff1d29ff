"""Whether a training fits the memory of this machine."""

from sidestep.model.config import ProcessRewardConfig, T5Config, TiedItemConfig, TransformerConfig
from sidestep.runs.devices import memory_bytes

_BYTES_PER_WEIGHT = 16
"""In training: a weight, its gradient, and two moments of AdamW, in float32."""


def refuse_beyond_memory(
    model: TransformerConfig | T5Config | TiedItemConfig, num_items: int
) -> None:
    """Raises a `ValueError` for a network whose training cannot fit this machine.

    Args:
        model: its shape.
        num_items: items that have a vector of their own in it.
    """
    # The matrices of each layer, and a vector per item.
    num_weights = model.num_layer_weights + num_items * model.dim
    needed = num_weights * _BYTES_PER_WEIGHT
    if needed > memory_bytes():
        known = type(model).model_fields
        depths = [name for name in ("num_layers", "num_decoder_layers") if name in known]
        layers = " and ".join(f"model.{name}" for name in depths)
        raise ValueError(
            f"a network of model.dim {model.dim} with {num_items:,} items takes "
            f"{needed / 1e9:,.0f} GB to train, and this machine has {memory_bytes() / 1e9:,.0f}; "
            f"lower model.dim{f' or {layers}' if layers else ''}."
        )


def refuse_prefixes_beyond_memory(model: ProcessRewardConfig, num_features: int) -> None:
    """Raises a `ValueError` for a process reward model whose training cannot fit this machine.

    Args:
        model: its shape.
        num_features: of the code space: the prefixes of a trie, or the codes of sets.
    """
    # Not less than this: a vector per row, and what is square in the width in each block.
    num_weights = (model.hashed_rows or num_features) * model.dim + model.num_blocks * model.dim**2
    needed = num_weights * _BYTES_PER_WEIGHT
    if needed > memory_bytes():
        raise ValueError(
            f"model.dim {model.dim} with {num_features:,} prefixes or codes takes "
            f"{needed / 1e9:,.0f} GB to train, and this machine has {memory_bytes() / 1e9:,.0f}; "
            "lower model.dim, or let prefixes share model.hashed_rows."
        )
