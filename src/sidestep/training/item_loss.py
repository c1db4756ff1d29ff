"""The loss of the next item: exact, in chunks or sampled, and what it teaches the codes.

A network over item IDs may have a loss that draws negatives for each target alone instead.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.windows import Windows
from sidestep.model.heads import HasItemRows
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.cross_entropy import (
    binary_cross_entropy,
    chunked_item_cross_entropy,
    gbce_power,
    next_item_cross_entropy,
    per_target_cross_entropy,
    sampled_item_cross_entropy,
)
from sidestep.objectives.distillation import (
    PrefixRanges,
    SmallNodes,
    next_code_masses,
    next_code_probs,
    pair_masses,
    shares_of_masses,
)
from sidestep.objectives.negatives import BEAM, NegativeSampler, PerTargetNegatives
from sidestep.step import HistoryBatch
from sidestep.training.objective_config import ItemLossConfig, NextItemConfig

EXACT_ITEMS = 20_000
"""The largest catalog whose items `auto` scores all at every target."""

CHUNK_ITEMS = 8192
"""Items whose scores the chunked loss holds at once."""

SMALL_NODE_ITEMS = 64
"""Items below a node that a sampled loss scores all to teach the codes below the node."""

ScoreItems = Callable[[Tensor, HistoryBatch], Tensor]
"""Gives the scores of all items [targets, items] at states [targets, dim]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItemTargets:
    """The targets of a batch.

    states: the state after each history.
    histories: the items before each target.
    items: the targets.
    windows: the window of each target, as a number from 0.
    weights: weights of the targets; None: all weigh 1.
    found: items that a beam of the policy finds for the batch; None: no beam was asked.
    elsewhere: targets of windows of the batch that other processes have; None: there are none.
    """

    states: Float[Tensor, "targets dim"]
    histories: HistoryBatch
    items: Int[Tensor, " targets"]
    windows: Int[Tensor, " targets"]
    weights: Float[Tensor, " targets"] | None
    found: Int[Tensor, " found"] | None = None
    elsewhere: Int[Tensor, " others"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItemShares:
    """The distribution over items that the scores give; a sample of items may stand for all.

    probs: rows sum to one; without a gradient.
    items: of the columns, ascending, each once.
    """

    probs: Float[Tensor, "targets some"]
    items: Int[Tensor, " some"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItemLossOutput:
    """The loss of a batch, and what it teaches.

    loss: mean over the targets, in nats.
    next_code_probs: computes the probability of each code after the prefixes of each target's path,
        [targets, levels, codes], under the distribution over items that the scores have; without a
        gradient. Only of a loss that teaches codes.
    item_shares: computes the distribution over items; None for a chunked loss, which keeps none.
    """

    loss: Float[Tensor, ""]
    next_code_probs: Callable[[], Tensor]
    item_shares: Callable[[], ItemShares] | None


class ItemLoss(ABC):
    """The mean cross-entropy of the next item over the catalog.

    reads_all_rows: whether a batch reads the rows of all items.
    label_smoothing: share of the probability that is spread over the catalog.
    taught: the network whose codes learn from the scores of the items; None if none do.
    """

    reads_all_rows: ClassVar[bool] = True

    def __init__(self, *, label_smoothing: float, taught: SemanticIdModel | None) -> None:
        self.label_smoothing = label_smoothing
        self.taught = taught

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        return None

    @abstractmethod
    def __call__(self, targets: ItemTargets) -> ItemLossOutput:
        """The loss of a batch."""

    def prepare(self, windows: Windows) -> None:
        """See `Objective.prepare`."""
        del windows

    def _required_taught(self) -> SemanticIdModel:
        assert self.taught is not None, "a loss that teaches no codes was asked what it teaches"
        return self.taught


class ExactItemLoss(ItemLoss):
    """The loss over the scores of all items, with an entry for every target and item."""

    def __init__(
        self, score: ScoreItems, *, label_smoothing: float, taught: SemanticIdModel | None
    ) -> None:
        super().__init__(label_smoothing=label_smoothing, taught=taught)
        self._score = score
        self._prefixes = (
            None if taught is None else PrefixRanges.of(taught.semantic_ids, taught.codebook_sizes)
        )

    def __call__(self, targets: ItemTargets) -> ItemLossOutput:
        """See `ItemLoss.__call__`."""
        scores = self._score(targets.states, targets.histories)
        loss = next_item_cross_entropy(
            scores,
            targets.items,
            label_smoothing=self.label_smoothing,
            weights=targets.weights,
        )

        def taught_probs() -> Tensor:
            assert self._prefixes is not None
            self._prefixes = self._prefixes.to(scores.device)
            probs = scores.detach().float().softmax(dim=-1)
            return next_code_probs(probs, targets.items, self._prefixes)

        def item_shares() -> ItemShares:
            probs = scores.detach().float().softmax(dim=-1)
            return ItemShares(probs=probs, items=torch.arange(probs.shape[1], device=probs.device))

        return ItemLossOutput(loss=loss, next_code_probs=taught_probs, item_shares=item_shares)


class ChunkedItemLoss(ItemLoss):
    """The exact loss, computed over some items at a time."""

    def __init__(
        self, network: HasItemRows, *, label_smoothing: float, taught: SemanticIdModel | None
    ) -> None:
        super().__init__(label_smoothing=label_smoothing, taught=taught)
        self._network = network

    def __call__(self, targets: ItemTargets) -> ItemLossOutput:
        """See `ItemLoss.__call__`."""
        rows = self._network.item_rows()

        def score(some: Tensor, items: Tensor) -> Tensor:
            return self._network.row_scores(targets.states, some, items, targets.histories)

        loss = chunked_item_cross_entropy(
            score,
            rows,
            targets.items,
            label_smoothing=self.label_smoothing,
            weights=targets.weights,
            chunk_items=CHUNK_ITEMS,
        )

        @torch.no_grad()
        def taught_probs() -> Tensor:
            taught = self._required_taught()
            paths, width = taught.item_codes(targets.items), max(taught.codebook_sizes)
            masses = torch.zeros(*paths.shape, width, dtype=torch.float64, device=rows.device)
            largest = rows.new_full((len(paths), 1), -torch.inf, dtype=torch.float32)
            every = torch.arange(len(rows), device=rows.device)
            for some, items in zip(
                torch.split(rows, CHUNK_ITEMS), torch.split(every, CHUNK_ITEMS), strict=True
            ):
                scores = score(some, items).float()
                higher = largest.maximum(scores.amax(dim=1, keepdim=True))
                masses *= (largest - higher).double().exp()[..., None]
                largest = higher
                masses += next_code_masses(
                    (scores - largest).exp(), taught.item_codes(items), paths, width
                )
            return shares_of_masses(masses)

        return ItemLossOutput(loss=loss, next_code_probs=taught_probs, item_shares=None)


class SampledItemLoss(ItemLoss):
    """The loss over the targets of the batch and some negatives.

    The codes learn from the scores of the same items, with the same weights. Hardly any item below
    a deep node is drawn, so the shares of the codes there would be noise. Therefore, if a node on
    the path of a target has few items below, the loss scores all of these items, and the shares of
    the codes below that node are exact.
    """

    reads_all_rows = False

    def __init__(
        self,
        network: HasItemRows,
        config: ItemLossConfig,
        num_items: int,
        *,
        label_smoothing: float,
        taught: SemanticIdModel | None,
    ) -> None:
        """The loss before `prepare`.

        Args:
            network: scores the items.
            config: the sources of the negatives, and their number.
            num_items: of the catalog.
            label_smoothing: see `ItemLoss`.
            taught: see `ItemLoss`; its item head is `network`.
        """
        super().__init__(label_smoothing=label_smoothing, taught=taught)
        self._network, self._config, self._num_items = network, config, num_items
        self._sampler: NegativeSampler | None = None
        self._small_nodes = (
            None
            if taught is None
            else SmallNodes.of(taught.semantic_ids, most_items=SMALL_NODE_ITEMS)
        )

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`; a beam searches for the whole batch."""
        if BEAM not in self._config.negatives:
            return None
        return "negatives names the source beam, which finds items for a whole batch; leave it out"

    def prepare(self, windows: Windows) -> None:
        """Counts how often each item is a target."""
        self._sampler = NegativeSampler.of(
            self._config.negatives,
            self._config.num_negatives,
            _target_counts(windows, self._num_items),
        )

    def __call__(self, targets: ItemTargets) -> ItemLossOutput:
        """See `ItemLoss.__call__`.

        Raises:
            ValueError: `prepare` was not called.
        """
        self._sampler = _prepared(self._sampler).to(targets.items.device)
        candidates = self._sampler.candidates(
            targets.items, targets.windows, targets.found, targets.elsewhere
        )
        rows = self._network.item_rows(candidates.items)
        scores = self._network.row_scores(targets.states, rows, candidates.items, targets.histories)
        loss = sampled_item_cross_entropy(
            scores,
            candidates,
            self._num_items,
            label_smoothing=self.label_smoothing,
            weights=targets.weights,
        )

        @torch.no_grad()
        def taught_probs() -> Tensor:
            taught = self._required_taught()
            masses = next_code_masses(
                (scores.float() + candidates.log_weights).softmax(dim=-1),
                taught.item_codes(candidates.items),
                taught.item_codes(targets.items),
                max(taught.codebook_sizes),
            )
            return self._exact_below_small_nodes(shares_of_masses(masses), targets)

        def item_shares() -> ItemShares:
            weighed = scores.detach().float() + candidates.log_weights
            return ItemShares(probs=weighed.softmax(dim=-1), items=candidates.items)

        return ItemLossOutput(loss=loss, next_code_probs=taught_probs, item_shares=item_shares)

    def _exact_below_small_nodes(
        self, probs: Float[Tensor, "targets levels codes"], targets: ItemTargets
    ) -> Float[Tensor, "targets levels codes"]:
        """The probabilities, exact at the levels below the small node of each target."""
        assert self._small_nodes is not None
        taught = self._required_taught()
        scorer = taught.item_scorer
        assert scorer is not None
        nodes = self._small_nodes = self._small_nodes.to(probs.device)
        rows, items = nodes.items_below(targets.items)
        scores = scorer.some_item_logits(
            targets.states[rows], items, targets.histories.select(rows)
        ).float()
        largest = scores.new_full((len(probs),), -torch.inf).scatter_reduce(0, rows, scores, "amax")
        masses = pair_masses(
            (scores - largest[rows]).exp(),
            taught.item_codes(items),
            rows,
            taught.item_codes(targets.items),
            probs.shape[2],
        )
        levels = torch.arange(probs.shape[1], device=probs.device)
        is_exact = levels >= nodes.depths[targets.items][:, None]
        return torch.where(is_exact[..., None], shares_of_masses(masses), probs)


class PerTargetItemLoss(ItemLoss):
    """The loss of each target against negatives that are drawn for this target alone.

    All draws of a batch are scored together, each item once. So the cost of a step grows with the
    number of different items that are drawn, and is never above that of the exact loss by much.
    """

    reads_all_rows = False

    def __init__(self, network: HasItemRows, config: NextItemConfig, num_items: int) -> None:
        """The loss before `prepare`.

        Args:
            network: scores the items.
            config: the loss, the sources of the negatives, and their number.
            num_items: of the catalog.
        """
        super().__init__(label_smoothing=0.0, taught=None)
        self._network, self._config, self._num_items = network, config, num_items
        self._sampler: NegativeSampler | None = None

    def prepare(self, windows: Windows) -> None:
        """Counts how often each item is a target."""
        self._sampler = NegativeSampler.of(
            self._config.per_target_sources,
            self._config.num_per_target,
            _target_counts(windows, self._num_items),
        )

    def __call__(self, targets: ItemTargets) -> ItemLossOutput:
        """See `ItemLoss.__call__`.

        Raises:
            ValueError: `prepare` was not called.
        """
        self._sampler = _prepared(self._sampler).to(targets.items.device)
        negatives = self._sampler.per_target_negatives(targets.items)
        wanted = torch.cat([targets.items[:, None], negatives.items], dim=1)
        items, columns = torch.unique(wanted, return_inverse=True)
        rows = self._network.item_rows(items)
        scores = self._network.row_scores(targets.states, rows, items, targets.histories)
        scores = scores.gather(1, columns)
        return ItemLossOutput(
            loss=self._loss(scores[:, 0], scores[:, 1:], negatives, targets.weights),
            next_code_probs=self._teaches_nothing,
            item_shares=None,
        )

    def _teaches_nothing(self) -> Tensor:
        raise AssertionError("a loss with negatives for each target alone teaches no codes")

    def _loss(
        self,
        targets: Float[Tensor, " targets"],
        scores: Float[Tensor, "targets draws"],
        negatives: PerTargetNegatives,
        weights: Float[Tensor, " targets"] | None,
    ) -> Float[Tensor, ""]:
        config = self._config
        if config.loss == "sampled-softmax":
            return per_target_cross_entropy(
                targets, scores, negatives, log_q=config.log_q, weights=weights
            )
        power = 1.0
        if config.loss == "gbce":
            power = gbce_power(config.num_per_target, self._num_items, config.calibration)
        return binary_cross_entropy(targets, scores, negatives, power=power, weights=weights)


def _target_counts(windows: Windows, num_items: int) -> Int[Tensor, " items"]:
    """The number of times that each item is a target."""
    rows, positions = windows.targets()
    items = windows.items[windows.starts[rows] + positions]
    return torch.from_numpy(np.bincount(items, minlength=num_items))


def _prepared(sampler: NegativeSampler | None) -> NegativeSampler:
    """The sampler; a `ValueError` where the windows of the training were not counted."""
    if sampler is None:
        raise ValueError(
            "a sampled item loss needs to know how often items are targets: call prepare() of "
            "the objective with the windows of the training first."
        )
    return sampler


def next_item_loss(
    network: object, score: ScoreItems, config: NextItemConfig, num_items: int
) -> ItemLoss:
    """The loss of a network over item IDs.

    Args:
        network: see `item_loss`.
        score: see `item_loss`.
        config: says which loss.
        num_items: of the catalog.

    Raises:
        ValueError: the network cannot score some items by rows, and the loss needs that.
    """
    if config.loss == "cross-entropy":
        return item_loss(network, score, config, num_items, label_smoothing=config.label_smoothing)
    return PerTargetItemLoss(
        _with_rows(network, "loss", config.loss, instead="cross-entropy"), config, num_items
    )


def _with_rows(network: object, setting: str, value: str, *, instead: str) -> HasItemRows:
    """The network; a `ValueError` that names another value of the setting where it has no rows."""
    if isinstance(network, HasItemRows):
        return network
    raise ValueError(
        f"{setting} is {value}, which needs a network with the methods of HasItemRows; "
        f"{type(network).__name__} has none: set {setting} to {instead}."
    )


def item_loss(
    network: object,
    score: ScoreItems,
    config: ItemLossConfig,
    num_items: int,
    *,
    label_smoothing: float,
    taught: SemanticIdModel | None = None,
) -> ItemLoss:
    """The loss in the form that a configuration asks for.

    Args:
        network: scores the items. All forms but the exact one need a `HasItemRows`.
        score: its scores of all items.
        config: says which form. `auto` is sampled for more than `EXACT_ITEMS` items if the network
            can score some of them.
        num_items: of the catalog.
        label_smoothing: see `ItemLoss`.
        taught: see `ItemLoss`.

    Raises:
        ValueError: the network cannot score some items by rows, and the form needs that.
    """
    form = config.item_loss
    has_rows = isinstance(network, HasItemRows)
    if form == "auto":
        form = "sampled" if has_rows and num_items > EXACT_ITEMS else "exact"
    if form == "exact":
        return ExactItemLoss(score, label_smoothing=label_smoothing, taught=taught)
    with_rows = _with_rows(network, "item_loss", form, instead="exact")
    if form == "chunked":
        return ChunkedItemLoss(with_rows, label_smoothing=label_smoothing, taught=taught)
    return SampledItemLoss(
        with_rows, config, num_items, label_smoothing=label_smoothing, taught=taught
    )


def item_loss_of_head(
    model: SemanticIdModel,
    config: ItemLossConfig,
    item_weight: float | None,
    *,
    label_smoothing: float,
    taught: SemanticIdModel | None = None,
) -> ItemLoss | None:
    """The loss of a network's item head; None for a network without an item head.

    Args:
        model: the network.
        config: see `item_loss`.
        item_weight: the weight of the loss in an objective; None for an objective without it.
        label_smoothing: see `ItemLoss`.
        taught: see `ItemLoss`.

    Raises:
        ValueError: an item head without a weight, or a weight without an item head; or see
            `item_loss`.
    """
    scorer = model.item_scorer
    if (item_weight is not None) != (scorer is not None):
        raise ValueError(
            f"item_weight is {item_weight}, but the model has "
            f"{'no' if scorer is None else 'an'} item head; set both or neither."
        )
    if scorer is None:
        return None
    return item_loss(
        scorer,
        scorer.item_logits,
        config,
        model.num_items,
        label_smoothing=label_smoothing,
        taught=taught,
    )
