"""The value head: how much reward a prefix promises, read from the backbone's states on its path.

Source: V-STAR (arXiv:2602.10699), sec. 4.1: one shallow Transformer block over the prefix states of
the policy, then an MLP. Our choices: the block is causal and sees the root and the prefixes of the
path, nothing else; the MLP is Linear-GELU-Linear; there is no dropout.
"""

from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.context import KeyValues, path_mask, placed_slots, root_slots
from sidestep.model.flops import CausalFlops, matrix_flops
from sidestep.model.layers import Block, attend, rotary_angles
from sidestep.step import in_float32, widened


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
        self, root: Float[Tensor, "users 1 dim"]
    ) -> tuple[Float[Tensor, "users 1"], KeyValues]:
        """The value of every root, and its column.

        In float32, also under autocast, as all values; see `in_float32`.
        """
        root = widened(root)
        depths = torch.zeros(root.shape[:2], dtype=torch.long, device=root.device)
        with in_float32(root.device):
            queries, keys, values = self._projected(root, depths)
            found = self._values(root, attend(queries, keys, values, None))
        return found, KeyValues(keys=keys, values=values)

    def extend(
        self,
        columns: KeyValues,
        hidden: Float[Tensor, "users width dim"],
        depths: Int[Tensor, "users width"],
        on_path: Bool[Tensor, "users width slots"],
    ) -> tuple[Float[Tensor, "users width"], KeyValues]:
        """The values of new nodes, and all columns with theirs.

        Args:
            columns: what `begin` or the last `extend` returned.
            hidden: the backbone's states at the nodes.
            depths: codes decided at each node.
            on_path: the slots on the path to each node, see `path_mask`.
        """
        hidden = widened(hidden)
        with in_float32(hidden.device):
            queries, keys, values = self._projected(hidden, depths)
            start = on_path.shape[2] - hidden.shape[1]
            kept, keys, values = columns.appended(start, keys, values)
            found = self._values(hidden, attend(queries, keys, values, on_path))
        return found, kept

    def tree_values(
        self,
        hidden: Float[Tensor, "users slots dim"],
        parents: Int[Tensor, "users nodes"],
        depths: Int[Tensor, "users nodes"],
        *,
        is_node: Bool[Tensor, "users nodes"],
    ) -> Float[Tensor, "users slots"]:
        """The values of whole trees, whose states are known.

        Args:
            hidden: of the root and the nodes, slot by slot.
            parents: see `StepModel.extend`.
            depths: see there.
            is_node: see there.
        """
        roots, columns = self.begin(hidden[:, :1])
        slots = root_slots(len(hidden), self.num_levels, device=hidden.device)
        slots = placed_slots(slots, parents, depths, is_node)
        on_path = path_mask(slots, parents.shape[1])
        below, _ = self.extend(columns, hidden[:, 1:], depths, on_path)
        return torch.cat([roots, below], dim=1)

    @property
    def flops_by_depth(self) -> Int[Tensor, " depths"]:
        """FLOPs of the value of a node of each depth from 0 to L.

        The node sees the path to it, the root and itself included.
        """
        columns = torch.arange(1, self.num_levels + 2, device=self.norm.weight.device)
        return self._flops.of_position(columns)

    @cached_property
    def _flops(self) -> CausalFlops:
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
