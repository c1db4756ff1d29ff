"""A mixture over orders: one network over sets of codes, asked in several orders of codebooks.

Each order of the codebooks factorises the probability of a set in another way. A trained network
gives one set different probabilities in different orders. The mean over orders has smaller errors
than one order.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Normaliser
from sidestep.search.spent import Spent
from sidestep.search.tree import LOG_PROB, Candidates, nodes_per_depth
from sidestep.step import CodebookChoice, Context, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMixture:
    """Beam searches in several orders; a set is ranked by its mean probability.

        p(set) = 1/R Σ_r p_r(set)

    with R orders r. The first order is the network's own rule. The others are random orders of the
    codebooks, the same for all users. If the beam of an order did not find a set, the set counts as
    0 in that order, so the mean is a lower bound. The network reads the prompt once. A search costs
    one token for the root, and R times the other nodes of a beam.

    num_beams: prefixes kept per level and order, and leaves returned, at most.
    num_orders: R; 1 is a plain beam.
    seed: of the random orders.
    normaliser: of the code probabilities.
    """

    num_beams: int = 50
    num_orders: int = 4
    seed: int = 0
    normaliser: Normaliser = "legal"
    name: str = "order-mixture"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {self.num_beams}.")
        if self.num_orders < 1:
            raise ValueError(f"num_orders must be at least 1, got {self.num_orders}.")

    @torch.no_grad()
    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of their mean probability.

        Raises:
            ValueError: the network chooses no codebook, so that there is only one order.
        """
        root = model.encode(histories, capacity=self.num_beams * (scope.num_steps - 1))
        choice = root[0].choice
        if choice is None:
            raise ValueError(
                "order-mixture needs a network over sets of codes, which may be asked in several "
                "orders; take beam."
            )
        beam = BeamSearch(num_beams=self.num_beams, normaliser=self.normaliser)
        found = [
            beam.search(_InOrder(model, root, ranks), histories, scope)
            for ranks in self._orders(len(choice.sizes), scope.device)
        ]
        nodes = torch.stack(
            [nodes_per_depth(each.tree, scope.num_steps) for each in found if each.tree is not None]
        ).sum(dim=0)
        nodes[:, 0] = 1
        leaves, log_probs = mean_over_searches(
            torch.cat([each.leaves for each in found], dim=1),
            torch.cat([each.log_probs for each in found], dim=1),
            num_searches=self.num_orders,
            number=self.num_beams,
        )
        return Candidates(
            leaves=leaves,
            log_probs=log_probs,
            scores=log_probs,
            score_kind=LOG_PROB,
            spent=Spent.on_nodes(model, histories, nodes),
        )

    def _orders(self, num_codebooks: int, device: torch.device) -> list[Tensor | None]:
        """The place of each codebook in each order; None for the network's own rule."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = [
            torch.randperm(num_codebooks, generator=generator).float().to(device)
            for _ in range(self.num_orders - 1)
        ]
        return [None, *drawn]


def mean_over_searches(
    leaves: Int[Tensor, "users found"],
    log_probs: Float[Tensor, "users found"],
    *,
    num_searches: int,
    number: int,
) -> tuple[Int[Tensor, "users leaves"], Float[Tensor, "users leaves"]]:
    """The leaves of the highest mean probability over some searches, best first.

    Args:
        leaves: of all searches, side by side; `NO_STATE` is padding.
        log_probs: the log-probability of each leaf in the search that found it.
        num_searches: the divisor of the mean.
        number: leaves returned, at most.
    """
    ordered, order = leaves.sort(dim=1, stable=True)
    probs = log_probs.gather(1, order).double().exp().masked_fill(ordered == NO_STATE, 0.0)
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    column = is_first.cumsum(dim=1) - 1
    means = torch.zeros_like(probs).scatter_add_(1, column, probs) / num_searches
    own = torch.full_like(ordered, NO_STATE).scatter_(1, column, ordered)
    best, index = means.log().topk(min(number, means.shape[1]), dim=1)
    found = own.gather(1, index).masked_fill(best == -torch.inf, NO_STATE)
    return found, best.to(log_probs.dtype)


class _InOrder:
    """A model that reads its prompt once for all orders, and follows one of them."""

    def __init__(
        self,
        model: StepModel[Any],
        root: tuple[StepOutput, Context],
        ranks: Float[Tensor, " codebooks"] | None,
    ) -> None:
        self.model, self.root, self.ranks = model, root, ranks
        self.codebook_sizes, self.num_actions = model.codebook_sizes, model.num_actions

    def encode(self, histories: HistoryBatch, *, capacity: int) -> tuple[StepOutput, Context]:
        """See `StepModel.encode`."""
        del histories, capacity
        step, context = self.root
        return self._in_order(step), context

    def extend(
        self,
        context: Context,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        *,
        is_node: Bool[Tensor, "users width"],
        visible: Int[Tensor, "users width"] | None = None,
        depth: int | None = None,
    ) -> tuple[StepOutput, Context]:
        """See `StepModel.extend`."""
        step, context = self.model.extend(
            context, codes, parents, depths, is_node=is_node, visible=visible, depth=depth
        )
        return self._in_order(step), context

    def _in_order(self, step: StepOutput) -> StepOutput:
        if self.ranks is None:
            return step
        ranks = self.ranks.expand(*step.hidden.shape[:2], -1)
        return StepOutput(
            logits=step.logits,
            hidden=step.hidden,
            choice=CodebookChoice(sizes=self.codebook_sizes, ranks=ranks),
        )
