"""Runs of kind code-sets: a Transformer over sets of codes, as REG4Rec's items are."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import CodeSetConfig
from sidestep.runs.codes_run import SetsRun, TransformerCodesRun

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.model import code_set_transformer as networks
    from sidestep.model import semantic_id_model


class CodeSetsRun(SetsRun, TransformerCodesRun):
    """A Transformer over sets of codes; the catalog must be one of sets."""

    kind: Literal["code-sets"] = "code-sets"
    model: CodeSetConfig = CodeSetConfig()

    def untrained(self, catalog: catalogs.Catalog) -> semantic_id_model.SemanticIdModel:
        """See `CodesRun.untrained`."""
        return networks.CodeSetTransformer(self.model, catalog.semantic_ids, catalog.codebook_sizes)
