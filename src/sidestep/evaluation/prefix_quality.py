"""Quality of scores of prefixes, before any search: do they tell the target's prefix from others?

The quality is measured at each depth, for the policy itself and for every scorer that could guide
it. A score that is good over all prefixes may still fail among the prefixes that a search
proposes, so both are measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.data.splits import Rows
from sidestep.evaluation.measured import Measured, RowNumbers
from sidestep.evaluation.prefix_judge import PrefixJudge, PrefixSettings
from sidestep.evaluation.row_batches import row_batches
from sidestep.metrics.statistics import numbered
from sidestep.search.policy import Scope
from sidestep.search.scorer import Guidance
from sidestep.step import StepModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAtDepth:
    """Quality of one score at one depth. A measure is None if no row has it.

    auc: share of the other prefixes of the depth that score below the target's prefix; a tie
        counts half.
    hard_auc: the same share among the prefixes that a plain beam proposes: a guided beam chooses
        from these. Only rows count where the plain beam proposes the target's prefix.
    sibling_auc: the same share among the prefixes that differ from the target's prefix only in
        their last code. Only rows count that have such prefixes.
    correlation: Spearman's ρ of the score of a prefix with the mean reward of the candidates below
        it, over the distinct prefixes of a pool. A pool in which the score or the reward is
        constant does not count.
    oracle: share of rows whose target's prefix is a prefix of one of the k best leaves of the
        catalog by this score, by expectation over ties. A search guided by this score would return
        these leaves if it missed nothing. None unless all prefixes are scored.
    """

    depth: int
    auc: Measured | None
    hard_auc: Measured | None
    sibling_auc: Measured | None
    correlation: Measured | None
    oracle: Measured | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixQuality:
    """Quality of every score, by its name: log π, the value, and the other scorers.

    num_rows, num_users: number of rows and of users on which scores were judged.
    is_exact: whether all prefixes were scored.
    """

    num_rows: int
    num_users: int
    is_exact: bool
    settings: PrefixSettings
    scores: dict[str, tuple[ScoreAtDepth, ...]]

    def as_json(self) -> dict[str, Any]:
        """The quality as plain dictionaries and numbers."""
        return asdict(self)


def prefix_quality(
    model: StepModel[Any],
    rows: Rows,
    scope: Scope,
    *,
    guidances: Mapping[str, Guidance],
    settings: PrefixSettings | None = None,
    embeddings: Float[Tensor, "items dim"] | None = None,
    batch_size: int = 32,
    max_history: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PrefixQuality:
    """Judges scores of prefixes on rows.

    Args:
        model: the policy; its value is judged too, if it gives one.
        rows: histories and targets.
        scope: the items that may be recommended, on the device of the model.
        guidances: further scorers to judge, by name.
        settings: see `PrefixSettings`; None takes its defaults.
        embeddings: one embedding per item, from an encoder that is independent of the model. The
            reward of a candidate is the cosine between the mean embedding of its items and the
            embedding of the target. Without embeddings, no correlation is measured.
        batch_size: number of rows judged at once; no result depends on it.
        max_history: number of most recent items of a history that are shown; None shows all.
        progress: called after each batch with the number of rows done and the number of all rows.

    Raises:
        ValueError: there are no rows, or not one embedding per item.
    """
    settings = settings or PrefixSettings()
    if len(rows) == 0:
        raise ValueError("there are no rows to judge on: the split is empty.")
    judge = PrefixJudge(
        model=model,
        scope=scope,
        guidances=guidances,
        settings=settings,
        embeddings=None if embeddings is None else LeafEmbeddings.of(embeddings, scope),
    )
    device = scope.trie.device
    starts = torch.from_numpy(np.random.default_rng(settings.seed).random(len(rows)))
    users = numbered(rows.histories.user_ids)
    found: dict[str, RowNumbers] = {}
    for batch in row_batches(
        rows, batch_size, max_history=max_history, device=device, progress=progress
    ):
        judged = judge.judged(batch.histories, batch.targets, starts[batch.rows].to(device))
        for name, numbers in judged.items():
            found.setdefault(name, RowNumbers(users)).put(batch.rows, numbers)
    return PrefixQuality(
        num_rows=len(rows),
        num_users=len(set(users.tolist())),
        is_exact=settings.num_prefixes is None,
        settings=settings,
        scores={
            name: tuple(_score_at(numbers, depth) for depth in range(1, scope.trie.num_levels + 1))
            for name, numbers in found.items()
        },
    )


def _score_at(numbers: RowNumbers, depth: int) -> ScoreAtDepth:
    kinds = ("auc", "hard_auc", "sibling_auc", "correlation", "oracle")
    return ScoreAtDepth(depth=depth, **{kind: numbers.measured(kind, depth - 1) for kind in kinds})
