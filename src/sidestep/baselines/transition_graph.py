"""The transition graph: the items that follow a user's last items, and the items like them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from sidestep.baselines.fitted import FittedRecommender
from sidestep.data.histories import Histories
from sidestep.data.popularity import weighted_target_counts
from sidestep.data.transitions import transition_counts
from sidestep.embedding.vectors import unit_length
from sidestep.step import HistoryBatch

_DIGITS = 6
"""Decimals of similarities: items of equal vectors have equal similarities to so many."""

_POPULARITY = 1e-7
"""The factor of an item's share of all counts, which orders items that nothing else tells apart."""

ItemVectors = Float[np.ndarray, "items dim"]
"""A vector per item of the catalog."""

_SETTINGS = ("place_decay", "similarity_weight")


class TransitionGraph(FittedRecommender):
    """Ranks items by the transitions from the last items of a history, and by similarity to them.

        g[i, j] = (c[i, j] + β · c[j, i]) / (Σ_k (c[i, k] + β · c[k, i]) + prior)
        score(j) = Σ_p δ^p · (g[h_p, j] + α · cos(v_{h_p}, v_j))

    c are the counts of `transition_counts`, h_0 is the last item of the history, h_1 the one before
    it, and v are vectors of items. No item is similar to itself: cos is 0 where j is h_p. Items of
    equal scores are ordered by their count in the training part, and a history without items gets
    popularity. Without vectors, α is 0. With one last item, direct transitions alone and no prior,
    g is a Markov chain of order 1.

    Source: Han et al. 2026 (arXiv:2605.07125), who rank the items within a few hops of the last one
    or two items by the similarity of their text vectors, and call that the transition-graph
    heuristic. We know the paper by its abstract and by the description beside its code: items one,
    two and three hops from the last item fill fixed numbers of places (7, 2 and 1 of ten), and a
    logarithm of the count is added to the similarity within one hop. They fill places by hops, and
    we add scores: a transition counts by its share, and similarity ranks the items that no
    transition reaches. Our
    choices: skipping transitions and their decay γ, transitions against the order of time (β), the
    prior, and the decay δ of earlier items. The vectors are those of any `sidestep embed`.
    """

    name = "graph"
    score_kind = "graph"

    def __init__(
        self,
        graph: scipy.sparse.csr_array,
        counts: Real[np.ndarray, " items"],
        *,
        max_history: int,
        place_decay: float,
        similarity_weight: float = 0.0,
        vectors: Float[np.ndarray, "items dim"] | None = None,
    ) -> None:
        """Takes what was fitted.

        Args:
            graph: g, with one row and one column per item.
            counts: target events per item in the training part, or the sum of their weights.
            max_history: the number of last items whose transitions are followed.
            place_decay: δ.
            similarity_weight: α.
            vectors: of the items, of length 1 or 0; None for the transitions alone.
        """
        self.max_history = max_history
        self.place_decay = place_decay
        self.similarity_weight = similarity_weight
        self.counts = counts
        self.starts = torch.from_numpy(graph.indptr.astype(np.int64))
        self.next_items = torch.from_numpy(graph.indices.astype(np.int64))
        self.weights = torch.from_numpy(graph.data.astype(np.float32)).double()
        self.vectors = None if vectors is None else torch.from_numpy(vectors)
        shares = torch.from_numpy(counts).double()
        self._shares = _POPULARITY * shares / (shares.sum() + 1)

    @classmethod
    def fit(
        cls,
        histories: Histories,
        num_items: int,
        *,
        max_history: int,
        max_distance: int = 1,
        distance_decay: float = 1.0,
        backward_weight: float = 0.0,
        prior: float = 0.0,
        place_decay: float = 1.0,
        similarity_weight: float = 1.0,
        vectors: Float[np.ndarray, "items dim"] | None = None,
        **settings: Any,
    ) -> "TransitionGraph":
        """Counts the transitions of the training part.

        The defaults leave everything out but direct transitions; those of a run are in `GraphRun`.

        Args:
            histories: of the training part.
            num_items: items of the catalog.
            max_history: the number of last items whose transitions are followed.
            max_distance, distance_decay: D and γ, see `transition_counts`.
            backward_weight: β, the weight of a transition against the order of time.
            prior: events that are added to those after an item. With a small prior a transition
                counts by its share, with a large one by its number.
            place_decay: δ, the factor of each item before the last one.
            similarity_weight: α, the weight of the cosine of vectors.
            vectors: one per item, of any length; None for the transitions alone.
            settings: none.

        Raises:
            TypeError: there are other settings.
            ValueError: the vectors are of another number of items.
        """
        if settings:
            raise TypeError(f"the transition graph has no setting {min(settings)!r:.60}")
        if vectors is not None and len(vectors) != num_items:
            raise ValueError(f"{len(vectors)} vectors for {num_items} items; give one per item.")
        counts = transition_counts(
            histories, num_items, max_distance=max_distance, distance_decay=distance_decay
        )
        if backward_weight:
            counts = scipy.sparse.csr_array(counts + backward_weight * counts.T)
        after = np.asarray(counts.sum(axis=1)).ravel()
        rows = np.repeat(np.arange(num_items), np.diff(counts.indptr))
        counts.data /= after[rows] + prior
        return cls(
            counts,
            weighted_target_counts(histories, num_items),
            max_history=max_history,
            place_decay=place_decay,
            similarity_weight=0.0 if vectors is None else similarity_weight,
            vectors=None if vectors is None else unit_length(vectors.astype(np.float32)),
        )

    def arrays(self) -> Mapping[str, np.ndarray]:
        """See `FittedRecommender.arrays`; `starts` says where the transitions of an item begin."""
        kept = {
            "starts": self.starts.numpy(),
            "next_items": self.next_items.numpy().astype(np.int32),
            "weights": self.weights.numpy().astype(np.float32),
            "target_counts": self.counts,
            **{name: np.asarray(getattr(self, name), dtype=np.float64) for name in _SETTINGS},
        }
        return kept if self.vectors is None else {**kept, "vectors": self.vectors.numpy()}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], num_items: int, *, max_history: int
    ) -> "TransitionGraph":
        """See `FittedRecommender.from_arrays`."""
        missing = {"starts", "next_items", "weights", "target_counts", *_SETTINGS} - arrays.keys()
        if missing:
            raise ValueError(f"{min(missing)} is missing")
        starts, next_items = arrays["starts"], arrays["next_items"]
        num_transitions = len(next_items)
        shapes: dict[str, tuple[int, ...]] = {
            "starts": (num_items + 1,),
            "target_counts": (num_items,),
            "weights": (num_transitions,),
        }
        for name in _SETTINGS:
            shapes[name] = ()
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"{name} has the shape {arrays[name].shape}, not {shape}")
        vectors = arrays.get("vectors")
        if vectors is not None and (vectors.ndim != 2 or len(vectors) != num_items):
            raise ValueError(f"vectors has the shape {vectors.shape}, not one row per item")
        if starts[0] != 0 or starts[-1] != num_transitions or (np.diff(starts) < 0).any():
            raise ValueError("starts does not divide the transitions among the items")
        if num_transitions and not (next_items.min() >= 0 and next_items.max() < num_items):
            raise ValueError(f"next_items names items that are not among {num_items:,}")
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds what is no finite number")
        graph = scipy.sparse.csr_array(
            (arrays["weights"], next_items, starts), shape=(num_items, num_items)
        )
        settings = {name: float(arrays[name]) for name in _SETTINGS}
        return cls(
            graph, arrays["target_counts"], max_history=max_history, vectors=vectors, **settings
        )

    def grown(
        self, num_new: int, vectors: Float[np.ndarray, "new dim"] | None
    ) -> "TransitionGraph":
        """See `FittedRecommender.grown`; nothing follows a new item, which is found by its vector.

        The scores of old items do not change. Without vectors, new items are like no item.

        Raises:
            ValueError: the vectors are of another width.
        """
        kept = dict(self.arrays())
        kept["starts"] = np.concatenate([kept["starts"], np.repeat(kept["starts"][-1:], num_new)])
        zeros = np.zeros(num_new, dtype=self.counts.dtype)
        kept["target_counts"] = np.concatenate([self.counts, zeros])
        if self.vectors is not None:
            width = self.vectors.shape[1]
            if vectors is None:
                vectors = np.zeros((num_new, width), dtype=np.float32)
            if vectors.shape != (num_new, width):
                raise ValueError(
                    f"{num_new} new items need vectors of {width} numbers, as the old items have; "
                    f"got {vectors.shape[0]} of {vectors.shape[1]}."
                )
            new = unit_length(vectors.astype(np.float32))
            kept["vectors"] = np.concatenate([kept["vectors"], new])
        num_items = self.num_items + num_new
        return self.from_arrays(kept, num_items, max_history=self.max_history)

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return len(self.counts)

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"]:
        """FLOPs of the similarities; no matrix is multiplied for transitions."""
        width = 0 if self.vectors is None else self.vectors.shape[1]
        return torch.full_like(histories.lengths, 2 * width * self.num_items)

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """Transitions, similarities and a little popularity, on the CPU in float64."""
        latest = histories.to("cpu").latest(self.max_history)
        scores = self._shares.repeat(len(latest.items), 1)
        queries = [self._add_place(scores, latest, place) for place in range(latest.items.shape[1])]
        if self.vectors is not None:
            similarity = torch.stack(queries).sum(dim=0) @ self.vectors.T
            scores += self.similarity_weight * similarity.double().round(decimals=_DIGITS)
        return scores

    def _add_place(
        self, scores: Float[Tensor, "users items"], latest: HistoryBatch, place: int
    ) -> Float[Tensor, "users dim"]:
        """Adds the transitions from one item of each history to the scores, in place.

        Args:
            scores: are changed.
            latest: the histories.
            place: 0 is the last item, 1 the one before it.

        Returns:
            The weighted vector of the item; zero where the history has no such item, and of no
            width without vectors.
        """
        columns = latest.lengths - 1 - place
        is_there = columns >= 0
        columns = columns.clamp(min=0)[:, None]
        items = latest.items.gather(1, columns)[:, 0].long().masked_fill(~is_there, 0)
        factors = torch.where(is_there, self.place_decay**place, 0.0).double()
        if latest.weights is not None:
            factors = torch.where(is_there, factors * latest.weights.gather(1, columns)[:, 0], 0.0)
        numbers = (self.starts[items + 1] - self.starts[items]) * is_there
        users = torch.arange(len(items)).repeat_interleave(numbers)
        begins = numbers.cumsum(0) - numbers
        entries = torch.arange(len(users)) + (self.starts[items] - begins)[users]
        # Each next item stands once in a row of the graph, so that no sum waits for another.
        scores[users, self.next_items[entries]] += factors[users] * self.weights[entries]
        if self.vectors is None:
            return torch.zeros(len(items), 0)
        own = self.vectors[items]
        to_itself = own.square().sum(dim=1).double().round(decimals=_DIGITS)
        scores[torch.arange(len(items)), items] -= self.similarity_weight * factors * to_itself
        return factors.float()[:, None] * own
