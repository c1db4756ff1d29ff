"""The cost of a search: counted once, from the nodes of its tree and the prefixes scored.

A model tells the FLOPs of a node of each depth (`CountsFlops`). A prefix scorer tells the FLOPs of
its scores (`CountsScores`). Neither counts while a search runs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.search.scorer import Guidance
from sidestep.step import HistoryBatch, StepModel, flops_by_depth, reads_prefixes


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The cost of a search, or of a part of it, per user.

    tokens: backbone positions spent after the prompt, the root included. Nodes that the backbone
        does not read cost none, see `ReadsPrefixes`.
    scored: prefixes whose score was asked of a prefix scorer; 0 where no scorer guides the search.
        A scored prefix costs no token. A value costs no token either: a token that was paid for
        gives it.
    flops: floating-point operations of matrix products, two per multiplication and addition, the
        reading of the history included; None where a model or a scorer does not tell.
    """

    tokens: Int[Tensor, " users"]
    scored: Int[Tensor, " users"]
    flops: Int[Tensor, " users"] | None

    @staticmethod
    def on_nodes(
        model: StepModel[Any], histories: HistoryBatch, nodes: Int[Tensor, "users depths"]
    ) -> "Spent":
        """The cost of nodes that a model was shown.

        Args:
            model: was shown them.
            histories: that it read.
            nodes: their number by depth, the root included, see `nodes_per_depth`.

        Raises:
            ValueError: the model tells FLOPs of other users, or of too few depths.
        """
        tokens = nodes.sum(dim=1) if reads_prefixes(model) else nodes[:, 0]
        flops = flops_by_depth(model, histories)
        if flops is not None:
            users, depths = nodes.shape
            if flops.shape[0] != users or flops.shape[1] < depths:
                raise ValueError(
                    f"flops_by_depth of {type(model).__name__} gave the shape "
                    f"{list(flops.shape)}, but there are {users} users and the depths from 0 to "
                    f"{depths - 1}; give [{users}, {depths}]."
                )
            flops = (nodes * flops[:, :depths]).sum(dim=1)
        return Spent(tokens=tokens, scored=torch.zeros_like(tokens), flops=flops)

    @staticmethod
    def on_scores(
        guidance: Guidance,
        histories: HistoryBatch,
        asked: Int[Tensor, "users asked"],
        space: CodeSpace,
    ) -> "Spent":
        """The cost of prefix scores, which take no token.

        Args:
            guidance: was asked for them.
            histories: that it read.
            asked: every state whose score was asked for; `NO_STATE` is padding.
            space: the items that might be returned.
        """
        scored = (asked != NO_STATE).sum(dim=1)
        return Spent(
            tokens=torch.zeros_like(scored),
            scored=scored,
            flops=guidance.flops(histories, asked, space),
        )

    def to(self, device: torch.device | str) -> "Spent":
        """Copies the numbers to `device`."""
        flops = None if self.flops is None else self.flops.to(device)
        return Spent(tokens=self.tokens.to(device), scored=self.scored.to(device), flops=flops)

    def __add__(self, other: "Spent") -> "Spent":
        """The cost of two parts together, or of two searches."""
        return Spent(
            tokens=self.tokens + other.tokens,
            scored=self.scored + other.scored,
            flops=both_flops(self.flops, other.flops),
        )


def both_flops(
    ours: Int[Tensor, " users"] | None, theirs: Int[Tensor, " users"] | None
) -> Int[Tensor, " users"] | None:
    """FLOPs of two parts together; not known if one of them is not."""
    return None if ours is None or theirs is None else ours + theirs
