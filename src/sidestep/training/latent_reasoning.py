"""Supervised training of networks that reason between reading and scoring."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.data.windows import WindowBatch, Windows
from sidestep.model.diffureason import DiffuReason
from sidestep.model.item_network import ItemNetwork
from sidestep.model.lares import Lares
from sidestep.model.rearec import ReaRec
from sidestep.objectives.contrastive import in_batch_info_nce
from sidestep.objectives.diversity import step_diversity
from sidestep.objectives.weighting import mean_over_targets
from sidestep.step import HistoryBatch
from sidestep.training.item_loss import ItemTargets, next_item_loss
from sidestep.training.next_item import NextItemObjective, targets_of
from sidestep.training.objective import Loss
from sidestep.training.objective_config import (
    AlignedDepthConfig,
    ReasoningConfig,
    RefinementConfig,
)
from sidestep.training.same_targets import SameTargets


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatedScores:
    """The scores of a network over item IDs, divided by a temperature; a `HasItemRows`.

    network: scores items by rows.
    temperature: the divisor; above 1 flattens.
    """

    network: ReaRec
    temperature: float

    def scores(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users items"]:
        """Scores of all items."""
        return self.network.scores(states, histories) / self.temperature

    def item_rows(self, items: Int[Tensor, " some"] | None = None) -> Float[Tensor, "some dim"]:
        """See `HasItemRows.item_rows`."""
        return self.network.item_rows(items)

    def row_scores(
        self,
        states: Float[Tensor, "users dim"],
        rows: Float[Tensor, "some dim"],
        items: Int[Tensor, " some"],
        histories: HistoryBatch,
    ) -> Float[Tensor, "users some"]:
        """See `HasItemRows.row_scores`."""
        return self.network.row_scores(states, rows, items, histories) / self.temperature


class EnsembleReasoningObjective(NextItemObjective):
    """The loss of the next item at the mean of a chain, less the divergence between its steps.

    Source: ensemble reasoning learning, ERL, of ReaRec (arXiv:2503.22675); see `step_diversity`.
    The divergence reads the scores of all items at every step, whatever the loss of the item.
    """

    network: ReaRec
    config: ReasoningConfig

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`. Parts: `item` and `diversity`, each before its weight."""
        histories, targets_at = targets_of(batch)
        chains = self.network.chains(histories)
        targets = targets_at(self.network.scoring_states(chains))
        loss = self._item_loss(targets).loss
        parts = {"item": loss.detach()}
        users, positions = batch.is_target.nonzero(as_tuple=True)
        scores = torch.stack(
            [
                self.network.scores(states, targets.histories)
                for states in chains[users, positions].unbind(dim=1)
            ],
            dim=1,
        )
        diversity = mean_over_targets(step_diversity(scores), targets.weights)
        parts["diversity"] = diversity.detach()
        loss = loss - self.config.diversity_weight * diversity
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)


