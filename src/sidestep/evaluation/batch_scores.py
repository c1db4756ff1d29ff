"""Scores of given prefixes: by the policy itself and by every scorer that could guide it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.search.paths import score_paths
from sidestep.search.policy import Scope
from sidestep.search.scorer import Guidance, PrefixScores
from sidestep.search.tree import LOG_PROB, VALUE
from sidestep.step import HistoryBatch, StepModel

_CHUNK_SIZE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchScores:
    """The scores of one batch of histories."""

    model: StepModel[Any]
    scope: Scope
    root: Any
    context: Any
    guidances: Mapping[str, Guidance]
    scores_of: Mapping[str, PrefixScores]

    @staticmethod
    def begin(
        model: StepModel[Any],
        histories: HistoryBatch,
        scope: Scope,
        guidances: Mapping[str, Guidance],
    ) -> "BatchScores":
        """Reads the histories once, for all scores."""
        root, context = model.encode(histories, capacity=_CHUNK_SIZE * scope.trie.num_levels)
        return BatchScores(
            model=model,
            scope=scope,
            root=root,
            context=context,
            guidances=guidances,
            scores_of={
                name: guidance.begin(histories, root, context, scope)
                for name, guidance in guidances.items()
            },
        )

    def along(
        self, paths: Int[Tensor, "users paths levels"]
    ) -> dict[str, Float[Tensor, "users paths levels"]]:
        """Scores of every prefix on the paths, by name; arbitrary past the end of a path."""
        read = score_paths(
            self.model, self.root, self.context, paths, self.scope, chunk_size=_CHUNK_SIZE
        )
        found = {LOG_PROB: read.log_probs}
        if read.values is not None:
            found[VALUE] = read.values
        for name, guidance in self.guidances.items():
            found[name] = torch.stack(
                [
                    guidance.ranked_by(self.scores_of[name](states, depth), log_probs, depth)
                    for depth, (states, log_probs) in enumerate(
                        zip(paths.unbind(dim=2), read.log_probs.unbind(dim=2), strict=True), start=1
                    )
                ],
                dim=2,
            )
        return found
