"""Runs of item networks that score items by their input vectors: inputs, codes, times, columns."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import TiedItemConfig
from sidestep.runs.item_network_run import ItemNetworkRun
from sidestep.runs.plan import Given, Plan
from sidestep.training.objective_config import NextItemConfig

with imported_when_used():
    from sidestep.bundle import columns
    from sidestep.catalog import catalog as catalogs
    from sidestep.data import windows as data_windows
    from sidestep.model import tied_item_network as networks
    from sidestep.runs import memory, plan_parts
    from sidestep.training import fit, repeat_bias


class TiedNetworkRun(ItemNetworkRun):
    """A network over item IDs that scores items by the vectors by which it reads them."""

    model: TiedItemConfig

    @property
    @abstractmethod
    def network_class(self) -> type[networks.TiedItemNetwork]:
        """The class of the network that `model` is the shape of."""

    @property
    def needs_catalog(self) -> bool:
        """See `RunConfig.needs_catalog`; only a network that reads codes needs one."""
        return self.model.code_embedding

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`; the same for all of these networks."""
        space = {
            "training.learning_rate": "log:3e-4..3e-3",
            "model.dropout": "0.1..0.6",
            "model.dim": "64,128,256",
            "model.repeat_bias": "false,true",
        }
        objective = self.objective
        if isinstance(objective, NextItemConfig) and objective.loss == "cross-entropy":
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
        return super(TiedNetworkRun, run).prepare(replace(given, split=split))

    def network(
        self, catalog: catalogs.Catalog, windows: data_windows.Windows, *, seed: int
    ) -> networks.TiedItemNetwork:
        """The untrained network; a repeat bias begins at the repeats of the windows."""
        if self.max_history > self.model.max_items:
            raise ValueError(
                f"max_history is {self.max_history}, but the network sees at most "
                f"{self.model.max_items} items; raise model.max_items or lower max_history."
            )
        with fit.initialised(seed):
            network = self.network_class.of_codes(
                self.model, catalog.semantic_ids, catalog.codebook_sizes
            )
        if network.item_head.repeat is not None:
            repeat_bias.begin_at_repeats(network.item_head, windows, catalog.num_items)
        return network
