"""Paths: what a model says of prefixes that somebody else chose, and of all prefixes above them.

A search decides what it looks at; this looks at what it is told, to judge scores and searches.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.prefix_tree import PrefixTree
from sidestep.catalog.trie import NO_STATE
from sidestep.catalog.user_sets import distinct
from sidestep.search.policy import Normaliser, Scope, code_log_probs, node_values
from sidestep.step import ROOT_SLOT, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class PathScores:
    """Outputs of a model along each path, at its prefixes of 1 code, 2 codes and so on.

    Arbitrary where the path has ended.

    log_probs: of the whole prefix; -inf where no item in scope has it.
    values: None where the model has no values.
    """

    log_probs: Float[Tensor, "users paths levels"]
    values: Float[Tensor, "users paths levels"] | None


def paths_to(
    prefixes: Int[Tensor, "users prefixes"], trie: PrefixTree
) -> Int[Tensor, "users paths levels"]:
    """The states on the way to each different prefix, from 1 code on; `NO_STATE` past its end.

    Paths stand in the order of the trie and padding last, so that those that share a prefix are
    neighbours; whatever the order and the depths of `prefixes`, in which `NO_STATE` is padding.
    """
    ordered = distinct(prefixes)
    first_leaf, _ = trie.leaf_range(ordered)
    keys = first_leaf * (trie.num_levels + 1) + trie.depth(ordered)
    keys = keys.masked_fill(ordered == NO_STATE, torch.iinfo(torch.long).max)
    num_paths = int((ordered != NO_STATE).sum(dim=1).max())
    ordered = ordered.gather(1, keys.argsort(dim=1, stable=True)[:, :num_paths])
    return trie.prefixes(ordered)


def is_first_on_paths(
    paths: Int[Tensor, "users paths levels"],
) -> Bool[Tensor, "users paths levels"]:
    """True at one path of each distinct prefix of paths in the order of `paths_to`."""
    before = functional.pad(paths[:, :-1], (0, 0, 1, 0), value=NO_STATE)
    return (paths != before) & (paths != NO_STATE)


@torch.no_grad()
def score_paths(
    model: StepModel[Any],
    root: StepOutput,
    context: Any,
    paths: Int[Tensor, "users paths levels"],
    scope: Scope,
    *,
    normaliser: Normaliser = "legal",
    chunk_size: int = 256,
) -> PathScores:
    """Pushes every prefix on the paths through the model, once per chunk of paths.

    Args:
        model: a policy, with values or without.
        root: its output at the roots.
        context: the encoded histories, with room for `chunk_size` nodes per level.
        paths: see `paths_to`.
        scope: the items that may be returned; what is not in it has no probability.
        normaliser: of the code probabilities.
        chunk_size: paths that go through the model together.
    """
    legal = scope.legal(paths.new_zeros(len(paths), 1), 0)
    root_log_probs = code_log_probs(root, legal, normaliser)
    chunks = [
        _score_chunk(
            *(model, root, root_log_probs, context),
            paths[:, start : start + chunk_size],
            *(scope, normaliser),
        )
        for start in range(0, max(paths.shape[1], 1), chunk_size)
    ]
    values = [chunk.values for chunk in chunks if chunk.values is not None]
    return PathScores(
        log_probs=torch.cat([chunk.log_probs for chunk in chunks], dim=1),
        values=torch.cat(values, dim=1) if values else None,
    )


def _score_chunk(
    model: StepModel[Any],
    root: StepOutput,
    root_log_probs: Float[Tensor, "users 1 codes"],
    context: Any,
    paths: Int[Tensor, "users paths levels"],
    scope: Scope,
    normaliser: Normaliser,
) -> PathScores:
    """See `score_paths`; every distinct prefix is a node, and levels follow each other."""
    num_levels = paths.shape[2]
    is_first = is_first_on_paths(paths)
    # Which of the distinct prefixes of a depth each path goes through.
    nodes = (is_first.cumsum(dim=1) - 1).clamp(min=0)  # [users, paths, levels]
    log_probs = torch.full_like(paths, -torch.inf, dtype=root_log_probs.dtype)
    values = None if root.value is None else torch.zeros_like(log_probs)
    total, by_code = torch.zeros_like(log_probs[..., 0]), root_log_probs
    above = torch.zeros_like(nodes[..., 0])  # the node of each path at the depth before
    slots, next_slot = torch.full_like(above, ROOT_SLOT), ROOT_SLOT + 1
    for level in range(num_levels):
        states = paths[..., level]
        codes = scope.trie.codes_of(states).clamp(min=0)
        own = by_code.take_along_dim(above[..., None], dim=1).gather(2, codes[..., None])
        log_probs[..., level] = total = total + own[..., 0]
        is_last = level + 1 == num_levels
        width = int(is_first[..., level].sum(dim=1).max())
        if width == 0 or (is_last and values is None):
            break
        at, is_node = _columns(is_first[..., level], width)
        step, context = model.extend(
            context,
            codes.gather(1, at),
            slots.gather(1, at),
            torch.full_like(at, level + 1),
            is_node=is_node,
            depth=level + 1,
        )
        above = nodes[..., level]
        if values is not None:
            values[..., level] = node_values(step).gather(1, above)
        if not is_last:
            legal = scope.legal(states.gather(1, at).masked_fill(~is_node, NO_STATE), level + 1)
            by_code = code_log_probs(step, legal, normaliser)
        slots, next_slot = next_slot + above, next_slot + width
    return PathScores(log_probs=log_probs, values=values)


def _columns(
    is_wanted: Bool[Tensor, "users paths"], width: int
) -> tuple[Int[Tensor, "users width"], Bool[Tensor, "users width"]]:
    """The first `width` paths that are wanted, in their order, and which of them are."""
    at = (~is_wanted).byte().argsort(dim=1, stable=True)[:, :width]
    return at, is_wanted.gather(1, at)
