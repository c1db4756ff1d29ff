"""The judge of scores of prefixes: measures scores on users whose next item is known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.trie import NO_STATE
from sidestep.catalog.user_sets import is_among
from sidestep.evaluation.batch_scores import BatchScores
from sidestep.evaluation.rivals import Rivals
from sidestep.metrics.prefixes import auc, chance_among_best, rank_correlation
from sidestep.objectives.semantic_reward import target_cosines
from sidestep.objectives.value import mean_below, shared_prefixes
from sidestep.search.paths import is_first_on_paths, paths_to
from sidestep.search.policy import Scope
from sidestep.search.proposals import plain_beam, watched
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance
from sidestep.search.tree import LOG_PROB
from sidestep.step import HistoryBatch, StepModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixSettings:
    """Settings of the prefixes and candidates on which scores are judged.

    num_prefixes: largest number of other prefixes of each depth. They are evenly spread over the
        trie from a random start. None takes all prefixes.
    num_beams, candidates: K and K+ of the plain beam whose proposals are the hard prefixes.
    pool_size, temperature: settings of the pools of candidates on which scores and rewards are
        correlated. Candidates are drawn without replacement, as in V-STAR (arXiv:2602.10699),
        Fig. 3.
    seed: seed of the random starts and of the pools.
    """

    num_prefixes: int | None = 256
    num_beams: int = 50
    candidates: int = 200
    pool_size: int = 64
    temperature: float = 1.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_prefixes is not None and self.num_prefixes < 1:
            raise ValueError(f"num_prefixes must be at least 1, got {self.num_prefixes}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixJudge:
    """Judge of the scores of a batch: gives a number per user and depth, NaN if there is none.

    guidances: scorers that are judged besides the policy and its values, by name.
    embeddings: embeddings of the catalog; without them (None), no correlation is measured.
    """

    model: StepModel[Any]
    scope: Scope
    guidances: Mapping[str, Guidance]
    settings: PrefixSettings
    embeddings: LeafEmbeddings | None

    @torch.no_grad()
    def judged(
        self,
        histories: HistoryBatch,
        targets: Int[Tensor, " users"],
        starts: Float[Tensor, " users"],
    ) -> dict[str, dict[str, Float[Tensor, "users levels"]]]:
        """Measures every score, by its name and by the name of the measure; see `ScoreAtDepth`.

        Args:
            histories: histories of the users.
            targets: the next item of each user.
            starts: see `evenly_spread`.
        """
        trie, settings = self.scope.trie, self.settings
        own = trie.leaf_of(targets)
        on_way = trie.prefixes(own)
        rivals = Rivals.of(own, starts, trie, settings.num_prefixes)
        beam = plain_beam(num_beams=settings.num_beams, candidates=settings.candidates)
        proposed = watched(beam, self.model, histories, self.scope).proposed
        scores = BatchScores.begin(self.model, histories, self.scope, self.guidances)
        paths = paths_to(rivals.states_with(proposed), trie)
        by_name = scores.along(paths)
        is_prefix = is_first_on_paths(paths) & (by_name[LOG_PROB] > -torch.inf)
        is_own = paths == on_way[:, None]
        is_other = is_prefix & ~is_own
        others = {
            "auc": is_other if rivals.spread is None else is_other & is_among(paths, rivals.spread),
            "hard_auc": is_other & is_among(paths, proposed),
            "sibling_auc": is_other & is_among(paths, rivals.siblings),
        }
        found = {
            name: {kind: _aucs(of_paths, is_own, counted) for kind, counted in others.items()}
            for name, of_paths in by_name.items()
        }
        is_proposed = is_among(on_way, proposed)
        # A target that is out of stock cannot be recommended, so it tells nothing about scores.
        # This holds even if another item of its bucket can be recommended.
        is_in_scope = (is_own[..., -1] & is_prefix[..., -1]).any(dim=1, keepdim=True)
        is_in_scope &= trie.is_available(targets[:, None], self.scope.available)
        for name, of_score in found.items():
            of_score["hard_auc"].masked_fill_(~is_proposed, torch.nan)
            if settings.num_prefixes is None:
                of_score["oracle"] = self._oracle_hits(by_name[name], is_prefix, paths, on_way)
            for values in of_score.values():
                values.masked_fill_(~is_in_scope, torch.nan)
        if self.embeddings is not None:
            pool = self._pool(histories)
            rewards = self._rewards(self.embeddings, pool, targets)
            is_distinct = is_first_on_paths(pool)
            for name, of_pool in scores.along(pool).items():
                found[name]["correlation"] = _by_level(
                    rank_correlation, of_pool, rewards, is_distinct
                )
        return found

    def _oracle_hits(
        self,
        of_paths: Float[Tensor, "users paths levels"],
        is_prefix: Bool[Tensor, "users paths levels"],
        paths: Int[Tensor, "users paths levels"],
        on_way: Int[Tensor, "users levels"],
    ) -> Float[Tensor, "users levels"]:
        """Probability that each prefix of the target is a prefix of one of the best leaves."""
        leaf_scores = of_paths[..., -1].masked_fill(~is_prefix[..., -1], -torch.inf)
        num_best = min(self.settings.num_beams, paths.shape[1])
        is_below = paths == on_way[:, None]  # [users, paths, levels]
        return chance_among_best(leaf_scores, is_below, num_best)

    def _pool(self, histories: HistoryBatch) -> Int[Tensor, "users paths levels"]:
        """Paths to sampled leaves."""
        sampling = Sampling(
            num_samples=self.settings.pool_size,
            temperature=self.settings.temperature,
            seed=self.settings.seed,
        )
        leaves = sampling.search(self.model, histories, self.scope).leaves
        return paths_to(leaves, self.scope.trie)

    def _rewards(
        self,
        embeddings: LeafEmbeddings,
        pool: Int[Tensor, "users paths levels"],
        targets: Int[Tensor, " users"],
    ) -> Float[Tensor, "users paths levels"]:
        """Mean reward of the leaves below each prefix."""
        leaves = pool[..., -1]
        cosines = target_cosines(embeddings.at(leaves), embeddings.items[targets])
        return mean_below(cosines, shared_prefixes(pool, leaves != NO_STATE))


def _aucs(
    scores: Float[Tensor, "users paths levels"],
    is_own: Bool[Tensor, "users paths levels"],
    is_other: Bool[Tensor, "users paths levels"],
) -> Float[Tensor, "users levels"]:
    """AUC at every depth; see `auc`."""
    # All paths through the target's own prefix hold the same score of that prefix.
    own = scores.gather(1, is_own.byte().argmax(dim=1, keepdim=True))[:, 0]
    return _by_level(auc, own, scores, is_other)


def _by_level(
    measure: Callable[..., Float[Tensor, " users"]], *arrays: Tensor
) -> Float[Tensor, "users levels"]:
    """Applies a measure to each level. The last axis of the arrays is the levels."""
    by_level = zip(*(array.unbind(dim=-1) for array in arrays), strict=True)
    return torch.stack([measure(*of_level) for of_level in by_level], dim=1)
