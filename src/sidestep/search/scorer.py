"""Prefix scorers: what says how good a half-built item is, before it costs a token."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.step import Context, HistoryBatch, StepOutput, in_float32

PrefixScores = Callable[[Int[Tensor, "users width"], int], Float[Tensor, "users width"]]
"""Scores of some states of each user, all of one depth; any number at `NO_STATE`. A higher score is
better. Scores are comparable within one user and depth only."""


@runtime_checkable
class PrefixScorer(Protocol):
    """A process reward model, an item head, popularity, a rule of the shop; a user's own class.

    Called once per batch of users and then once per level, with all candidates together. It sees
    the history, never the nodes, so that scoring costs no token.
    """

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    def begin(
        self, histories: HistoryBatch, root: StepOutput, context: Context, scope: CodeSpace
    ) -> PrefixScores:
        """Reads the histories of a batch.

        Args:
            histories: the past items.
            root: what the model says at the root, width 1.
            context: the encoded histories.
            scope: the items that may be returned.
        """
        ...


@runtime_checkable
class CountsScores(Protocol):
    """A prefix scorer that tells its FLOPs; with any other scorer they are unknown."""

    def flops(
        self, histories: HistoryBatch, asked: Int[Tensor, "users asked"], scope: CodeSpace
    ) -> Int[Tensor, " users"] | None:
        """FLOPs of the matrix products behind scores; None where they are not known.

        Args:
            histories: that were read, which counts too.
            asked: every state whose score was asked for, of any depth; `NO_STATE` is padding.
            scope: the items that might be returned.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """Rule by which a search ranks the prefixes of one depth: y(prefix) + λ · log π(prefix).

    PROMISE ranks by y alone, λ = 0 (arXiv:2601.04674, Alg. 1); the mixture is ours.

    scorer: y.
    likelihood_weight: λ, of all depths or one for each; log π is of the whole prefix.
    """

    scorer: PrefixScorer
    likelihood_weight: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        weights = self._weights()
        if not weights or min(weights) < 0:
            raise ValueError(
                f"likelihood_weight must be 0 or more, got {self.likelihood_weight}; 0 ranks by "
                "the scorer alone."
            )

    def begin(
        self, histories: HistoryBatch, root: StepOutput, context: Context, scope: CodeSpace
    ) -> PrefixScores:
        """The scorer's reading of a batch; it reads and scores in float32, see `in_float32`.

        Raises:
            ValueError: there is a weight for each depth of another catalog.
        """
        num_weights, num_levels = len(self._weights()), scope.num_steps
        if num_weights not in (1, num_levels):
            raise ValueError(
                f"likelihood_weight has {num_weights} entries, but semantic IDs have {num_levels} "
                "codes; give one weight, or one per level."
            )
        device = root.logits.device
        with in_float32(device):
            scores = self.scorer.begin(histories, root, context, scope)

        def asked(states: Int[Tensor, "users width"], depth: int) -> Float[Tensor, "users width"]:
            with in_float32(device):
                return scores(states, depth)

        return asked

    def flops(
        self, histories: HistoryBatch, asked: Int[Tensor, "users asked"], scope: CodeSpace
    ) -> Int[Tensor, " users"] | None:
        """See `CountsScores.flops`; None for a scorer that does not tell."""
        scorer = self.scorer
        return scorer.flops(histories, asked, scope) if isinstance(scorer, CountsScores) else None

    @property
    def score_kind(self) -> str:
        """Name of the scores: the scorer's, or a mixture."""
        return f"{self.scorer.name} + log_prob" if any(self._weights()) else self.scorer.name

    def ranked_by(
        self,
        scores: Float[Tensor, "users width"],
        log_probs: Float[Tensor, "users width"],
        depth: int,
    ) -> Float[Tensor, "users width"]:
        """Scores by which prefixes of `depth` codes are ranked; -inf where `log_probs` is."""
        weights = self._weights()
        weight = weights[0] if len(weights) == 1 else weights[depth - 1]
        is_prefix = log_probs > -torch.inf
        mixed = scores + weight * log_probs.masked_fill(~is_prefix, 0.0)
        return mixed.masked_fill(~is_prefix, -torch.inf)

    def _weights(self) -> tuple[float, ...]:
        given = self.likelihood_weight
        return given if isinstance(given, tuple) else (given,)
