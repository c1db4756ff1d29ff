"""Layers that several networks are made of: rotary positions, attention, SwiGLU, blocks."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.config import TransformerConfig
from sidestep.step import in_float32


def rotary_angles(
    positions: Int[Tensor, "*batch width"], head_dim: int, theta: float
) -> tuple[Float[Tensor, "*batch width head_dim"], Float[Tensor, "*batch width head_dim"]]:
    """Cosines and sines of rotary position embedding, in float32.

    Source: RoFormer (arXiv:2104.09864), with the two halves of a head as the pairs (the layout of
    Llama and Qwen2).
    """
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    angles = positions[..., None].float() / theta ** (exponents / head_dim)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotated(
    heads: Float[Tensor, "users heads width head_dim"],
    cosines: Float[Tensor, "#users 1 width head_dim"],
    sines: Float[Tensor, "#users 1 width head_dim"],
) -> Float[Tensor, "users heads width head_dim"]:
    """Queries or keys turned by their positions."""
    first, second = heads.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return heads * cosines.to(heads.dtype) + turned * sines.to(heads.dtype)


def attend(
    queries: Float[Tensor, "users heads width head_dim"],
    keys: Float[Tensor, "users kv_heads columns head_dim"],
    values: Float[Tensor, "users kv_heads columns head_dim"],
    mask: Bool[Tensor, "#users width columns"] | Float[Tensor, "#users heads width columns"] | None,
    *,
    scale: float | None = None,
) -> Float[Tensor, "users width channels"]:
    """Grouped-query attention; heads of a group share keys, which are never repeated.

    Args:
        queries: heads ordered so that the heads of one group are neighbours.
        keys: of the columns.
        values: of the columns.
        mask: True where a query sees a column, or an additive bias per head; None is causal over
            equal widths.
        scale: factor of the scores; None divides by the root of `head_dim`.
    """
    if queries.dtype == torch.bfloat16 and queries.device.type == "cpu":
        # The CPU's bfloat16 attention takes 9 times as long backwards as the float32 one.
        with in_float32(queries.device):
            mixed = attend(queries.float(), keys.float(), values.float(), mask, scale=scale)
        return mixed.to(queries.dtype)
    if mask is not None and mask.is_floating_point():
        mask = mask.to(queries.dtype)
    users, heads, width, head_dim = queries.shape
    kv_heads = keys.shape[1]
    group = heads // kv_heads
    if mask is None:
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, scale=scale, enable_gqa=group > 1
        )
    else:
        mask = mask[:, None] if mask.ndim == 3 else mask
        if group > 1:
            queries = queries.reshape(users, kv_heads, group * width, head_dim)
            if mask.shape[1] == 1:
                mask = mask.repeat(1, 1, group, 1)
            else:
                mask = mask.reshape(mask.shape[0], kv_heads, group * width, mask.shape[-1])
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=scale
        )
        mixed = mixed.reshape(users, heads, width, head_dim)
    return mixed.transpose(1, 2).reshape(users, width, heads * head_dim)


class SwiGLU(nn.Module):
    """A gated feed-forward layer. Source: GLU variants (arXiv:2002.05202)."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, ffn_dim, bias=False)
        self.up = nn.Linear(dim, ffn_dim, bias=False)
        self.down = nn.Linear(ffn_dim, dim, bias=False)

    def forward(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Maps each state on its own."""
        mapped: Tensor = self.down(functional.silu(self.gate(states)) * self.up(states))
        return mapped


class Attention(nn.Module):
    """Self-attention with rotary positions and grouped keys."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        kv_dim = config.kv_heads * config.head_dim
        widths = (config.dim, kv_dim, kv_dim)
        self.queries_and_keys = [config.num_heads, config.kv_heads]
        self.turning_and_values = [config.num_heads + config.kv_heads, config.kv_heads]
        # One matrix for the three: a third of the calls, and the small ones are the slow ones.
        self.qkv = nn.Linear(config.dim, sum(widths), bias=config.attention_bias)
        self.out = nn.Linear(config.dim, config.dim, bias=False)

    def project(
        self,
        states: Float[Tensor, "users width dim"],
        cosines: Float[Tensor, "#users 1 width head_dim"],
        sines: Float[Tensor, "#users 1 width head_dim"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [users, heads, width, head_dim]."""
        users, width, _ = states.shape
        # The heads of all three lie side by side: those of queries and keys are turned together.
        heads = self.qkv(states).view(users, width, -1, self.head_dim).transpose(1, 2)
        turning, values = torch.split_with_sizes(heads, self.turning_and_values, dim=1)
        turned = rotated(turning, cosines, sines)
        queries, keys = torch.split_with_sizes(turned, self.queries_and_keys, dim=1)
        return queries, keys, values


class Block(nn.Module):
    """One pre-norm layer: attention, then SwiGLU."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.dim, eps=config.norm_epsilon)
        self.attention = Attention(config)
        self.ffn_norm = nn.RMSNorm(config.dim, eps=config.norm_epsilon)
        self.ffn = SwiGLU(config.dim, config.hidden_ffn_dim)
        self.dropout = nn.Dropout(config.dropout)

    def mix(
        self, states: Float[Tensor, "users width dim"], mixed: Float[Tensor, "users width dim"]
    ) -> Float[Tensor, "users width dim"]:
        """Adds what attention gathered, and the feed-forward layer, to the residual stream."""
        states = states + self.dropout(self.attention.out(mixed))
        mapped: Tensor = self.dropout(self.ffn(self.ffn_norm(states)))
        return states + mapped


def pre_norm_layers(
    dim: int, num_layers: int, num_heads: int, ffn_dim: int, dropout: float
) -> nn.TransformerEncoder:
    """Untrained Transformer layers with GELU, a norm before each sublayer, and one at the end.

    Args:
        dim: width of the residual stream.
        num_layers: their number.
        num_heads: of the attention.
        ffn_dim: width of the feed-forward layer.
        dropout: on attention weights and on the output of every sublayer, while training.
    """
    layer = nn.TransformerEncoderLayer(
        dim, num_heads, ffn_dim, dropout, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(
        layer, num_layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False
    )


KeysAndValues = tuple[Tensor, Tensor]
"""Keys and values of one layer at some columns, each [users, columns, dim]."""


def cached_pass(
    layers: nn.TransformerEncoder,
    vectors: Float[Tensor, "users width dim"],
    cache: Sequence[KeysAndValues] | None,
    sees: Bool[Tensor, "#users width columns"],
) -> tuple[Float[Tensor, "users width dim"], tuple[KeysAndValues, ...]]:
    """Passes new positions through `pre_norm_layers` that have read earlier positions.

    Args:
        layers: from `pre_norm_layers`.
        vectors: of the new positions.
        cache: what an earlier call returned; None where no position was read.
        sees: True where a new position sees a column: those of the cache, then the new ones.

    Returns:
        The states of the new positions, and the keys and values of all columns, layer by layer.
    """
    columns: list[KeysAndValues] = []
    states = vectors
    for index, layer in enumerate(layers.layers):
        assert isinstance(layer, nn.TransformerEncoderLayer)
        attention = layer.self_attn
        queries, keys, values = functional.linear(
            layer.norm1(states), attention.in_proj_weight, attention.in_proj_bias
        ).chunk(3, dim=-1)
        if cache is not None:
            keys = torch.cat([cache[index][0], keys], dim=1)
            values = torch.cat([cache[index][1], values], dim=1)
        columns.append((keys, values))
        users, num_heads = len(states), attention.num_heads
        queries, keys, values = (
            each.view(users, each.shape[1], num_heads, -1).transpose(1, 2)
            for each in (queries, keys, values)
        )
        mixed = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=sees[:, None],
            dropout_p=attention.dropout if layer.training else 0.0,
        )
        mixed = attention.out_proj(mixed.transpose(1, 2).flatten(2))
        states = states + layer.dropout1(mixed)
        hidden = layer.dropout(functional.gelu(layer.linear1(layer.norm2(states))))
        states = states + layer.dropout2(layer.linear2(hidden))
    assert layers.norm is not None, "pre-norm layers end with a norm"
    return layers.norm(states), tuple(columns)
