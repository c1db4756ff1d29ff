"""Defaults for a dataset: the sizes of networks, and the run that was measured best.

What was measured stands in docs/experiments.md: a Transformer over semantic IDs that reads items as
vectors, with a tied item head and a repeat bias, searched by a beam that the item head guides.
"""

from dataclasses import dataclass

from sidestep.data.dataset import Dataset
from sidestep.embedding.config import CollaborativeConfig, TfidfConfig
from sidestep.model.config import TransformerConfig
from sidestep.runs.item_vectors import Sources
from sidestep.runs.kinds.transformer import TransformerRun
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import NextCodeConfig

_LONG = 30
"""The mean number of interactions per user above which more of a history is read."""

_WORK = 1_400_000
"""Interactions times epochs that a Transformer of the larger size learns from in ten minutes on two
cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size of networks and the length of their training.

    dim, num_layers, epochs: of the Transformer.
    sasrec_dim, sasrec_epochs: of SASRec.
    """

    dim: int
    num_layers: int
    epochs: int
    sasrec_dim: int
    sasrec_epochs: int

    @classmethod
    def of(cls, num_interactions: int) -> "Size":
        """The size for a number of interactions.

        A training takes minutes on two cores up to some hundred thousand interactions, and beyond
        that time in proportion.
        """
        is_small = num_interactions < 20_000
        work = _WORK * (3 if is_small else 1)
        epochs = round(work / max(num_interactions, 1))
        return cls(
            dim=64 if is_small else 128,
            num_layers=2 if is_small else 4,
            epochs=min(40, max(3, epochs)),
            sasrec_dim=64 if is_small else 128,
            sasrec_epochs=min(50, max(5, 2 * epochs)),
        )


def history_length(mean_length: float) -> int:
    """Most recent items that networks read, for a mean number of interactions per user."""
    return 50 if mean_length > _LONG else 20


def default_run(dataset: Dataset, *, epochs: int | None = None) -> TransformerRun:
    """The run that was measured best, in the size that fits a dataset.

    Args:
        dataset: to be trained on.
        epochs: of the training; None: as many as take some ten minutes on two cores.
    """
    stats = dataset.stats()
    size = Size.of(stats.interactions)
    epochs = epochs or size.epochs
    return TransformerRun(
        max_history=history_length(stats.mean_length),
        model=TransformerConfig(
            dim=size.dim,
            num_layers=size.num_layers,
            history="items",
            item_embedding=True,
            item_head=True,
            tied_item_head=True,
            repeat_bias=True,
            dropout=0.3,
        ),
        objective=NextCodeConfig(item_weight=1.0, distillation_weight=2.0),
        training=TrainingConfig(
            epochs=epochs,
            batch_size=64,
            learning_rate=0.002,
            weight_decay=0.01,
            validate_every=max(1, epochs // 6),
        ),
    )


def default_sources(dataset: Dataset) -> Sources:
    """The sources of item vectors: texts where items have any, else co-occurrence."""
    frame = dataset.items.frame
    columns = [
        name
        for name in dataset.items.text_columns
        if (frame[name].fill_null("").str.strip_chars() != "").any()
    ]
    if columns:
        return Sources(columns=columns, text=TfidfConfig(), may_be_narrower=True)
    dim = min(CollaborativeConfig().dim, len(dataset.items))
    return Sources(collaborative=CollaborativeConfig(dim=dim))
