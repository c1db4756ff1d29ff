"""Runs of kind sasrec: SASRec over item IDs."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import SasRecConfig
from sidestep.runs.plan import Given, Material, Plan
from sidestep.runs.run_config import LearnedRun, ReadingRun
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import NextItemConfig

with imported_when_used():
    from sidestep.baselines import item_scores
    from sidestep.data import windows as data_windows
    from sidestep.model import sasrec as networks
    from sidestep.runs import catalogs, memory, plan_parts
    from sidestep.training import fit, next_item, repeat_bias


class SasRecRun(ReadingRun, LearnedRun):
    """SASRec over item IDs."""

    kind: Literal["sasrec"] = "sasrec"
    model: SasRecConfig = SasRecConfig()
    objective: NextItemConfig = NextItemConfig()
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=60)

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        memory.refuse_beyond_memory(self.model, len(given.dataset.items))
        catalog = given.catalog or catalogs.flat_catalog(given.dataset, given.split)
        material = Material(given.split, catalog, self.max_history)
        learning = self.learning(material, seed=given.seed)
        return Plan(
            material=material,
            learning=learning,
            save=plan_parts.saving_new(material, learning.network),
        )

    def learning(self, material: Material, *, seed: int) -> fit.Learning:
        """The training; validation ranks the whole catalog.

        Raises:
            ValueError: `max_history` is more than the network can see.
        """
        windows = material.windows()
        network = self.network(material.catalog.num_items, windows, seed=seed)
        return fit.Learning(
            network=network,
            objective=next_item.NextItemObjective(network, self.objective),
            windows=windows,
            validation=material.split.validation,
            recommender=lambda _device: item_scores.SasRecRecommender(
                network, max_history=material.max_history
            ),
            about={
                "kind": "sasrec",
                "model": self.model.model_dump(mode="json"),
                "objective": self.objective.model_dump(mode="json"),
                "max_history": material.max_history,
            },
        )

    def network(
        self, num_items: int, windows: data_windows.Windows, *, seed: int
    ) -> networks.SasRec:
        """The untrained network; a repeat bias begins at the repeats of the windows."""
        if self.max_history > self.model.max_items:
            raise ValueError(
                f"max_history is {self.max_history}, but the network sees at most "
                f"{self.model.max_items} items; raise model.max_items or lower max_history."
            )
        with fit.initialised(seed):
            network = networks.SasRec(self.model, num_items)
        if network.item_head.repeat is not None:
            repeat_bias.begin_at_repeats(network.item_head, windows, num_items)
        return network
