"""Tree distillation: a policy of codes learns from its item head, at every visited node.

Distillation along the path of the true target (`NextCodeObjective`) teaches the policy at prefixes
of right items alone. A beam also visits other prefixes, where the policy has learned nothing. Here
the policy learns at all prefixes of the leaves that its own search finds, and of the best leaves of
the teacher, wherever more than one item lies below the prefix.

Source: DAgger (Ross et al. 2011, arXiv:1011.0686), for learning on the states that the student
visits. The exact targets at every node of a trie are ours.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.distillation import soft_node_losses
from sidestep.objectives.weighting import mean_over_targets
from sidestep.padding import NO_ITEM
from sidestep.search.item_support import ItemRanker, node_log_sums
from sidestep.search.policy import Scope, redrawn
from sidestep.step import HistoryBatch
from sidestep.training.choice_tree import ChoiceTree
from sidestep.training.objective import Loss, SearchingObjective
from sidestep.training.objective_config import TreeDistillationConfig


class TreeDistillationObjective(SearchingObjective):
    """Cross-entropy of the policy's next codes to those of its teacher, over a tree of prefixes.

    The teacher is the item head of the policy as it was before the first step, alone or together
    with a ranker. The teacher's distribution over items gives the exact probability of each next
    code at a node: the probability of the items below the child, divided by the probability of the
    items below the node.
    """

    def __init__(
        self,
        policy: SemanticIdModel,
        trie: Trie,
        config: TreeDistillationConfig,
        *,
        max_history: int,
        ranker: ItemRanker | None = None,
        ranker_network: nn.Module | None = None,
        ranker_weight: float = 1.0,
    ) -> None:
        """Takes the network that is trained.

        Args:
            policy: a trained network with an item head; it is trained further in place.
            trie: of the catalog.
            config: see `TreeDistillationConfig`.
            max_history: most recent items of a history that are read.
            ranker: a model beside the policy; its scores of items are added to those of the head.
            ranker_network: the network of the ranker; None for a ranker without a network.
            ranker_weight: the factor of the ranker's scores.

        Raises:
            ValueError: the policy has no item head.
        """
        super().__init__()
        if policy.item_scorer is None:
            raise ValueError(
                "tree distillation learns from the item head, and the network has none; train it "
                "with model.item_head: true."
            )
        self.policy = policy.requires_grad_()  # what is loaded from a bundle is frozen
        self.keep_copy("teacher", "policy", every_steps=None)
        self.ranker, self.ranker_weight = ranker, ranker_weight
        if ranker_network is not None:
            self.freeze("ranker", ranker_network)
        if config.head_weight is None:
            for weights in policy.item_scorer.item_parameters():
                weights.requires_grad_(False)  # no loss reads them
        self.trie = trie
        self.search = config.candidates.policy()
        self.config = config
        self.max_history = max_history

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"policy": self.policy}

    @property
    def teacher(self) -> SemanticIdModel:
        """The policy as it was before the first step."""
        module = self.copies["teacher"].module
        assert isinstance(module, SemanticIdModel)
        return module

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`.

        Parts: `divergence` is the mean divergence of the policy from the teacher at the nodes, in
        nats, weighted as the loss is; `teacher_mass` the share of the teacher's probability that
        lies below the leaves of the tree; `head` the divergence of the item head, if it learns.
        """
        config, device = self.config, batch.items.device
        if self.trie.device != device:
            self.trie = self.trie.to(device)
        histories = self._prompts(batch)
        self.policy.eval()  # dropout would make the policy visit other nodes than a search does
        with torch.no_grad():
            logits = self._teacher_logits(histories)
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
            head = self._head_loss(step.hidden[:, 0], histories, logits)
            loss = loss + config.head_weight * mean_over_targets(head, None)
            parts["head"] = head.detach().mean()
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    @property
    def watched_parts(self) -> tuple[str, ...]:
        """See `Objective.watched_parts`."""
        return ("divergence",)

    def _prompts(self, batch: WindowBatch) -> HistoryBatch:
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

    def _teacher_logits(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """Logarithms of the teacher's probabilities of all items."""
        teacher = self.teacher
        root, _ = teacher.encode(histories, capacity=1)
        assert teacher.item_scorer is not None
        logits = teacher.item_scorer.item_logits(root.hidden[:, 0], histories).float()
        if self.ranker is not None:
            logits = logits + self.ranker_weight * self.ranker.scores(histories).float()
        return (logits / self.config.teacher_temperature).log_softmax(dim=1)

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

    def _head_loss(
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
