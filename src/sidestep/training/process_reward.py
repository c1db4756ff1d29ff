"""Training a process reward model: at every target, at every depth, the prefix among others."""

import torch
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sidestep.catalog.trie import Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.process_reward import ProcessRewardModel, RewardMemory
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.contrastive import distinct_others, info_nce, share_below
from sidestep.step import HistoryBatch, HistoryStates
from sidestep.training.objective import Loss, Objective


class ProcessRewardTrainingConfig(BaseModel):
    """What a process reward model is trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_negatives: int = Field(64, ge=1)
    """Other prefixes per target and depth, drawn uniformly among the catalog's; as many as there
    are where that is fewer."""


class ProcessRewardObjective(Objective):
    """InfoNCE at every depth, summed; the backbone is read and not moved.

    Source: PROMISE (arXiv:2601.04674), eq. 4-9. Departure: the backbone is trained before and
    stays as it is, so that likelihood is the same with and without guidance.
    """

    def __init__(
        self,
        network: ProcessRewardModel,
        backbone: SemanticIdModel,
        trie: Trie,
        config: ProcessRewardTrainingConfig,
    ) -> None:
        super().__init__()
        self.network = network
        # In a list: `parameters`, `state_dict` and `train` are the trained network's alone.
        self._frozen = [backbone]
        self.trie = trie
        self.config = config

    @property
    def backbone(self) -> SemanticIdModel:
        """Where the states of the histories come from."""
        return self._frozen[0]

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: each depth's loss and AUC."""
        users, positions = batch.is_target.nonzero(as_tuple=True)
        items = batch.items[users, positions]
        memory = self._memory(batch, users, positions)
        trie = self._trie(items.device)
        leaves = trie.leaf_of(items)
        losses, parts = [], {}
        for depth in range(1, trie.num_levels + 1):
            nodes = trie.nodes_at(depth)
            own = trie.ancestor(leaves, depth) - nodes.start
            others = distinct_others(own, len(nodes), self.config.num_negatives)
            prefixes = torch.cat([own[:, None], others], dim=1) + nodes.start
            scores = self.network(memory, prefixes).float()
            losses.append(info_nce(scores[:, 0], scores[:, 1:]).mean())
            parts[f"prefix_{depth}"] = losses[-1].detach()
            if others.shape[1]:
                parts[f"auc_{depth}"] = share_below(scores[:, 0], scores[:, 1:]).mean().detach()
        return Loss(loss=torch.stack(losses).sum(), num_targets=len(items), parts=parts)

    def _memory(
        self,
        batch: WindowBatch,
        users: Int[Tensor, " targets"],
        positions: Int[Tensor, " targets"],
    ) -> RewardMemory:
        """What each target may be told from: the states before any item and after each past one."""
        histories = HistoryBatch(items=batch.items, lengths=batch.lengths)
        backbone = self.backbone.to(batch.items.device).eval()
        with torch.no_grad():
            states = backbone.next_item_states(histories)[:, :, 0]
        memory = self.network.remember(HistoryStates(states=states, counts=batch.lengths))
        columns = torch.arange(states.shape[1], device=states.device)
        return memory.of(users, columns <= positions[:, None])

    def _trie(self, device: torch.device) -> Trie:
        if self.trie.device != device:
            self.trie = self.trie.to(device)
        return self.trie
