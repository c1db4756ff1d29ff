"""Names of choices in configurations. Reading them does not import torch."""

from typing import Literal

Scaling = Literal["std", "mean-only", "leave-one-out"]
"""Scaling of advantages. "std": difference from the mean of the group, in its standard deviations
(GRPO). "mean-only": difference from the mean of the group (Dr. GRPO, arXiv:2503.20783).
"leave-one-out": difference from the mean of the other candidates (RLOO, arXiv:2402.14740)."""


Ratio = Literal["token", "sequence"]
"""Ratio of π to the policy that made the rollouts: one per code, or one per semantic ID."""
