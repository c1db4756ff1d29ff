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
from sidestep.objectives.distillation import soft_node_losses
from sidestep.search.item_support import node_log_sums
from sidestep.search.policy import Scope, redrawn
from sidestep.step import HistoryBatch
from sidestep.training.choice_tree import ChoiceTree, IsLeftOut
from sidestep.training.head_distillation import HeadDistillationObjective
from sidestep.training.objective import Loss


class TreeDistillationObjective(HeadDistillationObjective[Trie]):
    """Cross-entropy of the policy's next codes to those of its teacher, over a tree of prefixes.

    The teacher's distribution over items gives the exact probability of each next code at a node:
    the probability of the items below the child, divided by the probability of the items below the
    node.
    """

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`.

        Parts: `divergence` is the mean divergence of the policy from the teacher at the nodes, in
        nats, weighted as the loss is; `teacher_mass` the share of the teacher's probability that
        lies below the leaves of the tree; `head` the divergence of the item head, if it learns.
        """
        trie = self.space_on(batch.items.device)
        histories = self.prompts(batch)
        self.policy.eval()  # dropout would make the policy visit other nodes than a search does
        with torch.no_grad():
            logits = self.teacher_logits(histories)
            masses = node_log_sums(logits, trie)
            leaves = self._leaves(histories, masses, trie)
            tree = ChoiceTree.above(leaves, trie, is_left_out=self._is_left_out(trie))
            targets = next_code_log_probs(masses, tree.slot_states, trie)
            weights = self._node_weights(tree, masses)
        step = tree.read(self.policy, histories)
        by_node = soft_node_losses(tree.node_log_probs(step, trie), targets)
        loss, divergence = self.weighed(by_node, soft_node_losses(targets, targets), weights)
        found = masses.gather(1, leaves.clamp(min=0)).exp().masked_fill(leaves == NO_STATE, 0.0)
        parts = {"divergence": divergence, "teacher_mass": found.sum(dim=1).mean()}
        loss, parts = self.with_head(loss, parts, step.hidden[:, 0], histories, logits)
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    def _leaves(
        self, histories: HistoryBatch, masses: Float[Tensor, "users nodes"], trie: Trie
    ) -> Int[Tensor, "users leaves"]:
        """The leaves whose prefixes are learned: found by the policy, or best for the teacher."""
        if self.learns_root_alone:
            return masses.new_empty(len(masses), 0, dtype=torch.long)
        search = redrawn(self.search, int(self.num_steps))
        found = search.search(self.policy, histories, Scope(trie=trie)).leaves
        nodes = trie.nodes_at(trie.num_levels)
        number = min(self.config.teacher_leaves, len(nodes))
        best = masses[:, nodes.start : nodes.stop].topk(number, dim=1).indices + nodes.start
        return distinct_leaves(torch.cat([found, best], dim=1))

    def _is_left_out(self, trie: Trie) -> IsLeftOut | None:
        """The prefixes at which the policy does not learn; None where it learns at all of them."""
        if self.config.learned_nodes == "all":
            return None
        return lambda states: self.policy.items_choose(trie.path(states).flatten(0, -2)).view(
            states.shape
        )

    def _node_weights(
        self, tree: ChoiceTree, masses: Float[Tensor, "users nodes"]
    ) -> Float[Tensor, "users slots"]:
        """See `node_weights`, of all nodes of a tree."""
        states = tree.slot_states
        return self.node_weights(masses.gather(1, states.clamp(min=0)).exp(), states != NO_STATE)


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
