"""The shared part of supervised trainings over codes: a network, and the losses of its heads."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.catalog.set_space import SetSpace
from sidestep.data.windows import WindowBatch, Windows
from sidestep.model.heads import ItemTable
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.negatives import BEAM
from sidestep.objectives.weighting import mean_over_targets
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.training.item_loss import SampledItemLoss, item_loss_of_head
from sidestep.training.objective import Objective
from sidestep.training.objective_config import SupervisedCodesConfig


class SupervisedCodesObjective(Objective):
    """A loss of the next item's codes, beside which item head and category head may learn.

    categories: of the items, as numbers of the category head; -1 where an item has none. None for a
        network without a category head.
    """

    categories: Tensor | None

    def __init__(
        self,
        model: SemanticIdModel,
        config: SupervisedCodesConfig,
        *,
        categories: Int[Tensor, " items"] | None = None,
        taught: SemanticIdModel | None = None,
        space: Callable[[], Scope | SetSpace],
    ) -> None:
        """Takes the network that is trained.

        Args:
            model: the network.
            config: the weights of the losses.
            categories: see the class.
            taught: see `item_loss_of_head`.
            space: makes the space of all items, in which a beam finds negatives, if any are asked
                for.

        Raises:
            ValueError: a category head without categories; the source `beam` of a loss that draws
                no negatives; or see `item_loss_of_head`.
        """
        super().__init__()
        if model.category_head is not None and categories is None:
            raise ValueError(
                "the network has a category head, and no categories of the items are given to "
                "learn from; give them, or leave model.category_head out."
            )
        self.model = model
        self.category_weight = config.category_weight
        self.item_loss = item_loss_of_head(
            model,
            config,
            config.item_weight,
            label_smoothing=config.label_smoothing,
            taught=taught,
        )
        self._beam: BeamSearch | None = None
        self._space: Scope | SetSpace | None = None
        if BEAM in config.negatives:
            if not isinstance(self.item_loss, SampledItemLoss):
                raise ValueError(
                    "negatives names the source beam, and this loss draws no negatives; set "
                    "item_loss to sampled, or leave beam out."
                )
            self._beam, self._space = BeamSearch(num_beams=config.beam_negatives), space()
        kept = None if model.category_head is None else categories
        self.register_buffer("categories", kept, persistent=False)

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        return None if self.item_loss is None else self.item_loss.whole_batch_term

    def prepare(self, windows: Windows) -> None:
        """See `Objective.prepare`."""
        if self.item_loss is not None:
            self.item_loss.prepare(windows)

    @torch.no_grad()
    def found_items(self, batch: WindowBatch) -> Int[Tensor, " found"] | None:
        """The items that a beam of the policy finds after the latest history of each window.

        None if no source of negatives is a beam. The policy searches without dropout.
        """
        if self._beam is None or self._space is None:
            return None
        device = batch.items.device
        if self._space.device != device:
            self._space = self._space.to(device)
        rows = batch.is_target.any(dim=1).nonzero()[:, 0]
        positions = torch.arange(batch.items.shape[1], device=device)
        latest = (positions * batch.is_target).amax(dim=1)[rows]
        was_training = self.model.training
        self.model.eval()
        found = self._beam.search(self.model, batch.before(rows, latest), self._space)
        self.model.train(was_training)
        items = self._space.items(found.leaves)
        return items[items != NO_ITEM]

    def with_categories(
        self,
        loss: Float[Tensor, ""],
        parts: dict[str, Float[Tensor, ""]],
        states: Float[Tensor, "targets steps dim"],
        items: Int[Tensor, " targets"],
        weights: Float[Tensor, " targets"] | None,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss and its parts with that of the category head, if there is one.

        The loss of the category head is the negative log-likelihood of the target's category,
        summed over the steps as the loss of the codes is. A target without a category counts 0.

        Source: L_cate of REG4Rec (arXiv:2508.15308, eq. 7).

        Args:
            loss: of the codes.
            parts: of the codes.
            states: before each code of the targets.
            items: the targets.
            weights: of the targets, see `mean_over_targets`.
        """
        head, categories = self.model.category_head, self.categories
        if head is None or categories is None:
            return loss, parts
        own = categories.to(items.device)[items][:, None].expand(states.shape[:2])
        logs = head.log_probs(states)
        losses = functional.nll_loss(
            logs.flatten(0, 1), own.flatten(), ignore_index=-1, reduction="none"
        ).view(own.shape)
        of_categories = mean_over_targets(losses.sum(dim=1), weights)
        parts = {**parts, "category": of_categories.detach()}
        return loss + self.category_weight * of_categories, parts

    def after_steps(self, number: int) -> None:
        """Counts steps as another objective does, of which this one is a part.

        Args:
            number: of the steps so far. A loss that draws nothing ignores the number.
        """

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"model": self.model}

    @property
    def row_tables(self) -> Sequence[ItemTable]:
        """See `Objective.row_tables`."""
        reads_all = self.item_loss is not None and self.item_loss.reads_all_rows
        return () if reads_all else self.model.item_tables
