"""Heads: the capabilities of a network beside writing codes, which code asks for.

Code asks a network for a capability and never for its class, so a network of a user's own can have
any of them: `SemanticIdModel.item_scorer` for scores of items, `HasItemVectors` for vectors of
items, `HasLlamaForm` for the same network in the words of Hugging Face. `HeadedModel` puts a head
beside a network that reads the states of its nodes.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.model.context import TreeContext
from sidestep.model.llama_form import LlamaForm
from sidestep.model.value_head import ValueHead
from sidestep.step import HistoryBatch, StepModel, StepOutput, flops_by_depth, reads_prefixes


@runtime_checkable
class ItemScorer(Protocol):
    """A network with an item head: it scores items at the state of a history."""

    def item_logits(
        self, states: Float[Tensor, "users dim"], histories: HistoryBatch
    ) -> Float[Tensor, "users items"]:
        """Unnormalised log-probabilities of all items of the catalog, in its order.

        Args:
            states: the hidden states at the roots.
            histories: what each state has seen.
        """
        ...

    def some_item_logits(
        self,
        states: Float[Tensor, "users dim"],
        items: Int[Tensor, " users"],
        histories: HistoryBatch,
    ) -> Float[Tensor, " users"]:
        """Scores of one item at each state, as `item_logits` has them."""
        ...

    def item_parameters(self) -> Iterable[nn.Parameter]:
        """The parameters that nothing but scores of items depends on."""
        ...


@runtime_checkable
class HasItemRows(Protocol):
    """A network whose score of an item is a product of a state with a row of the item.

    Such a network scores some of the items as well as all of them, so that a loss needs no array
    with an entry for every target and every item.
    """

    def item_rows(self, items: Int[Tensor, " some"] | None = None) -> Float[Tensor, "some dim"]:
        """The rows of some items; None asks for those of all items, in the order of the catalog."""
        ...

    def row_scores(
        self,
        states: Float[Tensor, "users dim"],
        rows: Float[Tensor, "some dim"],
        items: Int[Tensor, " some"],
        histories: HistoryBatch,
    ) -> Float[Tensor, "users some"]:
        """Scores of some items at each state: a selection from the scores of all items.

        Args:
            states: after each history.
            rows: the rows of `items`.
            items: ascending, each once.
            histories: what each state has seen.
        """
        ...


@runtime_checkable
class ItemTable(Protocol):
    """A module with a row of weights per item, such as `nn.Embedding`.

    sparse: whether the gradient of rows that are read one by one is sparse.
    """

    sparse: bool

    @property
    def weight(self) -> Tensor | None:
        """The rows [items, dim]; None for a tied head, which has no rows of its own."""
        ...


@runtime_checkable
class HasItemVectors(Protocol):
    """A network that knows items by vectors, so that items can be compared."""

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """One vector per item of the catalog, in its order.

        Raises:
            ValueError: the network has none.
        """
        ...


@runtime_checkable
class HasLlamaForm(Protocol):
    """A network that can be written as a Llama."""

    def llama_form(self) -> LlamaForm:
        """Weights and configuration of the network for `LlamaForCausalLM`.

        Raises:
            ValueError: the network reads something that no token stands for.
        """
        ...


class HeadedModel:
    """A model with a value head: every step says the value of the nodes, too; a `StepModel`.

    Backbone and head share one context: slots, ancestors and room are kept once, and the head adds
    its columns.
    """

    def __init__(
        self,
        backbone: StepModel[TreeContext],
        value: ValueHead,
        *,
        detach_backbone: bool = True,
    ) -> None:
        """Puts a value head onto a model; both lie on one device.

        Args:
            backbone: gives the states.
            value: reads them.
            detach_backbone: keeps what is learned of values from moving the backbone.

        Raises:
            ValueError: the states of prefixes say nothing about them, see `ReadsPrefixes`.
        """
        if not reads_prefixes(backbone):
            raise ValueError(
                "values are read from the states of prefixes, and this network reads the history "
                "alone; align it with --set prefix_queries=true, and train values beside that run."
            )
        self.backbone = backbone
        self.value = value
        self.detach_backbone = detach_backbone

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """See `StepModel.codebook_sizes`."""
        return self.backbone.codebook_sizes

    @property
    def num_actions(self) -> int:
        """See `StepModel.num_actions`."""
        return self.backbone.num_actions

    def encode(self, histories: HistoryBatch, *, capacity: int) -> tuple[StepOutput, TreeContext]:
        """See `StepModel.encode`."""
        step, context = self.backbone.encode(histories, capacity=capacity)
        values, column = self.value.begin(self._read(step))
        return replace(step, value=values), context.with_root_in_head(column)

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
        """See `StepModel.extend`; the head always reads the root of the whole prompt.

        Raises:
            ValueError: `visible` is given; the state of a root inside the prompt is not kept.
        """
        if visible is not None:
            raise ValueError("a value head needs the whole prompt to be visible; leave it out.")
        step, context = self.backbone.extend(
            context, codes, parents, depths, is_node=is_node, depth=depth
        )
        assert context.head is not None, "the context is of the backbone alone"
        values, columns = self.value.extend(
            context.head, self._read(step), depths, context.path_mask(codes.shape[1])
        )
        return replace(step, value=values), context.with_head(columns)

    def flops_by_depth(self, histories: HistoryBatch) -> Int[Tensor, "users depths"] | None:
        """See `CountsFlops.flops_by_depth`; None where the backbone does not tell."""
        of_backbone = flops_by_depth(self.backbone, histories)
        return None if of_backbone is None else of_backbone + self.value.flops_by_depth

    def _read(self, step: StepOutput) -> Tensor:
        return step.hidden.detach() if self.detach_backbone else step.hidden
