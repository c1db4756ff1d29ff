"""Runs of kind sasrec: SASRec over item IDs."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import SasRecConfig
from sidestep.runs.item_network_run import ItemNetworkRun
from sidestep.runs.plan import Given, Plan
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import NextItemConfig

with imported_when_used():
    from sidestep.bundle import columns
    from sidestep.catalog import catalog as catalogs
    from sidestep.data import windows as data_windows
    from sidestep.model import sasrec as networks
    from sidestep.runs import memory, plan_parts
    from sidestep.training import fit, repeat_bias


class SasRecRun(ItemNetworkRun):
    """SASRec over item IDs."""

    kind: Literal["sasrec"] = "sasrec"
    model: SasRecConfig = SasRecConfig()
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=60)

    @property
    def needs_catalog(self) -> bool:
        """See `RunConfig.needs_catalog`; only a network that reads codes needs one."""
        return self.model.code_embedding

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = {
            "training.learning_rate": "log:3e-4..3e-3",
            "model.dropout": "0.1..0.6",
            "model.dim": "64,128,256",
            "model.repeat_bias": "false,true",
        }
        if isinstance(self.objective, NextItemConfig):
            space["objective.label_smoothing"] = "0.0,0.1,0.2"
        return space

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        if self.model.code_embedding and given.catalog is None:
            raise ValueError(
                "model.code_embedding: true needs semantic IDs: give --catalog, from "
                "'sidestep tokenize', or leave the setting out."
            )
        memory.refuse_beyond_memory(self.model, len(given.dataset.items))
        plan_parts.refuse_missing_times(given.split, reads_times=self.model.times is not None)
        known = plan_parts.with_known_values(self.model, given)
        split = columns.with_user_columns(given.split, known.user_columns, given.dataset.users)
        run = self.model_copy(update={"model": known})
        return super(SasRecRun, run).prepare(replace(given, split=split))

    def network(
        self, catalog: catalogs.Catalog, windows: data_windows.Windows, *, seed: int
    ) -> networks.SasRec:
        """The untrained network; a repeat bias begins at the repeats of the windows."""
        if self.max_history > self.model.max_items:
            raise ValueError(
                f"max_history is {self.max_history}, but the network sees at most "
                f"{self.model.max_items} items; raise model.max_items or lower max_history."
            )
        with fit.initialised(seed):
            network = networks.SasRec.of_codes(
                self.model, catalog.semantic_ids, catalog.codebook_sizes
            )
        if network.item_head.repeat is not None:
            repeat_bias.begin_at_repeats(network.item_head, windows, catalog.num_items)
        return network
