"""One part of each kind that goes by import path."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from sidestep.baselines.fitted import FittedRecommender
from sidestep.search.beam import BeamSearch
from sidestep.tokenizer.codebooks import ResidualCodebooks
from sidestep.tokenizer.residual_kmeans import ResidualKMeans
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.objective import Loss, Objective
from sidestep.training.objective_config import NextCodeConfig


@dataclass(frozen=True, kw_only=True)
class Backwards:
    """The leaves of a beam search, the last one first."""

    num_beams: int = 10
    shift: float = 0.0
    name: str = "backwards"

    def search(self, model, histories, scope):
        found = BeamSearch(num_beams=self.num_beams).search(model, histories, scope)
        return replace(
            found, leaves=found.leaves.flip(1), log_probs=-found.log_probs.flip(1) + self.shift
        )


@dataclass(frozen=True, kw_only=True)
class PopularPrefixes:
    """A scorer: how often the items below a prefix were taken."""

    counts: torch.Tensor
    name: str = "popular-prefixes"

    @classmethod
    def of_bundle(cls, bundle):
        return cls(counts=torch.from_numpy(bundle.catalog.popularity).double())

    def begin(self, histories, root, context, scope):
        trie = scope.trie
        leaves = trie.leaf_of(torch.arange(trie.num_items))
        taken = torch.zeros(trie.num_nodes(), dtype=torch.float64)
        for depth in range(trie.num_levels + 1):
            taken.index_add_(0, trie.ancestor(leaves, depth), self.counts)
        return lambda states, depth: taken[states.clamp(min=0)].float()


class NeedsMore:
    """A scorer that nothing can make."""

    def __init__(self, counts):
        raise NotImplementedError

    def begin(self, histories, root, context, scope):
        raise NotImplementedError


class Often(FittedRecommender):
    """Items by how often all histories hold them, turned round where that is wanted."""

    def __init__(self, counts, max_history):
        self.counts, self.max_history = counts, max_history

    @classmethod
    def fit(cls, histories, num_items, *, max_history, sign=1):
        return cls(sign * np.bincount(histories.items, minlength=num_items), max_history)

    def arrays(self):
        return {"often": self.counts}

    @classmethod
    def from_arrays(cls, arrays, num_items, *, max_history):
        return cls(arrays["often"], max_history)

    @property
    def num_items(self):
        return len(self.counts)

    def scores(self, histories):
        counts = torch.from_numpy(self.counts).float()
        return counts.expand(len(histories.lengths), -1)


class Doubled(Objective):
    """The loss of the next code, multiplied."""

    def __init__(self, network, factor=2.0):
        super().__init__()
        self.inner, self.factor = NextCodeObjective(network, NextCodeConfig()), factor

    @property
    def trained(self):
        return {"inner": self.inner}

    def forward(self, batch):
        loss = self.inner(batch)
        return Loss(
            loss=self.factor * loss.loss,
            num_targets=loss.num_targets,
            parts={"inner": loss.loss.detach()},
        )


class OwnCodebooks(ResidualCodebooks):
    """A fitted tokenizer, which a catalog keeps by its import path."""


class OwnKMeans(ResidualKMeans):
    """A tokenizer of a user's own, which learns what one of Sidestep's learns."""

    def fit(self, vectors, *, seed, report=None):
        fit = super().fit(vectors, seed=seed, report=report)
        return replace(fit, tokenizer=OwnCodebooks(fit.tokenizer.levels))


class Broken(Objective):
    """An objective whose code has a mistake."""

    def __init__(self, network, reason=None):
        super().__init__()
        self.network, self.reason = network, reason

    @property
    def trained(self):
        return {"network": self.network}

    def forward(self, batch):
        if self.reason is not None:
            raise ValueError(self.reason)
        return None + batch.num_targets
