"""Training a process reward model: at every target, at every depth, the prefix among others."""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor, nn

from sidestep.catalog.space import CodeSpace, HasFeatures
from sidestep.catalog.trie import NO_STATE
from sidestep.data.windows import WindowBatch
from sidestep.model.process_reward import ProcessRewardModel, RewardMemory
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.contrastive import info_nce, share_below
from sidestep.objectives.weighting import mean_over_targets
from sidestep.search.beam import BeamSearch
from sidestep.step import HistoryStates
from sidestep.training.contrasts import Contrasts, contrasts_of
from sidestep.training.likelihood import fitting_likelihood
from sidestep.training.objective import Loss, Objective
from sidestep.training.objective_config import ProcessRewardTrainingConfig


class ProcessRewardObjective(Objective):
    """InfoNCE at every depth, summed; the backbone is read and, unless trained jointly, not moved.

    Source: PROMISE (arXiv:2601.04674), eq. 4-9, which trains jointly. Departure: the backbone is
    trained before and stays as it is by default, so that likelihood is the same with and without
    guidance. Beside a network over sets of codes, the prefixes are sets, see
    `sidestep.training.contrasts`.
    """

    def __init__(
        self,
        network: ProcessRewardModel,
        backbone: SemanticIdModel,
        space: CodeSpace,
        config: ProcessRewardTrainingConfig,
        *,
        categories: Int[Tensor, " items"] | None = None,
    ) -> None:
        """Takes what is trained and what it is trained beside.

        Args:
            network: is trained.
            backbone: a trained network; it moves only where both are trained jointly.
            space: of all items of the catalog: the scope of a trie, or the space of sets.
            config: see there.
            categories: of the items, for the joint loss of a backbone with a category head.

        Raises:
            ValueError: the backbone fits neither the space nor the joint loss.
        """
        super().__init__()
        self.network = network
        self.contrasts = contrasts_of(space, backbone, config.num_negatives)
        self.next_code = None
        if config.joint is not None:
            backbone.requires_grad_()  # what is loaded from a bundle is frozen
            try:
                self.next_code = fitting_likelihood(backbone, config.joint, categories=categories)
            except ValueError as error:
                raise ValueError(f"joint: {error}") from error
        else:
            self.freeze("backbone", backbone)
        self.config = config

    def after_step(self) -> None:
        """See `Objective.after_step`; the loss of the backbone draws anew, too."""
        super().after_step()
        if self.next_code is not None:
            self.next_code.after_step()

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`: that of the joint loss, if there is one."""
        return None if self.next_code is None else self.next_code.whole_batch_term

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`: the network, and the backbone where both are trained jointly."""
        if self.next_code is None:
            return {"network": self.network}
        return {"network": self.network, "backbone": self.next_code.model}

    @property
    def backbone(self) -> SemanticIdModel:
        """The network that gives the states of the histories."""
        backbone = {**self.trained, **self.frozen}["backbone"]
        assert isinstance(backbone, SemanticIdModel)
        return backbone

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: each depth's loss, AUC and AUC among beams, and those of
        the next codes if they are learned too."""
        users, positions = batch.is_target.nonzero(as_tuple=True)
        weights = batch.weights_of(users, positions)
        memory = self._memory(batch, users, positions)
        contrasts = self._contrasts(batch.items.device)
        space = contrasts.space
        assert isinstance(space, HasFeatures), "its states have rows"
        beams = self._beams(batch, users, positions)
        backbone = self.backbone.eval()
        losses, parts = [], {}
        for depth, contrast in enumerate(
            contrasts.draw(backbone, batch, users, positions), start=1
        ):
            own, others = contrast.own, contrast.others
            rivals = beams[depth - 1]
            rivals = rivals.masked_fill(rivals == own[:, None], NO_STATE)
            is_rival = (others[:, :, None] == rivals[:, None]).any(dim=2)
            prefixes = torch.cat([own[:, None], others.masked_fill(is_rival, NO_STATE), rivals], 1)
            scores = self.network(memory, space.features(prefixes)).float()
            positives = scores[:, 0]
            negatives = scores[:, 1:].masked_fill(prefixes[:, 1:] == NO_STATE, -torch.inf)
            losses.append(mean_over_targets(info_nce(positives, negatives), weights))
            parts[f"prefix_{depth}"] = losses[-1].detach()
            drawn, searched = negatives.detach().split([others.shape[1], rivals.shape[1]], dim=1)
            # The names follow from the settings, not from a batch that leaves nothing to draw.
            told = [
                ("auc", drawn),
                *([("beam_auc", searched)] if self.config.beam_negatives else []),
            ]
            for name, among in told:
                below = share_below(positives.detach(), among)
                parts[f"{name}_{depth}"] = below.nanmean().nan_to_num(0.5)
        backbone.train(self._is_backbone_trained)
        loss = torch.stack(losses).sum()
        if self.next_code is not None:
            beside = self.next_code(batch)
            loss, parts = loss + beside.loss, parts | beside.parts
        return Loss(loss=loss, num_targets=len(users), parts=parts)

    def _beams(
        self,
        batch: WindowBatch,
        users: Int[Tensor, " targets"],
        positions: Int[Tensor, " targets"],
    ) -> list[Int[Tensor, "targets beams"]]:
        """The prefixes that a beam search keeps, per depth; `NO_STATE` where there are fewer.

        Where all ways have ended early, the leaves stand for the depths that follow.
        """
        space, width = self._contrasts(batch.items.device).space, self.config.beam_negatives
        if not width:
            none = torch.full((len(users), 0), NO_STATE, device=batch.items.device)
            return [none] * space.num_steps
        backbone = self.backbone.eval()
        histories = batch.before(users, positions)
        found = BeamSearch(num_beams=width).search(backbone, histories, space)
        backbone.train(self._is_backbone_trained)
        assert found.tree is not None, "a beam search keeps its tree"
        depths = found.tree.depths[0]
        states = found.tree.states.masked_fill(~found.tree.is_node, NO_STATE)
        inner = [states[:, depths == depth] for depth in range(1, space.num_steps)]
        return [kept if kept.shape[1] else found.leaves for kept in [*inner, found.leaves]]

    def _memory(
        self,
        batch: WindowBatch,
        users: Int[Tensor, " targets"],
        positions: Int[Tensor, " targets"],
    ) -> RewardMemory:
        """States that a target may be told from: before any item and after each past one."""
        backbone = self.backbone
        if self._is_backbone_trained:
            states = backbone.root_states(batch.histories)
        else:
            backbone.train(self.config.backbone_dropout and self.training)
            with torch.no_grad():
                states = backbone.root_states(batch.histories)
            backbone.eval()
        memory = self.network.remember(HistoryStates(states=states, counts=batch.lengths))
        columns = torch.arange(states.shape[1], device=states.device)
        return memory.of(users, columns <= positions[:, None])

    @property
    def _is_backbone_trained(self) -> bool:
        return self.next_code is not None and self.training

    def _contrasts(self, device: torch.device) -> Contrasts:
        if self.contrasts.space.device != device:
            self.contrasts = self.contrasts.to(device)
        return self.contrasts
