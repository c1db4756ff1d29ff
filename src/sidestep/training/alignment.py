"""Alignment: the policy is improved by reinforcement learning on what a search finds.

Every step: the search finds a candidate set per target with the policy and the values of now, the
candidates get rewards, rewards become advantages, and the whole candidate tree goes through the
network once, for the policy and, where it is trained too, for the value. Source: V-STAR
(arXiv:2602.10699), sec. 4; see `objectives.policy` and `objectives.advantages`.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.value_head import ValuedModel, ValueHead
from sidestep.objectives.advantages import (
    Scaling,
    group_advantages,
    is_informative,
    node_means,
    sibling_advantages,
)
from sidestep.objectives.policy import (
    Ratio,
    clipped_terms,
    entropy,
    exact_kl,
    is_clipped,
    k3_kl,
    log_ratios,
    mean_per_group,
)
from sidestep.objectives.value import is_first_of_prefix, level_weights, shared_prefixes
from sidestep.search.named import NamedSearch
from sidestep.search.policy import Scope, SearchPolicy
from sidestep.search.sampling import Sampling
from sidestep.step import HistoryBatch
from sidestep.training.candidate_tree import CandidateTree
from sidestep.training.next_code import NextCodeConfig, NextCodeObjective
from sidestep.training.objective import Loss, Objective
from sidestep.training.rewards import NEED_TARGETS, Reward, RewardScene, RewardTerm
from sidestep.training.value import dense_rewards, value_loss

Repair = Literal["none", "target", "hint", "resample", "drop"]
"""What becomes of a group whose candidates all have the same reward, from which nothing is learned.

none: it counts as a group of no advantage. target: the item that came next joins it. hint: it is
searched again below the first codes of the item that came next, as few as give different rewards;
the codes that were hinted are learned by likelihood (HCGRec, arXiv:2608.11980). resample: it is
drawn again from a hot policy. drop: it does not count at all (DAPO, arXiv:2503.14476).
"""

Weighting = Literal["uniform", "policy"]
"""All alike, as published; or by their shares of the policy's probability, which makes the gradient
that of the expected reward within the set (minimum risk training, arXiv:1512.02433). It vanishes
where nothing is to be won, while with uniform weights what a search found is pushed down for ever.
"""

_RESAMPLING_TEMPERATURE = 2.0


class LoopValueConfig(BaseModel):
    """How values learn while the policy does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gamma: float = Field(0.99, ge=0, le=1)
    """What a reward is worth one code earlier."""

    weights: tuple[float, ...] | None = None
    """How much each level's reward counts; None interpolates the published ones."""

    learning_rate_factor: float = Field(10.0, gt=0)
    """The head learns at so many times the rate of the policy."""

    detach_backbone: bool = True
    """Whether what is learned of values leaves the policy as it is."""


