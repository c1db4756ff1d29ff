"""Distillation of an item head: the prompts, the teacher, and the loss of the policy's own head.

A policy over codes learns from its item head as the head was before the first step. A subclass
chooses the prefixes or the sets at which the policy learns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sidestep.data.windows import WindowBatch
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.padding import NO_ITEM
from sidestep.search.item_support import ItemRanker
from sidestep.step import HistoryBatch
from sidestep.training.objective import DrawingObjective
from sidestep.training.objective_config import TreeDistillationConfig

NO_TEACHER = (
    "tree distillation learns from the item head, and the network has none; train a run of kind "
    "transformer, or code-sets for a catalog of sets, with model.item_head: true."
)
"""The message for a network that has no teacher."""

NO_ROWS = (
    "learned_weights: rows needs a network whose codes have rows of their own; name a run of kind "
    "transformer or code-sets, or set learned_weights: network."
)
"""The message for a network whose rows of codes are also inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerBeside:
    """A ranker that teaches together with the item head.

    ranker: gives scores of all items, which are added to those of the head.
    network: of the ranker; None for a ranker without a network.
    weight: the factor of the ranker's scores.
    """

    ranker: ItemRanker
    network: nn.Module | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherTeacher:
    """Another trained network over the same items, whose item head teaches, too.

    network: has an item head. Its codes may be others.
    max_history: most recent items of a history that it reads.
    """

    network: SemanticIdModel
    max_history: int


@runtime_checkable
class Movable(Protocol):
    """A space that lies on a device."""

    @property
    def device(self) -> torch.device:
        """Where the space lies."""
        ...

    def to(self, device: torch.device | str) -> Any:
        """A copy of the space on `device`."""
        ...


S = TypeVar("S", bound=Movable)


