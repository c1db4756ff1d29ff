"""Runs of kind code-sets: a Transformer over sets of codes, as REG4Rec's items are."""

from __future__ import annotations

from typing import Annotated, Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import CodeSetConfig
from sidestep.runs.kinds.transformer import TransformerRun
from sidestep.training.objective_config import NextCodeSetConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep.bundle import columns
    from sidestep.catalog import catalog as catalogs
    from sidestep.catalog import own_space
    from sidestep.model import code_set_transformer as networks
    from sidestep.model import semantic_id_model
    from sidestep.training import next_code_set
    from sidestep.training import objective as objectives


_Objective = Annotated[NextCodeSetConfig | OwnObjectiveConfig, or_own(NextCodeSetConfig)]


class CodeSetsRun(TransformerRun):
    """A Transformer over sets of codes; the catalog must be one of sets."""

    kind: Literal["code-sets"] = "code-sets"  # type: ignore[assignment]
    model: CodeSetConfig = CodeSetConfig()
    objective: _Objective = NextCodeSetConfig()  # type: ignore[assignment]

    def refuse_catalog(self, catalog: catalogs.Catalog) -> None:
        """See `TransformerRun.refuse_catalog`; codes in an order are refused."""
        if catalog.space != own_space.SETS:
            raise ValueError(
                "a run of kind code-sets needs a catalog whose codes are sets, and the codes of "
                "this catalog have an order; make a catalog with 'sidestep tokenize --space sets', "
                "or train a run of kind transformer."
            )

    def made_objective(
        self, network: semantic_id_model.SemanticIdModel, catalog: catalogs.Catalog
    ) -> objectives.Objective:
        """See `TransformerRun.made_objective`."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        assert isinstance(network, networks.CodeSetTransformer)
        categories = columns.categories_for(network, catalog)
        return next_code_set.NextCodeSetObjective(network, self.objective, categories=categories)

    def untrained(self, catalog: catalogs.Catalog) -> semantic_id_model.SemanticIdModel:
        """See `TransformerRun.untrained`."""
        return networks.CodeSetTransformer(self.model, catalog.semantic_ids, catalog.codebook_sizes)
