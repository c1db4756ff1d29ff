"""Training a value head: on the prefixes that a search finds with the values of now."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.space import CodeSpace
from sidestep.data.windows import WindowBatch
from sidestep.model.heads import HeadedModel
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.value_head import ValueHead
from sidestep.objectives.value import (
    level_weights,
    root_targets,
    step_rewards,
    td_loss,
    td_targets,
)
from sidestep.search.policy import SearchPolicy, redrawn
from sidestep.training.candidate_tree import CandidateTree, tree_and_path
from sidestep.training.leaf_ways import ways_in
from sidestep.training.objective import DrawingObjective, Loss
from sidestep.training.objective_config import ValueTrainingConfig


class ValueObjective(DrawingObjective):
    """One-step TD on dense semantic returns; the policy is read and not moved.

    For every target: the search finds candidates with the values of now, the distinct prefixes of
    the candidates go through the backbone in one call, and each value is pulled towards its reward
    and the values below it. Source: V-STAR (arXiv:2602.10699), sec. 4.1; see `objectives.value`.
    """

    def __init__(
        self,
        head: ValueHead,
        backbone: SemanticIdModel,
        space: CodeSpace,
        embeddings: Float[Tensor, "items dim"],
        policy: SearchPolicy,
        config: ValueTrainingConfig,
    ) -> None:
        """Takes what is trained and what it is trained with.

        Args:
            head: is trained.
            backbone: a trained network, which stays as it is.
            space: of all items of the catalog: the scope of a trie, or the space of sets.
            embeddings: e(i) of every item of the catalog, from a frozen encoder, of any length.
            policy: finds the candidates; it may read the values.
            config: see there.

        Raises:
            TypeError: the space is neither that of a trie nor that of sets.
            ValueError: there is not one embedding per item, or not one weight per level, or the
                backbone does not choose the codebooks of sets.
        """
        super().__init__()
        self.weights = checked_weights(config.weights, space.num_steps, "weights")
        self.head = head
        self.freeze("backbone", backbone)
        # A search that reads values compares those of equal depth, so ways go on to all codes.
        self.ways = ways_in(space, backbone, all_codes=True)
        self.embeddings = LeafEmbeddings.of(embeddings, space)
        self.policy = policy
        self.config = config

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"head": self.head}

    @property
    def backbone(self) -> SemanticIdModel:
        """The policy."""
        backbone = self.frozen["backbone"]
        assert isinstance(backbone, SemanticIdModel)
        return backbone

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: the squared error at each depth, and what is behind it.

        `reward` is the mean reward of the states, `missed` the share of targets not found.
        """
        users, positions = batch.is_target.nonzero(as_tuple=True)
        targets = batch.items[users, positions]
        histories = batch.before(users, positions)
        if self.ways.space.device != targets.device:
            self.ways = self.ways.to(targets.device)
            self.embeddings = self.embeddings.to(targets.device)
        space, embeddings, backbone = self.ways.space, self.embeddings, self.backbone.eval()
        leaves = space.state_of(targets)
        valued = HeadedModel(backbone, self.head)
        with torch.no_grad():
            search = redrawn(self.policy, int(self.num_steps))
            found = search.search(valued, histories, space).leaves
        tree, is_on_path = tree_and_path(
            self.ways,
            backbone,
            histories,
            found,
            leaves,
            include_target=self.config.include_target,
        )
        rewards = step_rewards(
            embeddings.at(tree.leaves),
            embeddings.items[targets],
            is_on_path,
            tree.shared,
            self.weights,
        )
        with torch.no_grad():
            hidden = tree.read(backbone, histories).hidden
        by_depth = value_loss(
            self.head,
            tree,
            hidden,
            rewards,
            gamma=self.config.gamma,
            weights=batch.weights_of(users, positions),
        )
        parts = {f"depth_{depth}": part.detach() for depth, part in enumerate(by_depth)}
        parts["reward"] = (rewards * tree.is_first).sum() / tree.is_first.sum().clamp(min=1)
        parts["missed"] = (found != leaves[:, None]).all(dim=1).float().mean()
        return Loss(loss=by_depth.mean(), num_targets=len(targets), parts=parts)


def checked_weights(
    weights: tuple[float, ...] | None, num_levels: int, name: str
) -> tuple[float, ...]:
    """One weight per level: those given, or the published ones, interpolated.

    Raises:
        ValueError: there are more or fewer; calls them by `name`.
    """
    if weights is None:
        return level_weights(num_levels)
    if len(weights) != num_levels:
        raise ValueError(
            f"{name} has {len(weights)} entries, but semantic IDs have {num_levels} codes; give "
            "one per level, or None."
        )
    return weights


def value_loss(
    head: ValueHead,
    tree: CandidateTree,
    hidden: Float[Tensor, "users slots dim"],
    rewards: Float[Tensor, "users candidates levels"],
    *,
    gamma: float,
    weights: Float[Tensor, " users"] | None,
) -> Float[Tensor, " depths"]:
    """Squared TD error of the values of a tree, by depth; the root's first.

    Args:
        head: gives the values.
        tree: the states to learn from.
        hidden: of its slots; detached where values must not move what made them.
        rewards: of every prefix.
        gamma: what a reward is worth one code earlier.
        weights: of the targets, see `td_loss`.
    """
    roots, values = tree.values(head, hidden)
    errors = values - td_targets(rewards, values, tree.shared, gamma=gamma)
    root_errors = roots - root_targets(values, tree.is_candidate, gamma=gamma)
    return td_loss(errors, root_errors, tree.is_first, weights)