class HeadDistillationObjective(DrawingObjective, Generic[S]):
    """The part that all ways to distil an item head into a policy over codes share.

    The teacher is the item head of the policy as the head was before the first step, alone or
    together with other heads and with a ranker:

        log p(item) = 1 / R · Σ_r log p_r(item) + weight · ranker(item) + a constant

    p_r are the softmaxes of R heads. So the heads form a product of experts. Source: Hinton et al.
    2015 (arXiv:1503.02531), for distillation of an ensemble.
    """

    def __init__(
        self,
        policy: SemanticIdModel,
        space: S,
        config: TreeDistillationConfig,
        *,
        max_history: int,
        beside: RankerBeside | None = None,
        others: Sequence[OtherTeacher] = (),
    ) -> None:
        """Takes the network that is trained.

        Args:
            policy: a trained network with an item head; it is trained further in place.
            space: of the catalog, in which the policy's search finds the prefixes or sets to learn.
            config: see `TreeDistillationConfig`.
            max_history: most recent items of a history that are read.
            beside: teaches together with the head; None: no ranker teaches.
            others: networks whose heads teach together with the head.

        Raises:
            ValueError: a network has no item head, or the policy none of the weights that are to
                learn.
        """
        super().__init__()
        head = policy.item_scorer
        if head is None or any(other.network.item_scorer is None for other in others):
            raise ValueError(NO_TEACHER)
        self.policy = policy.requires_grad_()  # what is loaded from a bundle is frozen
        self.keep_copy("teacher", "policy", every_steps=None)
        self.beside = beside
        if beside is not None and beside.network is not None:
            self.freeze("ranker", beside.network)
        self.others = tuple(others)
        for number, other in enumerate(self.others):
            self.freeze(f"teacher {number + 2}", other.network)
        policy.freeze_heads()
        if config.learned_weights == "rows":
            if not policy.code_rows:
                raise ValueError(NO_ROWS)
            policy.requires_grad_(False)
            for rows in policy.code_rows:
                rows.requires_grad_()
        elif config.head_weight is not None:
            for weights in head.item_parameters():
                weights.requires_grad_()
        self.space = space
        self.search = config.candidates.policy()
        self.config = config
        self.max_history = max_history

    def space_on(self, device: torch.device) -> S:
        """The space on a device; a move to another device is made once."""
        if self.space.device != device:
            self.space = self.space.to(device)
        return self.space

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        return None

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"policy": self.policy}

    @property
    def learning_rate_factors(self) -> Mapping[str, float]:
        """See `Objective.learning_rate_factors`, and the setting `rows_rate_factor`."""
        rows = {id(own) for own in self.policy.code_rows}
        factor = self.config.rows_rate_factor
        return {name: factor for name, own in self.named_parameters() if id(own) in rows}

    @property
    def teacher(self) -> SemanticIdModel:
        """The policy as it was before the first step."""
        module = self.copies["teacher"].module
        assert isinstance(module, SemanticIdModel)
        return module

    @property
    def learns_root_alone(self) -> bool:
        """Whether the policy learns its first code alone, so that no search need visit a node."""
        return self.config.learned_nodes == "rows" and self.policy.rows_choose_first_alone

    @property
    def watched_parts(self) -> tuple[str, ...]:
        """See `Objective.watched_parts`."""
        return ("divergence",)

    def prompts(self, batch: WindowBatch) -> HistoryBatch:
        """The histories to learn after. Some of them lose items at random.

        No target is needed. With `open_prompts`, a history ends with the target itself.
        """
        config = self.config
        users, positions = batch.is_target.nonzero(as_tuple=True)
        histories = batch.before(users, positions + 1 if config.open_prompts else positions)
        histories = histories.latest(self.max_history)
        if not config.drop_share:
            return histories
        # The draws depend on the step alone, so that a resumed run draws the same.
        generator = torch.Generator().manual_seed(int(self.num_steps))
        shape = histories.items.shape
        is_whole = torch.rand(shape[0], 1, generator=generator) < config.whole_share
        is_kept = (torch.rand(shape, generator=generator) >= config.drop_share) | is_whole
        return thinned_histories(histories, is_kept.to(histories.items.device))

    def teacher_logits(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """Logarithms of the teacher's probabilities of all items."""
        logits = _head_logits(self.teacher, histories)
        if self.others:
            heads = [
                logits,
                *(_head_logits(of.network, histories.latest(of.max_history)) for of in self.others),
            ]
            logits = torch.stack([head.log_softmax(dim=1) for head in heads]).mean(dim=0)
        if self.beside is not None:
            scores = self.beside.ranker.scores(histories).float()
            logits = logits + self.beside.weight * scores
        return (logits / self.config.teacher_temperature).log_softmax(dim=1)

    def node_weights(
        self, masses: Float[Tensor, "users slots"], counts: Bool[Tensor, "users slots"]
    ) -> Float[Tensor, "users slots"]:
        """The weight of each node in the loss; the weights of a user sum to one.

        A share of `uniform_share` is spread evenly over the nodes that count. The rest goes by the
        teacher's probability of the items beyond a node.

        Args:
            masses: these probabilities; whatever where a node does not count.
            counts: the nodes at which the policy has something to choose.
        """
        mass = masses.masked_fill(~counts, 0.0)
        mass = mass / mass.sum(dim=1, keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)
        even = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
        share = self.config.uniform_share
        return (1 - share) * mass + share * even

    def weighed(
        self,
        losses: Float[Tensor, "users slots"],
        least: Float[Tensor, "users slots"],
        weights: Float[Tensor, "users slots"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss of the codes, and the mean divergence from the teacher, in nats.

        Args:
            losses: cross-entropy of the policy to the teacher at each node.
            least: the smallest it can be, the teacher's entropy.
            weights: see `node_weights`.
        """
        divergence = (weights * (losses.detach() - least)).sum(dim=1).mean()
        return (weights * losses).sum(dim=1).mean(), divergence

    def with_head(
        self,
        loss: Float[Tensor, ""],
        parts: dict[str, Float[Tensor, ""]],
        states: Float[Tensor, "users dim"],
        histories: HistoryBatch,
        logits: Float[Tensor, "users items"],
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss and its parts, with those of the item head if the item head learns.

        Args:
            loss: of the codes.
            parts: of the codes.
            states: of the policy after each history.
            histories: of the prompts.
            logits: see `teacher_logits`.
        """
        if self.config.head_weight is None or self.config.learned_weights == "rows":
            return loss, parts
        head = self._head_losses(states, histories, logits).mean()
        return loss + self.config.head_weight * head, {**parts, "head": head.detach()}

    def _head_losses(
        self,
        states: Float[Tensor, "users dim"],
        histories: HistoryBatch,
        logits: Float[Tensor, "users items"],
    ) -> Float[Tensor, " users"]:
        """The divergence of the policy's own item head from the teacher, in nats."""
        assert self.policy.item_scorer is not None
        scores = self.policy.item_scorer.item_logits(states, histories)
        own = scores.float().log_softmax(dim=1)
        return (logits.exp() * (logits - own)).sum(dim=1)


def _head_logits(network: SemanticIdModel, histories: HistoryBatch) -> Float[Tensor, "users items"]:
    """The logits of all items by the item head of a network."""
    assert network.item_scorer is not None, "refused before"
    root, _ = network.encode(histories, capacity=1)
    return network.item_scorer.item_logits(root.hidden[:, 0], histories).float()


def thinned_histories(
    histories: HistoryBatch, is_kept: Bool[Tensor, "users items"]
) -> HistoryBatch:
    """Histories without some of their items. A history that would lose all items keeps all.

    The gap after an item then reaches to the next item that is kept.

    Args:
        histories: of some users.
        is_kept: whether each item stays; of no meaning at padding.
    """
    is_item = histories.items != NO_ITEM
    is_kept = is_kept & is_item
    is_kept = torch.where(is_kept.any(dim=1, keepdim=True), is_kept, is_item)
    order = (~is_kept).byte().argsort(dim=1, stable=True)
    lengths = is_kept.sum(dim=1)
    weights, gaps = histories.weights, histories.gaps
    if gaps is not None:
        ends = gaps.masked_fill(~is_item, 0.0).cumsum(dim=1)  # when each gap ends
        starts = (ends - gaps).gather(1, order)
        columns = torch.arange(gaps.shape[1], device=gaps.device)
        is_last = columns >= lengths[:, None] - 1
        until = torch.where(is_last, ends[:, -1:], starts.roll(-1, dims=1))
        gaps = until - starts
    return HistoryBatch(
        items=histories.items.masked_fill(~is_kept, NO_ITEM).gather(1, order),
        lengths=lengths,
        weights=None if weights is None else weights.gather(1, order),
        gaps=gaps,
        user_values=histories.user_values,
    )
