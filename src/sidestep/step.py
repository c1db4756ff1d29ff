"""The step: the one joint between models, which know no trie, and searches, which know no network.

A model turns histories into a context (`encode`) and pushes nodes of a search tree through its
backbone (`extend`); both answer with a `StepOutput`. The only softmax over codes is here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.padding import NO_ITEM
from sidestep.precision import Precision

ROOT_SLOT = 0
"""Slot of the root of every search tree: the last position of the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserValues:
    """The values that describe some users, such as a country, as numbers of a model's vocabulary.

    numbers: of the values of each user; -1 is padding.
    weights: of the values; 0 at padding.
    """

    numbers: Int[Tensor, "users slots"]
    weights: Float[Tensor, "users slots"]

    def to(self, device: torch.device | str) -> "UserValues":
        """Copies the values to `device`."""
        return UserValues(
            numbers=self.numbers.to(device, non_blocking=True),
            weights=self.weights.to(device, non_blocking=True),
        )

    def select(self, users: Int[Tensor, " chosen"]) -> "UserValues":
        """The values of some users, in the order in which they are named."""
        return UserValues(numbers=self.numbers[users], weights=self.weights[users])


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryBatch:
    """The past items of some users, oldest first, padded at the end.

    items: item indices (rows of the catalog); `NO_ITEM` from `lengths` on.
    lengths: past items per user; zero is legal and means that nothing is known.
    weights: what the vector of each item is multiplied by; arbitrary from `lengths` on. None: all
        weigh 1, which is what every model can read.
    gaps: from the time of each item to that of the next one, and from the last one to the moment of
        recommendation, in the unit of the data's timestamps; NaN where unknown, arbitrary from
        `lengths` on. None: all are unknown. A model that does not read times ignores them.
    user_values: what describes the users; None: nothing is known of them. A model that does not
        read columns of users ignores them.
    moments: when each user is recommended to, in the unit of the data's timestamps; `NO_MOMENT`
        where unknown. None: all are unknown. No network reads them: a network reads `gaps`.
    """

    items: Int[Tensor, "users items"]
    lengths: Int[Tensor, " users"]
    weights: Float[Tensor, "users items"] | None = None
    gaps: Float[Tensor, "users items"] | None = None
    user_values: UserValues | None = None
    moments: Int[Tensor, " users"] | None = None

    def to(self, device: torch.device | str) -> "HistoryBatch":
        """Copies the batch to `device`."""
        known, moments = self.user_values, self.moments
        moved = self._columns(
            lambda values: values.to(device),
            self.lengths.to(device),
            None if moments is None else moments.to(device),
        )
        return moved if known is None else replace(moved, user_values=known.to(device))

    def select(self, users: Int[Tensor, " chosen"]) -> "HistoryBatch":
        """Some of the users, in the order in which they are named."""
        known, moments = self.user_values, self.moments
        chosen = self._columns(
            lambda values: values[users],
            self.lengths[users],
            None if moments is None else moments[users],
        )
        return chosen if known is None else replace(chosen, user_values=known.select(users))

    def first(self, numbers: Int[Tensor, " users"]) -> "HistoryBatch":
        """Histories cut to so many of their oldest items; no history has fewer."""
        columns = torch.arange(self.items.shape[1], device=self.items.device)
        is_past = columns < numbers[:, None]
        return replace(self, items=self.items.masked_fill(~is_past, NO_ITEM), lengths=numbers)

    def without_last(self) -> "HistoryBatch":
        """Histories without the last column.

        The lengths are those of before: the histories are read for the states at their positions,
        of which the last column has none.
        """
        return self._columns(lambda values: values[:, :-1], self.lengths, self.moments)

    def latest(self, number: int) -> "HistoryBatch":
        """Histories cut to at most so many of their most recent items."""
        if self.items.shape[1] <= number:
            return self
        first = (self.lengths - number).clamp(min=0)[:, None]
        columns = first + torch.arange(number, device=self.items.device)
        return self._columns(
            lambda values: values.gather(1, columns),
            self.lengths.clamp(max=number),
            self.moments,
        )

    def _columns(
        self,
        taken: Callable[[Tensor], Tensor],
        lengths: Int[Tensor, " users"],
        moments: Int[Tensor, " users"] | None,
    ) -> "HistoryBatch":
        """Applies one function to everything that there is per item; the users stay."""
        return HistoryBatch(
            items=taken(self.items),
            lengths=lengths,
            weights=None if self.weights is None else taken(self.weights),
            gaps=None if self.gaps is None else taken(self.gaps),
            user_values=self.user_values,
            moments=moments,
        )

    def weighted(
        self, vectors: Float[Tensor, "users items dim"]
    ) -> Float[Tensor, "users items dim"]:
        """The vectors of the items, each multiplied by the weight of its item."""
        if self.weights is None:
            return vectors
        return vectors * self.weights[..., None].to(vectors.dtype)


