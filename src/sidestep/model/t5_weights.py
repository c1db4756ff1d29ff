"""Weights of a Hugging Face T5 in the native form.

Works on plain mappings, `config.to_dict()` or a checkpoint's config.json, and a state dict; the
library they come from is not needed.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.model.config import T5Config
from sidestep.model.t5 import T5


def t5_from_hugging_face(
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    semantic_ids: Int[Tensor, "items levels"],
    codebook_sizes: tuple[int, ...],
    *,
    start_token: int,
    decoder_start_token: int,
    code_tokens: Int[Tensor, " codes"],
    dropout: float = 0.1,
) -> T5:
    """A native T5 with the weights of a Hugging Face one; its vocabulary cut to the codes.

    Args:
        config: `config.to_dict()` of a `T5ForConditionalGeneration`, or its config.json.
        weights: its state dict.
        semantic_ids: codes of the items that histories may name.
        codebook_sizes: codes per level.
        start_token: token id that stands before every history.
        decoder_start_token: token id the decoder starts with.
        code_tokens: token id of each flat code id.
        dropout: of the native model, while training.

    Raises:
        ValueError: if the architecture has a part that the native T5 lacks.
    """
    remaining = {name: weight for name, weight in weights.items() if "embed_tokens" not in name}

    def take(name: str) -> Tensor:
        if name not in remaining:
            raise ValueError(f"the state dict has no {name}; is it that of a T5?")
        return remaining.pop(name)

    embeddings = take("shared.weight")
    head = remaining.pop("lm_head.weight", embeddings)[code_tokens]
    # Checkpoints of version 1.1 do not tie, and only those that tie scale.
    is_scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))
    is_tied = bool(is_scaled) and torch.equal(head, embeddings[code_tokens])
    native = _native_config(config, is_tied=is_tied, dropout=dropout)
    model = T5(native, semantic_ids, codebook_sizes)
    if code_tokens.shape[0] != model.num_codes:
        raise ValueError(f"{code_tokens.shape[0]} code_tokens for {model.num_codes} codes.")
    state = {
        "start": embeddings[start_token],
        "decoder_start": embeddings[decoder_start_token],
        "code_embedding.weight": embeddings[code_tokens],
    }
    if not is_tied:
        state["head.weight"] = head * native.dim**-0.5 if is_scaled else head
    for name in model.state_dict():
        if name not in state:
            state[name] = take(_hugging_face_name(name, is_gated=native.ffn == "gated-gelu"))
    if remaining:
        raise ValueError(f"the native T5 has no place for {sorted(remaining)[0]}.")
    model.load_state_dict(state)
    return model


def _native_config(config: Mapping[str, Any], *, is_tied: bool, dropout: float) -> T5Config:
    ffn = config.get("feed_forward_proj", "relu")
    if ffn not in ("relu", "gated-gelu"):
        raise ValueError(f"the native T5 knows relu and gated-gelu, not {ffn!r}.")
    return T5Config(
        dim=config["d_model"],
        num_layers=config["num_layers"],
        num_decoder_layers=config.get("num_decoder_layers"),
        num_heads=config["num_heads"],
        head_dim=config["d_kv"],
        ffn_dim=config["d_ff"],
        ffn=ffn,
        tied_head=is_tied,
        num_buckets=config.get("relative_attention_num_buckets", 32),
        max_distance=config.get("relative_attention_max_distance", 128),
        dropout=dropout,
        norm_epsilon=config.get("layer_norm_epsilon", 1e-6),
    )


def _hugging_face_name(name: str, *, is_gated: bool) -> str:
    """The name of one of our weights, but the embeddings and the head, in a Hugging Face T5."""
    whole = {
        "encoder_norm.weight": "encoder.final_layer_norm.weight",
        "decoder_norm.weight": "decoder.final_layer_norm.weight",
    }
    for side in ("encoder", "decoder"):
        first = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        whole[f"{side}_bias.table.weight"] = first
    if name in whole:
        return whole[name]
    blocks, index, part = name.split(".", 2)
    side = blocks.removesuffix("_blocks")
    ffn_layer = 1 if side == "encoder" else 2
    dense = f"layer.{ffn_layer}.DenseReluDense"
    parts = {
        "attention_norm.weight": "layer.0.layer_norm.weight",
        "cross_norm.weight": "layer.1.layer_norm.weight",
        "ffn_norm.weight": f"layer.{ffn_layer}.layer_norm.weight",
        "ffn.gate.weight": f"{dense}.wi_0.weight",
        "ffn.up.weight": f"{dense}.wi_1.weight" if is_gated else f"{dense}.wi.weight",
        "ffn.down.weight": f"{dense}.wo.weight",
    }
    for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out")):
        parts[f"attention.{ours}.weight"] = f"layer.0.SelfAttention.{theirs}.weight"
        parts[f"cross_attention.{ours}.weight"] = f"layer.1.EncDecAttention.{theirs}.weight"
    return f"{side}.block.{index}.{parts[part]}"
