"""Runs of kind t5: an encoder-decoder over semantic IDs, the form of TIGER."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import T5Config
from sidestep.runs.codes_run import OrderedCodesRun

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.model import semantic_id_model
    from sidestep.model import t5 as networks


class T5Run(OrderedCodesRun):
    """A T5 over semantic IDs, as TIGER has it (arXiv:2305.05065).

    Departure from TIGER: no user ID stands before the history. TIGER hashes users into 2,000
    tokens, and such a token says nothing of a user who is new.
    """

    kind: Literal["t5"] = "t5"
    model: T5Config = T5Config()

    def untrained(self, catalog: catalogs.Catalog) -> semantic_id_model.SemanticIdModel:
        """See `CodesRun.untrained`."""
        return networks.T5(self.model, catalog.semantic_ids, catalog.codebook_sizes)
