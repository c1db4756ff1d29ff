"""Runs of kind graph: transitions from the last items, and items like them; nothing is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sidestep.bundle.parts import VECTORS_SHA256
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Material, Plan
from sidestep.runs.run_config import ReadingRun, TunableRun

with imported_when_used():
    from sidestep import files
    from sidestep.baselines import transition_graph
    from sidestep.data import histories as data_histories
    from sidestep.runs import plan_parts, provenance
    from sidestep.tokenizer import kept


class GraphRun(ReadingRun, TunableRun):
    """Transitions from the last items, and items like them; nothing is learned.

    See `TransitionGraph` for the formula. Without `embeddings`, the transitions alone recommend.
    The defaults were the best on validation of `scientific` and `beauty`, see docs/experiments.md.
    """

    kind: Literal["graph"] = "graph"

    max_history: int = Field(3, ge=1)
    """Last items of a history whose transitions are followed."""

    embeddings: str | None = None
    """The vectors that items are compared by: the `.npy` of `sidestep embed`."""

    similarity_weight: float = Field(0.03, ge=0, allow_inf_nan=False)
    """Weight of the cosine of vectors, beside shares of transitions, which lie between 0 and 1."""

    max_distance: int = Field(10, ge=1)
    """The largest distance of two items in a sequence that counts as a transition; with 1, only the
    very next item counts."""

    distance_decay: float = Field(0.8, ge=0, le=1)
    """Factor of a transition for each item that it skips."""

    backward_weight: float = Field(0.0, ge=0, le=1)
    """Weight of a transition against the order of time; 1 counts both directions alike."""

    prior: float = Field(50.0, ge=0, allow_inf_nan=False)
    """Events that are added to those after an item. With a small prior a transition counts by its
    share of these events, with a large one by its number."""

    place_decay: float = Field(0.5, ge=0, le=1)
    """Factor of each item of the history before the last one."""

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = {
            "max_history": "1..5",
            "max_distance": "1,2,3,5,10,20",
            "distance_decay": "0.5..1.0",
            "backward_weight": "0.0..1.0",
            "prior": "log:1..500",
            "place_decay": "0.2..1.0",
        }
        if self.embeddings is not None:
            space["similarity_weight"] = "log:0.001..1.0"
        return space

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        vectors, about = None, {}
        if self.embeddings is not None:
            vectors = provenance.named_item_vectors(self.embeddings, given.dataset)
            about = {
                "embeddings_sha256": files.file_sha256(Path(self.embeddings)),
                VECTORS_SHA256: kept.VectorsFingerprint.of(vectors).sha256,
            }

        def fitted(material: Material) -> transition_graph.TransitionGraph:
            histories = material.split.train.histories
            return self.fitted(histories, material.catalog.num_items, vectors)

        return plan_parts.fitting(given, fitted, self.max_history, about=about)

    def fitted(
        self,
        histories: data_histories.Histories,
        num_items: int,
        vectors: transition_graph.ItemVectors | None,
    ) -> transition_graph.TransitionGraph:
        """The graph of some histories, with these settings.

        Args:
            histories: of the training part.
            num_items: items of the catalog; some may be in no history.
            vectors: by which items are compared, one per item; None compares none.
        """
        return transition_graph.TransitionGraph.fit(
            histories,
            num_items,
            max_history=self.max_history,
            max_distance=self.max_distance,
            distance_decay=self.distance_decay,
            backward_weight=self.backward_weight,
            prior=self.prior,
            place_decay=self.place_decay,
            similarity_weight=self.similarity_weight,
            vectors=vectors,
        )
