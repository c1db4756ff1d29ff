"""Runs of kind transformer: a Transformer over semantic IDs."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import TransformerConfig
from sidestep.runs.codes_run import OrderedCodesRun, TransformerCodesRun

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.model import semantic_id_model
    from sidestep.model import transformer as networks


class TransformerRun(OrderedCodesRun, TransformerCodesRun):
    """A Transformer over semantic IDs."""

    kind: Literal["transformer"] = "transformer"
    model: TransformerConfig = TransformerConfig()

    def refuse_catalog(self, catalog: catalogs.Catalog) -> None:
        """See `CodesRun.refuse_catalog`."""
        super().refuse_catalog(catalog)
        if self.model.last_code_head == "items":
            catalog.refuse_own_space("model.last_code_head: items")

    def untrained(self, catalog: catalogs.Catalog) -> semantic_id_model.SemanticIdModel:
        """See `CodesRun.untrained`."""
        return networks.Transformer(self.model, catalog.semantic_ids, catalog.codebook_sizes)