class ProgressiveReasoningObjective(NextItemObjective):
    """The loss of the next item at the last step, at the earlier steps, and a contrast of chains.

        L = CE(h_K) + w_s mean_k CE(h_k; temperature α^(K - k)) + w_c InfoNCE(h_k, h'_k)

    where h' is the chain with noise on what is fed back. Chains with and without noise belong
    together; the chains of other windows of the batch are negatives.

    Source: progressive reasoning learning, PRL, of ReaRec (arXiv:2503.22675). Our choices: both
    chains go on from one reading of the history; other positions of the same window are no
    negatives; the contrast compares cosines; it is learned from the first epoch on, while the
    authors may leave it out of the first epochs.
    """

    network: ReaRec
    config: ReasoningConfig

    def __init__(self, network: ReaRec, config: ReasoningConfig) -> None:
        """Takes the network that is trained.

        Raises:
            ValueError: see `next_item_loss`.
        """
        super().__init__(network, config)
        heated = [
            HeatedScores(network=network, temperature=config.temperature_decay**steps_left)
            for steps_left in range(network.config.num_steps, 0, -1)
        ]
        self._step_losses = [
            next_item_loss(each, each.scores, config, network.num_items) for each in heated
        ]

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        if self.config.contrast_weight > 0:
            return (
                "the chains of other windows of the batch are the negatives of the contrast; set "
                "objective.contrast_weight to 0"
            )
        return super().whole_batch_term

    def prepare(self, windows: Windows) -> None:
        """See `Objective.prepare`."""
        super().prepare(windows)
        for loss in self._step_losses:
            loss.prepare(windows)

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`.

        Parts: `item` is the loss of the last step, `steps` the mean loss of the steps before it,
        `contrast` the contrast of chains, each before its weight. Without a weight of the contrast,
        there is none.
        """
        network, config = self.network, self.config
        histories, targets_at = targets_of(batch)
        prompt = network.read_prompt(network.inputs(histories))
        chains = network.reason_from(prompt)
        targets = targets_at(network.scoring_states(chains))
        item = self._item_loss(targets).loss
        earlier = torch.stack(
            [
                item_loss(targets_at(states)).loss
                for item_loss, states in zip(
                    self._step_losses, chains[..., :-1, :].unbind(dim=2), strict=True
                )
            ]
        ).mean()
        loss = item + config.steps_weight * earlier
        parts = {"item": item.detach(), "steps": earlier.detach()}
        if config.contrast_weight > 0:
            users, positions = batch.is_target.nonzero(as_tuple=True)
            noisy = network.reason_from(prompt, noise=config.noise)
            contrast = self._contrast(
                chains[users, positions, 1:], noisy[users, positions, 1:], targets
            )
            loss = loss + config.contrast_weight * contrast
            parts["contrast"] = contrast.detach()
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    def _contrast(
        self,
        clean: Float[Tensor, "targets steps dim"],
        noisy: Float[Tensor, "targets steps dim"],
        targets: ItemTargets,
    ) -> Float[Tensor, ""]:
        """The mean contrast over targets and steps; states of one step are compared."""
        ours, theirs = functional.normalize(noisy, dim=-1), functional.normalize(clean, dim=-1)
        losses = [
            in_batch_info_nce(
                ours[:, step] @ theirs[:, step].T / self.config.contrast_temperature,
                targets.windows,
            )
            for step in range(clean.shape[1])
        ]
        return mean_over_targets(torch.stack(losses, dim=1), targets.weights).mean()


class AlignedDepthObjective(NextItemObjective):
    """The loss of the next item, and the agreement of chains that should mean the same.

        L = CE(T_T) + α InfoNCE(T_T, T'_T) + γ InfoNCE(T_T, T_i)

    where T' is the chain of another history with the same next item, and i a random earlier step.
    Each InfoNCE is the mean of both directions, over products of states divided by a temperature.

    Source: self-supervised pre-training of LARES (arXiv:2505.16865): trajectory-level and
    step-level alignment. Our choices: one target of each window is aligned, drawn anew at each
    step, because another history is read for it; a history without a partner is its own; both
    histories reason with depths and noise of their own; two rows with the same next item are no
    negatives of each other; a chain of one step has no agreement of steps.
    """

    network: Lares
    config: AlignedDepthConfig

    def __init__(self, network: ItemNetwork, config: AlignedDepthConfig) -> None:
        """Takes the network that is trained.

        Raises:
            ValueError: see `next_item_loss`.
        """
        super().__init__(network, config)
        self._same_targets: SameTargets | None = None

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        return "the alignment of chains compares the windows of a whole batch"

    def prepare(self, windows: Windows) -> None:
        """See `Objective.prepare`; keeps the windows, in which partners are looked up."""
        super().prepare(windows)
        self._same_targets = SameTargets.of(windows)

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`.

        Parts: `item`, `trajectories` and `steps`, each before its weight.

        Raises:
            ValueError: `prepare` was not called.
        """
        if self._same_targets is None:
            raise ValueError(
                "the alignment of trajectories needs the windows of the training: call prepare() "
                "of the objective with them first."
            )
        network, config = self.network, self.config
        histories, targets_at = targets_of(batch)
        chains = network.chains(histories)
        item = self._item_loss(targets_at(network.scoring_states(chains))).loss
        rows, places = _one_target_each(batch)
        items = batch.items[rows, places]
        partners = self._same_targets.partners(batch, rows, places)
        own, others = chains[rows, places], network.last_states(partners)
        trajectories = self._agreement(own[:, -1], others, items)
        depth = own.shape[1]
        steps = torch.zeros_like(trajectories)
        if depth > 1:
            earlier = int(torch.randint(depth - 1, ()))
            steps = self._agreement(own[:, -1], own[:, earlier], items)
        loss = item + config.trajectory_weight * trajectories + config.step_weight * steps
        parts = {
            "item": item.detach(),
            "trajectories": trajectories.detach(),
            "steps": steps.detach(),
        }
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    def _agreement(
        self,
        ours: Float[Tensor, "rows dim"],
        theirs: Float[Tensor, "rows dim"],
        items: Int[Tensor, " rows"],
    ) -> Float[Tensor, ""]:
        """The mean InfoNCE of pairs of states, in both directions."""
        scores = ours @ theirs.T / self.config.alignment_temperature
        both = in_batch_info_nce(scores, items) + in_batch_info_nce(scores.T, items)
        return both.mean() / 2


class RefinementObjective(NextItemObjective):
    """The loss of the next item at the refined vector, and the error of the denoiser.

        L = CE(x_0) + λ mean ‖f(√a_t e_y + √(1 - a_t) ε, t, h_K) - e_y‖² / dim

    where x_0 is refined from noise, see `DiffuReason`, e_y is the vector of the next item, scaled
    to the length √dim, ε is standard normal, and t is drawn evenly from 1 .. T for each target.

    Source: our reconstruction, because we could read the abstract of DiffuReason
    (arXiv:2602.09744) alone. The second term is the loss of denoising diffusion (arXiv:2006.11239)
    for a denoiser that tells x_0. Our choice: the error moves no vector e_y, so it cannot pull the
    vectors of items together.
    """

    network: DiffuReason
    config: RefinementConfig

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`. Parts: `item` and `denoising`, each before its weight."""
        network = self.network
        histories, targets_at = targets_of(batch)
        thoughts = network.think(network.inputs(histories))
        draw = network.draw_chain(thoughts) if network.training else network.answer_draw
        targets = targets_at(network.scoring_states(network.refine(thoughts, draw.first)))
        item = self._item_loss(targets).loss
        clean = network.clean_vectors(targets.items).detach()
        levels = torch.randint(
            1, network.config.num_noise_levels + 1, targets.items.shape, device=clean.device
        )
        noisy = network.noised(clean, levels, torch.randn_like(clean))
        found = network.denoiser(noisy, levels, targets_at(thoughts).states)
        denoising = mean_over_targets((found - clean).square().mean(dim=-1), targets.weights)
        loss = item + self.config.denoising_weight * denoising
        parts = {"item": item.detach(), "denoising": denoising.detach()}
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)


def _one_target_each(batch: WindowBatch) -> tuple[Int[Tensor, " rows"], Int[Tensor, " rows"]]:
    """A random target of each window: the row of the window, and the position."""
    drawn = torch.rand(batch.is_target.shape, device=batch.items.device)
    places = drawn.masked_fill(~batch.is_target, -1.0).argmax(dim=1)
    rows = torch.arange(len(places), device=places.device)
    return rows, places
