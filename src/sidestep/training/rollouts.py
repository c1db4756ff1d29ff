"""Rollouts: what a search finds for prompts, with rewards; repaired where nothing is learned."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.model.heads import HeadedModel
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.value_head import ValueHead
from sidestep.objectives.advantages import is_informative
from sidestep.search.policy import Scope, SearchPolicy, reads_values, redrawn, trie_scope
from sidestep.search.sampling import Sampling
from sidestep.step import HistoryBatch, StepModel, reads_prefixes
from sidestep.training.alignment_config import Repair
from sidestep.training.candidate_tree import CandidateTree, tree_and_path
from sidestep.training.leaf_ways import LeafWays
from sidestep.training.rewards import Reward, RewardScene

_RESAMPLING_TEMPERATURE = 2.0

_RESAMPLING_SEED = 1_000_003
"""Far from the seeds of the search itself: its draws would else come again, only hotter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The candidates that are compared, with what they got.

    tree: holds them, and the target where it is known.
    is_on_path: True at the states of the tree on the way to the target; False where no target is
        known.
    is_member: True at the candidates of the group.
    log_probs: of the candidates, as the search found them.
    rewards: 0 at others.
    first_free: by user, the first level that the policy chose by itself; those before were hinted.
    old_log_probs: of the policy that made the rollouts, code by code; None where that is the
        policy of now.
    tokens: backbone positions spent on rollouts, per user.
    """

    tree: CandidateTree
    is_on_path: Bool[Tensor, "users candidates levels"]
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
class _Asked:
    """The question of one round of rollouts; see `Rollouts.__call__`."""

    model: SemanticIdModel
    histories: HistoryBatch
    futures: Int[Tensor, "users horizon"]
    ways: LeafWays


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Rollouts: a search that finds candidates, and rewards that judge them.

    search: finds them; what it draws, it draws anew at every step.
    reward: judges them.
    repair: of groups that hold no different rewards.
    knows_targets: whether what came next is known; it then stands in every tree, found or not.
    head: gives the values that a search may read; None gives none.
    future_decay: see `RewardScene`.
    """

    search: SearchPolicy
    reward: Reward
    repair: Repair
    knows_targets: bool
    head: ValueHead | None
    future_decay: float = 1.0

    @torch.no_grad()
    def __call__(
        self,
        model: SemanticIdModel,
        histories: HistoryBatch,
        futures: Int[Tensor, "users horizon"],
        ways: LeafWays,
        *,
        step: int,
    ) -> Group:
        """Candidate sets with rewards.

        Args:
            model: the policy that makes them.
            histories: the prompts.
            futures: the items that came next, the target first; read where they are known.
            ways: to the leaves of the catalog.
            step: number of the round, which random searches draw by.
        """
        search, targets = redrawn(self.search, step), futures[:, 0]
        space = ways.space
        asked = _Asked(model=model, histories=histories, futures=futures, ways=ways)
        found = self._searched(search, model, histories, space)
        group = self._judged(found, asked)
        if self.repair == "target":
            is_own = group.tree.leaves == space.state_of(targets)[:, None]
            missed = is_own & ~group.learns[:, None]
            return self._rewarded(group, asked, group.is_member | missed)
        if self.repair == "resample":
            hot = Sampling(
                num_samples=found.leaves.shape[1],
                temperature=_RESAMPLING_TEMPERATURE,
                seed=_RESAMPLING_SEED + step,
            )
            again = found.replaced(
                ~group.learns,
                lambda rows: self._searched(hot, model, histories.select(rows), space),
            )
            return self._judged(again, asked)
        if self.repair == "hint":
            return self._hinted(search, asked, found, group)
        return group

    def _hinted(self, search: SearchPolicy, asked: _Asked, found: _Found, group: Group) -> Group:
        """Searches again below ever longer prefixes of the target, until rewards differ."""
        trie = trie_scope(asked.ways.space, asker="repair: hint").trie
        first_free = group.first_free
        for depth in range(1, trie.num_levels):
            if group.learns.all():
                break
            hints = trie.ancestor(trie.leaf_of(asked.futures[:, 0]), depth)
            first_free = torch.where(group.learns, first_free, depth)
            found = found.replaced(
                ~group.learns,
                lambda rows, hints=hints: self._searched(  # type: ignore[misc]
                    search,
                    asked.model,
                    asked.histories.select(rows),
                    Scope(trie=trie, below=hints[rows]),
                ),
            )
            group = self._judged(found, asked)
            group = replace(group, first_free=first_free)
        return group

    def _searched(
        self,
        search: SearchPolicy,
        model: SemanticIdModel,
        histories: HistoryBatch,
        space: CodeSpace,
    ) -> _Found:
        """Finds of the search, with the current values if there are any."""
        valued: StepModel[Any] = model
        if self.head is not None and reads_values(search):
            valued = HeadedModel(model, self.head)
        candidates = search.search(valued, histories, space)
        return _Found(
            leaves=candidates.leaves, log_probs=candidates.log_probs, tokens=candidates.spent.tokens
        )

    def _judged(self, found: _Found, asked: _Asked) -> Group:
        """Candidates as a tree with their rewards."""
        leaves, targets = found.leaves, asked.futures[:, 0]
        if self.knows_targets:
            own = asked.ways.space.state_of(targets)
            tree, is_on_path = tree_and_path(
                asked.ways, asked.model, asked.histories, leaves, own, include_target=True
            )
        else:
            ways = asked.ways(asked.model, asked.histories, leaves)
            tree = CandidateTree.along(ways, leaves, num_found=leaves.shape[1])
            is_on_path = torch.zeros_like(tree.is_step)
        missing = tree.leaves.shape[1] - found.leaves.shape[1]
        group = Group(
            tree=tree,
            is_on_path=is_on_path,
            is_member=tree.is_found,
            # What the search missed it found less likely than all the others.
            log_probs=functional.pad(found.log_probs, (0, missing), value=-torch.inf),
            rewards=torch.zeros(tree.leaves.shape, device=tree.leaves.device),
            first_free=torch.zeros_like(targets),
            old_log_probs=None,
            tokens=found.tokens,
        )
        return self._rewarded(group, asked, tree.is_found)

    def _rewarded(
        self, group: Group, asked: _Asked, is_member: Bool[Tensor, "users candidates"]
    ) -> Group:
        """The group with such members, and their rewards."""
        tree = group.tree
        scene = RewardScene(
            histories=asked.histories,
            futures=asked.futures if self.knows_targets else None,
            future_decay=self.future_decay,
            leaves=tree.leaves.masked_fill(~is_member, NO_STATE),
            states=tree.states,
            is_step=tree.is_step,
            log_probs=group.log_probs,
            is_candidate=is_member,
            space=asked.ways.space,
            intents=self._intents(tree, asked),
        )
        return replace(group, is_member=is_member, rewards=self.reward(scene))

    def _intents(
        self, tree: CandidateTree, asked: _Asked
    ) -> Float[Tensor, "users candidates levels categories"] | None:
        """The distributions over categories before each code, if a reward reads them."""
        head = asked.model.category_head
        is_read = reads_prefixes(asked.model) and getattr(self.reward, "reads_intents", True)
        if head is None or not is_read:
            return None
        by_slot = head.log_probs(tree.read(asked.model, asked.histories).hidden)
        slots = tree.parent_slots
        found = by_slot.take_along_dim(slots.flatten(1)[..., None], dim=1)
        return found.view(*slots.shape, -1)
