"""The networks over semantic IDs: what every one can do, whatever its reader and backbone."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.model.category_head import CategoryHead
from sidestep.model.columns import ItemColumns, UserColumns
from sidestep.model.config import CodebookOrder
from sidestep.model.context import TreeContext
from sidestep.model.flat_codes import level_starts
from sidestep.model.heads import ItemScorer, ItemTable
from sidestep.model.reading import READERS, HistoryReader
from sidestep.model.set_items import SlotSets
from sidestep.model.sibling_items import SiblingItems, SlotPrefixes
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch, StepOutput, in_float32, widened

ScoresOfLists = Callable[[Tensor], Tensor]
"""Gives the scores [states, items] of a list of items at each state; `NO_ITEM` is padding."""


ScoresAtNodes = Callable[[Tensor | slice], ScoresOfLists]
"""Gives `ScoresOfLists` at some of the newest nodes, named by their numbers."""


class SemanticIdModel(nn.Module, ABC):
    """A network that writes the next item code by code; a `StepModel`, and trainable.

    Flat code ids count through the levels, see `level_starts`.

    reader: how histories become prompts.
    siblings: the items below prefixes, for a network whose scores of items choose the last code,
        and earlier codes where few items are left; None where a row per code chooses every code.
    category_head: tells the category of the next item at every code; None for a network without.
    semantic_ids: of the items that histories may name. The catalog owns them: they are held as they
        were given, without a copy, and are no weights.
    """

    reader: HistoryReader = READERS["codes"]
    siblings: SiblingItems | None
    category_head: CategoryHead | None
    semantic_ids: Tensor
    level_starts: Tensor
    num_next_codes: Tensor

    def __init__(
        self, semantic_ids: Int[Tensor, "items levels"], codebook_sizes: tuple[int, ...]
    ) -> None:
        super().__init__()
        starts = level_starts(semantic_ids, codebook_sizes)
        self.codebook_sizes = tuple(codebook_sizes)
        self.siblings = None
        self.category_head = None
        self.register_buffer("semantic_ids", semantic_ids, persistent=False)
        self.register_buffer("level_starts", starts, persistent=False)
        # By depth: the codes that may follow before any is known to be illegal.
        num_next = torch.tensor([*codebook_sizes, 0], device=semantic_ids.device)
        self.register_buffer("num_next_codes", num_next, persistent=False)

    def with_semantic_ids(self, semantic_ids: Int[Tensor, "items levels"]) -> "SemanticIdModel":
        """The network for histories of another catalog; shares all weights with this one.

        Only for a network that keeps nothing else per item.

        Args:
            semantic_ids: of the same codebooks, on the device of the network.
        """
        other = copy.copy(self)
        # A copy of a module shares the mapping of its buffers, too.
        other._buffers = {**self._buffers, "semantic_ids": semantic_ids}
        if self.siblings is not None:
            siblings = SiblingItems(
                semantic_ids, self.codebook_sizes, few_items=self.siblings.few_items
            )
            other._modules = {**self._modules, "siblings": siblings}
        return other

    def with_last_code_by_items(
        self, few_items: int | None = None, *, prefix_queries: bool | None = None
    ) -> "SemanticIdModel":
        """The network with the same weights, whose item head chooses the last code.

        Args:
            few_items: see `TransformerConfig`; None leaves it as it is.
            prefix_queries: see `TransformerConfig`; None leaves it as it is.

        Raises:
            ValueError: the network has no item head, or cannot choose codes by items.
        """
        raise ValueError(
            f"items cannot choose the codes of a {type(self).__name__}; train a run of kind "
            "transformer, or code-sets for a catalog of sets, with model.item_head: true."
        )

    def with_order(self, order: CodebookOrder) -> "SemanticIdModel":
        """The network with the same weights, which chooses codebooks by another rule.

        Raises:
            ValueError: the codes of the network have an order of their own.
        """
        raise ValueError(
            f"order: the codes of a {type(self).__name__} have an order of their own, which "
            f"{order!r} cannot replace; leave order out, or name a run of kind code-sets."
        )

    def items_choose(self, decided: Int[Tensor, "states steps"]) -> Bool[Tensor, " states"]:
        """The states at which items choose the next code, and not rows of codes, as a mask.

        Args:
            decided: the actions on the way to each state, in their order; padded with -1 at the
                end.
        """
        if self.siblings is None:
            return torch.zeros_like(decided[:, 0], dtype=torch.bool)
        return self.siblings.choose(decided)

    @property
    def rows_choose_first_alone(self) -> bool:
        """Whether items choose at every state but the root."""
        return self.siblings is not None and all(self.siblings.choose_all[1:])

    @property
    def reads_prefixes(self) -> bool:
        """Whether a prefix has a state of its own, see `ReadsPrefixes`.

        Where rows choose the first code alone, and items need no state of a prefix, every prefix
        has the state of its root.
        """
        return True

    @property
    def item_scorer(self) -> ItemScorer | None:
        """The network as one that scores items, if it has an item head; else None."""
        return None

    def freeze_heads(self) -> None:
        """Freezes the weights that nothing but the item head or the category head reads.

        For a training whose loss asks neither head. A weight without a gradient would stop a
        training on several devices.
        """
        if self.item_scorer is not None:
            for weights in self.item_scorer.item_parameters():
                weights.requires_grad_(False)
        if self.category_head is not None:
            self.category_head.requires_grad_(False)

    @property
    def item_columns(self) -> ItemColumns | None:
        """The vectors of the values that items have in columns; None where no column is read."""
        return None

    @property
    def user_columns(self) -> UserColumns | None:
        """The vectors of what describes users; None where no column of users is read."""
        return None

    @property
    def item_tables(self) -> tuple[ItemTable, ...]:
        """The tables with a row per item."""
        return ()

    @property
    def reads_times(self) -> bool:
        """Whether the network reads `HistoryBatch.gaps`."""
        return False

    @property
    def gives_history_states(self) -> bool:
        """Whether its contexts hold a state per past item, see `Context.history_states`."""
        return False

    @property
    def num_levels(self) -> int:
        """Codes per semantic ID."""
        return len(self.codebook_sizes)

    @property
    def num_actions(self) -> int:
        """See `StepModel.num_actions`; step l decides the code of level l."""
        return max(self.codebook_sizes)

    @property
    def num_codes(self) -> int:
        """Codes of all levels together."""
        return sum(self.codebook_sizes)

    @property
    def num_items(self) -> int:
        """Items that histories may name."""
        return self.semantic_ids.shape[0]

    @abstractmethod
    def encode(self, histories: HistoryBatch, *, capacity: int) -> tuple[StepOutput, TreeContext]:
        """See `StepModel.encode`."""

    @abstractmethod
    def extend(
        self,
        context: TreeContext,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        *,
        is_node: Bool[Tensor, "users width"],
        visible: Int[Tensor, "users width"] | None = None,
        depth: int | None = None,
    ) -> tuple[StepOutput, TreeContext]:
        """See `StepModel.extend`."""

    @abstractmethod
    def next_item_states(self, histories: HistoryBatch) -> Float[Tensor, "users items levels dim"]:
        """Teacher-forced states at every position of every history, in one pass.

        `states[u, p, l]` is the state from which code l of item p is predicted, given the items
        before p and the first l codes of item p: what `encode` on the items before p and `extend`
        along the path of item p give as `hidden`. Arbitrary at padding.
        """

    def root_states(self, histories: HistoryBatch) -> Float[Tensor, "users items dim"]:
        """The state before the first code of each item of each history; arbitrary at padding.

        It is the first of `next_item_states`.
        """
        return self.next_item_states(histories)[:, :, 0]

    def code_weights(
        self, items: Int[Tensor, " targets"]
    ) -> Float[Tensor, "targets levels"] | None:
        """Factors on the loss of the codes of targets; None if all weigh 1.

        A code that follows from the codes before it, whatever the item, weighs 0.
        """
        del items
        return None

    @property
    @abstractmethod
    def head_weight(self) -> Float[Tensor, "codes dim"]:
        """Matrix whose product with states gives logits: one row per flat code id.

        A network with `siblings` needs no rows for the last level.
        """

    @property
    def more_rows(self) -> Float[Tensor, "codes more dim"] | None:
        """The rows of each code beside that of `head_weight`; None where each code has one row."""
        return None

    def row_logits(
        self, states: Float[Tensor, "*batch dim"], start: int, stop: int
    ) -> Float[Tensor, "*batch codes"]:
        """Logits of the flat code ids from `start` to `stop`, by rows.

        With several rows w of a code, the logit is that of any of them:

            logit(c) = log Σ_r exp(state · w_cr)

        A code is as likely as all of its items together, so its true logit is such a sum over
        items. Source: a mixture of softmaxes (arXiv:1711.03953), with equal weights.
        """
        logits = states @ self.head_weight[start:stop].to(states.dtype).T
        if self.more_rows is None:
            return logits
        more = self.more_rows[start:stop].to(states.dtype)
        others = (states @ more.flatten(0, 1).T).view(*logits.shape, more.shape[1])
        return torch.logaddexp(logits, others.logsumexp(dim=-1))

    def with_rows_per_code(self, number: int) -> "SemanticIdModel":
        """The network with the same weights, and more rows for each code.

        Raises:
            ValueError: the network has more rows already, or cannot have several.
        """
        raise ValueError(
            f"rows_per_code: a {type(self).__name__} has one row per code; leave rows_per_code "
            "out, or name a run of kind transformer or code-sets."
        )

    @property
    def code_rows(self) -> tuple[nn.Parameter, ...]:
        """The rows of codes, if the network uses them only to score codes; otherwise empty.

        Such rows can learn alone: no state changes with them.
        """
        return ()

    def level_logits(
        self,
        states: Float[Tensor, "targets levels dim"],
        items: Int[Tensor, " targets"],
        histories: HistoryBatch,
    ) -> Float[Tensor, "targets levels widest"]:
        """Logits of the codes of targets; -inf past the end of a level's codebook.

        Args:
            states: of each target by level, see `next_item_states`.
            items: the targets, which say what the prefixes of the states are.
            histories: before each target.
        """
        numbers = [None] * self.num_levels if self.siblings is None else self._numbers_of(items)

        def scores_at(level: int) -> ScoresOfLists:
            return lambda items: self.scores_of_lists(
                self.item_queries(states[:, level], states[:, 0]), items, histories.items
            )

        logits = [
            self._code_logits(level, states[:, level], numbers[level], scores_at(level))
            for level in range(self.num_levels)
        ]
        return torch.stack(logits, dim=1)

    def node_logits(
        self,
        hidden: Float[Tensor, "users width dim"],
        depths: Int[Tensor, "users width"],
        prefixes: SlotPrefixes | SlotSets | None = None,
        *,
        depth: int | None = None,
    ) -> Float[Tensor, "users width widest"]:
        """Logits of each node's next level; a node at the last level has none: all -inf.

        In float32, also under autocast, see `in_float32`.

        Args:
            hidden: states of the newest nodes.
            depths: codes decided at each.
            prefixes: of all slots so far, for a network that chooses the last code by items.
            depth: the number in `depths`, if it is the same for all; else None.
        """
        states = widened(hidden).flatten(0, 1)
        users, width, _ = hidden.shape
        numbers = None
        scores_at: ScoresAtNodes | None = None
        if isinstance(prefixes, SlotPrefixes):
            numbers = prefixes.numbers[:, -width:].flatten()
            scores_at = self._scores_at(hidden, prefixes)
        logits = states.new_full((len(states), max(self.codebook_sizes)), -torch.inf)
        with in_float32(hidden.device):
            if depth is None:
                for level in range(self.num_levels):
                    (here,) = (depths.flatten() == level).nonzero(as_tuple=True)
                    if len(here) > 0:
                        own = None if numbers is None else numbers[here]
                        scores_of = None if scores_at is None else scores_at(here)
                        logits[here] = self._code_logits(level, states[here], own, scores_of)
            elif depth < self.num_levels:
                scores_of = None if scores_at is None else scores_at(slice(None))
                logits = self._code_logits(depth, states, numbers, scores_of)
        return logits.view(users, width, -1)

    def _scores_at(
        self, hidden: Float[Tensor, "users width dim"], prefixes: SlotPrefixes
    ) -> ScoresAtNodes:
        """Gives the scores of lists of items at some of the newest nodes, or at all.

        Args:
            hidden: states of the newest nodes.
            prefixes: of all slots so far.
        """
        users, width, _ = hidden.shape
        user_of = torch.arange(users, device=hidden.device).repeat_interleave(width)
        whole = prefixes.scores
        if whole is not None:
            return lambda here: lambda items: whole[user_of[here][:, None], items.clamp(min=0)]
        queries = self.item_queries(widened(hidden), prefixes.roots).flatten(0, 1)
        return lambda here: (
            lambda items: self.scores_of_lists(queries[here], items, prefixes.held[user_of[here]])
        )

    @property
    def _rows_per_code(self) -> int:
        return 1 if self.more_rows is None else 1 + self.more_rows.shape[1]

    def _step(
        self,
        hidden: Float[Tensor, "users width dim"],
        depths: Int[Tensor, "users width"],
        prefixes: SlotPrefixes | SlotSets | None = None,
        *,
        depth: int | None = None,
    ) -> StepOutput:
        """Output at the newest nodes; the arguments are those of `node_logits`."""
        logits = self.node_logits(hidden, depths, prefixes, depth=depth)
        return StepOutput(logits=logits, hidden=hidden)

    def _offsets(self, depths: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """The distance in positions from the root to a state of each depth."""
        return depths

    def _code_logits(
        self,
        level: int,
        states: Float[Tensor, "states dim"],
        numbers: Int[Tensor, " states"] | None,
        scores_of: ScoresOfLists | None,
    ) -> Float[Tensor, "states widest"]:
        """Logits of the codes of one level; -inf past the end of its codebook.

        Args:
            level: from 0.
            states: of prefixes of `level` codes.
            numbers: of the prefixes, see `SiblingItems.next_number`; None where rows choose.
            scores_of: gives the scores of a list of items at each state; None where rows choose.
        """
        siblings = self.siblings
        logits = None
        if siblings is None or not siblings.choose_all[level]:
            start = sum(self.codebook_sizes[:level])
            logits = self.row_logits(states, start, start + self.codebook_sizes[level])
        if siblings is not None and siblings.widest[level]:
            assert numbers is not None, "no node has a prefix"
            assert scores_of is not None, "nothing scores items"
            items, codes = siblings.below(numbers, level)
            scores = scores_of(items).to(states.dtype)
            by_items = siblings.code_logits(scores, items, codes, level)
            is_few = (items != NO_ITEM).any(dim=1, keepdim=True)
            logits = by_items if logits is None else torch.where(is_few, by_items, logits)
        assert logits is not None, "rows or items choose every code"
        missing = max(self.codebook_sizes) - logits.shape[1]
        return functional.pad(logits, (0, missing), value=-torch.inf)

    def scores_of_lists(
        self,
        states: Float[Tensor, "states dim"],
        items: Int[Tensor, "states items"],
        held: Int[Tensor, "states held"],
    ) -> Float[Tensor, "states items"]:
        """Scores of a list of items at each state, for a network with `siblings`.

        Args:
            states: of prefixes.
            items: one list per state; any score is given at `NO_ITEM`.
            held: the items of each state's history; `NO_ITEM` is padding.
        """
        raise NotImplementedError(f"{type(self).__name__} scores no items below a prefix.")

    def item_queries(
        self, states: Float[Tensor, "*states dim"], roots: Float[Tensor, "*roots dim"]
    ) -> Float[Tensor, "*states dim"]:
        """The vectors by which items are scored at prefixes, for a network in which items choose.

        A query is a · root + b · state, with learned a and b. With a = 1 and b = 0, the items of a
        prefix are as likely among each other as the item head says. Without `prefix_queries`, a and
        b are that.

        Args:
            states: of the prefixes.
            roots: the state after the history of each prefix, in a shape that broadcasts to that of
                `states`.
        """
        raise NotImplementedError(f"{type(self).__name__} scores no items below a prefix.")

    def _numbers_of(self, items: Int[Tensor, " targets"]) -> list[Int[Tensor, " targets"] | None]:
        """The numbers of the prefixes of items, from the empty one to all codes but the last."""
        assert self.siblings is not None
        codes = self.item_codes(items)
        numbers = [torch.zeros_like(items)]
        for level in range(self.num_levels - 1):
            numbers.append(self.siblings.next_number(numbers[-1], codes[:, level]))
        return [*numbers]

    def flops_by_depth(self, histories: HistoryBatch) -> Int[Tensor, "users depths"] | None:
        """See `CountsFlops.flops_by_depth`; None where a subclass does not tell."""
        return None

    def head_flops(self, dim: int) -> Int[Tensor, " depths"]:
        """FLOPs of the logits of a node of each depth from 0 to L.

        They are a product of the state, of width `dim`, with the rows of each code that may follow.
        Where items choose, a product with as many items as any such prefix has comes beside it, or
        in its place where items choose below all prefixes.
        """
        numbers = self.num_next_codes * self._rows_per_code
        if self.siblings is not None:
            for level, widest in enumerate(self.siblings.widest):
                kept = 0 if self.siblings.choose_all[level] else numbers[level]
                numbers[level] = kept + widest
        return 2 * dim * numbers

    def item_codes(self, items: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch levels"]:
        """Codes of items; those of item 0 where there is `NO_ITEM`."""
        return self.semantic_ids[items.clamp(min=0)].long()

    def flat_codes(self, items: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch levels"]:
        """Flat code ids of items; those of item 0 where there is `NO_ITEM`."""
        return self.item_codes(items) + self.level_starts

    def node_codes(
        self, codes: Int[Tensor, "users width"], depths: Int[Tensor, "users width"]
    ) -> Int[Tensor, "users width"]:
        """Flat code ids of nodes; of some code at padding, where anything may stand."""
        levels = (depths - 1).clamp(0, self.num_levels - 1)
        return (self.level_starts[levels] + codes).clamp(0, self.num_codes - 1)
