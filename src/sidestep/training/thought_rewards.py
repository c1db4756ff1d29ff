"""Reinforcement learning of thoughts, by the answers and the states that they lead to."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.context import Memory
from sidestep.model.stream_rec import StreamRec, drawn
from sidestep.objectives.advantages import group_advantages
from sidestep.objectives.contrastive import distinct_others
from sidestep.objectives.policy import clipped_terms, k3_kl
from sidestep.objectives.rewards import likelihood_gain, list_rewards, prefix_match
from sidestep.objectives.semantic_reward import target_cosines
from sidestep.objectives.weighting import mean_over_targets
from sidestep.step import HistoryBatch, in_float32
from sidestep.training.next_code import trie_of
from sidestep.training.objective import DrawingObjective, Loss
from sidestep.training.objective_config import ThoughtRewardConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTargets:
    """The targets of a batch, and their histories as the network reads them.

    items: the items that came next.
    histories: before each target.
    memory: of the histories.
    direct: log-probabilities of the targets' codes without a thought, without gradient.
    """

    items: Int[Tensor, " targets"]
    histories: HistoryBatch
    memory: Memory
    direct: Float[Tensor, "targets levels"]


class ThoughtRewardObjective(DrawingObjective):
    """Thoughts and answers are drawn together, and those of higher rewards win.

        L = -1/G Σ_g 1/(l + L) Σ_i ( A_g exp(p_gi - sg(p_gi)) - β k3(p_gi, p'_gi) )

    G sequences of l thoughts and L codes are drawn for each history, over whole codebooks. p_gi is
    the log-probability of step i of sequence g, p' that under the network of before; sg stops the
    gradient. A is the advantage in the group, by a weighted sum of five rewards:

    format: 1 if the codes are the semantic ID of an item.
    prefix: the share of the codes that agree with those of the next item, from the first code on.
    state: the cosine of s_l with the vector of the next item, see `ThoughtTrace`.
    gain: how much likelier the thoughts make the next item, see `likelihood_gain`.
    rank: 1 / log2(1 + place) of the next item among random others, by their cosines with s_l.

    Source: the GRPO stage of STREAM-Rec (arXiv:2504.09627), which has these five rewards. Our
    guesses, because we know the paper by its text alone: all formulas but those of GRPO; equal
    weights; the network itself is asked without thoughts, though it has not learned such answers,
    and as its likelihood is the same for the whole group, no advantage depends on it; the rank is
    that of cosines; no dropout, and one step per group, so that no ratio is clipped. The maps of
    traces stay as they are, for else they would learn to please the rewards.
    """

    def __init__(self, network: StreamRec, config: ThoughtRewardConfig) -> None:
        """Takes the trained network, which is moved."""
        super().__init__()
        self.policy = network.requires_grad_()  # what is loaded from a bundle is frozen
        network.freeze_heads()
        self.config = config
        self._trie = trie_of(network)
        if config.kl_weight is not None:
            self.keep_copy("reference", "policy", every_steps=None)

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"policy": self.policy}

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`.

        Parts: the means of the five rewards, by their names; `reward` is the mean of their weighted
        sum, `zero_advantage` the share of groups that teach nothing, and `kl` the mean estimate of
        the divergence, if it has a weight.
        """
        config, network = self.config, self.policy.eval()
        users, positions = batch.is_target.nonzero(as_tuple=True)
        items, histories = batch.items[users, positions], batch.before(users, positions)
        memory = network.read(histories).memory
        asked = AskedTargets(
            items=items,
            histories=histories,
            memory=memory,
            direct=answer_log_probs(network, memory, network.flat_codes(items)).detach(),
        )
        before = self._before(histories)
        paths = [drawn_path(network, memory) for _ in range(config.group_size)]
        each = [self.rewards(asked, path) for path in paths]
        rewards = {name: torch.stack([own[name] for own in each], dim=1) for name in self._weights}
        totals = torch.stack([self._weights[name] * rewards[name] for name in rewards]).sum(dim=0)
        advantages = group_advantages(totals, torch.ones_like(totals, dtype=torch.bool))
        # [targets, group, steps]
        logs = torch.stack([path_log_probs(network, memory, path) for path in paths], dim=1)
        gains = clipped_terms(
            logs - logs.detach(),
            advantages[..., None].expand_as(logs),
            clip_low=None,
            clip_high=None,
        )
        losses = -gains.mean(dim=(1, 2))
        parts = {name: own.mean() for name, own in rewards.items()}
        parts |= {
            "reward": totals.mean(),
            "zero_advantage": (advantages == 0).all(dim=1).float().mean(),
        }
        if before is not None:
            assert config.kl_weight is not None
            with torch.no_grad():
                old = torch.stack([path_log_probs(*before, path) for path in paths], dim=1)
            divergences = k3_kl(logs, old).mean(dim=(1, 2))
            losses = losses + config.kl_weight * divergences
            parts["kl"] = divergences.detach().mean()
        loss = mean_over_targets(losses, batch.weights_of(users, positions))
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    @torch.no_grad()
    def _before(self, histories: HistoryBatch) -> tuple[StreamRec, Memory] | None:
        """The network of before, and what it reads of the histories; None where none is kept."""
        if self.config.kl_weight is None:
            return None
        reference = self.copies["reference"].module
        assert isinstance(reference, StreamRec)
        return reference, reference.read(histories).memory

    @property
    def _weights(self) -> dict[str, float]:
        """The weights of the rewards, by their names."""
        config = self.config
        return {
            "format": config.format_weight,
            "prefix": config.prefix_weight,
            "state": config.state_weight,
            "gain": config.gain_weight,
            "rank": config.rank_weight,
        }

    @torch.no_grad()
    def rewards(
        self, asked: AskedTargets, path: Int[Tensor, "targets steps"]
    ) -> dict[str, Float[Tensor, " targets"]]:
        """The five rewards of one sequence of each target, see the class.

        Args:
            asked: the targets.
            path: thoughts and codes, as flat code ids.
        """
        network = self.policy
        if self._trie.device != path.device:
            self._trie = self._trie.to(path.device)
        number = network.config.num_thoughts
        thoughts, answer = path[:, :number], path[:, number:]
        own = network.flat_codes(asked.items)
        agrees = (answer == own).int().cumprod(dim=1).bool()
        likelihoods = answer_log_probs(
            network, asked.memory, torch.cat([thoughts, own], dim=1), number
        )
        with in_float32(path.device):
            states = network.to_state(network.code_embedding(thoughts).sum(dim=1))
            others = distinct_others(asked.items, network.num_items, self.config.num_negatives)
            compared = torch.cat([asked.items[:, None], others], dim=1)
            cosines = target_cosines(network.item_vectors(compared), states)
        return {
            "format": is_item(self._trie, answer - network.level_starts).float(),
            "prefix": prefix_match(agrees[:, None], [1 / network.num_levels] * network.num_levels)[
                :, 0
            ],
            "state": cosines[:, 0],
            "gain": likelihood_gain(likelihoods, asked.direct),
            "rank": list_rewards(
                cosines,
                torch.zeros_like(asked.items),
                measure="ndcg",
                cutoff=compared.shape[1],
            ),
        }


@torch.no_grad()
def drawn_path(network: StreamRec, memory: Memory) -> Int[Tensor, "users steps"]:
    """Thoughts and an answer of each user, drawn over whole codebooks, as flat code ids."""
    path = network.thoughts(memory, drawn)
    for level in range(network.num_levels):
        hidden = network.path_states(memory, path)[:, -1:]
        depths = torch.full_like(path[:, :1], level)
        codes = drawn(network.node_logits(hidden, depths, depth=level)[:, 0])
        path = torch.cat([path, (codes + network.level_starts[level])[:, None]], dim=1)
    return path


def path_log_probs(
    network: StreamRec, memory: Memory, path: Int[Tensor, "users steps"]
) -> Float[Tensor, "users steps"]:
    """Log-probabilities of each thought and of each code of an answer, over whole codebooks."""
    number = network.config.num_thoughts
    states = network.path_states(memory, path[:, :-1])
    thoughts = network.thought_logits(states[:, :number]).log_softmax(dim=-1)
    of_thoughts = thoughts.gather(2, path[:, :number, None])[..., 0]
    return torch.cat([of_thoughts, _code_log_probs(network, states, path, number)], dim=1)


def answer_log_probs(
    network: StreamRec,
    memory: Memory,
    path: Int[Tensor, "users steps"],
    num_thoughts: int = 0,
) -> Float[Tensor, "users levels"]:
    """Log-probabilities of each code of an answer after some thoughts, over whole codebooks.

    Args:
        network: is asked.
        memory: of the histories.
        path: the thoughts and the codes, as flat code ids.
        num_thoughts: 0 asks for an answer without a thought.
    """
    states = network.path_states(memory, path[:, :-1])
    return _code_log_probs(network, states, path, num_thoughts)


def _code_log_probs(
    network: StreamRec,
    states: Float[Tensor, "users steps dim"],
    path: Int[Tensor, "users steps"],
    num_thoughts: int,
) -> Float[Tensor, "users levels"]:
    """See `answer_log_probs`; `states` stand before each step of the path."""
    logs = []
    for level, column in enumerate(range(num_thoughts, path.shape[1])):
        hidden, depths = states[:, column, None], torch.full_like(path[:, :1], level)
        by_code = network.node_logits(hidden, depths, depth=level)[:, 0].log_softmax(dim=-1)
        codes = path[:, column] - network.level_starts[level]
        logs.append(by_code.gather(1, codes[:, None])[:, 0])
    return torch.stack(logs, dim=1)


def is_item(trie: Trie, codes: Int[Tensor, "users levels"]) -> Bool[Tensor, " users"]:
    """Whether codes are the semantic ID of an item."""
    states = torch.zeros_like(codes[:, :1])  # the root
    for code in codes.unbind(dim=1):
        states = trie.child(states, code[:, None])
    return states[:, 0] != NO_STATE
