"""Runs of kind code-sets-t5: an encoder-decoder over sets of codes, the form of REG4Rec."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import CodeSetT5Config
from sidestep.runs.codes_run import SetsRun

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.model import code_set_t5 as networks
    from sidestep.model import semantic_id_model


class CodeSetsT5Run(SetsRun):
    """A T5 over sets of codes; the catalog must be one of sets."""

    kind: Literal["code-sets-t5"] = "code-sets-t5"
    model: CodeSetT5Config = CodeSetT5Config()

    def untrained(self, catalog: catalogs.Catalog) -> semantic_id_model.SemanticIdModel:
        """See `CodesRun.untrained`."""
        return networks.CodeSetT5(self.model, catalog.semantic_ids, catalog.codebook_sizes)
