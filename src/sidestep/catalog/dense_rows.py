"""Dense rows: one cell per code for the nodes near the root, which have many children.

A cache of the trie's arrays and no trie of its own: `trie` reads there what it would else find out
among the children of these nodes, which takes longer.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor

_MAX_BYTES = 64 * 2**20
_SPARSITY = 32
_CELL_BYTES = 3  # one for `legal`, two for `ranks`


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseRows:
    """Rows of the first nodes, and a last one of nothing; make them with `build`.

    legal: whether the node has such a child; the row past the last node is all False.
    ranks: position of that child among its siblings, -1 where there is none.
    """

    legal: Bool[Tensor, "dense_plus_one codes"]
    ranks: Int[Tensor, "dense_plus_one codes"]

    @staticmethod
    def build(
        codes: Integer[Tensor, " nodes"],
        child_start: Int[Tensor, " inner_plus_one"],
        *,
        depth_starts: tuple[int, ...],
        max_codes: int,
    ) -> "DenseRows":
        """Rows for whole depths, from the root down.

        A depth gets them while its rows are filled to at least 1/32, where they are faster than
        walking the children, and while they fit in a fixed amount of memory.

        Args:
            codes: as in `FlatTrie`.
            child_start: as in `FlatTrie`.
            depth_starts: as in `FlatTrie`.
            max_codes: size of the largest codebook: the length of a row.
        """
        num_nodes = _num_nodes(depth_starts, max_codes)
        rows, children = _children(child_start, num_nodes)
        dtype = torch.int16 if max_codes <= 2**15 else torch.int32
        ranks = torch.full((num_nodes + 1, max_codes), -1, dtype=dtype, device=codes.device)
        rank = (children - child_start[rows]).to(dtype)
        ranks.view(-1)[rows * max_codes + codes[children]] = rank
        return DenseRows(legal=ranks >= 0, ranks=ranks)

    def to(self, device: torch.device | str) -> "DenseRows":
        """Copies the rows to `device`."""
        return DenseRows(legal=self.legal.to(device), ranks=self.ranks.to(device))

    @property
    def num_nodes(self) -> int:
        """Nodes that have a row: all with a smaller number than this."""
        return len(self.legal) - 1

    @property
    def memory_bytes(self) -> int:
        """Bytes of the cells."""
        return self.legal.nbytes + self.ranks.nbytes

    def legal_among(
        self,
        is_live: Bool[Tensor, " nodes"],
        codes: Integer[Tensor, " nodes"],
        child_start: Int[Tensor, " inner_plus_one"],
    ) -> Bool[Tensor, "dense_plus_one codes"]:
        """`legal` as if the nodes that are not live did not exist."""
        rows, children = _children(child_start, self.num_nodes)
        legal = torch.zeros_like(self.legal)
        legal.view(-1)[rows * legal.shape[1] + codes[children]] = is_live[children]
        return legal


def _num_nodes(depth_starts: tuple[int, ...], max_codes: int) -> int:
    """Nodes that get rows, see `DenseRows.build`."""
    num_nodes = 0
    for start, end, next_end in zip(depth_starts, depth_starts[1:], depth_starts[2:], strict=False):
        is_filled = (end - start) * max_codes <= _SPARSITY * (next_end - end)
        if not is_filled or end * max_codes * _CELL_BYTES > _MAX_BYTES:
            break
        num_nodes = end
    return num_nodes


def _children(
    child_start: Int[Tensor, " inner_plus_one"], num_nodes: int
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """All children of the first `num_nodes` nodes, with their parents."""
    bounds = child_start[: num_nodes + 1].long()
    rows = torch.arange(num_nodes, device=bounds.device).repeat_interleave(bounds.diff())
    return rows, torch.arange(1, len(rows) + 1, device=bounds.device)
