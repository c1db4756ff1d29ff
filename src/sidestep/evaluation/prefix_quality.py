"""What scores of prefixes are worth, before any search: can they tell the target's own from others?

Depth by depth, for the policy itself and for everything that could guide it. A score that is good
at every prefix may still fail among those that a search proposes; so both are measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.catalog.user_sets import is_among
from sidestep.data.splits import Rows
from sidestep.evaluation.evaluator import batches_by_length
from sidestep.evaluation.measured import Measured, measured
from sidestep.metrics.prefixes import auc, rank_correlation
from sidestep.metrics.statistics import numbered
from sidestep.objectives.semantic_reward import target_cosines
from sidestep.objectives.value import mean_below, shared_prefixes
from sidestep.search.paths import is_first_on_paths, paths_to, score_paths
from sidestep.search.policy import Scope
from sidestep.search.proposals import plain_beam, watched
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance, PrefixScores
from sidestep.search.tree import LOG_PROB, VALUE
from sidestep.step import HistoryBatch, StepModel

_CHUNK_SIZE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixSettings:
    """What scores are judged on.

    num_prefixes: other prefixes of each depth, at most, evenly spread over the trie from a random
        start; None takes all of them.
    num_beams, candidates: K and K+ of the plain beam whose proposals are the hard ones.
    pool_size, temperature: of the pools of candidates on which scores and rewards are correlated,
        drawn without replacement; as in V-STAR (arXiv:2602.10699), Fig. 3.
    seed: of the random starts and of the pools.
    """

    num_prefixes: int | None = 256
    num_beams: int = 50
    candidates: int = 200
    pool_size: int = 64
    temperature: float = 1.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_prefixes is not None and self.num_prefixes < 1:
            raise ValueError(f"num_prefixes must be at least 1, got {self.num_prefixes}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAtDepth:
    """What one score is worth at one depth; None where no row tells.

    auc: share of the other prefixes of the depth that score below the target's own, ties half.
    hard_auc: the same among the prefixes that a plain beam proposes, of the rows where it proposes
        the target's own: what a guided beam chooses from.
    sibling_auc: among the prefixes that differ from the target's in their last code alone, of the
        rows where there are any.
    correlation: Spearman's ρ with the mean reward of the candidates below, over the distinct
        prefixes of a pool; pools in which one of the two is constant tell nothing.
    oracle: share of rows with the target's prefix among those of the k best leaves of the catalog
        by this score: of what a search that it guides would return if it missed nothing. None
        unless all are scored.
    """

    depth: int
    auc: Measured | None
    hard_auc: Measured | None
    sibling_auc: Measured | None
    correlation: Measured | None
    oracle: Measured | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixQuality:
    """What every score is worth, by its name: log π, the value, and what else can guide.

    num_rows, num_users: that were judged.
    is_exact: whether all prefixes were scored.
    """

    num_rows: int
    num_users: int
    is_exact: bool
    settings: PrefixSettings
    scores: dict[str, tuple[ScoreAtDepth, ...]]

    def as_json(self) -> dict[str, Any]:
        """The same as plain dictionaries and numbers."""
        return asdict(self)


def prefix_quality(
    model: StepModel[Any],
    rows: Rows,
    scope: Scope,
    *,
    guidances: Mapping[str, Guidance],
    settings: PrefixSettings | None = None,
    embeddings: Float[Tensor, "items dim"] | None = None,
    batch_size: int = 32,
    max_history: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PrefixQuality:
    """Judges scores of prefixes on rows.

    Args:
        model: the policy; its value is judged too, if it gives one.
        rows: histories and targets.
        scope: the items that may be recommended; it lies where the model does.
        guidances: what else is judged, by name.
        settings: see there.
        embeddings: of every item, from an encoder that knows nothing of the model. The reward of a
            candidate is the cosine of its items' mean embedding with the target's. Without them
            nothing is correlated.
        batch_size: rows judged at once; no result depends on it.
        max_history: only so many most recent items of a history are shown; None shows all.
        progress: called after each batch with the rows done and their number.

    Raises:
        ValueError: there are no rows, or not one embedding per item.
    """
    settings = settings or PrefixSettings()
    if len(rows) == 0:
        raise ValueError("there are no rows to judge on: the split is empty.")
    vectors = None if embeddings is None else LeafEmbeddings.of(embeddings, scope.trie)
    judge = _Judge(model, scope, guidances, settings, vectors)
    shown = rows if max_history is None else rows.cut(max_history)
    starts = torch.from_numpy(np.random.default_rng(settings.seed).random(len(rows)))
    targets = torch.from_numpy(rows.targets).long()
    found: dict[tuple[str, str], Float[np.ndarray, "rows levels"]] = {}
    num_done = 0
    for chosen in batches_by_length(shown.histories.lengths, batch_size):
        histories = shown.batch(chosen).to(scope.trie.device)
        judged = judge.judged(
            histories, targets[chosen].to(scope.trie.device), starts[chosen].to(scope.trie.device)
        )
        for key, values in judged.items():
            whole = found.setdefault(key, np.full((len(rows), scope.trie.num_levels), np.nan))
            whole[chosen] = values.double().cpu().numpy()
        num_done += len(chosen)
        if progress is not None:
            progress(num_done, len(rows))
    users = numbered(rows.histories.user_ids)
    names = dict.fromkeys(name for name, _ in found)
    return PrefixQuality(
        num_rows=len(rows),
        num_users=len(set(users.tolist())),
        is_exact=settings.num_prefixes is None,
        settings=settings,
        scores={
            name: tuple(
                ScoreAtDepth(
                    depth=level + 1,
                    **{
                        kind: measured(found[name, kind][:, level], users)
                        if (name, kind) in found
                        else None
                        for kind in _KINDS
                    },
                )
                for level in range(scope.trie.num_levels)
            )
            for name in names
        },
    )


_KINDS = ("auc", "hard_auc", "sibling_auc", "correlation", "oracle")


class _Judge:
    """Judges batches; what it gives is a number per row and depth, NaN where there is none."""

    def __init__(
        self,
        model: StepModel[Any],
        scope: Scope,
        guidances: Mapping[str, Guidance],
        settings: PrefixSettings,
        embeddings: LeafEmbeddings | None,
    ) -> None:
        self.model, self.scope, self.guidances = model, scope, guidances
        self.settings, self.embeddings = settings, embeddings
        self.beam = plain_beam(num_beams=settings.num_beams, candidates=settings.candidates)

    @torch.no_grad()
    def judged(
        self,
        histories: HistoryBatch,
        targets: Int[Tensor, " users"],
        starts: Float[Tensor, " users"],
    ) -> dict[tuple[str, str], Float[Tensor, "users levels"]]:
        """By the name of a score and what is measured of it."""
        trie = self.scope.trie
        own = trie.leaf_of(targets)
        wanted = _Wanted.of(own, starts, trie, self.settings.num_prefixes)
        proposed = watched(self.beam, self.model, histories, self.scope).proposed
        scores = BatchScores.begin(self.model, histories, self.scope, self.guidances)
        paths = paths_to(wanted.states_with(proposed), trie)
        by_name = scores.along(paths)
        found: dict[tuple[str, str], Tensor] = {}
        is_prefix = is_first_on_paths(paths) & (by_name[LOG_PROB] > -torch.inf)
        on_way = trie.prefixes(own)
        is_own = paths == on_way[:, None]
        is_other = is_prefix & ~is_own
        others = {
            "auc": is_other,
            "hard_auc": is_other & is_among(paths, proposed),
            "sibling_auc": is_other & is_among(paths, wanted.siblings),
        }
        if wanted.spread is not None:
            others["auc"] = is_other & is_among(paths, wanted.spread)
        is_proposed = is_among(on_way, proposed)
        for name, of_paths in by_name.items():
            # Whatever path goes through it says the same of it.
            at = is_own.byte().argmax(dim=1, keepdim=True)
            target_scores = of_paths.gather(1, at)[:, 0]
            for kind, counts in others.items():
                found[name, kind] = torch.stack(
                    [
                        auc(target_scores[:, level], of_paths[..., level], counts[..., level])
                        for level in range(trie.num_levels)
                    ],
                    dim=1,
                )
            found[name, "hard_auc"].masked_fill_(~is_proposed, torch.nan)
            if self.settings.num_prefixes is None:
                found[name, "oracle"] = self._oracle_hits(of_paths, is_prefix, paths, on_way)
        # A target that cannot be recommended, as it is out of stock, tells nothing of scores.
        is_in_scope = (is_own[..., -1] & is_prefix[..., -1]).any(dim=1, keepdim=True)
        for values in found.values():
            values.masked_fill_(~is_in_scope, torch.nan)
        if self.embeddings is not None:
            for name, values in self._correlations(scores, histories, targets).items():
                found[name, "correlation"] = values
        return found

    def _oracle_hits(
        self,
        of_paths: Float[Tensor, "users paths levels"],
        is_prefix: Bool[Tensor, "users paths levels"],
        paths: Int[Tensor, "users paths levels"],
        on_way: Int[Tensor, "users levels"],
    ) -> Float[Tensor, "users levels"]:
        """Whether the target's prefixes are among those of the best leaves."""
        leaf_scores = of_paths[..., -1].masked_fill(~is_prefix[..., -1], -torch.inf)
        best, at = leaf_scores.topk(min(self.settings.num_beams, paths.shape[1]), dim=1)
        kept = paths.take_along_dim(at[..., None], dim=1).masked_fill(
            (best == -torch.inf)[..., None], NO_STATE
        )
        return is_among(on_way, kept.flatten(1)).double()

    def _correlations(
        self, scores: "BatchScores", histories: HistoryBatch, targets: Int[Tensor, " users"]
    ) -> dict[str, Float[Tensor, "users levels"]]:
        """Spearman's ρ of every score with the mean reward below, on a pool per user."""
        assert self.embeddings is not None
        sampling = Sampling(
            num_samples=self.settings.pool_size,
            temperature=self.settings.temperature,
            seed=self.settings.seed,
        )
        leaves = sampling.search(self.model, histories, self.scope).leaves
        paths = paths_to(leaves, self.scope.trie)
        is_state = is_first_on_paths(paths)
        leaves = paths[..., -1]
        cosines = target_cosines(self.embeddings.at(leaves), self.embeddings.items[targets])
        rewards = mean_below(cosines, shared_prefixes(paths, leaves != NO_STATE))
        return {
            name: torch.stack(
                [
                    rank_correlation(
                        of_paths[..., level], rewards[..., level], is_state[..., level]
                    )
                    for level in range(paths.shape[2])
                ],
                dim=1,
            )
            for name, of_paths in scores.along(paths).items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchScores:
    """The scores of one batch of histories."""

    model: StepModel[Any]
    scope: Scope
    root: Any
    context: Any
    guidances: Mapping[str, Guidance]
    scores_of: Mapping[str, PrefixScores]

    @staticmethod
    def begin(
        model: StepModel[Any],
        histories: HistoryBatch,
        scope: Scope,
        guidances: Mapping[str, Guidance],
    ) -> "BatchScores":
        """Reads the histories, once for all scores."""
        root, context = model.encode(histories, capacity=_CHUNK_SIZE * scope.trie.num_levels)
        return BatchScores(
            model=model,
            scope=scope,
            root=root,
            context=context,
            guidances=guidances,
            scores_of={
                name: guidance.begin(root, context, scope) for name, guidance in guidances.items()
            },
        )

    def along(
        self, paths: Int[Tensor, "users paths levels"]
    ) -> dict[str, Float[Tensor, "users paths levels"]]:
        """Every score of every prefix on the paths, by its name; arbitrary past their ends."""
        read = score_paths(
            self.model, self.root, self.context, paths, self.scope, chunk_size=_CHUNK_SIZE
        )
        found = {LOG_PROB: read.log_probs}
        if read.values is not None:
            found[VALUE] = read.values
        for name, guidance in self.guidances.items():
            found[name] = torch.stack(
                [
                    guidance.ranked_by(self.scores_of[name](states, depth), log_probs, depth)
                    for depth, (states, log_probs) in enumerate(
                        zip(paths.unbind(dim=2), read.log_probs.unbind(dim=2), strict=True), start=1
                    )
                ],
                dim=2,
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The prefixes that a target is held against; states of all depths, `NO_STATE` as padding.

    spread: of the whole depth; None means all.
    siblings: those with the target's parent, the target's own among them.
    """

    target: Int[Tensor, " users"]
    spread: Int[Tensor, "users spread"] | None
    siblings: Int[Tensor, "users siblings"]
    leaves: Int[Tensor, " leaves"] | None

    @staticmethod
    def of(
        target: Int[Tensor, " users"],
        starts: Float[Tensor, " users"],
        trie: Trie,
        number: int | None,
    ) -> "_Wanted":
        """Chooses them.

        Args:
            target: leaf of each user.
            starts: from 0 to 1; where in its first interval each user's even spread begins.
            trie: of the catalog.
            number: of each depth and of each parent, at most; None takes all.
        """
        spread, siblings = [], []
        for depth in range(1, trie.num_levels + 1):
            nodes = trie.nodes_at(depth)
            if number is not None:
                first, last = (torch.full_like(target, end) for end in (nodes.start, nodes.stop))
                spread.append(evenly_spread(first, last, starts, number))
            above = trie.ancestor(target, depth - 1)
            first, last = (trie.child_start[above + side].long() for side in (0, 1))
            siblings.append(evenly_spread(first, last, starts, number or len(nodes)))
        every = torch.arange(trie.first_leaf, trie.num_nodes(), device=trie.device)
        return _Wanted(
            target=target,
            spread=torch.cat(spread, dim=1) if spread else None,
            siblings=torch.cat(siblings, dim=1),
            leaves=None if spread else every,
        )

    def states_with(self, proposed: Int[Tensor, "users proposed"]) -> Int[Tensor, "users states"]:
        """All of them and others, for each user."""
        if self.spread is None:
            assert self.leaves is not None
            return self.leaves.expand(len(self.target), -1)
        return torch.cat([self.target[:, None], self.spread, self.siblings, proposed], dim=1)


def evenly_spread(
    first: Int[Tensor, " users"],
    last: Int[Tensor, " users"],
    starts: Float[Tensor, " users"],
    number: int,
) -> Int[Tensor, "users number"]:
    """At most `number` integers from `first` to before `last`, equally far apart; all if few.

    Systematic sampling: with starts drawn uniformly every integer is as likely to be in it, and
    neighbours, which share their first codes, seldom come together.

    Args:
        first: the smallest.
        last: one more than the largest.
        starts: in [0, 1), of the first step.
        number: at most.

    Returns:
        Ascending, padded with `NO_STATE`.
    """
    counts = last - first
    width = min(number, int(counts.max()))
    steps = torch.arange(width, device=first.device)
    step = counts.double()[:, None] / width
    chosen = ((steps + starts.double()[:, None]) * step).floor().long()
    chosen = torch.where((counts <= width)[:, None], steps, chosen)
    return (first[:, None] + chosen).masked_fill(chosen >= counts[:, None], NO_STATE)
