"""Runs of kind diffureason-reward: a trained DiffuReason, improved by rewards."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.chain_reward_run import ChainRewardRun

with imported_when_used():
    from sidestep.model import diffureason


class DiffuReasonRewardRun(ChainRewardRun):
    """A trained DiffuReason whose refined vectors learn from the lists that they make."""

    kind: Literal["diffureason-reward"] = "diffureason-reward"

    @property
    def network_class(self) -> type[diffureason.DiffuReason]:
        """See `ChainRewardRun.network_class`."""
        return diffureason.DiffuReason

    @property
    def backbone_kind(self) -> str:
        """See `ChainRewardRun.backbone_kind`."""
        return "diffureason"
