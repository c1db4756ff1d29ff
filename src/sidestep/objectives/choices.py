"""Ways to choose among that configurations name: to read one needs no torch."""

from typing import Literal

Scaling = Literal["std", "mean-only", "leave-one-out"]
"""Against the mean of the group in its standard deviations (GRPO), against the mean alone
(Dr. GRPO, arXiv:2503.20783), or against the mean of the others (RLOO, arXiv:2402.14740)."""


Ratio = Literal["token", "sequence"]
"""Of π to the policy that made the rollouts: of each code, or one for a whole semantic ID."""
