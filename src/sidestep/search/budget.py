"""Budgets: tokens that a search may spend, in units of a beam search."""

from dataclasses import dataclass

from pydantic import ConfigDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """As many tokens as a beam search `times` as wide: k × of V-STAR (arXiv:2602.10699), Fig. 4.

    times: k; 1 is the beam itself.
    num_beams: its width.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # of a budget in a file

    times: int = 1
    num_beams: int = 16

    def __post_init__(self) -> None:
        if self.times < 1 or self.num_beams < 1:
            raise ValueError(
                f"times and num_beams must be at least 1, got {self.times} and {self.num_beams}."
            )

    def tokens(self, num_levels: int) -> int:
        """1 + (L - 1) · k · B: the root, and every level but the last, which is never extended."""
        return 1 + (num_levels - 1) * self.times * self.num_beams
