"""Ten-line models whose answers are known: a search must not need a network."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.step import HistoryBatch, StepOutput


@dataclass(frozen=True)
class CountingContext:
    """Remembers prefixes as numbers, and counts tokens."""

    prefixes: Tensor  # [users, slots]
    tokens: Tensor


class PrefixTable:
    """Logits that depend on the user's first item and on the prefix alone, by a fixed hash."""

    def __init__(self, codebook_sizes: tuple[int, ...], seed: int = 0) -> None:
        self.codebook_sizes = codebook_sizes
        self.seed = seed

    def encode(
        self, histories: HistoryBatch, *, capacity: int
    ) -> tuple[StepOutput, CountingContext]:
        first = histories.items[:, :1] if histories.items.shape[1] else histories.lengths[:, None]
        prefixes = (first + 2) * 7919 + self.seed
        depths = torch.zeros_like(prefixes)
        return self._output(prefixes, depths), CountingContext(
            prefixes, torch.ones_like(histories.lengths)
        )

    def extend(
        self,
        context: CountingContext,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        *,
        is_node: Bool[Tensor, "users width"],
        visible: Int[Tensor, "users width"] | None = None,
    ) -> tuple[StepOutput, CountingContext]:
        prefixes = context.prefixes
        for column in range(codes.shape[1]):
            parent = prefixes.gather(1, parents[:, column : column + 1])
            own = (parent * 31 + codes[:, column : column + 1] + 1) % 1_000_003
            prefixes = torch.cat([prefixes, own], dim=1)
        width = codes.shape[1]
        tokens = context.tokens + is_node.sum(1)
        return self._output(prefixes[:, -width:], depths), CountingContext(prefixes, tokens)

    def _output(self, prefixes: Tensor, depths: Tensor) -> StepOutput:
        widest = max(self.codebook_sizes)
        codes = torch.arange(widest)
        logits = torch.sin(prefixes[..., None] * 12.9898 + codes * 78.233) * 3
        sizes = torch.tensor([*self.codebook_sizes, 0])
        logits = logits.masked_fill(codes >= sizes[depths][..., None], -torch.inf)
        return StepOutput(logits=logits.float(), hidden=prefixes[..., None].float())


def histories_of(*first_items: int) -> HistoryBatch:
    """One-item histories."""
    items = torch.tensor(first_items)[:, None]
    return HistoryBatch(items=items, lengths=torch.ones(len(first_items), dtype=torch.long))
