"""Runs of kind cobra: COBRA over sparse IDs and dense vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float

from sidestep.bundle.manifest import KeptSearch
from sidestep.bundle.parts import VECTORS_SHA256
from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import CobraConfig
from sidestep.runs.codes_run import OrderedCodesRun, TransformerCodesRun
from sidestep.runs.plan import Given
from sidestep.training.objective_config import CascadeConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep import files
    from sidestep.bundle import columns
    from sidestep.catalog import catalog as catalogs
    from sidestep.data import splits
    from sidestep.embedding import vectors as item_vectors
    from sidestep.model import cobra, semantic_id_model
    from sidestep.runs import provenance
    from sidestep.tokenizer import kept
    from sidestep.training import cascade
    from sidestep.training import objective as objectives


class CobraRun(OrderedCodesRun, TransformerCodesRun):
    """A Transformer that writes a sparse ID, then the vector of the item (arXiv:2503.02453).

    The search is `beam-fusion`. After the training, validation chooses ψ, and over what its second
    softmax sums. As in other networks over codes, a plain beam chooses the best weights. Departures
    from the paper stand in `Cobra`, `CascadeObjective` and `BeamFusion`.
    """

    kind: Literal["cobra"] = "cobra"
    model: CobraConfig = CobraConfig()
    objective: Annotated[CascadeConfig | OwnObjectiveConfig, or_own(CascadeConfig)] = (
        CascadeConfig()  # type: ignore[assignment]
    )

    embeddings: str
    """The vectors that items are read by: the `.npy` of `sidestep embed`."""

    @property
    def searches(self) -> tuple[KeptSearch, ...]:
        """See `CodesRun.searches`; both readings of the second softmax, with three ψ each."""
        return tuple(
            KeptSearch(name="beam-fusion", psi=psi, among=among)
            for among in ("all", "prefix")
            for psi in (1.0, 0.5, 2.0)
        )

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = {**super().search_space, "model.temperature": "log:0.03..0.3"}
        if isinstance(self.objective, CascadeConfig):
            space["objective.dense_weight"] = "log:0.3..3.0"
        return space

    def made_of(self, catalog: catalogs.Catalog) -> dict[str, str]:
        """See `CodesRun.made_of`."""
        fingerprint = kept.VectorsFingerprint.of(self._vectors(catalog))
        return {
            "embeddings_sha256": files.file_sha256(Path(self.embeddings)),
            VECTORS_SHA256: fingerprint.sha256,
        }

    def refuse_catalog(self, catalog: catalogs.Catalog) -> None:
        """See `CodesRun.refuse_catalog`; a sparse ID and the number of an item are needed."""
        super().refuse_catalog(catalog)
        catalog.refuse_own_space("a run of kind cobra")
        if catalog.num_levels < 2:
            raise ValueError(
                "a run of kind cobra needs semantic IDs of at least two codes: the last code "
                "numbers the items of a sparse ID; tokenize with --collisions extra."
            )

    def completed(self, given: Given) -> tuple[CobraRun, splits.Split]:
        """See `CodesRun.completed`; the file of the vectors tells their width."""
        run, split = super().completed(given)
        dim = provenance.named_item_vectors(self.embeddings, given.dataset).shape[1]
        if self.model.vector_dim not in (None, dim):
            raise ValueError(
                f"model.vector_dim is {self.model.vector_dim}, but the vectors of "
                f"{self.embeddings} have the width {dim}; leave model.vector_dim out."
            )
        model = run.model.model_copy(update={"vector_dim": dim})
        return run.model_copy(update={"model": model}), split

    def untrained(self, catalog: catalogs.Catalog) -> semantic_id_model.SemanticIdModel:
        """See `CodesRun.untrained`."""
        network = cobra.Cobra(self.model, catalog.semantic_ids, catalog.codebook_sizes)
        network.set_item_vectors(self._vectors(catalog))
        return network

    def made_objective(
        self, network: semantic_id_model.SemanticIdModel, catalog: catalogs.Catalog
    ) -> objectives.Objective:
        """See `CodesRun.made_objective`."""
        if isinstance(self.objective, CascadeConfig):
            assert isinstance(network, cobra.Cobra), "the network of a run of kind cobra"
            categories = columns.categories_for(network, catalog)
            return cascade.CascadeObjective(network, self.objective, categories=categories)
        return super().made_objective(network, catalog)

    def _vectors(self, catalog: catalogs.Catalog) -> Float[np.ndarray, "items dim"]:
        """The vectors of the items of a catalog."""
        ids = catalog.item_ids.to_pylist()
        return item_vectors.load_vectors(Path(self.embeddings), item_ids=ids)
