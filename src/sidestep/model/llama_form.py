"""The Llama form of a native Transformer: its weights and its shape in the words of Hugging Face.

The way back is `llama_weights`. Works on plain mappings; the library of Hugging Face is not needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.model.config import TransformerConfig

LLAMA_LAYERS = {
    "attention.out": "self_attn.o_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn.gate": "mlp.gate_proj",
    "ffn.up": "mlp.up_proj",
    "ffn.down": "mlp.down_proj",
}
"""Names within a layer: ours, and those of Hugging Face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaForm:
    """A native Transformer in the words of Hugging Face.

    config: arguments of `LlamaConfig`.
    weights: state dict of a `LlamaForCausalLM` of that config.
    start_token: token id that stands before every history.
    code_tokens: token id of each flat code id.
    """

    config: dict[str, Any]
    weights: dict[str, Tensor]
    start_token: int
    code_tokens: Int[Tensor, " codes"]


def llama_form(native: TransformerConfig, network_weights: Mapping[str, Tensor]) -> LlamaForm:
    """A native Transformer for `LlamaForCausalLM`: token 0 is the start, the codes follow.

    The start token is never predicted: its row of the head is zero.

    Args:
        native: its shape.
        network_weights: its state dict.

    Raises:
        ValueError: if the histories are not written as codes; a vector has no token id.
    """
    if native.history != "codes":
        raise ValueError(
            "only a model that reads histories as codes has a token for all that it reads; train "
            "one with model.history: codes."
        )
    if native.rows_per_code > 1:
        raise ValueError(
            f"each code has {native.rows_per_code} rows, and a Llama has one row per token; export "
            "a network with model.rows_per_code: 1."
        )
    ours = {name: weight.detach().clone() for name, weight in network_weights.items()}
    embeddings, head = ours["code_embedding.weight"], ours["head.weight"]
    weights = {
        "model.embed_tokens.weight": torch.cat([ours["start"][None], embeddings]),
        "model.norm.weight": ours["norm.weight"],
        "lm_head.weight": torch.cat([torch.zeros_like(head[:1]), head]),
    }
    kv_dim = native.kv_heads * native.head_dim
    for index in range(native.num_layers):
        name, layer = f"blocks.{index}", f"model.layers.{index}"
        for kind in ["weight", "bias"] if native.attention_bias else ["weight"]:
            joined = ours[f"{name}.attention.qkv.{kind}"]
            parts = torch.split(joined, [native.dim, kv_dim, kv_dim])
            for part, values in zip("qkv", parts, strict=True):
                weights[f"{layer}.self_attn.{part}_proj.{kind}"] = values
        if native.attention_bias:
            weights[f"{layer}.self_attn.o_proj.bias"] = torch.zeros_like(ours["start"])
        for our_name, their_name in LLAMA_LAYERS.items():
            weights[f"{layer}.{their_name}.weight"] = ours[f"{name}.{our_name}.weight"]
    config = {
        "vocab_size": 1 + len(embeddings),
        "hidden_size": native.dim,
        "intermediate_size": native.hidden_ffn_dim,
        "num_hidden_layers": native.num_layers,
        "num_attention_heads": native.num_heads,
        "num_key_value_heads": native.kv_heads,
        "rms_norm_eps": native.norm_epsilon,
        "attention_bias": native.attention_bias,
        "rope_theta": native.rope_theta,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": None,
    }
    return LlamaForm(
        config=config,
        weights=weights,
        start_token=0,
        code_tokens=torch.arange(1, 1 + len(embeddings)),
    )
