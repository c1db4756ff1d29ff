"""STREAM-Rec: a T5 that writes codes of reasoning before the codes of the item."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.model.config import StreamRecConfig
from sidestep.model.context import KeyValues, Memory
from sidestep.model.flops import attention_flops, matrix_flops
from sidestep.model.t5 import T5
from sidestep.step import HistoryBatch, in_float32, widened

Choose = Callable[[Float[Tensor, "users codes"]], Int[Tensor, " users"]]
"""A rule that chooses the next thought of each user by the logits of all codes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadHistories:
    """Histories as the decoder reads them.

    memory: keys and values for each decoder layer.
    summaries: s_0, the mean of the encoder's final states of each history.
    """

    memory: Memory
    summaries: Float[Tensor, "users dim"]


class StreamRec(T5):
    """A T5 whose decoder writes thoughts, then the semantic ID of the next item.

        start, o_1, .., o_l, c_1, .., c_L

    A thought o is a code of any codebook, as a flat code id. Writing thoughts is a part of reading
    a history: a recommendation writes the likeliest thought, l times, and the root of every search
    is the state after o_l. So all searches work as for a T5, and the same history gets the same
    thoughts. The thoughts cost no token of a search; `flops_by_depth` counts them at the root.

    `to_residual` and `to_state` make the traces that training learns from, see `ThoughtTrace`. A
    recommendation reads neither of them.

    Source: STREAM-Rec (arXiv:2504.09627): the decoder, thoughts from the codebook of the residual
    quantiser, the two MLPs. Our guesses, because we know the paper by its text alone: a thought may
    be a code of every level; the vectors of the codebook are the vectors by which the network
    reads codes, not those of the tokenizer; s_0 is a mean; the target's representation is the
    vector by which the network reads the item, the sum of the vectors of its codes; a
    recommendation writes one chain of thoughts, and no beam of thoughts.
    """

    Config: ClassVar = StreamRecConfig
    config: StreamRecConfig

    def __init__(
        self,
        config: StreamRecConfig,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
    ) -> None:
        """Fresh weights.

        Args:
            config: the shape.
            semantic_ids: the codes of each item.
            codebook_sizes: codes per level.
        """
        super().__init__(config, semantic_ids, codebook_sizes)
        self.to_residual = _two_layers(config.dim)
        self.to_state = _two_layers(config.dim)

    @property
    def num_before_root(self) -> int:
        """See `T5.num_before_root`: the start token, and all thoughts but the last one."""
        return self.config.num_thoughts

    def freeze_heads(self) -> None:
        """See `SemanticIdModel.freeze_heads`; also freezes what makes traces."""
        super().freeze_heads()
        self.to_residual.requires_grad_(False)
        self.to_state.requires_grad_(False)

    def read(self, histories: HistoryBatch) -> ReadHistories:
        """Encodes histories, for the training of thoughts."""
        states, is_visible = self._encoded(histories)
        number = is_visible.sum(dim=1, keepdim=True)
        total = states.masked_fill(~is_visible[..., None], 0.0).sum(dim=1)
        return ReadHistories(memory=self._memory_of(states, is_visible), summaries=total / number)

    def item_vectors(self, items: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """The representation of items as targets of reasoning."""
        return self.input_vectors.item_vectors(items)

    def thought_logits(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch codes"]:
        """Logits of the next thought: of all flat code ids, in float32, see `in_float32`."""
        with in_float32(states.device):
            return self.row_logits(widened(states), 0, self.num_codes)

    def path_states(
        self, memory: Memory, path: Int[Tensor, "users steps"]
    ) -> Float[Tensor, "users states dim"]:
        """Teacher-forced states along thoughts and codes, each the state before the next one.

        Args:
            memory: of the histories.
            path: the thoughts, and codes of an item behind all of them, as flat code ids.

        Returns:
            The state before the first thought, then the state after each step of the path.
        """
        return self._teacher_forced(memory, path)

    @torch.no_grad()
    def thoughts(self, memory: Memory, choose: Choose | None = None) -> Int[Tensor, "users steps"]:
        """The thoughts of each user.

        Args:
            memory: of the histories.
            choose: the rule; None takes the likeliest code.
        """
        thoughts, _, _ = self._written(memory, likeliest if choose is None else choose)
        return thoughts

    def next_item_states(self, histories: HistoryBatch) -> Float[Tensor, "users items levels dim"]:
        """See `SemanticIdModel.next_item_states`; for its cost see `T5`.

        The thoughts are those that the network writes, so the target of a position does not change
        the state before its first code.
        """
        users, num_items = histories.items.shape
        memory = self._memory_at_positions(histories)
        codes = self.flat_codes(histories.items)[..., :-1].flatten(0, 1)
        path = torch.cat([self.thoughts(memory), codes], dim=1)
        states = self._teacher_forced(memory, path)[:, self.num_before_root :]
        return states.reshape(users, num_items, self.num_levels, -1)

    def flops_by_depth(self, histories: HistoryBatch) -> Int[Tensor, "users depths"]:
        """See `CountsFlops.flops_by_depth`; column 0 holds the thoughts, too."""
        flops = super().flops_by_depth(histories)
        config = self.config
        channels = config.decoder_layers * config.num_heads * config.width_of_head
        prompt = self.reader.prompt_lengths(histories, self.num_levels)
        path = torch.arange(1, 1 + config.num_thoughts, device=prompt.device)
        matrices = matrix_flops(self.decoder_blocks) - self._read_flops
        attention = attention_flops(channels, path + prompt[:, None]).sum(dim=1)
        of_codes = matrices + 2 * config.dim * self.num_codes
        flops[:, 0] += config.num_thoughts * of_codes + attention
        return flops

    def _begun(self, memory: Memory) -> tuple[Float[Tensor, "users 1 dim"], list[KeyValues]]:
        """See `T5._begun`: the root is the last thought."""
        _, hidden, layers = self._written(memory, likeliest)
        return hidden, layers

    def _written(
        self, memory: Memory, choose: Choose
    ) -> tuple[Int[Tensor, "users steps"], Float[Tensor, "users 1 dim"], list[KeyValues]]:
        """Writes the thoughts one after the other.

        Returns:
            The thoughts, the state after the last one, and all layers with the columns so far.
        """
        users, width = len(memory.is_visible), 1 + self.num_before_root
        columns = torch.arange(width, device=memory.is_visible.device)[None]
        hidden, layers = super()._begun(memory)
        if not torch.is_grad_enabled():
            layers = [layer.with_room(width) for layer in layers]
        written = []
        for step in range(1, width):
            code = choose(self.thought_logits(hidden[:, 0]).detach())
            written.append(code)
            seen = columns[:, : step + 1]
            bias = self._biased(seen[:, -1:], seen, torch.ones_like(seen, dtype=torch.bool)[None])
            hidden, layers = self._decode(
                self.dropout(self.code_embedding(code)[:, None]),
                bias,
                memory,
                earlier=[(layer, step) for layer in layers],
            )
        assert len(written) == self.config.num_thoughts
        return torch.stack(written, dim=1).view(users, -1), hidden, layers


def likeliest(logits: Float[Tensor, "users codes"]) -> Int[Tensor, " users"]:
    """The code of the highest logit; the lowest such code where several have it."""
    return logits.argmax(dim=1)


def drawn(logits: Float[Tensor, "users codes"]) -> Int[Tensor, " users"]:
    """A code from the softmax of the logits, by torch's random generator of the device."""
    return logits.softmax(dim=1).multinomial(1)[:, 0]


def _two_layers(dim: int) -> nn.Sequential:
    """Two linear layers with ReLU between them, which keep the size of vectors as T5's do."""
    first, second = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
    for layer in (first, second):
        nn.init.normal_(layer.weight, std=dim**-0.5)
    return nn.Sequential(first, nn.ReLU(), second)
