"""Runs of kind transformer: a Transformer over semantic IDs."""

from __future__ import annotations

from typing import Annotated, Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import TransformerConfig
from sidestep.runs.codes_run import TransformerCodesRun
from sidestep.training.objective_config import NextCodeConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep.bundle import columns
    from sidestep.catalog import catalog as catalogs
    from sidestep.catalog import own_space
    from sidestep.model import semantic_id_model
    from sidestep.model import transformer as networks
    from sidestep.training import next_code
    from sidestep.training import objective as objectives


class TransformerRun(TransformerCodesRun):
    """A Transformer over semantic IDs."""

    kind: Literal["transformer"] = "transformer"
    model: TransformerConfig = TransformerConfig()
    objective: Annotated[NextCodeConfig | OwnObjectiveConfig, or_own(NextCodeConfig)] = (
        NextCodeConfig()
    )

    def refuse_catalog(self, catalog: catalogs.Catalog) -> None:
        """See `CodesRun.refuse_catalog`.

        Settings that read prefixes are refused where the codes span no trie.
        """
        if catalog.space == own_space.SETS:
            raise ValueError(
                f"the codes of this catalog are sets, and a run of kind {self.kind} needs codes in "
                "an order; train a run of kind code-sets, or tokenize with --space trie."
            )
        if self.model.last_code_head == "items":
            catalog.refuse_own_space("model.last_code_head: items")
        if isinstance(self.objective, NextCodeConfig):
            for setting in ("beam_aware", "distillation_weight"):
                if getattr(self.objective, setting) is not None:
                    catalog.refuse_own_space(f"objective.{setting}")

    def made_objective(
        self, network: semantic_id_model.SemanticIdModel, catalog: catalogs.Catalog
    ) -> objectives.Objective:
        """See `CodesRun.made_objective`."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        categories = columns.categories_for(network, catalog)
        return next_code.NextCodeObjective(network, self.objective, categories=categories)

    def untrained(self, catalog: catalogs.Catalog) -> semantic_id_model.SemanticIdModel:
        """See `CodesRun.untrained`."""
        return networks.Transformer(self.model, catalog.semantic_ids, catalog.codebook_sizes)
