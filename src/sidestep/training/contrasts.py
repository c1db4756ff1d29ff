"""Contrasts: at each depth the prefix of a target, and other prefixes to tell it from.

The prefixes of a trie are its nodes. Over sets, a prefix is a set of codes on the way that the
network itself takes to the target.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.data.windows import WindowBatch
from sidestep.model.code_set_model import CodeSetModel
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.contrastive import distinct_others
from sidestep.search.policy import Scope
from sidestep.training.leaf_ways import chosen_ways


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """The states of one depth.

    own: of the targets.
    others: each once; `NO_STATE` is padding.
    """

    own: Int[Tensor, " targets"]
    others: Int[Tensor, "targets others"]


@runtime_checkable
class Contrasts(Protocol):
    """A way to draw other prefixes than those of a target."""

    @property
    def space(self) -> CodeSpace:
        """The space of the prefixes."""
        ...

    def to(self, device: torch.device | str) -> "Contrasts":
        """A copy whose space lies on `device`."""
        ...

    def draw(
        self,
        backbone: SemanticIdModel,
        batch: WindowBatch,
        users: Int[Tensor, " targets"],
        positions: Int[Tensor, " targets"],
    ) -> Iterator[Contrast]:
        """The contrasts of every depth, from 1 on, each drawn when it is asked for.

        Args:
            backbone: in `eval` mode.
            batch: the windows.
            users, positions: of the targets.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixContrasts:
    """Other prefixes of the same length, drawn uniformly among those of the catalog.

    Source: PROMISE (arXiv:2601.04674), eq. 5.

    space: the trie.
    number: of other prefixes; as many as there are where that is fewer.
    """

    space: Scope
    number: int

    def to(self, device: torch.device | str) -> "PrefixContrasts":
        """See `Contrasts.to`."""
        return replace(self, space=self.space.to(device))

    def draw(
        self,
        backbone: SemanticIdModel,
        batch: WindowBatch,
        users: Int[Tensor, " targets"],
        positions: Int[Tensor, " targets"],
    ) -> Iterator[Contrast]:
        """See `Contrasts.draw`."""
        trie = self.space.trie
        leaves = trie.leaf_of(batch.items[users, positions])
        for depth in range(1, trie.num_levels + 1):
            nodes = trie.nodes_at(depth)
            own = trie.ancestor(leaves, depth)
            others = distinct_others(own - nodes.start, len(nodes), self.number)
            yield Contrast(own=own, others=others + nodes.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetContrasts:
    """Other legal codes after the set above, drawn uniformly among those of all open codebooks.

    The way to the target is the one of the backbone. The wrong codes of all open codebooks count,
    not those of the chosen one alone, so that scores of sets of different codebooks are comparable:
    a search compares such sets. Ways end as early as in a search. From then on, the set of the
    target waits, and has no others. That is ours: the published model has semantic IDs.

    space: of all sets.
    number: of other codes; as many as there are where that is fewer.
    """

    space: SetSpace
    number: int

    def to(self, device: torch.device | str) -> "SetContrasts":
        """See `Contrasts.to`."""
        return replace(self, space=self.space.to(device))

    def draw(
        self,
        backbone: SemanticIdModel,
        batch: WindowBatch,
        users: Int[Tensor, " targets"],
        positions: Int[Tensor, " targets"],
    ) -> Iterator[Contrast]:
        """See `Contrasts.draw`."""
        assert isinstance(backbone, CodeSetModel)
        space = self.space.shortened()
        after = torch.arange(batch.items.shape[1], device=batch.items.device)
        ways = chosen_ways(
            backbone, batch.histories, batch.items, space, after=after.expand(batch.items.shape)
        )
        states = ways.states[users, positions]  # [targets, steps]
        root = space.root(1).expand(len(states), 1)
        right = space.actions_of(batch.items[users, positions])
        for depth in range(1, space.num_steps + 1):
            above = root if depth == 1 else states[:, depth - 2 : depth - 1]
            is_wrong = space.legal(above)[:, 0].scatter(1, right, False)
            actions, is_drawn = _drawn(is_wrong, self.number)
            others = space.child(above.expand(actions.shape), actions)
            yield Contrast(own=states[:, depth - 1], others=others.masked_fill(~is_drawn, NO_STATE))


def contrasts_of(space: CodeSpace, backbone: SemanticIdModel, number: int) -> Contrasts:
    """The contrasts for a backbone over semantic IDs, or over sets of codes.

    Raises:
        ValueError: the space is no trie, and no space of sets whose codebooks the backbone chooses.
    """
    if isinstance(space, Scope):
        return PrefixContrasts(space=space, number=number)
    if isinstance(space, SetSpace) and isinstance(backbone, CodeSetModel):
        return SetContrasts(space=space, number=number)
    raise ValueError(
        "a process reward model learns prefixes of semantic IDs, or sets of codes beside a network "
        f"of kind code-sets, got the space {type(space).__name__} and a "
        f"{type(backbone).__name__}; name another backbone."
    )


def _drawn(
    is_one: Bool[Tensor, "rows actions"], number: int
) -> tuple[Int[Tensor, "rows drawn"], Bool[Tensor, "rows drawn"]]:
    """Different actions of each row, drawn uniformly where the mask is True, and which are drawn.

    The numbers are drawn from torch's own generator. No row has more columns than it needs: late
    on the ways, few sets have others.
    """
    most = int(is_one.sum(dim=1).max()) if len(is_one) else 0
    keys = torch.rand(is_one.shape, device=is_one.device).masked_fill(~is_one, -1.0)
    best, actions = keys.topk(min(number, most), dim=1, sorted=False)
    return actions, best >= 0
