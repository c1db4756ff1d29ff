"""Training a value head: on the prefixes that a search finds with the values of now."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.value_head import ValuedModel, ValueHead
from sidestep.objectives.value import (
    is_first_of_prefix,
    level_weights,
    root_targets,
    shared_prefixes,
    step_rewards,
    td_loss,
    td_targets,
)
from sidestep.search.policy import Scope, SearchPolicy
from sidestep.step import ROOT_SLOT, HistoryBatch
from sidestep.training.objective import Loss, Objective


class ValueTrainingConfig(BaseModel):
    """What a value head is trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gamma: float = Field(0.99, ge=0, le=1)
    """What a reward is worth one code earlier."""

    weights: tuple[float, ...] | None = None
    """How much each level's reward counts; None interpolates the published ones."""

    include_target: bool = True
    """The target's path is learned from even where the search missed it; else V would see few
    right prefixes. A narrow beam then shows what it finds unlikely only where that is right, and V
    learns to prefer the unlikely: search wider, or draw from a hot policy (`Sampling`)."""

    targets_per_window: int | None = Field(1, ge=1)
    """The latest positions of each window that are searched for; None takes all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueTree:
    """The prefixes of one candidate set per target; a leaf's path is told by its states.

    leaves: the candidates, and the target last if it is learned from too.
    states: of each candidate's prefixes of 1 to L codes.
    codes: the last one of each of them; some code at padding.
    is_candidate: False at padding.
    """

    leaves: Int[Tensor, "users candidates"]
    states: Int[Tensor, "users candidates levels"]
    codes: Int[Tensor, "users candidates levels"]
    is_candidate: Bool[Tensor, "users candidates"]

    @staticmethod
    def of(
        found: Int[Tensor, "users found"], targets: Int[Tensor, " users"] | None, trie: Trie
    ) -> "ValueTree":
        """The tree of what a search found, and of the target leaves if they are given.

        Args:
            found: distinct leaves of each user; `NO_STATE` is padding.
            targets: leaves to be there once, found or not.
            trie: of the catalog.
        """
        leaves = found
        if targets is not None:
            is_found = (found == targets[:, None]).any(dim=1)
            missed = targets.masked_fill(is_found, NO_STATE)
            leaves = torch.cat([found, missed[:, None]], dim=1)
        states = trie.prefixes(leaves)
        return ValueTree(
            leaves=leaves,
            states=states,
            codes=trie.codes_of(states).clamp(min=0),
            is_candidate=leaves != NO_STATE,
        )


class ValueObjective(Objective):
    """One-step TD on dense semantic returns; the policy is read and not moved.

    For every target: the search finds candidates with the values of now, the distinct prefixes of
    the candidates go through the backbone in one call, and each value is pulled towards its reward
    and the values below it. Source: V-STAR (arXiv:2602.10699), sec. 4.1; see `objectives.value`.
    """

    def __init__(
        self,
        head: ValueHead,
        backbone: SemanticIdModel,
        trie: Trie,
        embeddings: Float[Tensor, "items dim"],
        policy: SearchPolicy,
        config: ValueTrainingConfig,
    ) -> None:
        """Takes what is trained and what it is trained with.

        Args:
            head: is trained.
            backbone: a trained network, which stays as it is.
            trie: of the catalog.
            embeddings: e(i) of every item of the catalog, from a frozen encoder, of any length.
            policy: finds the candidates; it may read the values.
            config: see there.

        Raises:
            ValueError: there is not one embedding per item, or not one weight per level.
        """
        super().__init__()
        self.weights = level_weights(trie.num_levels) if config.weights is None else config.weights
        if len(self.weights) != trie.num_levels:
            raise ValueError(
                f"weights has {len(self.weights)} entries, but semantic IDs have "
                f"{trie.num_levels} codes; give one per level, or None."
            )
        self.head = head
        # In a list: `parameters`, `state_dict` and `train` are the trained network's alone.
        self._frozen = [backbone]
        self.trie = trie
        self.embeddings = LeafEmbeddings.of(embeddings, trie)
        self.policy = policy
        self.config = config

    @property
    def backbone(self) -> SemanticIdModel:
        """The policy."""
        return self._frozen[0]

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: the squared error at each depth, and what is behind it.

        `reward` is the mean reward of the states, `missed` the share of targets not found.
        """
        users, positions = batch.is_target.nonzero(as_tuple=True)
        targets = batch.items[users, positions]
        histories = batch.before(users, positions)
        trie, embeddings, backbone = self._placed(targets.device)
        leaves = trie.leaf_of(targets)
        valued = ValuedModel(backbone, self.head)
        with torch.no_grad():
            found = self.policy.search(valued, histories, Scope(trie=trie)).leaves
        tree = ValueTree.of(found, leaves if self.config.include_target else None, trie)
        shared = shared_prefixes(tree.states, tree.is_candidate)
        is_state = is_first_of_prefix(shared)
        rewards = step_rewards(
            embeddings.at(tree.leaves),
            embeddings.items[targets],
            tree.states == trie.prefixes(leaves)[:, None],
            shared,
            self.weights,
        )
        roots, values = tree_values(backbone, self.head, histories, tree, shared)
        gamma = self.config.gamma
        errors = values - td_targets(rewards, values, shared, gamma=gamma)
        root_errors = roots - root_targets(values, tree.is_candidate, gamma=gamma)
        by_depth = td_loss(errors, root_errors, is_state)
        parts = {f"depth_{depth}": part.detach() for depth, part in enumerate(by_depth)}
        parts["reward"] = (rewards * is_state).sum() / is_state.sum().clamp(min=1)
        parts["missed"] = (found != leaves[:, None]).all(dim=1).float().mean()
        return Loss(loss=by_depth.mean(), num_targets=len(targets), parts=parts)

    def _placed(self, device: torch.device) -> tuple[Trie, LeafEmbeddings, SemanticIdModel]:
        """Trie, embeddings and backbone on the device of a batch."""
        if self.trie.device != device:
            self.trie = self.trie.to(device)
            self.embeddings = self.embeddings.to(device)
        return self.trie, self.embeddings, self.backbone.to(device).eval()


def tree_values(
    backbone: SemanticIdModel,
    head: ValueHead,
    histories: HistoryBatch,
    tree: ValueTree,
    shared: Bool[Tensor, "users levels candidates candidates"],
) -> tuple[Float[Tensor, " users"], Float[Tensor, "users candidates levels"]]:
    """Values of the roots and of every candidate's prefixes; each distinct prefix is shown once.

    Gradients reach the head alone.
    """
    users, candidates, levels = tree.states.shape
    # One column per candidate and level; those of a prefix seen before are padding.
    is_node = is_first_of_prefix(shared).flatten(1)
    first = shared.long().argmax(dim=-1).movedim(1, 2)  # [users, candidates, levels]
    columns = first * levels + torch.arange(levels, device=first.device)
    parents = functional.pad(1 + columns[..., :-1], (1, 0), value=ROOT_SLOT).flatten(1)
    depths = torch.arange(1, levels + 1, device=first.device)
    depths = depths.expand(users, candidates, levels).flatten(1)
    with torch.no_grad():
        root, context = backbone.encode(histories, capacity=candidates * levels)
        step, _ = backbone.extend(context, tree.codes.flatten(1), parents, depths, is_node=is_node)
    roots, below = head.begin(root.hidden, capacity=candidates * levels)
    values, _ = head.extend(below, step.hidden, parents, depths, is_node=is_node)
    return roots[:, 0], values.gather(1, columns.flatten(1)).view(users, candidates, levels)