def is_named(items: Int[Tensor, "users named"], num_items: int) -> Bool[Tensor, "users items"]:
    """Items of `num_items` that each row names, as a mask; `NO_ITEM` names none."""
    # Padding gets a column of its own, past the last item.
    columns = items.masked_fill(items == NO_ITEM, num_items).long()
    named = torch.zeros(len(items), num_items + 1, dtype=torch.bool, device=items.device)
    return named.scatter_(1, columns, True)[:, :-1]


def is_named_among(
    items: Int[Tensor, "users named"], some: Int[Tensor, " some"]
) -> Bool[Tensor, "users some"]:
    """Items of a few that each row names, as a mask; `NO_ITEM` names none.

    Args:
        items: rows of items.
        some: the items that are asked for, ascending, each once; at least one.
    """
    columns = torch.searchsorted(some, items.contiguous()).clamp(max=len(some) - 1)
    # What is not among them gets a column of its own, past the last one.
    columns = columns.masked_fill(some[columns] != items, len(some))
    named = torch.zeros(len(items), len(some) + 1, dtype=torch.bool, device=items.device)
    return named.scatter_(1, columns, True)[:, :-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodebookChoice:
    """The rule by which a policy over sets of codes chooses the codebook of the next code.

    An item may be a set of codes, one of each codebook, in no order. If every state goes on with
    only one codebook, one way leads to each set. Then the probabilities of all sets sum to one, and
    no search meets a set twice.

    Source: CRSS of REG4Rec (arXiv:2508.15308, eq. 5), which takes the most confident code of all
    open codebooks. The paper does not say how a beam follows the rule; here each state of a beam
    follows it alone. The informative rule is ours.

    sizes: codes per codebook. Actions number the codes of the first codebook, then those of the
        second codebook, and so on.
    prefers: `confident` chooses the codebook whose likeliest legal code has the highest
        probability; the probabilities of the legal codes of a codebook sum to one. `informative`
        chooses the codebook of the largest entropy: its code leaves the fewest items.
    ranks: a number for each node and codebook. The open codebook with the smallest number is
        chosen, and `prefers` is not read. None: `prefers` chooses.
    """

    sizes: tuple[int, ...]
    prefers: Literal["confident", "informative"] = "confident"
    ranks: Float[Tensor, "users width codebooks"] | None = None

    def legal(
        self,
        logits: Float[Tensor, "users width actions"],
        legal: Bool[Tensor, "users width actions"],
    ) -> Bool[Tensor, "users width actions"]:
        """The legal actions of the chosen codebook of each node.

        A codebook with one legal code decides nothing. It is chosen where no other is open.

        Args:
            logits: of the actions.
            legal: the actions of all open codebooks.
        """
        by_codebook = torch.split(legal, list(self.sizes), dim=-1)
        num_legal = torch.stack([own.sum(dim=-1) for own in by_codebook], dim=-1)
        scores = self._scores(logits, by_codebook) if self.ranks is None else -self.ranks
        scores = scores.masked_fill(num_legal < 2, torch.finfo(scores.dtype).min)
        scores = scores.masked_fill(num_legal == 0, -torch.inf)
        chosen = scores.argmax(dim=-1, keepdim=True)
        is_chosen = torch.arange(len(self.sizes), device=legal.device) == chosen
        # Built from views, as a tensor of the sizes would be copied from the host in every call.
        by_action = [
            one.expand(own.shape)
            for one, own in zip(torch.split(is_chosen, 1, dim=-1), by_codebook, strict=True)
        ]
        return legal & torch.cat(by_action, dim=-1)

    def _scores(
        self, logits: Float[Tensor, "users width actions"], legal: Sequence[Tensor]
    ) -> Float[Tensor, "users width codebooks"]:
        """The preference for each codebook, from the probabilities of its legal codes."""
        scores = []
        for own, is_legal in zip(
            torch.split(logits.detach(), list(self.sizes), dim=-1), legal, strict=True
        ):
            logs = normalised(own, legal=is_legal)
            confident = self.prefers == "confident"
            scores.append(logs.amax(dim=-1) if confident else entropies(logs).to(logs.dtype))
        return torch.stack(scores, dim=-1)

    def whole_codebooks(
        self, followed: Bool[Tensor, "users width actions"]
    ) -> Bool[Tensor, "users width actions"]:
        """All actions of the codebooks that have an action in `followed`, legal or not."""
        return torch.cat(
            [
                own.any(dim=-1, keepdim=True).expand(own.shape)
                for own in torch.split(followed, list(self.sizes), dim=-1)
            ],
            dim=-1,
        )

    def at(self, columns: Int[Tensor, "users chosen"]) -> "CodebookChoice":
        """The rule for some of the nodes."""
        if self.ranks is None:
            return self
        return replace(self, ranks=self.ranks.take_along_dim(columns[..., None], dim=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput:
    """Output of a model for the nodes that it was just shown.

    logits: raw scores of the codes one level below each node; -inf past the end of that level's
        codebook, and everywhere below a node at the last level. In float32, see `in_float32`.
    hidden: the backbone's final state at each node.
    value: expected discounted reward of each node's prefix and what follows it; None where the
        model has no value head.
    choice: the rule by which each node chooses its next codebook; None where a node may go on with
        every legal action.
    """

    logits: Float[Tensor, "users width codes"]
    hidden: Float[Tensor, "users width dim"]
    value: Float[Tensor, "users width"] | None = None
    choice: CodebookChoice | None = None

    def at(self, columns: Int[Tensor, "users chosen"]) -> "StepOutput":
        """Output for some of the nodes."""
        return StepOutput(
            logits=self.logits.take_along_dim(columns[..., None], dim=1),
            hidden=self.hidden.take_along_dim(columns[..., None], dim=1),
            value=None if self.value is None else self.value.gather(1, columns),
            choice=None if self.choice is None else self.choice.at(columns),
        )

    def joined(self, later: "StepOutput") -> "StepOutput":
        """The output of these nodes and of later nodes of one model, without values."""
        choice = self.choice
        if choice is not None and choice.ranks is not None:
            assert later.choice is not None, "the nodes are of another model"
            assert later.choice.ranks is not None, "the nodes are of another model"
            choice = replace(choice, ranks=torch.cat([choice.ranks, later.choice.ranks], dim=1))
        return StepOutput(
            logits=torch.cat([self.logits, later.logits.to(self.logits.dtype)], dim=1),
            hidden=torch.cat([self.hidden, later.hidden], dim=1),
            choice=choice,
        )

    def followed(
        self, legal: Bool[Tensor, "users width codes"]
    ) -> Bool[Tensor, "users width codes"]:
        """The legal actions that the policy may take: those of the chosen codebook, or all."""
        return legal if self.choice is None else self.choice.legal(self.logits, legal)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryStates:
    """Final states of a backbone in histories: before any past item and after each.

    states: oldest first; arbitrary from `counts` on.
    counts: past items and one.
    """

    states: Float[Tensor, "users states dim"]
    counts: Int[Tensor, " users"]


@runtime_checkable
class Context(Protocol):
    """An encoded history and the nodes extended so far; opaque to a search.

    Extending an older context again is allowed under `torch.no_grad()`: it reuses the slots,
    so contexts that came after it become invalid.
    """

    @property
    def history_states(self) -> HistoryStates | None:
        """States that prefix scorers may read; None if the model has no state per item."""
        ...


C = TypeVar("C", bound=Context)


@runtime_checkable
class StepModel(Protocol[C]):
    """A model as a search needs it."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level; their number is the number of levels."""
        ...

    @property
    def num_actions(self) -> int:
        """Width of the logits: the codes of the largest codebook, where an action is a code."""
        ...

    def encode(self, histories: HistoryBatch, *, capacity: int) -> tuple[StepOutput, C]:
        """Encodes the histories and evaluates the root, which costs one token.

        Args:
            histories: the users to encode.
            capacity: how many nodes are expected to be extended, per user: room is made for so many
                at once, and for more when they come, which copies what is there.

        Returns:
            The output at the root (width 1), and a context without a node below it.
        """
        ...

    def extend(
        self,
        context: C,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        *,
        is_node: Bool[Tensor, "users width"],
        visible: Int[Tensor, "users width"] | None = None,
        depth: int | None = None,
    ) -> tuple[StepOutput, C]:
        """Pushes nodes through the backbone; each costs a token and takes the next slot.

        Args:
            context: what `encode` or the last `extend` returned.
            codes: the code each node adds to its parent's prefix.
            parents: the slot of each node's parent, `ROOT_SLOT` for the root. Parents may lie in
                the same call: column j of a call takes the slot `1 + nodes before the call + j`.
            depths: codes decided at each node, from 1.
            is_node: False where a column is padding; it takes a slot and costs nothing.
            visible: how many tokens of its user's prompt each node may see; None means all.
            depth: the number in `depths`, if all columns have one depth; else None. With the
                number, the model need not look at `depths`, and so need not wait for the device.
                The parents must then lie in earlier calls; the model does not check them.

        Returns:
            The output at each node (arbitrary at padding), and the context that holds them.
        """
        ...


@runtime_checkable
class CountsFlops(Protocol):
    """A model that tells its FLOPs; the FLOPs of any other model are unknown."""

    def flops_by_depth(self, histories: HistoryBatch) -> Int[Tensor, "users depths"] | None:
        """Floating-point operations of matrix products, two per multiplication and addition.

        Column 0 is the prompt and the root together; column d from 1 to L is one node of d codes
        that sees the whole prompt. Heads are included; what hides behind a mask does not count.
        None where they are not known.
        """
        ...


def flops_by_depth(
    model: StepModel[Any], histories: HistoryBatch
) -> Int[Tensor, "users depths"] | None:
    """See `CountsFlops.flops_by_depth`; None for a model that does not tell."""
    return model.flops_by_depth(histories) if isinstance(model, CountsFlops) else None


@runtime_checkable
class ReadsPrefixes(Protocol):
    """A model that tells whether its network reads the nodes of a search.

    reads_prefixes: False where the network reads the history alone, and every node has the state of
        its root. Then nodes below the root cost no token.
    """

    @property
    def reads_prefixes(self) -> bool:
        """See the class."""
        ...


def reads_prefixes(model: object) -> bool:
    """See `ReadsPrefixes`; True for a model that does not tell."""
    return model.reads_prefixes if isinstance(model, ReadsPrefixes) else True


def in_float32(device: torch.device) -> torch.autocast:
    """Switches autocast off: inside, what searches compare is computed in float32.

    Autocast rounds products of matrices to bf16, which ties prefixes that differ and changes which
    one is better. A backbone may round its own layers so. From its final states on, whatever is
    compared keeps its digits: logits, log-probabilities, values, scores of prefixes, rewards. What
    is left of the rounding is that of the states, one and the same for all that read them.
    """
    return torch.autocast(device.type, enabled=False)


def in_precision(device: torch.device, precision: Precision) -> torch.autocast:
    """Inside, the layers of networks compute in this precision, on this device.

    With bf16, autocast rounds products of matrices. What searches compare keeps its digits, see
    `in_float32`.
    """
    return torch.autocast(device.type, torch.bfloat16, precision == "bf16")


def widened(numbers: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Numbers in float32 or a wider type, as the weights of a network may be bf16."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def log_probs(
    step: StepOutput,
    legal: Bool[Tensor, "users width codes"] | None,
    temperature: float = 1.0,
) -> Float[Tensor, "users width codes"]:
    """Log-probabilities of the next code; with `normalised` the only softmax over codes here.

    Args:
        step: the nodes to read.
        legal: codes that may follow; the rest get -inf, and the legal ones sum to one. None
            normalises over the whole codebook instead, or over the codebook that is chosen.
        temperature: divides the logits; above 1 flattens.

    Returns:
        Logs; -inf at every code where none is legal, never NaN.
    """
    if legal is None and step.choice is not None:
        legal = ~torch.isneginf(step.logits)
    if legal is not None:
        legal = step.followed(legal)
    return normalised(step.logits, temperature, legal=legal)


def normalised(
    logits: Float[Tensor, "*batch codes"],
    temperature: float = 1.0,
    *,
    legal: Bool[Tensor, "*batch codes"] | None = None,
) -> Float[Tensor, "*batch codes"]:
    """Logs that sum to one over the last axis, in float32; rows of -inf stay so, never NaN.

    Args:
        logits: of the codes.
        temperature: see `log_probs`.
        legal: codes that may follow, see `log_probs`; None means all of a logit above -inf.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}.")
    logits = logits.float()
    if temperature != 1:  # a copy of all logits
        logits = logits / temperature
    counts = ~torch.isneginf(logits)
    if legal is not None:
        counts = counts & legal
    # A row without a finite logit would give NaN, also in the gradient: -inf is safe in argmax,
    # not in softmax. (`where` takes half the time of `masked_fill` on a CPU.)
    finite = torch.where(counts, logits, torch.finfo(logits.dtype).min)
    return torch.where(counts, finite.log_softmax(dim=-1), -torch.inf)


def entropies(logs: Float[Tensor, "*batch codes"]) -> Float[Tensor, "*batch"]:
    """Entropies of the next code, in nats and float64; 0 where none may follow.

    Args:
        logs: what `normalised` returns.
    """
    finite = logs.clamp(min=torch.finfo(logs.dtype).min)  # 0 · -inf is NaN
    # Softmax gives what `exp` would, which is many times slower far below 0.
    sums = finite.softmax(dim=-1).mul_(finite).sum(dim=-1, dtype=torch.float64)
    return torch.where(logs.amax(dim=-1) == -torch.inf, 0.0, -sums)


def jensen_shannon(
    ours: Float[Tensor, "*batch outcomes"], theirs: Float[Tensor, "*batch outcomes"]
) -> Float[Tensor, "*batch"]:
    """Jensen-Shannon divergence of two distributions, in nats: from 0 to log 2.

        JS(p, q) = (KL(p | m) + KL(q | m)) / 2,  m = (p + q) / 2

    Args:
        ours: log-probabilities, finite or -inf.
        theirs: of the same outcomes.
    """
    floor = torch.finfo(ours.dtype).min  # 0 · -inf is NaN
    middle = torch.logaddexp(ours.clamp(min=floor), theirs.clamp(min=floor)) - math.log(2)
    total = torch.zeros_like(ours[..., 0])
    for logs in (ours, theirs):
        gap = (logs.clamp(min=floor) - middle).clamp(min=floor)
        total = total + (logs.exp() * gap).sum(dim=-1)
    return total / 2
