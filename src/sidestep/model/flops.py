"""FLOPs: what the matrix products of a network take, told by its shapes.

A multiplication and its addition are two. Norms, softmax, activations, rotations and look-ups are
left out, as PyTorch's own counter leaves them out. A position is charged for the columns that it
sees: those that a mask hides, and padding, are not counted, although one masked call computes them.
So the number depends on what was asked, not on how users and nodes were batched.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn


def matrix_flops(*modules: nn.Module) -> int:
    """FLOPs of one position that passes every matrix of the modules once: two per weight.

    Matrices are the weights of two dimensions, tables of embeddings aside. Where a router chooses
    among experts that have a matrix each, all count, which is more than is done; experts in one
    tensor of three dimensions do not count.
    """
    return sum(
        2 * weight.numel()
        for module in modules
        for owner in module.modules()
        if not isinstance(owner, nn.Embedding)
        for weight in owner.parameters(recurse=False)
        if weight.ndim == 2
    )


def attention_flops(channels: int, columns: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """FLOPs of one query: its product with every column, and their mixture.

    Args:
        channels: of the query, all heads together.
        columns: that it sees.
    """
    return 4 * channels * columns


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalFlops:
    """FLOPs of a decoder-only backbone: a constant per position, and a part per column it sees.

    matrices: per position, through the matrices of all layers.
    channels: of the queries, all layers together.
    """

    matrices: int
    channels: int

    def of_position(self, columns: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """A position that sees so many columns, itself included."""
        return self.matrices + attention_flops(self.channels, columns)

    def of_prompt(self, lengths: Int[Tensor, " users"]) -> Int[Tensor, " users"]:
        """n positions of which each sees itself and those before: n (n + 1) / 2 columns in all."""
        columns = lengths * (lengths + 1) // 2
        return lengths * self.matrices + attention_flops(self.channels, columns)

    def by_depth(
        self, lengths: Int[Tensor, " users"], num_levels: int
    ) -> Int[Tensor, "users depths"]:
        """FLOPs of each prompt, and of one node of each depth below it, see `CountsFlops`."""
        depths = torch.arange(1, num_levels + 1, device=lengths.device)
        nodes = self.of_position(lengths[:, None] + depths)
        return torch.cat([self.of_prompt(lengths)[:, None], nodes], dim=1)
