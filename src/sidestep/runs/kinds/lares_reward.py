"""Runs of kind lares-reward: a trained LARES, improved by its reward stage."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.chain_reward_run import ChainRewardRun

with imported_when_used():
    from sidestep.model import lares


class LaresRewardRun(ChainRewardRun):
    """A trained LARES whose chains of thought learn from the lists that they end in."""

    kind: Literal["lares-reward"] = "lares-reward"

    @property
    def network_class(self) -> type[lares.Lares]:
        """See `ChainRewardRun.network_class`."""
        return lares.Lares

    @property
    def backbone_kind(self) -> str:
        """See `ChainRewardRun.backbone_kind`."""
        return "lares"
