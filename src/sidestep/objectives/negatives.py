"""Negatives: the items that stand for the whole catalog in a sampled softmax.

One draw serves all targets of a batch: the loss is `sampled_item_cross_entropy`. Or items are drawn
for each target alone: the losses are `per_target_cross_entropy` and `binary_cross_entropy`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

IN_BATCH, POPULARITY, UNIFORM, BEAM = "in_batch", "popularity", "uniform", "beam"
"""The sources of negatives: targets of other windows, draws by popularity, uniform draws, and items
that a beam of the policy finds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The items that a batch scores instead of the whole catalog.

    items: ascending, each once; the targets of the batch are among them.
    columns: per target, the column of its own item.
    log_weights: what is added to the score of an item, so that the sum of the exponentials over the
        candidates estimates that over the catalog without bias. 0 at the target's own item, -inf
        where an item was drawn for other targets alone.
    """

    items: Int[Tensor, " candidates"]
    columns: Int[Tensor, " targets"]
    log_weights: Float[Tensor, "targets candidates"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PerTargetNegatives:
    """The items that are drawn for each target alone.

    A draw that is the target itself is no negative.

    items: one row per target; an item may be drawn twice.
    is_negative: False where the draw is the target.
    log_weights: minus the logarithm of the number of draws that is expected of the item, so that a
        sum over the negatives with these weights is an unbiased estimate of the sum over all items
        but the target.
    """

    items: Int[Tensor, "targets draws"]
    is_negative: Bool[Tensor, "targets draws"]
    log_weights: Float[Tensor, "targets draws"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NegativeSampler:
    """Draws negatives: items that stand for the catalog.

    The weight of item j for a target of a window w is the number of its draws over the number that
    is expected of all sources together:

        c_w(j) / Σ_s n_s q_s(j)

    with n_s draws of the source s, which draws j with probability q_s(j). The expectation of c_w(j)
    is the divisor, so the estimate of a sum over the catalog is free of bias, however the sources
    overlap. That is log-q correction, for several sources at once.

    A source that draws takes one item from each of n_s equal parts of its probability, as in
    stratified sampling. So no item is drawn much more or less often than expected, and as many
    uniform draws as there are items give the catalog itself.

    The source `beam` draws nothing. Each item that is found counts as one draw with q = 1. So what
    the policy takes for likely is hardly left to chance, and the estimate stays free of bias.

    The draws of the source `in_batch` are the targets of the other windows; q is the share of an
    item among all targets. The targets of the window itself are left out. They are no independent
    draws: a window holds its own items for certain, and q would weigh them as rare finds.

    Source: importance sampling of a softmax, Bengio & Senecal (IEEE Transactions on Neural Networks
    19(4), 2008); z_j - log q_j as the score of an in-batch negative, Yi et al. (RecSys 2019,
    "Sampling-Bias-Corrected Neural Modeling"); negatives of the batch beside uniform ones, Yang et
    al. (WWW 2020 Companion, "Mixed Negative Sampling"); the sum over sources in the divisor is the
    balance heuristic of Veach & Guibas (SIGGRAPH 1995). Our departures: shares of items are counted
    beforehand, where Yi et al. estimate them from the stream; the target itself is no draw, but
    counts once.

    sources: of `in_batch`, `popularity`, `uniform` and `beam`, each at most once.
    num_negatives: draws of `popularity` and `uniform` together, shared out evenly.
    ends: running sums of how often each item is a target in the training part.
    """

    sources: tuple[str, ...]
    num_negatives: int
    ends: Int[Tensor, " items"]

    @staticmethod
    def of(
        sources: Sequence[str], num_negatives: int, counts: Int[Tensor, " items"]
    ) -> "NegativeSampler":
        """The sampler of a training part.

        Args:
            sources: see above.
            num_negatives: see above.
            counts: how often each item is a target in the training part.

        Raises:
            ValueError: a source has another name.
        """
        unknown = set(sources) - {IN_BATCH, POPULARITY, UNIFORM, BEAM}
        if unknown:
            raise ValueError(
                f"sources: there is no source {sorted(unknown)[0]!r}; there are {IN_BATCH}, "
                f"{POPULARITY}, {UNIFORM} and {BEAM}."
            )
        return NegativeSampler(
            sources=tuple(sources), num_negatives=num_negatives, ends=counts.long().cumsum(0)
        )

    def to(self, device: torch.device | str) -> "NegativeSampler":
        """Copies the sampler to `device`."""
        return NegativeSampler(
            sources=self.sources, num_negatives=self.num_negatives, ends=self.ends.to(device)
        )

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return len(self.ends)

    def draws(self) -> dict[str, int]:
        """The number of draws by source, of the sources that draw."""
        drawing = [source for source in self.sources if source in (POPULARITY, UNIFORM)]
        share, rest = divmod(self.num_negatives, max(len(drawing), 1))
        return {source: share + (place < rest) for place, source in enumerate(drawing)}

    def candidates(
        self,
        targets: Int[Tensor, " targets"],
        windows: Int[Tensor, " targets"],
        found: Int[Tensor, " found"] | None = None,
        elsewhere: Int[Tensor, " others"] | None = None,
    ) -> Candidates:
        """Draws the negatives of a batch from the random generator of the device.

        Args:
            targets: items.
            windows: the window of each target, as a number from 0.
            found: items that a beam found, of the source `beam`; None without this source.
            elsewhere: targets of further windows of the batch, which the source `in_batch` draws;
                None if there are none.
        """
        drawn = [self._drawn(source, number) for source, number in self.draws().items()]
        certain = targets[:0] if found is None else torch.unique(found)
        if elsewhere is None or IN_BATCH not in self.sources:
            elsewhere = targets[:0]
        named = torch.cat([targets, elsewhere, *drawn, certain])
        items, places = torch.unique(named, return_inverse=True)
        columns = places[: len(targets)]
        counts = places.new_zeros(len(items))
        counts.index_add_(0, places[len(targets) :], torch.ones_like(places[len(targets) :]))
        is_found = counts.new_zeros(len(items))
        is_found[places[len(places) - len(certain) :]] = 1
        counts, expected = self._of_windows(items, counts, columns, windows, len(elsewhere))
        expected = expected + is_found
        log_weights = (counts.double().log() - expected.log()).float()
        # What was drawn for no window has no weight, also where nothing was expected.
        log_weights = log_weights.masked_fill(counts == 0, -torch.inf)[windows]
        return Candidates(
            items=items,
            columns=columns,
            log_weights=log_weights.scatter(1, columns[:, None], 0.0),
        )

    def per_target_negatives(self, targets: Int[Tensor, " targets"]) -> PerTargetNegatives:
        """Draws `num_negatives` items for each target from the random generator of the device.

        The draws of all targets are stratified together and then dealt out at random, so each draw
        of a target has the distribution of its source.

        Args:
            targets: items.
        """
        drawn = []
        for source, number in self.draws().items():
            together = self._drawn(source, number * len(targets))
            dealt = together[torch.randperm(len(together), device=together.device)]
            drawn.append(dealt.view(len(targets), number))
        items = torch.cat(drawn, dim=1)
        return PerTargetNegatives(
            items=items,
            is_negative=items != targets[:, None],
            log_weights=-self._expected_draws(items).log().float(),
        )

    def _shares(self, items: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The shares of items among all targets, in float64."""
        below = torch.nn.functional.pad(self.ends, (1, 0))[items]
        return (self.ends[items] - below).double() / self.ends[-1]

    def _expected_draws(self, items: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The number of draws that is expected of items from all sources that draw, in float64."""
        draws = self.draws()
        uniform = draws.get(UNIFORM, 0) / self.num_items
        return self._shares(items) * draws.get(POPULARITY, 0) + uniform

    def _drawn(self, source: str, number: int) -> Int[Tensor, " number"]:
        """Draws, one from each of `number` equal parts of the probability."""
        device = self.ends.device
        parts = torch.arange(number, dtype=torch.float64, device=device)
        shares = (parts + torch.rand(number, dtype=torch.float64, device=device)) / number
        if source == UNIFORM:
            return (shares * self.num_items).long().clamp(max=self.num_items - 1)
        # The first item whose running sum is above a number below the total.
        total = self.ends[-1]
        return torch.searchsorted(
            self.ends, (shares * total).long().clamp(max=total - 1), right=True
        )

    def _of_windows(
        self,
        items: Int[Tensor, " candidates"],
        counts: Int[Tensor, " candidates"],
        columns: Int[Tensor, " targets"],
        windows: Int[Tensor, " targets"],
        num_elsewhere: int,
    ) -> tuple[Int[Tensor, "windows candidates"], Float[Tensor, "windows candidates"]]:
        """Draws of each candidate that count for each window, and their expected number.

        Args:
            items: the candidates.
            counts: draws of the sources that draw, and targets of further windows.
            columns: per target, the column of its own item.
            windows: of the targets.
            num_elsewhere: targets of further windows.
        """
        num_windows = int(windows.max()) + 1
        expected = self._expected_draws(items)
        if IN_BATCH not in self.sources:
            return counts.expand(num_windows, -1), expected.expand(num_windows, -1)
        own = counts.new_zeros(num_windows, len(items))
        own.index_put_((windows, columns), torch.ones_like(columns), accumulate=True)
        in_batch = own.sum(dim=0)
        others = len(columns) + num_elsewhere - own.sum(dim=1, keepdim=True)
        return counts + in_batch - own, expected + others * self._shares(items)
