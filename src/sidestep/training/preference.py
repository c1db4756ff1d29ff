"""Preference training: the item that came next is preferred to what a search finds instead."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sidestep.catalog.space import CodeSpace
from sidestep.data.windows import WindowBatch
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.preference import softmax_dpo_loss
from sidestep.objectives.weighting import mean_over_targets
from sidestep.search.policy import redrawn
from sidestep.step import HistoryBatch
from sidestep.training.candidate_tree import CandidateTree, with_targets
from sidestep.training.leaf_ways import ways_in
from sidestep.training.objective import DrawingObjective, Loss
from sidestep.training.objective_config import PreferenceConfig


class PreferenceObjective(DrawingObjective):
    """S-DPO on pairs mined from the candidate sets of the policy of now, see `softmax_dpo_loss`."""

    def __init__(self, policy: SemanticIdModel, space: CodeSpace, config: PreferenceConfig) -> None:
        """Takes what is trained.

        Args:
            policy: a trained network; it is moved.
            space: all items of the catalog, by a trie or by sets of codes.
            config: see there.

        Raises:
            TypeError: the space is neither that of a trie nor that of sets.
            ValueError: the space is that of sets, and the policy is no network over sets.
        """
        super().__init__()
        self.policy = policy.requires_grad_()  # what is loaded from a bundle is frozen
        policy.freeze_heads()
        self.keep_copy("reference", "policy", every_steps=None)
        self.ways = ways_in(space, policy)
        self.search = config.candidates.policy()
        self.config = config

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        return None

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"policy": self.policy}

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`.

        Parts: `preferred` is the share of pairs in which the target gained on the rejected one,
        `margin` the mean of what it gained, `found` the share of targets that the search found,
        `target_log_prob` the mean log-probability of the targets.
        """
        config = self.config
        if self.ways.space.device != batch.items.device:
            self.ways = self.ways.to(batch.items.device)
        space, reference = self.ways.space, self.copies["reference"].module
        assert isinstance(reference, SemanticIdModel)
        users, positions = batch.is_target.nonzero(as_tuple=True)
        targets = batch.items[users, positions]
        histories = batch.before(users, positions)
        self.policy.eval()  # dropout would tell policy and reference apart at the first step
        leaves = space.state_of(targets)
        with torch.no_grad():
            search = redrawn(self.search, int(self.num_steps))
            found = search.search(self.policy, histories, space).leaves
            candidates = with_targets(found, leaves)
            ways = self.ways(self.policy, histories, candidates)
        tree = CandidateTree.along(ways, candidates, num_found=found.shape[1])
        is_target = tree.leaves == leaves[:, None]
        is_rejected = tree.is_found & ~is_target
        is_rejected &= is_rejected.cumsum(dim=1) <= config.num_rejected
        log_probs = self._log_probs(self.policy, tree, histories)
        with torch.no_grad():
            before = self._log_probs(reference, tree, histories)
        gained = log_probs - before
        at = is_target.byte().argmax(dim=1, keepdim=True)
        chosen = gained.gather(1, at)[:, 0]
        losses = softmax_dpo_loss(chosen, gained, is_rejected, beta=config.beta)
        own = log_probs.gather(1, at)[:, 0]
        weights = batch.weights_of(users, positions)
        loss = mean_over_targets(losses, weights)
        parts = {"preference": loss.detach(), **_told(gained, chosen, is_rejected)}
        parts["found"] = (tree.is_found & is_target).any(dim=1).float().mean()
        parts["target_log_prob"] = own.detach().mean()
        if config.likelihood_weight is not None:
            loss = loss - config.likelihood_weight * mean_over_targets(own, weights)
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    def _log_probs(
        self, model: SemanticIdModel, tree: CandidateTree, histories: HistoryBatch
    ) -> Float[Tensor, "users candidates"]:
        """Log-probabilities of whole candidates."""
        legal = self.ways.legal(tree.slot_states, tree.next_codes)
        by_slot = tree.node_log_probs(tree.read(model, histories), legal)
        return tree.code_log_probs(by_slot).sum(dim=2)


def _told(
    gained: Float[Tensor, "users candidates"],
    chosen: Float[Tensor, " users"],
    is_rejected: Bool[Tensor, "users candidates"],
) -> dict[str, Tensor]:
    """Figures of how far the chosen items are ahead, over all pairs."""
    margins = (chosen[:, None] - gained).detach()
    num_pairs = is_rejected.sum().clamp(min=1)
    return {
        "preferred": ((margins > 0) & is_rejected).sum() / num_pairs,
        "margin": (margins * is_rejected).sum() / num_pairs,
    }
