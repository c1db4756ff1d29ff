"""Tree distillation: a policy of codes learns from its item head, at every visited node.

Distillation along the path of the true target (`NextCodeObjective`) teaches the policy at prefixes
of right items alone. A beam also visits other prefixes, where the policy has learned nothing. Here
the policy learns at all prefixes of the leaves that its own search finds, and of the best leaves of
the teacher, wherever more than one item lies below the prefix.

Source: DAgger (Ross et al. 2011, arXiv:1011.0686), for learning on the states that the student
visits. The exact targets at every node of a trie are ours.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.distillation import soft_node_losses
from sidestep.objectives.weighting import mean_over_targets
from sidestep.search.item_support import node_log_sums
from sidestep.search.policy import Scope, redrawn
from sidestep.step import HistoryBatch
from sidestep.training.choice_tree import ChoiceTree
from sidestep.training.head_distillation import HeadDistillationObjective, RankerBeside
from sidestep.training.objective import Loss
from sidestep.training.objective_config import TreeDistillationConfig


class TreeDistillationObjective(HeadDistillationObjective):
    """Cross-entropy of the policy's next codes to those of its teacher, over a tree of prefixes.

    The teacher's distribution over items gives the exact probability of each next code at a node:
    the probability of the items below the child, divided by the probability of the items below the
    node.
    """

    def __init__(
        self,
        policy: SemanticIdModel,
        trie: Trie,
        config: TreeDistillationConfig,
        *,
        max_history: int,
        beside: RankerBeside | None = None,
    ) -> None:
        """Takes the network that is trained.

        Args:
            policy: see `HeadDistillationObjective`.
            trie: of the catalog.
            config: see `TreeDistillationConfig`.
            max_history: see `HeadDistillationObjective`.
            beside: see there.

        Raises:
            ValueError: the policy has no item head.
        """
        super().__init__(policy, config, max_history=max_history, beside=beside)
        self.trie = trie

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`.

        Parts: `divergence` is the mean divergence of the policy from the teacher at the nodes, in
        nats, weighted as the loss is; `teacher_mass` the share of the teacher's probability that
        lies below the leaves of the tree; `head` the divergence of the item head, if it learns.
        """
        config, device = self.config, batch.items.device
        if self.trie.device != device:
            self.trie = self.trie.to(device)
        histories = self.prompts(batch)
        self.policy.eval()  # dropout would make the policy visit other nodes than a search does
        with torch.no_grad():
            logits = self.teacher_logits(histories)
            masses = node_log_sums(logits, self.trie)
            leaves = self._leaves(histories, masses)
            tree = ChoiceTree.above(leaves, self.trie)
            targets = next_code_log_probs(masses, tree.slot_states, self.trie)
            weights = self._node_weights(tree, masses)
        step = tree.read(self.policy, histories)
        log_probs = tree.node_log_probs(step, self.trie)
        by_node = soft_node_losses(log_probs, targets)
        entropies = soft_node_losses(targets, targets)
        losses = (weights * by_node).sum(dim=1)
        divergence = (weights * (by_node.detach() - entropies)).sum(dim=1)
        found = masses.gather(1, leaves.clamp(min=0)).exp().masked_fill(leaves == NO_STATE, 0.0)
        parts = {"divergence": divergence.mean(), "teacher_mass": found.sum(dim=1).mean()}
        loss = losses.mean()
        if config.head_weight is not None:
            head = self.head_loss(step.hidden[:, 0], histories, logits)
            loss = loss + config.head_weight * mean_over_targets(head, None)
            parts["head"] = head.detach().mean()
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    def _leaves(
        self, histories: HistoryBatch, masses: Float[Tensor, "users nodes"]
    ) -> Int[Tensor, "users leaves"]:
        """The leaves whose prefixes are learned: found by the policy, or best for the teacher."""
        search = redrawn(self.search, int(self.num_steps))
        found = search.search(self.policy, histories, Scope(trie=self.trie)).leaves
        nodes = self.trie.nodes_at(self.trie.num_levels)
        number = min(self.config.teacher_leaves, len(nodes))
        best = masses[:, nodes.start : nodes.stop].topk(number, dim=1).indices + nodes.start
        return distinct_leaves(torch.cat([found, best], dim=1))

    def _node_weights(
        self, tree: ChoiceTree, masses: Float[Tensor, "users nodes"]
    ) -> Float[Tensor, "users slots"]:
        """The weight of each node in the loss; the weights of a user sum to one.

        A node counts as much as the teacher's probability of the items below it. A share of
        `uniform_share` is spread evenly over all nodes.
        """
        states = tree.slot_states
        is_slot = states != NO_STATE
        mass = masses.gather(1, states.clamp(min=0)).exp().masked_fill(~is_slot, 0.0)
        mass = mass / mass.sum(dim=1, keepdim=True)  # the root always has some
        even = is_slot / is_slot.sum(dim=1, keepdim=True)
        share = self.config.uniform_share
        return (1 - share) * mass + share * even


def next_code_log_probs(
    masses: Float[Tensor, "users nodes"], states: Int[Tensor, "users slots"], trie: Trie
) -> Float[Tensor, "users slots codes"]:
    """The log-probability of each next code that follows from a distribution over items.

    Args:
        masses: the log-probability of the items below every node, see `node_log_sums`.
        states: nodes of the trie; `NO_STATE` where there is none.
        trie: of the catalog.

    Returns:
        Rows of probabilities that sum to one; -inf at codes that lead to no item, and everywhere
        at leaves and at `NO_STATE`.
    """
    users, slots = states.shape
    codes = torch.arange(trie.max_codes, device=states.device)
    shape = (users, slots, trie.max_codes)
    children = trie.child(
        states[..., None].expand(shape).reshape(users, -1), codes.expand(shape).reshape(users, -1)
    )
    below = masses.gather(1, children.clamp(min=0)).masked_fill(children == NO_STATE, -torch.inf)
    return below.view(shape).log_softmax(dim=2).nan_to_num(nan=-torch.inf, neginf=-torch.inf)


def distinct_leaves(leaves: Int[Tensor, "users leaves"]) -> Int[Tensor, "users leaves"]:
    """The leaves of each user once each, in their order; padded with `NO_STATE` at the end."""
    is_again = (leaves[:, :, None] == leaves[:, None, :]).tril(-1).any(dim=2)
    once = leaves.masked_fill(is_again, NO_STATE)
    order = (once == NO_STATE).byte().argsort(dim=1, stable=True)
    return once.gather(1, order)
