"""Parts that all searches share: the items that may be returned, the question and the answer."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.availability import Availability
from sidestep.catalog.own_space import OwnSpace
from sidestep.catalog.space import CodeSpace, HasFeatures
from sidestep.catalog.trie import NO_CODE, NO_STATE, Trie
from sidestep.padding import NO_ITEM
from sidestep.search.exclusion import Exclusion
from sidestep.search.tree import Candidates
from sidestep.step import HistoryBatch, StepModel, StepOutput, normalised

Normaliser = Literal["legal", "codebook"]
"""Over which codes a policy sums to one: those that lead to an item, or the whole codebook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The items a search may return: the catalog's trie, less what is out of stock or excluded.

    A `CodeSpace`: a state is a node of the trie, an action is a code, a step is a level.

    below: per user, a prefix that every item must have, as a state; the root's allows all.
    """

    trie: Trie
    available: Availability | None = None
    excluded: Exclusion | None = None
    below: Int[Tensor, " users"] | None = None

    ways_meet: ClassVar[bool] = False
    ends_early: ClassVar[bool] = False

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """See `CodeSpace.codebook_sizes`; one codebook per level."""
        return self.trie.codebook_sizes

    @property
    def num_steps(self) -> int:
        """See `CodeSpace.num_steps`; the codes of a semantic ID."""
        return self.trie.num_levels

    @property
    def num_actions(self) -> int:
        """See `CodeSpace.num_actions`; the codes of the largest codebook."""
        return self.trie.max_codes

    @property
    def num_states(self) -> int:
        """See `CodeSpace.num_states`; the nodes of the trie, those out of scope too."""
        return self.trie.depth_starts[-1]

    @property
    def num_features(self) -> int:
        """See `HasFeatures.num_features`; the nodes of the trie."""
        return self.num_states

    @property
    def num_items(self) -> int:
        """See `CodeSpace.num_items`."""
        return self.trie.num_items

    @property
    def device(self) -> torch.device:
        """See `CodeSpace.device`."""
        return self.trie.codes.device

    def to(self, device: torch.device | str) -> "Scope":
        """A copy on `device`."""
        trie = self.trie.to(device)
        available = None if self.available is None else self.available.to(device)
        excluded = None
        if self.excluded is not None:
            excluded = Exclusion.of(self.excluded.items.to(device), trie, available)
        below = None if self.below is None else self.below.to(device)
        return Scope(trie=trie, available=available, excluded=excluded, below=below)

    def root(self, num_users: int) -> Int[Tensor, "users 1"]:
        """See `CodeSpace.root`; node 0."""
        return torch.zeros(num_users, 1, dtype=torch.long, device=self.trie.codes.device)

    def legal(
        self, states: Int[Tensor, "users width"], step: int | None = None
    ) -> Bool[Tensor, "users width codes"]:
        """See `CodeSpace.legal`; the codes that lead to an item in scope."""
        legal = self.trie.legal(states, self.available, depth=step)
        if self.excluded is not None:
            legal = self.excluded.open_codes(legal, states)
        if self.below is not None:
            legal = legal & self._leads_below(states, legal.shape[2])
        return legal

    def children(
        self, states: Int[Tensor, "users width"], step: int | None = None
    ) -> tuple[Int[Tensor, "users width children"], Int[Tensor, "users width children"]]:
        """See `CodeSpace.children`."""
        legal = self.legal(states, step)
        most = int(legal.sum(dim=2).max()) if legal.numel() else 0
        codes = (~legal).byte().argsort(dim=2, stable=True)[..., :most]
        parents = states[..., None].expand(codes.shape)
        children = self.trie.child(parents.flatten(1), codes.flatten(1), depth=step)
        is_child = legal.gather(2, codes)
        children = children.view(codes.shape).masked_fill(~is_child, NO_STATE)
        return codes.masked_fill(~is_child, NO_CODE), children

    def child(
        self,
        states: Int[Tensor, "users width"],
        actions: Int[Tensor, "users width"],
        step: int | None = None,
    ) -> Int[Tensor, "users width"]:
        """See `CodeSpace.child`."""
        return self.trie.child(states, actions, depth=step)

    def is_complete(self, states: Int[Tensor, "users width"]) -> Bool[Tensor, "users width"]:
        """See `CodeSpace.is_complete`; the leaves."""
        return states >= self.trie.first_leaf

    def items(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width bucket"]:
        """See `CodeSpace.items`; by popularity."""
        items = self.trie.items(states, self.available)
        if self.excluded is not None:
            items = items.masked_fill(self.excluded.is_excluded(items), NO_ITEM)
        if self.below is not None:
            first, last = (end[:, None] for end in self.trie.leaf_range(self.below))
            is_out = (states < first) | (states >= last)
            items = items.masked_fill(is_out[..., None], NO_ITEM)
        return items

    def state_of(self, items: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """See `CodeSpace.state_of`; the leaf."""
        return self.trie.leaf_of(items)

    def canonical(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width"]:
        """See `CodeSpace.canonical`; one way leads to every node."""
        return states

    def features(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width 1"]:
        """See `HasFeatures.features`; the node itself."""
        return states[..., None]

    def among(self, is_available: Bool[Tensor, " items"]) -> "Scope":
        """See `CodeSpace.among`; closes the ways to all other items."""
        if self.available is not None:
            was_there = torch.zeros(self.num_items, dtype=torch.bool, device=self.device)
            was_there[self.available.bucket_items.long()] = True
            is_available = is_available.to(self.device) & was_there
        available = self.trie.availability(is_available)
        excluded = self.excluded
        if excluded is not None:
            excluded = Exclusion.of(excluded.items, self.trie, available)
        return replace(self, available=available, excluded=excluded)

    def without(self, items: Int[Tensor, "users items"]) -> "Scope":
        """See `CodeSpace.without`; what is excluded already stays so."""
        if self.excluded is not None:
            items = torch.cat([self.excluded.items, items], dim=1)
        return replace(self, excluded=Exclusion.of(items, self.trie, self.available))

    def _leads_below(
        self, states: Int[Tensor, "users width"], num_codes: int
    ) -> Bool[Tensor, "users width codes"]:
        """The codes that keep to each user's prefix; all below its end, none beside it."""
        assert self.below is not None
        way = self.trie.prefixes(self.below)
        above = torch.cat([torch.zeros_like(way[:, :1]), way[:, :-1]], dim=1)
        is_here = (states[..., None] == above[:, None]) & (way != NO_STATE)[:, None]
        own = (is_here * (1 + self.trie.codes_of(way))[:, None]).sum(dim=2) - 1
        codes = torch.arange(num_codes, device=own.device)
        first, last = (end[:, None] for end in self.trie.leaf_range(self.below))
        start, stop = self.trie.leaf_range(states)
        is_below = (first <= start) & (stop <= last) & ~is_here.any(dim=2)
        return (codes == own[..., None]) | is_below[..., None]


