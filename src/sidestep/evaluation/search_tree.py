"""One user's search as a tree of prefixes: their scores, their fates, and the way to the target.

This module also chooses the prefixes to draw: a search looks at hundreds, a reader at dozens.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.trie import NO_CODE, NO_STATE, Trie
from sidestep.evaluation.batch_scores import BatchScores
from sidestep.search.paths import is_first_on_paths, paths_to
from sidestep.search.policy import RanksByValues, Scope, SearchPolicy
from sidestep.search.proposals import Indifferent, guidance_of, watched
from sidestep.search.tree import LOG_PROB, VALUE
from sidestep.step import HistoryBatch, StepModel

Fate = Literal["expanded", "kept", "pruned", "unproposed"]
"""Fate of a prefix. Expanded: the search went on from the prefix. Kept: the prefix is a leaf that
is returned, or a node where a growing tree ended. Pruned: the search looked at the prefix and
dropped it. Unproposed: the search never looked at the prefix."""

_OWN = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchNode:
    """A prefix in one user's search.

    state: state of the prefix in the trie.
    parent: state of the parent; `NO_STATE` for the root.
    score: the score by which the search ranks the prefixes of a depth; scores of different depths
        cannot be compared. Value-guided decoding grows its tree by more than one score; its score
        here is the value.
    rank: place among the proposals of its depth, from 1 for the best; None if not proposed.
    is_target: whether the item that came next is below the prefix.
    """

    state: int
    parent: int
    depth: int
    code: int
    score: float
    log_prob: float
    rank: int | None
    fate: Fate
    is_target: bool


_ROOT = SearchNode(
    state=0,
    parent=NO_STATE,
    depth=0,
    code=NO_CODE,
    score=0.0,
    log_prob=0.0,
    rank=None,
    fate="expanded",
    is_target=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTree:
    """All nodes of a search by state, with the root; parents come before children.

    name: name of the search.
    score_kind: kind of the scores.
    num_levels: number of codes of a semantic ID.
    """

    name: str
    score_kind: str
    num_levels: int
    nodes: Mapping[int, SearchNode]

    def count(self, depth: int, *fates: Fate) -> int:
        """Number of nodes of a depth that met one of these fates."""
        return sum(node.depth == depth and node.fate in fates for node in self.nodes.values())

    def thinned(self, *, num_leaves: int = 6, num_pruned: int = 2) -> "SearchTree":
        """Keeps the nodes worth drawing, with all their ancestors.

        These are the nodes on the way to the target and the best leaves of the answer. Below every
        node that is drawn for these, the best dropped nodes are kept too.

        Args:
            num_leaves: number of leaves of the answer.
            num_pruned: number of dropped nodes below each node.
        """
        returned = [
            node
            for node in self.nodes.values()
            if node.depth == self.num_levels and node.fate == "kept"
        ]
        best = sorted(returned, key=lambda node: -node.score)[:num_leaves]
        shown: set[int] = {node.state for node in self.nodes.values() if node.is_target}
        for node in best:
            state = node.state
            while state != NO_STATE:
                shown.add(state)
                state = self.nodes[state].parent
        dropped: dict[int, list[SearchNode]] = {}
        for node in self.nodes.values():
            if node.fate == "pruned" and node.parent in shown:
                dropped.setdefault(node.parent, []).append(node)
        for below in dropped.values():
            below.sort(key=lambda node: -node.score)
            shown |= {node.state for node in below[:num_pruned]}
        return SearchTree(
            name=self.name,
            score_kind=self.score_kind,
            num_levels=self.num_levels,
            nodes={state: node for state, node in self.nodes.items() if state in shown},
        )


def search_tree(
    policy: SearchPolicy,
    model: StepModel[Any],
    history: HistoryBatch,
    scope: Scope,
    *,
    target: int | None = None,
) -> SearchTree:
    """Searches for one user. Scores all prefixes that the search saw, and the way to the target.

    Args:
        policy: the search.
        model: the network that is searched.
        history: history of one user.
        scope: the items that may be recommended.
        target: the item that came next; None where nobody knows.
    """
    trie = scope.trie
    own = trie.leaf_of(
        torch.tensor([] if target is None else [target], dtype=torch.long, device=trie.device)
    )
    with torch.no_grad():
        seen = watched(policy, model, history, scope)
        paths = paths_to(torch.cat([seen.proposed, own[None]], dim=1), trie)
        scores, log_probs = _scores_along(policy, model, history, scope, paths)
    found = _nodes_on(paths, scores, log_probs, trie, target_leaf=own)
    looked_at = set(seen.proposed[0].tolist())
    proposed = {
        node.state for node in found if node.state in looked_at and node.log_prob > -torch.inf
    }
    kept = set(seen.kept[0].tolist()) - {NO_STATE}
    gone_on_from = {node.parent for node in found if node.state in proposed}
    ranks = _ranks([node for node in found if node.state in proposed])

    def fate(state: int) -> Fate:
        if state in kept:
            return "expanded" if state in gone_on_from else "kept"
        return "pruned" if state in proposed else "unproposed"

    nodes = {
        node.state: replace(node, rank=ranks.get(node.state), fate=fate(node.state))
        for node in found
    }
    return SearchTree(
        name=policy.name,
        score_kind=seen.candidates.score_kind,
        num_levels=trie.num_levels,
        nodes={_ROOT.state: _ROOT, **nodes},
    )


def _scores_along(
    policy: SearchPolicy,
    model: StepModel[Any],
    history: HistoryBatch,
    scope: Scope,
    paths: Int[Tensor, "1 paths levels"],
) -> tuple[Float[Tensor, "paths levels"], Float[Tensor, "paths levels"]]:
    """Scores by which the search ranks the prefixes on the paths, and their log-probabilities."""
    guidances, guidance = {}, guidance_of(policy)
    if guidance is not None and guidance.scorer != Indifferent():
        guidances[_OWN] = guidance
    scores = BatchScores.begin(model, history, scope, guidances).along(paths)
    by_name = {name: of_paths[0] for name, of_paths in scores.items()}
    log_probs = by_name[LOG_PROB]
    if isinstance(policy, RanksByValues):
        return policy.ranked_by(by_name[VALUE], log_probs), log_probs
    return by_name.get(_OWN, log_probs), log_probs


def _nodes_on(
    paths: Int[Tensor, "1 paths levels"],
    scores: Float[Tensor, "paths levels"],
    log_probs: Float[Tensor, "paths levels"],
    trie: Trie,
    *,
    target_leaf: Int[Tensor, " targets"],
) -> list[SearchNode]:
    """Makes a node of each different prefix on the paths, by state, with the fate "unproposed"."""
    is_node = is_first_on_paths(paths)[0]
    states = paths[0][is_node]
    columns = (
        states,
        trie.parent(states),
        trie.depth(states),
        trie.codes_of(states),
        scores[is_node],
        log_probs[is_node],
    )
    rows = sorted(zip(*(column.tolist() for column in columns), strict=True))
    on_way = set(trie.prefixes(target_leaf).flatten().tolist())
    return [
        SearchNode(
            state=state,
            parent=parent,
            depth=depth,
            code=code,
            score=score,
            log_prob=log_prob,
            rank=None,
            fate="unproposed",
            is_target=state in on_way,
        )
        for state, parent, depth, code, score, log_prob in rows
    ]


def _ranks(proposed: Sequence[SearchNode]) -> dict[int, int]:
    """Ranks among the proposals of each depth, by state."""
    ranks: dict[int, int] = {}
    places: Counter[int] = Counter()
    for node in sorted(proposed, key=lambda node: (node.depth, -node.score)):
        places[node.depth] += 1
        ranks[node.state] = places[node.depth]
    return ranks
