"""The value head: how much reward a prefix promises, read from the backbone's states on its path.

Source: V-STAR (arXiv:2602.10699), sec. 4.1: one shallow Transformer block over the prefix states of
the policy, then an MLP. Our choices: the block is causal and sees the root and the prefixes of the
path, nothing else; the MLP is Linear-GELU-Linear; there is no dropout.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.context import KeyValues, TreeContext, root_context
from sidestep.model.flops import CausalFlops, matrix_flops
from sidestep.model.layers import attend, rotary_angles
from sidestep.model.transformer import Block
from sidestep.step import (
    Context,
    HistoryBatch,
    HistoryStates,
    StepModel,
    StepOutput,
    in_float32,
    widened,
)


class ValueHead(nn.Module):
    """V(prefix) from the states of the root and of every prefix on the way.

    Keys and values of the block are kept slot by slot, like a backbone's: to the head the state of
    the root is a prompt of one position. So a node is scored by its own state, and siblings that
    share every ancestor still differ.
    """

    def __init__(self, config: ValueHeadConfig, *, dim: int, num_levels: int) -> None:
        """Makes an untrained head.

        Args:
            config: its shape.
            dim: of the backbone's states.
            num_levels: codes of a semantic ID.

        Raises:
            ValueError: so many heads do not fit into the states.
        """
        super().__init__()
        self.config = config
        if dim % config.num_heads or (dim // config.num_heads) % 2:
            raise ValueError(
                f"num_heads {config.num_heads} does not fit the backbone's states of width {dim}: "
                "that must be num_heads times an even number."
            )
        self.shape = TransformerConfig(
            dim=dim, num_layers=1, num_heads=config.num_heads, ffn_dim=config.ffn_dim, dropout=0.0
        )
        self.num_levels = num_levels
        self.block = Block(self.shape)
        self.norm = nn.RMSNorm(dim, eps=self.shape.norm_epsilon)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, 1))

    def begin(
        self, root: Float[Tensor, "users 1 dim"], *, capacity: int
    ) -> tuple[Float[Tensor, "users 1"], TreeContext]:
        """The value of every root, and a context; for `capacity` see `StepModel.encode`.

        In float32, also under autocast, as all values; see `in_float32`.
        """
        root = widened(root)
        depths = torch.zeros(root.shape[:2], dtype=torch.long, device=root.device)
        with in_float32(root.device):
            queries, keys, values = self._projected(root, depths)
            found = self._values(root, attend(queries, keys, values, None))
        context = root_context(
            layers=[KeyValues(keys=keys, values=values)],
            prompt_lengths=torch.ones(len(root), dtype=torch.long, device=root.device),
            num_levels=self.num_levels,
            capacity=capacity,
            flops=self.flops.of_position(depths[:, 0] + 1),
        )
        return found, context

    def extend(
        self,
        context: TreeContext,
        hidden: Float[Tensor, "users width dim"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        *,
        is_node: Bool[Tensor, "users width"],
    ) -> tuple[Float[Tensor, "users width"], TreeContext]:
        """The values of new nodes, whose slots are those of `StepModel.extend`.

        Args:
            context: what `begin` or the last `extend` returned.
            hidden: the backbone's states at the nodes.
            parents: slots, see `StepModel.extend`.
            depths: codes decided at each node.
            is_node: False where a column is padding.
        """
        start, hidden = context.next_column, widened(hidden)
        flops = self.flops.of_position(depths + 1)
        context = context.placed(parents, depths, is_node, flops=flops)
        mask = context.node_mask(hidden.shape[1], None)
        with in_float32(hidden.device):
            queries, keys, values = self._projected(hidden, depths)
            kept, keys, values = context.layers[0].appended(start, keys, values)
            found = self._values(hidden, attend(queries, keys, values, mask))
        return found, context.with_layers([kept])

    @cached_property
    def flops(self) -> CausalFlops:
        """What values take: every node sees the path to it, the root and itself included."""
        return CausalFlops(matrices=matrix_flops(self), channels=self.shape.dim)

    def _projected(
        self, hidden: Float[Tensor, "users width dim"], depths: Int[Tensor, "users width"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        cosines, sines = rotary_angles(depths, self.shape.head_dim, self.shape.rope_theta)
        states = self.block.attention_norm(hidden)
        return self.block.attention.project(states, cosines[:, None], sines[:, None])

    def _values(
        self, hidden: Float[Tensor, "users width dim"], mixed: Float[Tensor, "users width dim"]
    ) -> Float[Tensor, "users width"]:
        values: Tensor = self.mlp(self.norm(self.block.mix(hidden, mixed)))[..., 0]
        return values.float()


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuedContext:
    """A backbone's context, and the value head's beside it; the slots are the same."""

    backbone: Any
    head: TreeContext

    @property
    def tokens(self) -> Int[Tensor, " users"]:
        """See `Context.tokens`; the head costs none."""
        context: Context = self.backbone
        return context.tokens

    @property
    def flops(self) -> Int[Tensor, " users"] | None:
        """See `Context.flops`; of the backbone and the head."""
        context: Context = self.backbone
        return None if context.flops is None else context.flops + self.head.flops

    @property
    def history_states(self) -> HistoryStates | None:
        """See `Context.history_states`."""
        context: Context = self.backbone
        return context.history_states


class ValuedModel:
    """A model whose every step says the value of the nodes too; a `StepModel`."""

    def __init__(
        self, backbone: StepModel[Any], head: ValueHead, *, detach_backbone: bool = True
    ) -> None:
        """Puts a value head onto a model; both lie on one device.

        Args:
            backbone: gives the states.
            head: reads them.
            detach_backbone: keeps what is learned of values from moving the backbone.
        """
        self.backbone = backbone
        self.head = head
        self.detach_backbone = detach_backbone

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """See `StepModel.codebook_sizes`."""
        return self.backbone.codebook_sizes

    def encode(self, histories: HistoryBatch, *, capacity: int) -> tuple[StepOutput, ValuedContext]:
        """See `StepModel.encode`."""
        step, backbone = self.backbone.encode(histories, capacity=capacity)
        values, head = self.head.begin(self._read(step), capacity=capacity)
        return replace(step, value=values), ValuedContext(backbone=backbone, head=head)

    def extend(
        self,
        context: ValuedContext,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        *,
        is_node: Bool[Tensor, "users width"],
        visible: Int[Tensor, "users width"] | None = None,
    ) -> tuple[StepOutput, ValuedContext]:
        """See `StepModel.extend`; the head always reads the root of the whole prompt.

        Raises:
            ValueError: `visible` is given; the state of a root inside the prompt is not kept.
        """
        if visible is not None:
            raise ValueError("a value head needs the whole prompt to be visible; leave it out.")
        step, backbone = self.backbone.extend(
            context.backbone, codes, parents, depths, is_node=is_node
        )
        values, head = self.head.extend(
            context.head, self._read(step), parents, depths, is_node=is_node
        )
        return replace(step, value=values), ValuedContext(backbone=backbone, head=head)

    def _read(self, step: StepOutput) -> Tensor:
        return step.hidden.detach() if self.detach_backbone else step.hidden
