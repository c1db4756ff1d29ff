"""The networks over sets of codes: what every one can do, whatever its backbone."""

import copy
from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.model.config import CodebookOrder, CodebookOrderConfig
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.set_items import SetItems, SlotSets
from sidestep.model.sibling_items import SlotPrefixes
from sidestep.step import CodebookChoice, HistoryBatch, StepOutput, in_float32, widened


class CodeSetModel(SemanticIdModel, ABC):
    """A network for items that are sets of codes, one code of each codebook, in no order.

    An action is a flat code id, which numbers the codes of all codebooks. A node has the vector of
    its code. A node has no position inside the item. The logits of a node are those of all codes.
    The space of the catalog says which codes are legal, and `CodebookChoice` says which codebook is
    next.

    The bases of a network are its backbone, which gives the states, and then this class, which
    says what the states decide. The constructor of the network calls `_choose_codebooks`.

    order: the place of each codebook in a fixed or random order; other orders do not read it.
    set_items: the items of sets, for a network whose scores of items choose codes; None where a row
        per code chooses.
    """

    config: CodebookOrderConfig
    order: Tensor
    set_items: SetItems | None

    def __init__(
        self, semantic_ids: Int[Tensor, "items codebooks"], codebook_sizes: tuple[int, ...]
    ) -> None:
        super().__init__(semantic_ids, codebook_sizes)
        self.set_items = None

    @property
    def num_actions(self) -> int:
        """See `StepModel.num_actions`; the codes of all codebooks."""
        return self.num_codes

    def node_codes(
        self, codes: Int[Tensor, "users width"], depths: Int[Tensor, "users width"]
    ) -> Int[Tensor, "users width"]:
        """See `SemanticIdModel.node_codes`; an action is a flat code id already."""
        return codes.clamp(0, self.num_codes - 1)

    def node_logits(
        self,
        hidden: Float[Tensor, "users width dim"],
        depths: Int[Tensor, "users width"],
        prefixes: SlotPrefixes | SlotSets | None = None,
        *,
        depth: int | None = None,
    ) -> Float[Tensor, "users width actions"]:
        """Logits of the codes of all codebooks; -inf where all codes are decided."""
        states = widened(hidden)
        with in_float32(hidden.device):
            if isinstance(prefixes, SlotSets) and depth != 0:
                logits = self._by_items(states, prefixes)
            else:
                logits = self.code_logits(states)
        return logits.masked_fill((depths >= self.num_levels)[..., None], -torch.inf)

    def step_at(self, hidden: Float[Tensor, "users width dim"]) -> StepOutput:
        """Output at some states of sets that are not complete, such as those of empty sets."""
        with in_float32(hidden.device):
            logits = self.code_logits(widened(hidden))
        return self._with_choice(StepOutput(logits=logits, hidden=hidden))

    def code_logits(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch actions"]:
        """Logits of the codes of all codebooks at some states."""
        return self.row_logits(states, 0, self.num_codes)

    def level_logits(
        self,
        states: Float[Tensor, "targets levels dim"],
        items: Int[Tensor, " targets"],
        histories: HistoryBatch,
    ) -> Float[Tensor, "targets levels actions"]:
        """See `SemanticIdModel.level_logits`; the codes of all codebooks.

        The codes are decided in the order of the codebooks.
        """
        if self.set_items is None:
            return self.code_logits(states)
        steps = torch.arange(self.num_levels, device=states.device)
        is_decided = steps[None] < steps[:, None]  # [levels, steps]
        decided = self.flat_codes(items)[:, None].masked_fill(~is_decided, -1)
        sets = SlotSets(decided=decided, held=histories.items, roots=states[:, :1])
        return self._by_items(states, sets)

    def with_order(self, order: CodebookOrder) -> "CodeSetModel":
        """A copy of the network that chooses codebooks by another rule.

        Args:
            order: see `CodebookOrderConfig.order`.
        """
        other = copy.deepcopy(self)  # with all that was read of the items, such as their columns
        other.config = self.config.model_copy(update={"order": order})
        other._choose_codebooks()
        other.order = other.order.to(self.order.device)
        return other

    def items_choose(self, decided: Int[Tensor, "states steps"]) -> Bool[Tensor, " states"]:
        """See `SemanticIdModel.items_choose`; the order of the actions does not matter."""
        if self.set_items is None:
            return torch.zeros_like(decided[:, 0], dtype=torch.bool)
        return self.set_items.are_few(decided)

    @property
    def rows_choose_first_alone(self) -> bool:
        """See `SemanticIdModel.rows_choose_first_alone`."""
        return self.set_items is not None and self.set_items.all_rare

    def set_states(
        self, histories: HistoryBatch, orders: Int[Tensor, "users items steps"]
    ) -> Float[Tensor, "users items steps dim"]:
        """Teacher-forced states at every position of every history, in given orders.

        `states[u, p, s]` is the state after the items before p and the codes of item p in the
        codebooks `orders[u, p, :s]`. Arbitrary at padding.

        Args:
            histories: whose items are predicted.
            orders: for each item some codebooks, each once. The code in the last of these codebooks
                is not read.
        """
        codes = self.flat_codes(histories.items).gather(2, orders[..., :-1])
        return self._states_along(histories, codes)

    def root_states(self, histories: HistoryBatch) -> Float[Tensor, "users items dim"]:
        """See `SemanticIdModel.root_states`; no code is read."""
        users, num_items = histories.items.shape
        first = histories.items.new_zeros(users, num_items, 1)
        return self.set_states(histories, first)[:, :, 0]

    def with_semantic_ids(self, semantic_ids: Int[Tensor, "items codebooks"]) -> "CodeSetModel":
        """See `SemanticIdModel.with_semantic_ids`."""
        other = super().with_semantic_ids(semantic_ids)
        assert isinstance(other, CodeSetModel)
        if self.set_items is not None:
            lists = other._lists_of_items(most=self.set_items.most)
            other._modules = {**self._modules, "set_items": lists}
        return other

    def head_flops(self, dim: int) -> Int[Tensor, " depths"]:
        """See `SemanticIdModel.head_flops`; a product with the codes of all codebooks.

        Below the root, where items choose at every set, there is a product with at most as many
        items in its place. Where items choose at some sets, the larger of both is told.
        """
        num_rows = self.num_codes * self._rows_per_code
        by_depth = torch.full_like(self.num_next_codes, 2 * dim * num_rows)
        if self.set_items is not None:
            least = 0 if self.set_items.all_rare else num_rows
            by_depth[1:] = 2 * dim * max(least, self.set_items.widest)
        return by_depth

    @abstractmethod
    def _states_along(
        self, histories: HistoryBatch, codes: Int[Tensor, "users items codes"]
    ) -> Float[Tensor, "users items states dim"]:
        """Teacher-forced states along a path of codes after every position of every history.

        Args:
            histories: whose items are predicted.
            codes: flat code ids of the path of each item, in the order in which the codes are
                decided.

        Returns:
            The state before the first code, then the state after each code.
        """

    def _choose_codebooks(self) -> None:
        """Takes the order of the codebooks from the configuration."""
        places = torch.arange(self.num_levels, dtype=torch.float32)
        if self.config.order == "random":
            generator = torch.Generator().manual_seed(self.config.order_seed)
            places = torch.randperm(self.num_levels, generator=generator).float()
        self.register_buffer("order", places, persistent=False)

    def _lists_of_items(self, *, most: int) -> SetItems:
        """The lists of items that choose codes, see `SetItems.most`."""
        return SetItems(self.semantic_ids + self.level_starts, self.num_codes, most=most)

    def _by_items(
        self, states: Float[Tensor, "users width dim"], prefixes: SlotSets
    ) -> Float[Tensor, "users width actions"]:
        """The logits of the newest nodes: by items where few items are left, else by rows.

        Rows are multiplied only where they choose.
        """
        assert self.set_items is not None, "the context is of another network"
        users, width, _ = states.shape
        items, rows, is_few = self.set_items.few(prefixes.decided[:, -width:].flatten(0, 1))
        if prefixes.scores is not None:
            scores = prefixes.scores[rows // width, items].to(states.dtype)
        else:
            queries = self.item_queries(states, prefixes.roots).flatten(0, 1)
            held = prefixes.held[rows // width]
            scores = self.scores_of_lists(queries[rows], items[:, None], held)[:, 0]
        logits = self.set_items.code_logits(scores, rows, items, users * width)
        (others,) = (~is_few).nonzero(as_tuple=True)
        logits = logits.index_copy(0, others, self.code_logits(states.flatten(0, 1)[others]))
        return logits.view(users, width, -1)

    def _step(
        self,
        hidden: Float[Tensor, "users width dim"],
        depths: Int[Tensor, "users width"],
        prefixes: SlotPrefixes | SlotSets | None = None,
        *,
        depth: int | None = None,
    ) -> StepOutput:
        """See `SemanticIdModel._step`; with the choice of the codebook."""
        return self._with_choice(super()._step(hidden, depths, prefixes, depth=depth))

    def _with_choice(self, step: StepOutput) -> StepOutput:
        order, users, width = self.config.order, *step.hidden.shape[:2]
        if order in ("confident", "informative"):
            choice = CodebookChoice(sizes=self.codebook_sizes, prefers=order)
        else:
            ranks = self.order.expand(users, width, -1)
            choice = CodebookChoice(sizes=self.codebook_sizes, ranks=ranks)
        return replace(step, choice=choice)

    def _offsets(self, depths: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """All codes of an item stand in one position, since a set has no order."""
        return depths.clamp(max=1)
