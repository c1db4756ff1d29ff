"""Reinforcement learning of chains of latent reasoning, by the lists that they end in."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sidestep.data.windows import WindowBatch
from sidestep.model.latent_reasoning import ChainDraw, DrawnChainNetwork
from sidestep.objectives.advantages import group_advantages
from sidestep.objectives.policy import clipped_terms, k3_kl
from sidestep.objectives.rewards import list_rewards
from sidestep.objectives.weighting import mean_over_targets
from sidestep.step import HistoryBatch
from sidestep.training.item_loss import ItemTargets
from sidestep.training.next_item import targets_of
from sidestep.training.objective import DrawingObjective, Loss
from sidestep.training.objective_config import GroupRewardConfig

TargetsAt = Callable[[Tensor], ItemTargets]
"""Makes the targets of a batch from the states at all positions, see `targets_of`."""


class ChainRewardObjective(DrawingObjective):
    """Chains from other noise and of other depths are compared, and the better ones win.

        L = -1/G Σ_g 1/T_g Σ_i ( A_g exp(l_gi - sg(l_gi)) - β k3(l_gi, l'_gi) )

    G chains are drawn for each history. l_gi is the log-probability of the next item at step i of
    chain g, l' that of the network of before; sg stops the gradient. The reward of a chain is that
    of the list at its last step, and A its advantage in the group. So what is learned is the
    likelihood of the next item, weighed by advantages: no other item is ever the action.

    Source: reinforcement post-training of LARES (arXiv:2505.16865), with the details of a public
    re-implementation by one of its authors (RecBole 3.0). Our choices: no dropout, so that chains
    differ by noise and depth alone; the network of before gets the same noise and depths, so that
    the divergence is 0 at first; the population's standard deviation in the advantages.
    """

    def __init__(self, network: DrawnChainNetwork, config: GroupRewardConfig) -> None:
        """Takes the trained network, which is moved."""
        super().__init__()
        self.network = network.requires_grad_()  # what is loaded from a bundle is frozen
        self.config = config
        if config.kl_weight is not None:
            self.keep_copy("reference", "network", every_steps=None)

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"network": self.network}

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`.

        Parts: `reward` is the mean reward, `zero_advantage` the share of groups that teach nothing,
        `log_prob` the mean log-probability of the next item at the last steps, and `kl` the mean
        estimate of the divergence, if it has a weight.
        """
        config, network = self.config, self.network.eval()
        histories, targets_at = targets_of(batch)
        inputs = network.inputs(histories)
        asked = targets_at(inputs)
        draws = [network.draw_chain(inputs) for _ in range(config.group_size)]
        rewards, log_probs = [], []
        for logs, scores in _log_probs(network, targets_at, inputs, draws):
            log_probs.append(logs)
            rewards.append(
                list_rewards(scores, asked.items, measure=config.reward, cutoff=config.cutoff)
            )
        of_chains = torch.stack(rewards, dim=1)
        advantages = group_advantages(of_chains, torch.ones_like(of_chains, dtype=torch.bool))
        gains = [
            clipped_terms(
                logs - logs.detach(), own[:, None].expand_as(logs), clip_low=None, clip_high=None
            ).mean(dim=1)
            for logs, own in zip(log_probs, advantages.unbind(dim=1), strict=True)
        ]
        losses = -torch.stack(gains, dim=1).mean(dim=1)
        parts = {
            "reward": of_chains.mean(),
            "zero_advantage": (advantages == 0).all(dim=1).float().mean(),
            "log_prob": torch.stack([logs[:, -1] for logs in log_probs]).detach().mean(),
        }
        if config.kl_weight is not None:
            before = self._old_log_probs(histories, targets_at, draws)
            divergence = torch.stack(
                [k3_kl(new, old).mean(dim=1) for new, old in zip(log_probs, before, strict=True)],
                dim=1,
            ).mean(dim=1)
            losses = losses + config.kl_weight * divergence
            parts["kl"] = divergence.detach().mean()
        loss = mean_over_targets(losses, asked.weights)
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    @torch.no_grad()
    def _old_log_probs(
        self, histories: HistoryBatch, targets_at: TargetsAt, draws: Sequence[ChainDraw]
    ) -> list[Float[Tensor, "targets _"]]:
        """Log-probabilities of each draw under the network of before."""
        reference = self.copies["reference"].module
        assert isinstance(reference, DrawnChainNetwork)
        found = _log_probs(reference, targets_at, reference.inputs(histories), draws)
        return [logs for logs, _ in found]


def _log_probs(
    network: DrawnChainNetwork,
    targets_at: TargetsAt,
    inputs: Float[Tensor, "users positions dim"],
    draws: Sequence[ChainDraw],
) -> Iterator[tuple[Float[Tensor, "targets _"], Float[Tensor, "targets items"]]]:
    """Log-probabilities of the targets at every step of each draw's chain, [targets, depth].

    Beside them stand all scores at the last step.
    """
    for chains in network.drawn_chains(inputs, draws):
        scores, logs = inputs.new_empty(0, 0), []
        for states in chains.unbind(dim=2):
            targets = targets_at(states)
            scores = network.scores(targets.states, targets.histories).float()
            logs.append(-functional.cross_entropy(scores, targets.items, reduction="none"))
        yield torch.stack(logs, dim=1), scores.detach()
