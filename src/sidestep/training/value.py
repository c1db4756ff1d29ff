"""Training a value head: on the prefixes that a search finds with the values of now."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.code_set_transformer import CodeSetTransformer
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
from sidestep.search.policy import Scope, SearchPolicy, redrawn
from sidestep.training.candidate_tree import CandidateTree
from sidestep.training.objective import DrawingObjective, Loss
from sidestep.training.objective_config import ValueTrainingConfig
from sidestep.training.set_candidates import set_candidate_tree


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
        space: Scope | SetSpace,
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
            ValueError: there is not one embedding per item, or not one weight per level, or the
                backbone does not choose the codebooks of sets.
        """
        super().__init__()
        self.weights = checked_weights(config.weights, space.num_steps, "weights")
        if isinstance(space, SetSpace) and not isinstance(backbone, CodeSetTransformer):
            raise ValueError(
                "values over sets of codes need a network that chooses codebooks, got a "
                f"{type(backbone).__name__}; name a run of kind code-sets."
            )
        self.head = head
        self.freeze("backbone", backbone)
        self.space = space
        self.embeddings = (
            LeafEmbeddings.of(embeddings, space.trie)
            if isinstance(space, Scope)
            else LeafEmbeddings.of_space(embeddings, space)
        )
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
        space, embeddings, backbone = self._placed(targets.device)
        leaves = space.state_of(targets)
        valued = HeadedModel(backbone, self.head)
        with torch.no_grad():
            search = redrawn(self.policy, int(self.num_steps))
            found = search.search(valued, histories, space).leaves
        if isinstance(space, Scope):
            included = leaves if self.config.include_target else None
            tree = CandidateTree.of(found, included, space.trie)
            rewards = dense_rewards(tree, targets, embeddings, space.trie, self.weights)
        else:
            assert isinstance(backbone, CodeSetTransformer)
            tree, is_on_path = set_candidate_tree(
                backbone,
                histories,
                found,
                targets,
                space,
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

    def _placed(
        self, device: torch.device
    ) -> tuple[Scope | SetSpace, LeafEmbeddings, SemanticIdModel]:
        """Space, embeddings and backbone on the device of a batch."""
        if self.space.device != device:
            self.space = self.space.to(device)
            self.embeddings = self.embeddings.to(device)
        return self.space, self.embeddings, self.backbone.eval()


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


def dense_rewards(
    tree: CandidateTree,
    targets: Int[Tensor, " users"],
    embeddings: LeafEmbeddings,
    trie: Trie,
    weights: Sequence[float],
) -> Float[Tensor, "users candidates levels"]:
    """The semantic reward of every candidate's prefixes, see `objectives.value.step_rewards`."""
    return step_rewards(
        embeddings.at(tree.leaves),
        embeddings.items[targets],
        tree.states == trie.prefixes(trie.leaf_of(targets))[:, None],
        tree.shared,
        weights,
    )


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
