"""Tree distillation over sets of codes: the item head teaches every open codebook of a visited set.

The policy learns at all sets that its own search keeps. Take the items that have all codes of such
a set: the teacher's distribution over these items gives the exact probability of every code of
every open codebook. A part of the loss, `chosen_share`, goes to the codebook that the policy
chooses. The rest goes to all open codebooks alike. So the confidences of the codebooks stay
comparable, and a search chooses the codebook by the confidences.

See `tree_distillation` for codes in an order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.data.windows import WindowBatch
from sidestep.model.code_set_model import CodeSetModel
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.code_sets import codebook_soft_cross_entropies
from sidestep.search.policy import redrawn
from sidestep.search.tree import Tree
from sidestep.step import ROOT_SLOT, HistoryBatch, StepOutput
from sidestep.training.candidate_tree import read_nodes
from sidestep.training.head_distillation import (
    HeadDistillationObjective,
    OtherTeacher,
    RankerBeside,
)
from sidestep.training.objective import Loss
from sidestep.training.objective_config import TreeDistillationConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTree:
    """The sets that a search kept, as nodes that a network can read; the root has slot 0.

    states: of each slot, the root's first; `NO_STATE` where there is no node.
    actions: the code that each slot adds to its parent's set; some code at the root and at padding.
    parents: the slot of each parent.
    depths: codes decided on the way to each slot.
    """

    states: Int[Tensor, "users slots"]
    actions: Int[Tensor, "users slots"]
    parents: Int[Tensor, "users slots"]
    depths: Int[Tensor, "users slots"]

    @staticmethod
    def root(space: SetSpace, num_users: int) -> "SetTree":
        """The tree of the empty set alone."""
        states = space.root(num_users)
        none = torch.zeros_like(states)
        return SetTree(
            states=states, actions=none, parents=torch.full_like(none, ROOT_SLOT), depths=none
        )

    @staticmethod
    def of(
        found: Tree, space: SetSpace, *, is_asked: Bool[Tensor, "users nodes"] | None = None
    ) -> "SetTree":
        """The nodes of a search, in their order and without the columns that no node has.

        Args:
            found: of the search.
            space: of the sets.
            is_asked: the nodes that are taken, with all nodes on the way to them; None takes all.
        """
        is_taken = found.is_node if is_asked is None else found.is_node & is_asked
        order = (~is_taken).byte().argsort(dim=1, stable=True)
        order = order[:, : int(is_taken.sum(dim=1).max())]
        is_node = is_taken.gather(1, order)
        slots = is_taken.cumsum(dim=1) - 1  # of a node, where it stands now
        above = found.parents.gather(1, order).masked_fill(~is_node, ROOT_SLOT)
        states = found.states.gather(1, order).masked_fill(~is_node, NO_STATE)
        parents = slots.gather(1, above)
        actions = space.actions_between(states.gather(1, parents), states)
        return SetTree(
            states=states,
            actions=actions.clamp(min=0),
            parents=parents,
            depths=found.depths.gather(1, order).masked_fill(~is_node, 0),
        )

    @property
    def is_slot(self) -> Bool[Tensor, "users slots"]:
        """False where there is no node."""
        return self.states != NO_STATE

    def read(self, model: CodeSetModel, histories: HistoryBatch) -> StepOutput:
        """Output of a network for every slot, in one pass and with gradients where they are on."""
        return read_nodes(
            model,
            histories,
            self.actions[:, 1:],
            self.parents[:, 1:],
            self.depths[:, 1:].clamp(min=1),
            is_node=self.is_slot[:, 1:],
        )


class SetDistillationObjective(HeadDistillationObjective[SetSpace]):
    """Cross-entropy of the policy's next codes to those of its teacher, over a tree of sets.

    `TreeDistillationConfig.teacher_leaves` is not read.
    """

    def __init__(
        self,
        policy: SemanticIdModel,
        space: SetSpace,
        config: TreeDistillationConfig,
        *,
        max_history: int,
        beside: RankerBeside | None = None,
        others: Sequence[OtherTeacher] = (),
    ) -> None:
        """See `HeadDistillationObjective`.

        Raises:
            ValueError: the search of the candidates decides two codes per step; or see
                `HeadDistillationObjective`.
        """
        super().__init__(
            policy, space, config, max_history=max_history, beside=beside, others=others
        )
        if getattr(self.search, "codes_per_step", 1) != 1:
            raise ValueError(
                "candidates: tree distillation over sets learns one code per step, and this search "
                "decides two; leave codes_per_step out."
            )

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`.

        Parts: `divergence` is the mean divergence of the policy from the teacher at the open
        codebooks of the nodes, in nats, weighted as the loss is; `head` the divergence of the item
        head, if it learns.
        """
        policy, space = self.policy, self.space_on(batch.items.device)
        assert isinstance(policy, CodeSetModel)
        histories = self.prompts(batch)
        policy.eval()  # dropout would make the policy visit other sets than a search does
        with torch.no_grad():
            logits = self.teacher_logits(histories)
            tree = self._visited(policy, histories, space)
            masses = self._masses(tree.states, logits.exp())
            is_open = self._is_deciding(masses)
            weights = self._node_weights(tree, masses, is_open)
        step = tree.read(policy, histories)
        shares = self._codebook_shares(step.followed(masses > 0), is_open)
        losses, least = (
            (
                shares
                * codebook_soft_cross_entropies(
                    scores, masses, policy.codebook_sizes, normaliser="legal"
                )
            ).sum(dim=2)
            for scores in (step.logits, masses.log())
        )
        loss, divergence = self.weighed(losses, least, weights)
        loss, parts = self.with_head(
            loss, {"divergence": divergence}, step.hidden[:, 0], histories, logits
        )
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    def _visited(self, policy: CodeSetModel, histories: HistoryBatch, space: SetSpace) -> SetTree:
        """The sets at which the policy learns, see `TreeDistillationConfig.learned_nodes`."""
        if self.learns_root_alone:
            return SetTree.root(space, len(histories.lengths))
        found = redrawn(self.search, int(self.num_steps)).search(policy, histories, space).tree
        assert found is not None, "a search by levels keeps its tree"
        if self.config.learned_nodes == "all":
            return SetTree.of(found, space)
        by_items = policy.items_choose(space.features(found.states).flatten(0, 1))
        return SetTree.of(found, space, is_asked=~by_items.view(found.states.shape))

    def _masses(
        self, states: Int[Tensor, "users slots"], probs: Float[Tensor, "users items"]
    ) -> Float[Tensor, "users slots actions"]:
        """The teacher's probability of the items that have all codes of a set and one more code.

        0 in the codebooks that are decided, and at `NO_STATE`.
        """
        users, slots = states.shape
        items, owners = self.space.candidates(states.flatten())
        mass = probs[owners // slots, items]
        cells = self.space.actions_of(items) + owners[:, None] * self.space.num_actions
        masses = probs.new_zeros(users * slots * self.space.num_actions)
        masses.index_add_(0, cells.flatten(), mass[:, None].expand(cells.shape).flatten())
        masses = masses.view(users, slots, -1)
        codebook_of = self.space.codebook_of
        is_open = self.space.is_open(states).index_select(2, codebook_of)
        return masses.masked_fill(~is_open, 0.0)

    def _codebook_shares(
        self,
        followed: Bool[Tensor, "users slots actions"],
        is_open: Bool[Tensor, "users slots codebooks"],
    ) -> Float[Tensor, "users slots codebooks"]:
        """The part of each codebook in the loss of a node, see `chosen_share`."""
        sizes = list(self.space.codebook_sizes)
        by_codebook = [own.any(dim=2) for own in torch.split(followed, sizes, dim=2)]
        is_chosen = torch.stack(by_codebook, dim=2) & is_open
        even = is_open / is_open.sum(dim=2, keepdim=True).clamp(min=1)
        share = self.config.chosen_share
        return share * is_chosen + (1 - share) * even

    def _is_deciding(
        self, masses: Float[Tensor, "users slots actions"]
    ) -> Bool[Tensor, "users slots codebooks"]:
        """The open codebooks in which more than one code may follow."""
        sizes = self.space.codebook_sizes
        numbers = [(own > 0).sum(dim=2) for own in torch.split(masses, list(sizes), dim=2)]
        return torch.stack(numbers, dim=2) > 1

    def _node_weights(
        self,
        tree: SetTree,
        masses: Float[Tensor, "users slots actions"],
        is_open: Bool[Tensor, "users slots codebooks"],
    ) -> Float[Tensor, "users slots"]:
        """See `node_weights`; a node in which nothing is left to decide does not count."""
        sizes = self.space.codebook_sizes
        by_codebook = [own.sum(dim=2) for own in torch.split(masses, list(sizes), dim=2)]
        mass = torch.stack(by_codebook, dim=2).amax(dim=2)  # of all open codebooks the same
        return self.node_weights(mass, tree.is_slot & is_open.any(dim=2))
