"""Rollouts: what a search finds for prompts, with rewards; repaired where nothing is learned."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.model.heads import HeadedModel
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.value_head import ValueHead
from sidestep.objectives.advantages import is_informative
from sidestep.search.policy import Scope, SearchPolicy, reads_values, redrawn
from sidestep.search.sampling import Sampling
from sidestep.step import HistoryBatch, StepModel
from sidestep.training.alignment_config import Repair
from sidestep.training.candidate_tree import CandidateTree
from sidestep.training.rewards import Reward, RewardScene

_RESAMPLING_TEMPERATURE = 2.0

_RESAMPLING_SEED = 1_000_003
"""Far from the seeds of the search itself: its draws would else come again, only hotter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The candidates that are compared, with what they got.

    tree: holds them, and the target where it is known.
    is_member: True at the candidates of the group.
    log_probs: of the candidates, as the search found them.
    rewards: 0 at others.
    first_free: by user, the first level that the policy chose by itself; those before were hinted.
    old_log_probs: of the policy that made the rollouts, code by code; None where that is the
        policy of now.
    tokens: backbone positions spent on rollouts, per user.
    """

    tree: CandidateTree
    is_member: Bool[Tensor, "users candidates"]
    log_probs: Float[Tensor, "users candidates"]
    rewards: Float[Tensor, "users candidates"]
    first_free: Int[Tensor, " users"]
    old_log_probs: Float[Tensor, "users candidates levels"] | None
    tokens: Int[Tensor, " users"]

    @property
    def learns(self) -> Bool[Tensor, " users"]:
        """Groups that hold different rewards, as a mask."""
        return is_informative(self.rewards, self.is_member)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Leaves that a search found, their log-probabilities, and what it spent."""

    leaves: Int[Tensor, "users found"]
    log_probs: Float[Tensor, "users found"]
    tokens: Int[Tensor, " users"]

    def replaced(
        self,
        is_replaced: Bool[Tensor, " users"],
        search: Callable[[Int[Tensor, " rows"]], "_Found"],
    ) -> "_Found":
        """Finds with those of another search for some users, whose tokens add up."""
        rows = is_replaced.nonzero()[:, 0]
        if not len(rows):
            return self
        others = search(rows)
        width = max(self.leaves.shape[1], others.leaves.shape[1])

        def joined(ours: Tensor, theirs: Tensor, padding: int | float) -> Tensor:
            whole = functional.pad(ours, (0, width - ours.shape[1]), value=padding).clone()
            whole[rows] = functional.pad(theirs, (0, width - theirs.shape[1]), value=padding)
            return whole

        return _Found(
            leaves=joined(self.leaves, others.leaves, NO_STATE),
            log_probs=joined(self.log_probs, others.log_probs, -torch.inf),
            tokens=self.tokens.index_add(0, rows, others.tokens),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Rollouts: a search that finds candidates, and rewards that judge them.

    search: finds them; what it draws, it draws anew at every step.
    reward: judges them.
    repair: of groups that hold no different rewards.
    knows_targets: whether what came next is known; it then stands in every tree, found or not.
    head: gives the values that a search may read; None gives none.
    """

    search: SearchPolicy
    reward: Reward
    repair: Repair
    knows_targets: bool
    head: ValueHead | None

    @torch.no_grad()
    def __call__(
        self,
        model: SemanticIdModel,
        histories: HistoryBatch,
        futures: Int[Tensor, "users horizon"],
        trie: Trie,
        *,
        step: int,
    ) -> Group:
        """Candidate sets with rewards.

        Args:
            model: the policy that makes them.
            histories: the prompts.
            futures: the items that came next, the target first; read where they are known.
            trie: of the catalog.
            step: number of the round, which random searches draw by.
        """
        search, targets = redrawn(self.search, step), futures[:, 0]
        found = self._searched(search, model, histories, trie)
        group = self._judged(found, histories, futures, trie)
        if self.repair == "target":
            is_own = group.tree.leaves == trie.leaf_of(targets)[:, None]
            missed = is_own & ~group.learns[:, None]
            return self._rewarded(group, histories, futures, group.is_member | missed, trie)
        if self.repair == "resample":
            hot = Sampling(
                num_samples=found.leaves.shape[1],
                temperature=_RESAMPLING_TEMPERATURE,
                seed=_RESAMPLING_SEED + step,
            )
            again = found.replaced(
                ~group.learns, lambda rows: self._searched(hot, model, histories.select(rows), trie)
            )
            return self._judged(again, histories, futures, trie)
        if self.repair == "hint":
            return self._hinted(search, model, histories, futures, trie, found, group)
        return group

    def _hinted(
        self,
        search: SearchPolicy,
        model: SemanticIdModel,
        histories: HistoryBatch,
        futures: Int[Tensor, "users horizon"],
        trie: Trie,
        found: _Found,
        group: Group,
    ) -> Group:
        """Searches again below ever longer prefixes of the target, until rewards differ."""
        first_free = group.first_free
        for depth in range(1, trie.num_levels):
            if group.learns.all():
                break
            hints = trie.ancestor(trie.leaf_of(futures[:, 0]), depth)
            first_free = torch.where(group.learns, first_free, depth)
            found = found.replaced(
                ~group.learns,
                lambda rows, hints=hints: self._searched(  # type: ignore[misc]
                    search, model, histories.select(rows), trie, below=hints[rows]
                ),
            )
            group = self._judged(found, histories, futures, trie)
            group = replace(group, first_free=first_free)
        return group

    def _searched(
        self,
        search: SearchPolicy,
        model: SemanticIdModel,
        histories: HistoryBatch,
        trie: Trie,
        below: Int[Tensor, " users"] | None = None,
    ) -> _Found:
        """Finds of the search, with the current values if there are any."""
        valued: StepModel[Any] = model
        if self.head is not None and reads_values(search):
            valued = HeadedModel(model, self.head)
        candidates = search.search(valued, histories, Scope(trie=trie, below=below))
        return _Found(
            leaves=candidates.leaves, log_probs=candidates.log_probs, tokens=candidates.spent.tokens
        )

    def _judged(
        self,
        found: _Found,
        histories: HistoryBatch,
        futures: Int[Tensor, "users horizon"],
        trie: Trie,
    ) -> Group:
        """Candidates as a tree with their rewards."""
        targets = futures[:, 0]
        own = trie.leaf_of(targets) if self.knows_targets else None
        tree = CandidateTree.of(found.leaves, own, trie)
        missing = tree.leaves.shape[1] - found.leaves.shape[1]
        group = Group(
            tree=tree,
            is_member=tree.is_found,
            # What the search missed it found less likely than all the others.
            log_probs=functional.pad(found.log_probs, (0, missing), value=-torch.inf),
            rewards=torch.zeros(tree.leaves.shape, device=tree.leaves.device),
            first_free=torch.zeros_like(targets),
            old_log_probs=None,
            tokens=found.tokens,
        )
        return self._rewarded(group, histories, futures, tree.is_found, trie)

    def _rewarded(
        self,
        group: Group,
        histories: HistoryBatch,
        futures: Int[Tensor, "users horizon"],
        is_member: Bool[Tensor, "users candidates"],
        trie: Trie,
    ) -> Group:
        """The group with such members, and their rewards."""
        scene = RewardScene(
            histories=histories,
            futures=futures if self.knows_targets else None,
            leaves=group.tree.leaves.masked_fill(~is_member, NO_STATE),
            states=group.tree.states,
            log_probs=group.log_probs,
            is_candidate=is_member,
            trie=trie,
        )
        return replace(group, is_member=is_member, rewards=self.reward(scene))