def whole_space(spanned: Trie | OwnSpace) -> CodeSpace:
    """The code space of all items of a catalog.

    Args:
        spanned: see `sidestep.catalog.catalog.Catalog`.
    """
    return Scope(trie=spanned) if isinstance(spanned, Trie) else spanned.space


def described_space(spanned: Trie | OwnSpace) -> HasFeatures:
    """The code space of all items of a catalog, as one that describes its states by features.

    Args:
        spanned: see `sidestep.catalog.catalog.Catalog`.

    Raises:
        ValueError: the space does not describe its states.
    """
    space = whole_space(spanned)
    if not isinstance(space, HasFeatures):
        name = spanned.path if isinstance(spanned, OwnSpace) else type(space).__name__
        raise ValueError(
            "a process reward model needs the trie of semantic IDs or sets of codes, but the codes "
            f"of this catalog span the space {name}; use a catalog that was tokenized with --space "
            "trie or --space sets."
        )
    return space


def trie_scope(space: CodeSpace, *, asker: str) -> Scope:
    """The space as the scope of a trie, for searches and scorers that read prefixes.

    Args:
        space: as a search gets it.
        asker: the name of the search or scorer, for the error.

    Raises:
        TypeError: the space is no scope of a trie.
    """
    if not isinstance(space, Scope):
        raise TypeError(
            f"{asker} needs the trie of a catalog of semantic IDs, got the space "
            f"{type(space).__name__}; take a search that walks any space, such as a beam search."
        )
    return space


@runtime_checkable
class SearchPolicy(Protocol):
    """A way to find leaves; a user's own class may be one."""

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """Finds each user's best complete states; fewer items give fewer, none illegal.

        Args:
            model: says which actions are likely.
            histories: of the users.
            scope: the items that may be returned; the `Scope` of a trie, or another space.
        """
        ...


@runtime_checkable
class SpendsBudget(Protocol):
    """A search that spends a budget of tokens, which may be too small for it."""

    def tokens(self, num_levels: int) -> int:
        """The tokens that are spent on a user of semantic IDs of so many codes.

        Raises:
            ValueError: the budget is too small.
        """
        ...


@runtime_checkable
class RanksByValues(Protocol):
    """A search that ranks the prefixes of a depth by what they are worth."""

    def ranked_by(
        self, values: Float[Tensor, "users width"], log_probs: Float[Tensor, "users width"]
    ) -> Float[Tensor, "users width"]:
        """The scores of prefixes, from their values and log-probabilities."""
        ...


def reads_values(policy: SearchPolicy) -> bool:
    """Whether a search asks what prefixes are worth; one that says nothing of it might.

    Values cost time: a policy that has no use for them sets `reads_values` to False.
    """
    return bool(getattr(policy, "reads_values", True))


def redrawn(policy: SearchPolicy, step: int) -> SearchPolicy:
    """The search with other draws at every step: a dataclass with a seed, moved on by as much."""
    draws: Any = policy
    # A user's own may be no dataclass.
    if "seed" not in getattr(draws, "__dataclass_fields__", ()):
        return policy
    drawn: SearchPolicy = replace(draws, seed=draws.seed + step)
    return drawn


def code_log_probs(
    step: StepOutput, legal: Bool[Tensor, "users width codes"], normaliser: Normaliser
) -> Float[Tensor, "users width codes"]:
    """Log-probabilities of the next code, -inf where it is not legal.

    A policy over sets of codes follows one codebook, see `CodebookChoice`; all other codes get
    -inf, too.
    """
    followed = step.followed(legal)
    if normaliser == "legal":
        return normalised(step.logits, legal=followed)
    if step.choice is None:
        return normalised(step.logits).masked_fill(~legal, -torch.inf)
    whole = step.choice.whole_codebooks(followed)
    return normalised(step.logits, legal=whole).masked_fill(~followed, -torch.inf)


def node_values(step: StepOutput) -> Float[Tensor, "users width"]:
    """Values that a model gives its nodes.

    Raises:
        ValueError: it says nothing of that.
    """
    if step.value is None:
        raise ValueError("the model gives no values; put a value head onto it (`HeadedModel`).")
    return step.value
