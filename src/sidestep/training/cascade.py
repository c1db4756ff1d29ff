"""Supervised training of COBRA: the sparse ID of the next item, then its dense vector."""

from jaxtyping import Int
from torch import Tensor

from sidestep.data.windows import WindowBatch
from sidestep.model.cobra import Cobra
from sidestep.objectives.cross_entropy import next_code_cross_entropy
from sidestep.search.policy import Scope
from sidestep.training.item_loss import ItemTargets, item_loss
from sidestep.training.next_code import trie_of
from sidestep.training.objective import Loss
from sidestep.training.objective_config import CascadeConfig
from sidestep.training.supervised_codes import SupervisedCodesObjective


class CascadeObjective(SupervisedCodesObjective):
    """The cross-entropy of the sparse ID, and the contrast of the dense vector, at every position.

        L = L_sparse + w · L_dense
        L_sparse = -1/N Σ_n Σ_l log softmax(logits_nl)[c_nl]     l: all levels but the last
        L_dense = -1/N Σ_n log ( exp(cos(v̂_n, v_n) / T) / Σ_j exp(cos(v̂_n, v_j) / T) )

    v̂ is the state after the sparse ID of the target. The items j are those of the batch or of the
    catalog, see `ItemLossConfig`, and not only those of one sparse ID.

    Source: the end-to-end training of COBRA (arXiv:2503.02453), which has the items of the batch.
    The temperature T is ours.
    """

    model: Cobra

    def __init__(
        self,
        model: Cobra,
        config: CascadeConfig,
        *,
        categories: Int[Tensor, " items"] | None = None,
    ) -> None:
        """Takes the network that is trained; the arguments are `SupervisedCodesObjective`'s."""
        super().__init__(
            model, config, categories=categories, space=lambda: Scope(trie=trie_of(model))
        )
        self.config = config
        self.item_loss = item_loss(
            model,
            model.item_logits,
            config,
            model.num_items,
            label_smoothing=config.label_smoothing,
        )

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: the loss of each code of the sparse ID, and `dense`."""
        assert self.item_loss is not None, "made with the objective"
        states = self.model.next_item_states(batch.histories)[batch.is_target]
        users, positions = batch.is_target.nonzero(as_tuple=True)
        items, weights = batch.items[users, positions], batch.weights_of(users, positions)
        num_sparse = self.model.num_levels - 1
        levels = next_code_cross_entropy(
            self.model.sparse_logits(states[:, :-1]),
            self.model.item_codes(items)[:, :-1],
            label_smoothing=self.config.label_smoothing,
            weights=None if weights is None else weights[:, None].expand(-1, num_sparse),
        )
        parts = {f"code_{level + 1}": part.detach() for level, part in enumerate(levels)}
        targets = ItemTargets(
            states=states[:, -1],
            histories=batch.before(users, positions),
            items=items,
            windows=users,
            weights=weights,
            elsewhere=batch.other_targets,
        )
        dense = self.item_loss(targets).loss
        parts["dense"] = dense.detach()
        loss = levels.sum() + self.config.dense_weight * dense
        loss, parts = self.with_categories(loss, parts, states, items, weights)
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)
