"""Weights of a Hugging Face Llama or Qwen2 in the native Transformer; back with `llama_form`.

Works on plain mappings, `config.to_dict()` or a checkpoint's config.json, and a state dict; the
library they come from is not needed. To run a Hugging Face model as it is, see `hugging_face`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.model.config import TransformerConfig
from sidestep.model.llama_form import LLAMA_LAYERS
from sidestep.model.transformer import Transformer


def transformer_from_llama(
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    semantic_ids: Int[Tensor, "items levels"],
    codebook_sizes: tuple[int, ...],
    *,
    start_token: int,
    code_tokens: Int[Tensor, " codes"],
    dropout: float = 0.0,
) -> Transformer:
    """A native Transformer with the weights of a Llama or Qwen2; its vocabulary cut to the codes.

    Args:
        config: the model's configuration, as `config.to_dict()` gives it.
        weights: its state dict.
        semantic_ids: codes of the items that histories may name.
        codebook_sizes: codes per level.
        start_token: token id that stands before every history.
        code_tokens: token id of each flat code id.
        dropout: of the native model, while training.

    Raises:
        ValueError: if the architecture has a part that the native Transformer lacks.
    """
    remaining = dict(weights)
    native = _native_config(config, "model.layers.0.self_attn.q_proj.bias" in remaining, dropout)
    model = Transformer(native, semantic_ids, codebook_sizes)
    if code_tokens.shape[0] != model.num_codes:
        raise ValueError(f"{code_tokens.shape[0]} code_tokens for {model.num_codes} codes.")

    def take(name: str) -> Tensor:
        if name not in remaining:
            raise ValueError(f"the state dict has no {name}; is it that of a Llama or Qwen2?")
        return remaining.pop(name)

    embeddings = take("model.embed_tokens.weight")
    head = remaining.pop("lm_head.weight", embeddings)
    state = {
        "start": embeddings[start_token],
        "code_embedding.weight": embeddings[code_tokens],
        "norm.weight": take("model.norm.weight"),
        "head.weight": head[code_tokens],
    }
    for index in range(native.num_layers):
        theirs, ours = f"model.layers.{index}", f"blocks.{index}"
        for kind in ["weight", "bias"] if native.attention_bias else ["weight"]:
            state[f"{ours}.attention.qkv.{kind}"] = torch.cat(
                [take(f"{theirs}.self_attn.{part}_proj.{kind}") for part in "qkv"]
            )
        # Llama's `attention_bias` also adds one after attention, which the native form lacks.
        out_bias = remaining.pop(f"{theirs}.self_attn.o_proj.bias", None)
        if out_bias is not None and out_bias.any():
            raise ValueError(f"{theirs}.self_attn.o_proj has a bias; the native form has none.")
        for our_name, their_name in LLAMA_LAYERS.items():
            state[f"{ours}.{our_name}.weight"] = take(f"{theirs}.{their_name}.weight")
    unknown = [name for name in remaining if not name.endswith("rotary_emb.inv_freq")]
    if unknown:
        raise ValueError(
            f"the native Transformer has no place for {unknown[0]} ({len(unknown)} such weights); "
            "run the model as it is with sidestep.model.hugging_face."
        )
    model.load_state_dict(state)
    return model


def _native_config(
    config: Mapping[str, Any], attention_bias: bool, dropout: float
) -> TransformerConfig:
    """The native configuration, or what stands in its way."""
    # Older configurations keep theta beside its scaling, newer ones both in one mapping.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
    heads, dim = config["num_attention_heads"], config["hidden_size"]
    obstacles = {
        "hidden_act": config.get("hidden_act", "silu") != "silu",
        "rope_parameters": rope.get("rope_type", rope.get("type", "default")) != "default",
        "head_dim": (config.get("head_dim") or dim // heads) != dim // heads,
        "layer_types": any(kind != "full_attention" for kind in config.get("layer_types") or []),
        "sliding_window": config.get("sliding_window") is not None
        and bool(config.get("use_sliding_window", True)),
    }
    for name, stands_in_the_way in obstacles.items():
        if stands_in_the_way:
            raise ValueError(
                f"the native Transformer has no counterpart of {name}: {config.get(name)!r}; "
                "run the model as it is with sidestep.model.hugging_face."
            )
    return TransformerConfig(
        dim=dim,
        num_layers=config["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=config.get("num_key_value_heads"),
        ffn_dim=config["intermediate_size"],
        dropout=dropout,
        attention_bias=attention_bias,
        rope_theta=theta,
        norm_epsilon=config["rms_norm_eps"],
    )
