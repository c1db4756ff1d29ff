"""Ten-line models whose answers are known: a search must not need a network."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import strategies as st
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.catalog.trie import NO_STATE
from sidestep.step import HistoryBatch, HistoryStates, StepOutput, log_probs


@dataclass(frozen=True)
class NumberedContext:
    """Context that stores prefixes as numbers."""

    prefixes: Tensor  # [users, slots]
    history_states: HistoryStates | None = None


class PrefixTable:
    """Model whose logits depend only on the user's first item and the prefix, by a fixed hash."""

    def __init__(self, codebook_sizes: tuple[int, ...], seed: int = 0) -> None:
        self.codebook_sizes = codebook_sizes
        self.num_actions = max(codebook_sizes)
        self.seed = seed

    def encode(
        self, histories: HistoryBatch, *, capacity: int
    ) -> tuple[StepOutput, NumberedContext]:
        first = histories.items[:, :1] if histories.items.shape[1] else histories.lengths[:, None]
        prefixes = (first + 2) * 7919 + self.seed
        depths = torch.zeros_like(prefixes)
        return self._output(prefixes, depths), NumberedContext(prefixes)

    def extend(
        self,
        context: NumberedContext,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        *,
        is_node: Bool[Tensor, "users width"],
        visible: Int[Tensor, "users width"] | None = None,
        depth: int | None = None,
    ) -> tuple[StepOutput, NumberedContext]:
        prefixes = context.prefixes
        for column in range(codes.shape[1]):
            parent = prefixes.gather(1, parents[:, column : column + 1])
            own = (parent * 31 + codes[:, column : column + 1] + 1) % 1_000_003
            prefixes = torch.cat([prefixes, own], dim=1)
        width = codes.shape[1]
        return self._output(prefixes[:, -width:], depths), NumberedContext(prefixes)

    def _output(self, prefixes: Tensor, depths: Tensor) -> StepOutput:
        widest = max(self.codebook_sizes)
        codes = torch.arange(widest)
        logits = torch.sin(prefixes[..., None] * 12.9898 + codes * 78.233) * 3
        sizes = torch.tensor([*self.codebook_sizes, 0])
        logits = logits.masked_fill(codes >= sizes[depths][..., None], -torch.inf)
        return StepOutput(logits=logits.float(), hidden=prefixes[..., None].float())


class CountedTable(PrefixTable):
    """Prefix table that takes 100 FLOPs for a history, and 7 for a node."""

    def flops_by_depth(self, histories):
        by_depth = torch.tensor([100] + [7] * len(self.codebook_sizes))
        return by_depth.expand(len(histories.lengths), -1)


class CategoryTable:
    """A category head over the prefixes of a `PrefixTable`, by a fixed hash."""

    flops_per_state = 10

    def __init__(self, sharpness: float = 1.0) -> None:
        self.sharpness = sharpness

    def log_probs(self, states):
        categories = torch.arange(4) * 4.1414
        logits = torch.sin(states[..., :1].double() * 0.7331 + categories) * self.sharpness
        return logits.log_softmax(dim=-1).float()


class ValueTable(PrefixTable):
    """Prefix table that also gives a value of each prefix, by another fixed hash."""

    def _output(self, prefixes: Tensor, depths: Tensor) -> StepOutput:
        step = super()._output(prefixes, depths)
        return replace(step, value=torch.sin(prefixes * 4.17 + 1).float())


class ItemTable:
    """Item head: logits by a fixed hash of the state, lower for items of the history."""

    def __init__(self, num_items: int) -> None:
        self.num_items = num_items

    def item_logits(self, states: Tensor, histories: HistoryBatch) -> Tensor:
        items = torch.arange(self.num_items)
        held = (histories.items[..., None] == items).any(dim=1)
        return torch.sin(states[..., :1] * 3.7 + items * 5.1) * 2 - held.float()

    def some_item_logits(self, states: Tensor, items: Tensor, histories: HistoryBatch) -> Tensor:
        self.asked = items
        held = (histories.items == items[:, None]).any(dim=1)
        return torch.sin(states[..., 0] * 3.7 + items * 5.1) * 2 - held.float()


def histories_of(*first_items: int) -> HistoryBatch:
    """One-item histories."""
    items = torch.tensor(first_items)[:, None]
    return HistoryBatch(items=items, lengths=torch.ones(len(first_items), dtype=torch.long))


@st.composite
def catalogs(draw):
    """Semantic IDs of a few items, some of which share an ID, and codebook sizes."""
    sizes = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    every = list(itertools.product(*map(range, sizes)))
    ids = draw(st.lists(st.sampled_from(every), min_size=1, max_size=20))
    return np.array(ids), sizes


def brute_force(model, histories, ids, normaliser="legal"):
    """Log-probability of each distinct semantic ID, one step at a time in plain Python."""
    distinct = sorted(set(map(tuple, ids.tolist())))
    rows = []
    for user in range(len(histories.lengths)):
        one = HistoryBatch(
            items=histories.items[user : user + 1], lengths=histories.lengths[user : user + 1]
        )
        scores = {}
        for semantic_id in distinct:
            step, context = model.encode(one, capacity=len(semantic_id))
            total, slot = 0.0, 0
            for depth, code in enumerate(semantic_id):
                siblings = {
                    other[depth] for other in distinct if other[:depth] == semantic_id[:depth]
                }
                legal = torch.zeros(step.logits.shape, dtype=torch.bool)
                legal[..., sorted(siblings)] = True
                total += float(
                    log_probs(step, legal if normaliser == "legal" else None)[0, 0, code]
                )
                if depth + 1 < len(semantic_id):
                    step, context = model.extend(
                        context,
                        torch.tensor([[code]]),
                        torch.tensor([[slot]]),
                        torch.tensor([[depth + 1]]),
                        is_node=torch.tensor([[True]]),
                    )
                    slot += 1
            scores[semantic_id] = total
        rows.append(scores)
    return rows


def prefix_log_probs(model, histories, ids, depth):
    """Log-probability of every prefix of the first user: the sum over the semantic IDs below it."""
    whole = brute_force(model, histories, ids)[0]
    sums = {}
    for semantic_id, log_prob in whole.items():
        prefix = semantic_id[:depth]
        sums[prefix] = np.logaddexp(sums.get(prefix, -np.inf), log_prob)
    return sums


def value_of(model, past, path):
    """Value that a model gives a path, computed one step at a time."""
    _, context = model.encode(histories_of(past), capacity=len(path))
    for depth, code in enumerate(path, start=1):
        one = torch.tensor([[code]])
        slot, at = torch.tensor([[depth - 1]]), torch.tensor([[depth]])
        step, context = model.extend(context, one, slot, at, is_node=one >= 0)
    return float(step.value)


def leaf_paths(candidates, trie, user):
    """The codes of each leaf of a user, best first."""
    leaves = candidates.leaves[user]
    return [tuple(path) for path in trie.path(leaves[leaves != NO_STATE]).tolist()]


def found(candidates, trie, user):
    """The log-probability of each leaf of a user, by its codes."""
    paths = leaf_paths(candidates, trie, user)
    return dict(zip(paths, candidates.log_probs[user, : len(paths)].tolist(), strict=True))


class Ranker:
    """Ranker whose scores depend only on the last item, by a fixed hash; 10 FLOPs per past item."""

    def __init__(self, num_items):
        self.num_items = num_items

    def scores(self, histories):
        return torch.cos(histories.items[:, :1] * 2.3 + torch.arange(self.num_items) * 1.7)

    def flops(self, histories):
        return 10 * histories.lengths