class AlignmentConfig(BaseModel):
    """How a policy is improved on rewards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rollouts: NamedSearch = NamedSearch.model_validate({"search": "beam", "num_beams": 16})
    """The search that finds the candidates; a user's history draws anew at every step."""

    rewards: tuple[RewardTerm, ...] = (RewardTerm(reward="rank-aware"),)
    """What candidates get, added up."""

    group_weight: float | None = Field(1.0, gt=0)
    """Weight of the loss over whole candidates (GRPO); None leaves it out."""

    sibling_weight: float | None = Field(None, gt=0)
    """Weight of the loss over siblings (Sibling-GRPO); None leaves it out."""

    scaling: Scaling = "std"
    """How advantages are scaled: std, mean-only or leave-one-out."""

    weighting: Weighting = "uniform"
    """How much each candidate of a group counts."""

    ratio: Ratio = "token"
    """Of π to what made the rollouts, code by code or for whole semantic IDs (GSPO)."""

    clip_low: float | None = Field(0.2, gt=0, lt=1)
    """How far the ratio may fall and still be rewarded; None is without bound."""

    clip_high: float | None = Field(0.2, gt=0)
    """How far it may rise; more than `clip_low` is DAPO's."""

    temperature: float = Field(1.0, gt=0)
    """Of the policy that is improved."""

    dropout: bool = False
    """Whether rollouts and update come with the policy's dropout. It was trained on the same
    targets, and without dropout knows them better than it will know any target that is new."""

    kl_weight: float | None = Field(1e-3, gt=0)
    """Weight of the divergence from the policy of before; None does without that policy."""

    kl: Literal["exact", "k3"] = "exact"
    """Over all legal codes of every node, or estimated at the candidates' own codes."""

    likelihood: NextCodeConfig | None = None
    """What goes on being lowered beside, with dropout as before; None: rewards alone."""

    likelihood_weight: float = Field(1.0, gt=0)
    """Weight of it."""

    repair: Repair = "none"
    """What becomes of groups without different rewards."""

    steps_per_rollout_policy: int = Field(1, ge=1)
    """Optimizer steps for which one copy of the policy makes the rollouts; from the second on the
    ratio is not 1. One makes them with the policy of now."""

    steps_per_reference: int | None = Field(None, ge=1)
    """Optimizer steps after which the policy of now becomes the reference; None never."""

    targets_per_window: int | None = Field(1, ge=1)
    """The latest positions of each window that are searched for; None takes all."""

    open_prompts: bool = False
    """Whether the search asks what comes after these positions, and not what stands there: nobody
    knows, so that the policy cannot have learned it by heart. Rewards, repair and values must then
    do without a target."""

    num_prompts: int | None = Field(8000, ge=1)
    """Windows that are learned from, fixed random ones; None takes all."""

    value: LoopValueConfig | None = None
    """How values learn on the same candidates; None leaves them."""

    max_kl: float | None = Field(None, gt=0)
    """The run ends where the mean divergence since the last line in the log is larger; in nats."""

    min_entropy: float | None = Field(None, gt=0)
    """The run ends where the mean entropy of the first code is smaller; in nats."""

    @model_validator(mode="after")
    def _fits(self) -> "AlignmentConfig":
        if self.group_weight is None and self.sibling_weight is None and self.likelihood is None:
            raise ValueError(
                "there is nothing to learn: set group_weight, sibling_weight or likelihood."
            )
        if self.max_kl is not None and self.kl_weight is None:
            raise ValueError("max_kl needs the reference policy: set kl_weight.")
        if self.steps_per_reference is not None and self.kl_weight is None:
            raise ValueError("steps_per_reference needs the reference policy: set kl_weight.")
        if self.weighting == "policy" and (
            self.sibling_weight is not None or self.repair == "target"
        ):
            raise ValueError(
                "weighting 'policy' is of whole candidates that the search found: leave "
                "sibling_weight and the repair 'target' out, or weigh uniformly."
            )
        if self.open_prompts:
            self._refuse_targets()
        if self.dropout and self.steps_per_rollout_policy > 1:
            raise ValueError(
                "dropout would part the policy from the copy that makes the rollouts: set "
                "steps_per_rollout_policy to 1, or dropout to false."
            )
        if not self.learns_from_rewards:
            for name in ("value", "max_kl", "min_entropy"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs rollouts: set group_weight or sibling_weight.")
        return self

    def _refuse_targets(self) -> None:
        """Raises a `ValueError` for what open prompts have no target for."""
        asking = [term.reward for term in self.rewards if term.reward in NEED_TARGETS]
        if asking:
            raise ValueError(
                f"open_prompts: the reward {asking[0]!r} asks what came next, which nobody knows "
                "there; name others, such as item-head or collaborative."
            )
        if self.value is not None or self.repair in ("target", "hint"):
            raise ValueError(
                "open_prompts: values and the repairs 'target' and 'hint' learn from what came "
                "next, which nobody knows there; leave them out."
            )

    @property
    def learns_from_rewards(self) -> bool:
        """Whether candidates are searched for at all."""
        return self.group_weight is not None or self.sibling_weight is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The candidates that are compared, with what they got.

    tree: holds them, and the target.
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
        """Which groups hold different rewards."""
        return is_informative(self.rewards, self.is_member)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What the losses over a group raise and lower; by the loss, "group" or "sibling".

    advantages: of every code.
    is_counted: True at the codes that the loss is over.
    """

    advantages: Mapping[str, Float[Tensor, "users candidates levels"]]
    is_counted: Mapping[str, Bool[Tensor, "users candidates levels"]]


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
        """The same with what another search finds for some users, whose tokens add up."""
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


class AlignmentObjective(Objective):
    """GRPO, Sibling-GRPO or both on candidate sets; with them likelihood, KL and values.

    The policy is in `eval` mode for rollouts and update alike, unless dropout is asked for: then it
    is on in both, and the update itself says what the ratio is to. What is random in a search is
    drawn anew at every step, from its seed and the number of the step.
    """

    num_steps: Tensor

    def __init__(
        self,
        policy: SemanticIdModel,
        trie: Trie,
        rewards: Reward,
        config: AlignmentConfig,
        *,
        max_history: int | None = None,
        head: ValueHead | None = None,
        embeddings: LeafEmbeddings | None = None,
    ) -> None:
        """Takes what is trained and what it is trained with.

        Args:
            policy: a trained network; it is moved.
            trie: of the catalog.
            rewards: judge candidates.
            config: see there.
            max_history: most recent items shown; None shows all of a window.
            head: gives the values that the search reads; trained if `config.value` is set.
            embeddings: what values are rewarded by; needed where they are trained.

        Raises:
            ValueError: something that the configuration needs is missing or does not fit.
        """
        super().__init__()
        self.config, self.max_history = config, max_history
        self.policy = policy.requires_grad_()  # what is loaded from a bundle is frozen
        self.head = head
        self.trie, self.rewards, self.embeddings = trie, rewards, embeddings
        self.search = config.rollouts.policy()
        self.value_weights: tuple[float, ...] = ()
        if head is not None:
            head.requires_grad_(config.value is not None)
        if config.value is not None:
            if head is None or embeddings is None:
                raise ValueError(
                    "value: the backbone has no value head; train one beside it with a run of kind "
                    "value, or leave value out."
                    if head is None
                    else "value: rewards of prefixes compare items by embeddings; name the file of "
                    "'sidestep embed' as embeddings."
                )
            weights = config.value.weights
            self.value_weights = level_weights(trie.num_levels) if weights is None else weights
            if len(self.value_weights) != trie.num_levels:
                raise ValueError(
                    f"value.weights has {len(self.value_weights)} entries, but semantic IDs have "
                    f"{trie.num_levels} codes; give one per level, or None."
                )
        self._likelihood = None
        if config.likelihood is not None:
            try:
                # In a list: its network is the policy, which `state_dict` should know once.
                self._likelihood = [NextCodeObjective(policy, config.likelihood)]
            except ValueError as error:
                raise ValueError(f"likelihood: {error}") from error
        self.rollout_policy = self._copied() if config.steps_per_rollout_policy > 1 else None
        has_reference = config.kl_weight is not None and config.learns_from_rewards
        reference = self._copied() if has_reference else None
        # Only what changes belongs into checkpoints.
        self.reference = reference if config.steps_per_reference is not None else None
        self._fixed_reference = [] if reference is None else [reference]
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.long))

    @property
    def learning_rate_factors(self) -> Mapping[str, float]:
        """See `Objective.learning_rate_factors`: values learn faster than the policy moves."""
        value = self.config.value
        return {} if value is None else {"head.": value.learning_rate_factor}

    def after_step(self) -> None:
        """See `Objective.after_step`: renews the copies of the policy that are due."""
        self.num_steps += 1
        steps = int(self.num_steps)
        if self.rollout_policy is not None and steps % self.config.steps_per_rollout_policy == 0:
            self.rollout_policy.load_state_dict(self.policy.state_dict())
        every = self.config.steps_per_reference
        if self.reference is not None and every is not None and steps % every == 0:
            self.reference.load_state_dict(self.policy.state_dict())

    def limit_reached(self, parts: Mapping[str, float]) -> bool:
        """See `Objective.limit_reached`: the policy went too far, or is too sure of itself."""
        config = self.config
        is_far = config.max_kl is not None and parts["kl"] > config.max_kl
        return is_far or (
            config.min_entropy is not None and parts["entropy_1"] < config.min_entropy
        )

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: see `_told`, and those of likelihood and values."""
        parts: dict[str, Tensor] = {}
        losses = []
        if self.config.learns_from_rewards:
            histories, targets = self.prompts(batch)
            group = self.rolled_out(histories, targets)
            loss, parts = self.loss(group, self.credit(group), histories, targets)
            losses.append(loss)
        if self._likelihood is not None:
            self.policy.train(self.training)
            beside = self._likelihood[0](batch)
            losses.append(self.config.likelihood_weight * beside.loss)
            parts |= {"likelihood": beside.loss.detach(), **beside.parts}
        return Loss(loss=torch.stack(losses).sum(), num_targets=batch.num_targets, parts=parts)

    def prompts(self, batch: WindowBatch) -> tuple[HistoryBatch, Int[Tensor, " users"]]:
        """What is searched for: a history per target of some windows, and the target."""
        device = batch.items.device
        if self.trie.device != device:
            self.trie = self.trie.to(device)
        users, positions = batch.is_target.nonzero(as_tuple=True)
        targets = batch.items[users, positions]
        histories = batch.before(users, positions + 1 if self.config.open_prompts else positions)
        if self.max_history is not None:
            histories = histories.latest(self.max_history)
        return histories, targets

    def loss(
        self,
        group: Group,
        credit: Credit,
        histories: HistoryBatch,
        targets: Int[Tensor, " users"],
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Policy, KL and value losses of one round of rollouts, and what `_told` says of it."""
        config, trie = self.config, self.trie
        tree, is_member = group.tree, group.is_member
        step = tree.read(self.policy, histories)
        by_slot = tree.node_log_probs(step, trie, temperature=config.temperature)
        log_probs = tree.code_log_probs(by_slot)
        old = log_probs.detach() if group.old_log_probs is None else group.old_log_probs
        logs = log_ratios(log_probs, old, config.ratio)
        counted, advantages = credit.is_counted, credit.advantages
        clip = {"clip_low": config.clip_low, "clip_high": config.clip_high}
        raised = torch.zeros(len(targets), device=logs.device)
        clipped = []
        for name, weight in (("group", config.group_weight), ("sibling", config.sibling_weight)):
            if weight is not None:
                terms = clipped_terms(logs, advantages[name], **clip)
                raised = raised + weight * mean_per_group(terms, counted[name], is_member)
                over = is_clipped(logs, advantages[name], **clip)
                clipped.append((over & counted[name]).sum() / counted[name].sum().clamp(min=1))
        learns = group.learns
        counts = learns if config.repair == "drop" else torch.ones_like(learns)
        loss = -(raised * counts).sum() / counts.sum().clamp(min=1)
        if config.repair == "hint":
            levels = torch.arange(trie.num_levels, device=logs.device)
            hinted = (levels < group.first_free[:, None]) & learns[:, None]
            own = self._target_log_probs(tree, log_probs, targets)
            loss = loss - (own * hinted).sum() / (len(targets) * trie.num_levels)
        parts = self._told(group, targets, by_slot, log_probs)
        parts["clipped"] = torch.stack(clipped).mean()
        divergence = self._divergence(tree, is_member, histories, by_slot, log_probs)
        if divergence is not None:
            assert config.kl_weight is not None
            loss = loss + config.kl_weight * divergence
            parts["kl"] = divergence.detach()
        parts["policy"] = loss.detach()
        if config.value is not None:
            by_depth = self._value_loss(tree, step.hidden, targets)
            parts["value"] = by_depth.mean().detach()
            loss = loss + by_depth.mean()
        return loss, parts

    def credit(self, group: Group) -> Credit:
        """Which codes count, and their advantages, among candidates and among siblings."""
        scaling, is_member = self.config.scaling, group.is_member
        levels = torch.arange(self.trie.num_levels, device=is_member.device)
        is_free = (levels >= group.first_free[:, None])[:, None] & is_member[..., None]
        shared = shared_prefixes(group.tree.states, is_member)
        is_first = is_first_of_prefix(shared)
        weights = self._weights(group)
        whole = group_advantages(group.rewards, is_member, weights=weights, scaling=scaling)
        whole = whole * weights
        among = sibling_advantages(
            node_means(group.rewards, shared), shared, is_first, scaling=scaling
        )
        return Credit(
            advantages={"group": whole[..., None].expand(among.shape), "sibling": among},
            is_counted={"group": is_free, "sibling": is_free & is_first},
        )

    def _weights(self, group: Group) -> Float[Tensor, "users candidates"]:
        """How much each candidate of a group counts, 1 on average."""
        if self.config.weighting == "uniform":
            return torch.ones_like(group.rewards)
        shares = group.log_probs.masked_fill(~group.is_member, -torch.inf).softmax(dim=1)
        return shares * group.is_member.sum(dim=1, keepdim=True)

    # Rollouts

    @torch.no_grad()
    def rolled_out(self, histories: HistoryBatch, targets: Int[Tensor, " users"]) -> Group:
        """Candidate sets with rewards, repaired where that is asked for.

        The policy is left in the mode in which the loss has to meet it.
        """
        repair = self.config.repair
        self.policy.train(self.config.dropout and self.training)
        model = self.policy if self.rollout_policy is None else self.rollout_policy.eval()
        found = self._searched(_seeded(self.search, int(self.num_steps)), model, histories)
        group = self._judged(found, histories, targets)
        if repair == "target":
            is_own = group.tree.leaves == self.trie.leaf_of(targets)[:, None]
            missed = is_own & ~group.learns[:, None]
            group = self._rewarded(group, histories, targets, group.is_member | missed)
        elif repair == "resample":
            hot = Sampling(
                num_samples=found.leaves.shape[1],
                temperature=_RESAMPLING_TEMPERATURE,
                seed=int(self.num_steps),
            )
            again = found.replaced(
                ~group.learns, lambda rows: self._searched(hot, model, histories.select(rows))
            )
            group = self._judged(again, histories, targets)
        elif repair == "hint":
            group = self._hinted(model, histories, targets, found, group)
        if self.rollout_policy is None:
            return group
        step = group.tree.read(model, histories)
        by_slot = group.tree.node_log_probs(step, self.trie, temperature=self.config.temperature)
        return replace(group, old_log_probs=group.tree.code_log_probs(by_slot))

    def _hinted(
        self,
        model: SemanticIdModel,
        histories: HistoryBatch,
        targets: Int[Tensor, " users"],
        found: "_Found",
        group: Group,
    ) -> Group:
        """Searches again below ever longer prefixes of the target, until rewards differ."""
        trie = self.trie
        first_free = group.first_free
        for depth in range(1, trie.num_levels):
            if group.learns.all():
                break
            hints = trie.ancestor(trie.leaf_of(targets), depth)
            first_free = torch.where(group.learns, first_free, depth)
            found = found.replaced(
                ~group.learns,
                lambda rows, hints=hints: self._searched(  # type: ignore[misc]
                    self.search, model, histories.select(rows), below=hints[rows]
                ),
            )
            group = replace(self._judged(found, histories, targets), first_free=first_free)
        return group

    def _searched(
        self,
        search: SearchPolicy,
        model: SemanticIdModel,
        histories: HistoryBatch,
        below: Int[Tensor, " users"] | None = None,
    ) -> "_Found":
        """What a search finds, with the values of now if there are any."""
        valued = model if self.head is None else ValuedModel(model, self.head)
        candidates = search.search(valued, histories, Scope(trie=self.trie, below=below))
        return _Found(
            leaves=candidates.leaves, log_probs=candidates.log_probs, tokens=candidates.tokens
        )

    def _judged(
        self, found: "_Found", histories: HistoryBatch, targets: Int[Tensor, " users"]
    ) -> Group:
        """Candidates as a tree with their rewards; the target stands in the tree in any case."""
        own = None if self.config.open_prompts else self.trie.leaf_of(targets)
        tree = CandidateTree.of(found.leaves, own, self.trie)
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
        return self._rewarded(group, histories, targets, tree.is_found)

    def _rewarded(
        self,
        group: Group,
        histories: HistoryBatch,
        targets: Int[Tensor, " users"],
        is_member: Bool[Tensor, "users candidates"],
    ) -> Group:
        """The group with such members, and their rewards."""
        scene = RewardScene(
            histories=histories,
            targets=targets,
            target_leaves=self.trie.leaf_of(targets),
            leaves=group.tree.leaves.masked_fill(~is_member, NO_STATE),
            states=group.tree.states,
            log_probs=group.log_probs,
            is_candidate=is_member,
            trie=self.trie,
        )
        return replace(group, is_member=is_member, rewards=self.rewards(scene))

    # Losses beside

    def _divergence(
        self,
        tree: CandidateTree,
        is_member: Bool[Tensor, "users candidates"],
        histories: HistoryBatch,
        by_slot: Float[Tensor, "users slots codes"],
        log_probs: Float[Tensor, "users candidates levels"],
    ) -> Float[Tensor, ""] | None:
        """Mean KL to the reference at the nodes that the group passes; None without a reference."""
        reference = self.reference
        if reference is None:
            if not self._fixed_reference:
                return None
            reference = self._fixed_reference[0].to(by_slot.device)
        with torch.no_grad():
            step = tree.read(reference.eval(), histories)
            theirs = tree.node_log_probs(step, self.trie, temperature=self.config.temperature)
        if self.config.kl == "k3":
            estimates = k3_kl(log_probs, tree.code_log_probs(theirs))
            return (estimates * is_member[..., None]).sum() / (
                is_member.sum().clamp(min=1) * estimates.shape[2]
            )
        is_passed = _passed_slots(tree, is_member)
        by_node = exact_kl(by_slot, theirs)
        return (by_node * is_passed).sum() / is_passed.sum().clamp(min=1)

    def _value_loss(
        self,
        tree: CandidateTree,
        hidden: Float[Tensor, "users slots dim"],
        targets: Int[Tensor, " users"],
    ) -> Float[Tensor, " depths"]:
        """Of the candidates and the target's path, which the head would seldom see else."""
        config = self.config.value
        assert config is not None
        assert self.head is not None
        assert self.embeddings is not None
        self.embeddings = self.embeddings.to(hidden.device)
        rewards = dense_rewards(tree, targets, self.embeddings, self.trie, self.value_weights)
        read = hidden.detach() if config.detach_backbone else hidden
        return value_loss(self.head, tree, read, rewards, gamma=config.gamma)

    def _target_log_probs(
        self,
        tree: CandidateTree,
        log_probs: Float[Tensor, "users candidates levels"],
        targets: Int[Tensor, " users"],
    ) -> Float[Tensor, "users levels"]:
        """Of the codes of what came next, which is in every tree."""
        is_own = tree.leaves == self.trie.leaf_of(targets)[:, None]
        at = is_own.byte().argmax(dim=1)
        return log_probs[torch.arange(len(at), device=at.device), at]

    # Diagnostics

    @torch.no_grad()
    def _told(
        self,
        group: Group,
        targets: Int[Tensor, " users"],
        by_slot: Float[Tensor, "users slots codes"],
        log_probs: Float[Tensor, "users candidates levels"],
    ) -> dict[str, Tensor]:
        """What a line in the log says of the rollouts, all means over groups.

        reward, best_reward, reward_range: of a group. zero_advantage: share of groups from which
        nothing is learned. found: share that holds the target. matched: codes that the best
        candidate shares with the target. diversity: mean over pairs of the share of levels that
        differ. candidates: of a group. entropy_l: of code l at the nodes passed. target_log_prob:
        of what came next.
        """
        tree, is_member, trie = group.tree, group.is_member, self.trie
        counts = is_member.sum(dim=1).clamp(min=1)
        best = group.rewards.masked_fill(~is_member, -torch.inf).amax(dim=1)
        worst = group.rewards.masked_fill(~is_member, torch.inf).amin(dim=1)
        shared = shared_prefixes(tree.states, is_member).sum(dim=(2, 3)) - counts[:, None]
        pairs = (counts * (counts - 1)).clamp(min=1)
        parts = {} if self.config.open_prompts else self._told_of_targets(group, targets, log_probs)
        parts |= {
            "reward": (group.rewards.sum(dim=1) / counts).mean(),
            "best_reward": best.mean(),
            "reward_range": (best - worst).mean(),
            "zero_advantage": (~group.learns).float().mean(),
            "diversity": (1 - shared / pairs[:, None]).mean(),
            "candidates": counts.float().mean(),
            "tokens": group.tokens.float().mean(),
        }
        is_passed = _passed_slots(tree, is_member)
        by_node = entropy(by_slot)
        depths = tree.slot_depths
        for depth in range(trie.num_levels):
            here = is_passed & (depths == depth)
            mean = (by_node * here).sum() / here.sum().clamp(min=1)
            parts[f"entropy_{depth + 1}"] = mean
        return parts

    def _told_of_targets(
        self,
        group: Group,
        targets: Int[Tensor, " users"],
        log_probs: Float[Tensor, "users candidates levels"],
    ) -> dict[str, Tensor]:
        """What is said of the items that came next, see `_told`."""
        own = self.trie.prefixes(self.trie.leaf_of(targets))
        on_way = (group.tree.states == own[:, None]) & group.is_member[..., None]
        of_targets = self._target_log_probs(group.tree, log_probs, targets)
        return {
            "found": on_way[..., -1].any(dim=1).float().mean(),
            "matched": on_way.any(dim=1).float().sum(dim=1).mean(),
            "target_log_prob": of_targets.sum(dim=1).mean(),
        }

    def _copied(self) -> SemanticIdModel:
        """The policy of now, which stays as it is."""
        return copy.deepcopy(self.policy).requires_grad_(False).eval()


def _passed_slots(
    tree: CandidateTree, is_member: Bool[Tensor, "users candidates"]
) -> Bool[Tensor, "users slots"]:
    """The slots at which some member of the group chooses a code."""
    slots = tree.parent_slots.masked_fill(~is_member[..., None], 0).flatten(1)
    passed = torch.zeros_like(tree.slot_states, dtype=torch.bool)
    # The root is passed by everybody; a group always has a member.
    return passed.scatter_(1, slots, True)


def _seeded(policy: Any, step: int) -> SearchPolicy:
    """The search with other draws at every step, if it draws at all."""
    if not any(field.name == "seed" for field in fields(policy)):
        found: SearchPolicy = policy
        return found
    drawn: SearchPolicy = replace(policy, seed=policy.seed + step)
    return drawn
