"""Alignment: the policy is improved by reinforcement learning on what a search finds.

Every step: the search finds a candidate set per target with the policy and the values of now, the
candidates get rewards, rewards become advantages, and the whole candidate tree goes through the
network once, for the policy and, where it is trained too, for the value. Source: V-STAR
(arXiv:2602.10699), sec. 4; see `objectives.policy` and `objectives.advantages`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.space import CodeSpace
from sidestep.data.windows import WindowBatch, Windows
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.value_head import ValueHead
from sidestep.objectives.advantages import (
    group_advantages,
    optimum_advantages,
    sibling_advantages,
)
from sidestep.objectives.policy import (
    clipped_terms,
    exact_kl,
    is_clipped,
    k3_kl,
    log_ratios,
    mean_per_group,
)
from sidestep.objectives.value import (
    is_first_of_prefix,
    mean_below,
    shared_prefixes,
    step_rewards,
)
from sidestep.objectives.weighting import weighted
from sidestep.search.config import NamedSearch
from sidestep.search.policy import Scope, SearchPolicy, reads_values
from sidestep.step import HistoryBatch, StepOutput
from sidestep.training.alignment_config import AlignmentConfig
from sidestep.training.candidate_tree import CandidateTree
from sidestep.training.leaf_ways import ways_in
from sidestep.training.likelihood import fitting_likelihood
from sidestep.training.objective import DrawingObjective, Loss
from sidestep.training.rewards import Reward, Rewards
from sidestep.training.rollout_figures import (
    figures_of_group,
    figures_of_targets,
    passed_slots,
    target_log_probs,
)
from sidestep.training.rollouts import Group, Rollouts
from sidestep.training.value import checked_weights, value_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Credit of the candidates of a group, by the loss that reads it, "group" or "sibling".

    advantages: of every code.
    is_counted: True at the codes that the loss is over.
    """

    advantages: Mapping[str, Float[Tensor, "users candidates levels"]]
    is_counted: Mapping[str, Bool[Tensor, "users candidates levels"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Output of the current policy for the candidate trees of a group.

    step: at the slots of the trees.
    by_slot: log-probabilities of the legal codes there.
    log_probs: of every candidate's codes, with gradients where they are on.
    old_log_probs: of the policy that the ratio is to; without gradient.
    """

    step: StepOutput
    by_slot: Float[Tensor, "users slots codes"]
    log_probs: Float[Tensor, "users candidates levels"]
    old_log_probs: Float[Tensor, "users candidates levels"]


class AlignmentObjective(DrawingObjective):
    """GRPO, Sibling-GRPO or both on candidate sets; with them likelihood, KL and values.

    The policy is in `eval` mode for rollouts and update alike, unless dropout is asked for: then it
    is on in both, and the update itself says what the ratio is to. What is random in a search is
    drawn anew at every step, from its seed and the number of the step.
    """

    def __init__(
        self,
        policy: SemanticIdModel,
        space: CodeSpace,
        rewards: Reward,
        config: AlignmentConfig,
        *,
        max_history: int | None = None,
        head: ValueHead | None = None,
        head_gamma: float | None = None,
        embeddings: LeafEmbeddings | None = None,
        categories: Int[Tensor, " items"] | None = None,
    ) -> None:
        """Takes what is trained and what it is trained with.

        Args:
            policy: a trained network; it is moved.
            space: all items of the catalog, by a trie or by sets of codes.
            rewards: judge candidates.
            config: see there.
            max_history: most recent items shown; None shows all of a window.
            head: gives the values that the search reads; trained if `config.value` is set.
            head_gamma: what it was trained to discount by; None leaves it to the search.
            embeddings: what values are rewarded by; needed where they are trained.
            categories: of the items, for the likelihood of a policy with a category head.

        Raises:
            TypeError: the space is neither that of a trie nor that of sets.
            ValueError: something that the configuration needs is missing or does not fit.
        """
        super().__init__()
        self.config, self.max_history = config, max_history
        self.policy = policy.requires_grad_()  # what is loaded from a bundle is frozen
        if config.likelihood is None:
            # A tied item head still moves with the vectors that histories are read by.
            policy.freeze_heads()
        self.head = head
        self.embeddings = embeddings
        search = _search(config, head_gamma)
        # Values of equal depth are compared, so that with values ways go on to all codes.
        all_codes = config.value is not None or reads_values(search)
        self.ways = ways_in(space, policy, all_codes=all_codes)
        if not isinstance(space, Scope):
            _refuse_prefixes(config)
        self.rollouts = Rollouts(
            search=search,
            reward=rewards,
            repair=config.repair,
            knows_targets=not config.open_prompts,
            head=head,
            future_decay=config.reward_decay,
        )
        self.value_weights: tuple[float, ...] = ()
        if head is not None:
            head.requires_grad_(config.value is not None)
            if config.value is None:
                self.freeze("head", head)
        if config.value is not None:
            _refuse_missing(head, embeddings)
            self.value_weights = checked_weights(
                config.value.weights, space.num_steps, "value.weights"
            )
        self._likelihood = None
        if config.likelihood is not None:
            try:
                # In a list: its network is the policy, which `state_dict` should know once.
                beside = fitting_likelihood(policy, config.likelihood, categories=categories)
                self._likelihood = [beside]
            except ValueError as error:
                raise ValueError(f"likelihood: {error}") from error
        if config.steps_per_rollout_policy > 1:
            self.keep_copy("rollout_policy", "policy", every_steps=config.steps_per_rollout_policy)
        if config.kl_weight is not None and config.learns_from_rewards:
            self.keep_copy("reference", "policy", every_steps=config.steps_per_reference)
        for name, module in rewards.modules.items() if isinstance(rewards, Rewards) else ():
            self.freeze(f"rewards.{name}", module)

    def after_step(self) -> None:
        """See `Objective.after_step`; the likelihood draws anew, too."""
        super().after_step()
        for likelihood in self._likelihood or ():
            likelihood.after_steps(int(self.num_steps))

    def load_state_dict(self, *given: Any, **more: Any) -> Any:
        """See `nn.Module.load_state_dict`; the likelihood goes on from the step of the state."""
        loaded = super().load_state_dict(*given, **more)
        for likelihood in self._likelihood or ():
            likelihood.after_steps(int(self.num_steps))
        return loaded

    def prepare(self, windows: Windows) -> None:
        """See `Objective.prepare`."""
        for likelihood in self._likelihood or ():
            likelihood.prepare(windows)

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`: the policy, and the value head where values are learned."""
        if self.head is None or self.config.value is None:
            return {"policy": self.policy}
        return {"policy": self.policy, "head": self.head}

    @property
    def learning_rate_factors(self) -> Mapping[str, float]:
        """See `Objective.learning_rate_factors`: values learn faster than the policy moves."""
        value = self.config.value
        return {} if value is None else {"head.": value.learning_rate_factor}

    @property
    def watched_parts(self) -> Sequence[str]:
        """See `Objective.watched_parts`: whether groups teach anything, and how far this led."""
        return ("reward", "best_reward", "zero_advantage", "candidates", "entropy_1", "kl", "found")

    def limit_reached(self, parts: Mapping[str, float]) -> bool:
        """See `Objective.limit_reached`: the policy went too far, or is too sure of itself."""
        config = self.config
        is_far = config.max_kl is not None and parts["kl"] > config.max_kl
        return is_far or (
            config.min_entropy is not None and parts["entropy_1"] < config.min_entropy
        )

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`; a likelihood alone is a mean over targets."""
        if self.config.learns_from_rewards or self._likelihood is None:
            return (
                "the loss of rewards divides by the groups and the codes of a whole batch that "
                "count; the recipes tree and sft-continued can be shared"
            )
        return self._likelihood[0].whole_batch_term

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: `rollout_figures`, and those of likelihood and values."""
        parts: dict[str, Tensor] = {}
        losses = []
        if self.config.learns_from_rewards:
            histories, futures = self.prompts(batch)
            targets = futures[:, 0]
            group = self.rolled_out(histories, futures)
            weights = batch.weights_of(*batch.is_target.nonzero(as_tuple=True))
            reading = self.read(group, histories)
            credit = self.credit(group, reading)
            loss, parts = self.loss(group, credit, reading, histories, targets, weights=weights)
            losses.append(loss)
        if self._likelihood is not None:
            self.policy.train(self.training)
            beside = self._likelihood[0](batch)
            losses.append(self.config.likelihood_weight * beside.loss)
            parts |= {"likelihood": beside.loss.detach(), **beside.parts}
        return Loss(loss=torch.stack(losses).sum(), num_targets=batch.num_targets, parts=parts)

    def prompts(self, batch: WindowBatch) -> tuple[HistoryBatch, Int[Tensor, "users horizon"]]:
        """Prompts of the search: a history per target of some windows, and what came next.

        The target comes first of what came next, see `RewardScene.futures`.
        """
        device = batch.items.device
        if self.ways.space.device != device:
            self.ways = self.ways.to(device)
        users, positions = batch.is_target.nonzero(as_tuple=True)
        futures = batch.after(users, positions, self.config.reward_horizon)
        histories = batch.before(users, positions + 1 if self.config.open_prompts else positions)
        if self.max_history is not None:
            histories = histories.latest(self.max_history)
        return histories, futures

    def read(self, group: Group, histories: HistoryBatch) -> Reading:
        """Shows the trees of a group to the policy of now.

        The ratio is to what made the rollouts. With `optimum_temperature` it is to the policy of
        now, that is 1: what is missing to the optimum is the gradient of a cross-entropy within
        the group, whoever found the group.
        """
        tree = group.tree
        step = tree.read(self.policy, histories)
        by_slot = self._node_log_probs(tree, step)
        log_probs = tree.code_log_probs(by_slot)
        old = group.old_log_probs
        if old is None or self.config.optimum_temperature is not None:
            old = log_probs.detach()
        return Reading(step=step, by_slot=by_slot, log_probs=log_probs, old_log_probs=old)

    def loss(
        self,
        group: Group,
        credit: Credit,
        reading: Reading,
        histories: HistoryBatch,
        targets: Int[Tensor, " users"],
        *,
        weights: Float[Tensor, " users"] | None = None,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Policy, KL and value losses of one round of rollouts, and figures of it.

        With `optimum_temperature` set, what is missing to the optimum stands for the advantages.

        Args:
            group: the candidates.
            credit: of the candidates.
            reading: what the policy says of the candidates, with its gradient.
            histories: that were searched for.
            targets: what followed each history.
            weights: what each target's part of the loss is multiplied by; None multiplies none.
        """
        config, num_levels = self.config, self.ways.space.num_steps
        tree, is_member = group.tree, group.is_member
        by_slot, log_probs = reading.by_slot, reading.log_probs
        is_step = is_member[..., None] & tree.is_step
        logs = log_ratios(log_probs, reading.old_log_probs, config.ratio, tree.is_step)
        theirs = self._reference_log_probs(tree, histories)
        counted, advantages = credit.is_counted, credit.advantages
        if config.optimum_temperature is not None:
            assert theirs is not None
            # Not in `credit`: it takes what policy and reference say of the candidates now.
            missing = optimum_advantages(
                group.rewards,
                log_probs.sum(dim=2),
                tree.code_log_probs(theirs).sum(dim=2),
                is_member,
                temperature=config.optimum_temperature,
            )
            advantages = {"group": missing[..., None].expand_as(log_probs)}
        clip = {"clip_low": config.clip_low, "clip_high": config.clip_high}
        raised = torch.zeros(len(targets), device=logs.device)
        clipped = []
        for name, weight in (("group", config.group_weight), ("sibling", config.sibling_weight)):
            if weight is not None:
                terms = clipped_terms(logs, advantages[name], **clip)
                raised = raised + weight * mean_per_group(terms, counted[name], is_step)
                over = is_clipped(logs, advantages[name], **clip)
                clipped.append((over & counted[name]).sum() / counted[name].sum().clamp(min=1))
        learns = group.learns
        counts = learns if config.repair == "drop" else torch.ones_like(learns)
        loss = -weighted(raised * counts, weights).sum() / counts.sum().clamp(min=1)
        if config.repair == "hint":
            levels = torch.arange(num_levels, device=logs.device)
            hinted = (levels < group.first_free[:, None]) & learns[:, None]
            own = target_log_probs(tree, log_probs, self.ways.space.state_of(targets))
            hints = weighted(own * hinted, weights)
            loss = loss - hints.sum() / (len(targets) * num_levels)
        parts = figures_of_group(group, by_slot, num_levels)
        if not config.open_prompts:
            leaves = self.ways.space.state_of(targets)
            parts |= figures_of_targets(group, leaves, log_probs)
        parts["clipped"] = torch.stack(clipped).mean()
        if theirs is not None:
            assert config.kl_weight is not None
            by_slots = (by_slot, theirs)
            divergence = self._divergence(tree, is_member, by_slots, log_probs, weights)
            loss = loss + config.kl_weight * divergence
            # Limits and figures are about the policy, whatever a target weighs.
            if weights is not None:
                divergence = self._divergence(tree, is_member, by_slots, log_probs, None)
            parts["kl"] = divergence.detach()
        parts["policy"] = loss.detach()
        if config.value is not None:
            by_depth = self._value_loss(group, reading.step.hidden, targets, weights)
            parts["value"] = by_depth.mean().detach()
            loss = loss + by_depth.mean()
        return loss, parts

    def credit(self, group: Group, reading: Reading) -> Credit:
        """Codes that count, and their advantages, among candidates and among siblings if asked."""
        scaling, is_member = self.config.scaling, group.is_member
        levels = torch.arange(self.ways.space.num_steps, device=is_member.device)
        is_free = (levels >= group.first_free[:, None])[:, None] & is_member[..., None]
        is_free = is_free & group.tree.is_step
        weights = self._weights(group, reading)
        whole = group_advantages(group.rewards, is_member, weights=weights, scaling=scaling)
        advantages = {"group": (whole * weights)[..., None].expand(is_free.shape)}
        is_counted = {"group": is_free}
        if self.config.sibling_weight is not None:  # it compares all candidates with each other
            shared = shared_prefixes(group.tree.states, is_member)
            is_first = is_first_of_prefix(shared)
            advantages["sibling"] = sibling_advantages(
                mean_below(group.rewards, shared), shared, is_first, scaling=scaling
            )
            is_counted["sibling"] = is_free & is_first
        return Credit(advantages=advantages, is_counted=is_counted)

    def _weights(self, group: Group, reading: Reading) -> Float[Tensor, "users candidates"]:
        """Weight of each candidate of a group, 1 on average.

        By the policy that is improved: a search may find by another normaliser or temperature.
        """
        if self.config.weighting == "uniform":
            return torch.ones_like(group.rewards)
        logs = reading.old_log_probs.detach().sum(dim=2)
        shares = logs.masked_fill(~group.is_member, -torch.inf).softmax(dim=1)
        return shares * group.is_member.sum(dim=1, keepdim=True)

    # Rollouts

    @torch.no_grad()
    def rolled_out(self, histories: HistoryBatch, futures: Int[Tensor, "users horizon"]) -> Group:
        """Candidate sets with rewards, repaired where that is asked for.

        The policy is left in the mode in which the loss has to meet it.

        Args:
            histories: the prompts.
            futures: the items that came next, the target first.
        """
        self.policy.train(self.config.dropout and self.training)
        behaviour = self._copy("rollout_policy")
        model = self.policy if behaviour is None else behaviour
        group = self.rollouts(model, histories, futures, self.ways, step=int(self.num_steps))
        if behaviour is None:
            return group
        by_slot = self._node_log_probs(group.tree, group.tree.read(model, histories))
        return replace(group, old_log_probs=group.tree.code_log_probs(by_slot))

    # Losses beside

    @torch.no_grad()
    def _reference_log_probs(
        self, tree: CandidateTree, histories: HistoryBatch
    ) -> Float[Tensor, "users slots codes"] | None:
        """Log-probabilities of the reference at the nodes of a tree; None without one."""
        reference = self._copy("reference")
        if reference is None:
            return None
        return self._node_log_probs(tree, tree.read(reference, histories))

    def _node_log_probs(
        self, tree: CandidateTree, step: StepOutput
    ) -> Float[Tensor, "users slots codes"]:
        """See `CandidateTree.node_log_probs`."""
        legal = self.ways.legal(tree.slot_states, tree.next_codes)
        return tree.node_log_probs(step, legal, temperature=self.config.temperature)

    def _divergence(
        self,
        tree: CandidateTree,
        is_member: Bool[Tensor, "users candidates"],
        by_slots: tuple[Float[Tensor, "users slots codes"], Float[Tensor, "users slots codes"]],
        log_probs: Float[Tensor, "users candidates levels"],
        weights: Float[Tensor, " users"] | None,
    ) -> Float[Tensor, ""]:
        """Mean KL to the reference at the nodes that the group passes.

        Args:
            tree: of the candidates.
            is_member: the candidates of the group.
            by_slots: what the policy, and what the reference says at the nodes.
            log_probs: of the codes of the candidates.
            weights: of the targets, see `loss`.
        """
        ours, theirs = by_slots
        if self.config.kl == "k3":
            estimates = k3_kl(log_probs, tree.code_log_probs(theirs))
            is_counted = is_member[..., None] & tree.is_step
            return weighted(estimates * is_counted, weights).sum() / is_counted.sum().clamp(min=1)
        is_passed = passed_slots(tree, is_member)
        by_node = exact_kl(ours, theirs)
        return weighted(by_node * is_passed, weights).sum() / is_passed.sum().clamp(min=1)

    def _value_loss(
        self,
        group: Group,
        hidden: Float[Tensor, "users slots dim"],
        targets: Int[Tensor, " users"],
        weights: Float[Tensor, " users"] | None,
    ) -> Float[Tensor, " depths"]:
        """Loss of values on the candidates and on the target's path."""
        config = self.config.value
        assert config is not None
        assert self.head is not None
        assert self.embeddings is not None
        self.embeddings = self.embeddings.to(hidden.device)
        tree, embeddings = group.tree, self.embeddings
        rewards = step_rewards(
            embeddings.at(tree.leaves),
            embeddings.items[targets],
            group.is_on_path,
            tree.shared,
            self.value_weights,
        )
        read = hidden.detach() if config.detach_backbone else hidden
        return value_loss(self.head, tree, read, rewards, gamma=config.gamma, weights=weights)

    def _copy(self, name: str) -> SemanticIdModel | None:
        """A declared copy of the policy, in `eval` mode; None where there is none."""
        kept = self.copies.get(name)
        if kept is None:
            return None
        assert isinstance(kept.module, SemanticIdModel)
        return kept.module.eval()


def _refuse_prefixes(config: AlignmentConfig) -> None:
    """Raises a `ValueError` for settings that do not fit sets of codes."""
    if config.dropout:
        raise ValueError(
            "dropout: a policy over sets of codes would choose other codebooks in the update than "
            "in the search; leave dropout out."
        )
    if config.repair == "hint":
        raise ValueError(
            "repair: hint begins with the first codes of the target, and sets of codes have no "
            "first code; take target, resample, drop or none."
        )


def _search(config: AlignmentConfig, head_gamma: float | None) -> SearchPolicy:
    """Search of the rollouts; it discounts values as they are or were learned, unless told."""
    settings = config.rollouts.model_extra or {}
    gamma = head_gamma if config.value is None else config.value.gamma
    policy = config.rollouts.policy()
    if gamma is None or not hasattr(policy, "gamma") or "gamma" in settings:
        return policy
    given = {"search": config.rollouts.search, **settings, "gamma": gamma}
    return NamedSearch.model_validate(given).policy()


def _refuse_missing(head: ValueHead | None, embeddings: LeafEmbeddings | None) -> None:
    """Raises a `ValueError` where there is nothing to learn values with."""
    if head is None:
        raise ValueError(
            "value: the backbone has no value head; train one beside it with a run of kind value, "
            "or leave value out."
        )
    if embeddings is None:
        raise ValueError(
            "value: rewards of prefixes compare items by embeddings; name the file of "
            "'sidestep embed' as embeddings."
        )
