"""Rewards by name: what a configuration says of them becomes one number per candidate.

A reward is a function of a `RewardScene`; a user's own is named by import path, as
"package.module:function". Rewards know targets of the training part alone, and know them by row:
never by looking a history up.
"""

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import Trie
from sidestep.import_paths import imported, is_import_path
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.rewards import (
    category_hit,
    category_match,
    exact_match,
    future_weights,
    likeliness,
    novelty,
    path_hit,
    prefix_match,
    rank_penalty,
    soonness,
    step_consistency,
    step_hit,
)
from sidestep.objectives.semantic_reward import target_cosines
from sidestep.objectives.value import level_weights
from sidestep.search.policy import trie_scope
from sidestep.step import HistoryBatch, in_float32
from sidestep.training.objective_config import RewardTerm

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemScores:
    """Unnormalised log-probabilities of all items of the catalog, by a network that is no policy.

    network: what scores; no training changes it.
    of: the scores after histories.
    """

    network: nn.Module
    of: Callable[[HistoryBatch], Float[Tensor, "users items"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardScene:
    """The inputs of a reward: candidates, and the items that came next.

    histories: before the target.
    futures: the items that came next, the target first, as many as `reward_horizon` says;
        `NO_ITEM` where the window ends before. None if nobody knows them.
    future_decay: the weight of each further of these items, relative to the one before.
    leaves: the candidates; `NO_STATE` is padding.
    states: of each candidate's prefixes of 1 to L codes; the leaf itself after the last step.
    is_step: the steps of each candidate's way; False after the last one and at padding.
    log_probs: of the candidates under the policy.
    is_candidate: False at padding, where a reward may say anything finite or not.
    space: all items of the catalog.
    intents: log-probabilities of the categories before each code, by the policy's category head;
        None where no reward reads them, or the policy has no such head.
    """

    histories: HistoryBatch
    futures: Int[Tensor, "users horizon"] | None
    leaves: Int[Tensor, "users candidates"]
    states: Int[Tensor, "users candidates levels"]
    is_step: Bool[Tensor, "users candidates levels"]
    log_probs: Float[Tensor, "users candidates"]
    is_candidate: Bool[Tensor, "users candidates"]
    space: CodeSpace
    future_decay: float = 1.0
    intents: Float[Tensor, "users candidates levels categories"] | None = None

    @property
    def trie(self) -> Trie:
        """The trie of the catalog.

        Raises:
            TypeError: the codes of the catalog are sets.
        """
        return trie_scope(self.space, asker="a reward of prefixes").trie

    @property
    def future_weights(self) -> Float[Tensor, "users horizon"]:
        """The weights of the items that came next; an error as of `known_futures`."""
        return future_weights(self.known_futures, self.future_decay)

    @property
    def known_intents(self) -> Float[Tensor, "users candidates levels categories"]:
        """See `intents`.

        Raises:
            ValueError: there are none.
        """
        if self.intents is None:
            raise ValueError(
                "it asks the category head for each prefix, and the policy has none, or reads the "
                "history alone; train the policy with model.category_head and without "
                "prefix_queries: false, or leave the reward out."
            )
        return self.intents

    @property
    def known_futures(self) -> Int[Tensor, "users horizon"]:
        """The items that came next, see `futures`.

        Raises:
            ValueError: nobody knows them.
        """
        if self.futures is None:
            raise ValueError("it asks what came next, which nobody knows after open prompts.")
        return self.futures

    @property
    def known_targets(self) -> Int[Tensor, " users"]:
        """The first of the items that came next; an error as of `known_futures`."""
        return self.known_futures[:, 0]

    @property
    def target_leaves(self) -> Int[Tensor, " users"]:
        """The leaves of the items that came next; an error as of `known_targets`."""
        return self.space.state_of(self.known_targets)

    @property
    def is_target(self) -> Bool[Tensor, "users candidates"]:
        """True at the target's leaf."""
        return self.leaves == self.target_leaves[:, None]


Reward = Callable[[RewardScene], Float[Tensor, "users candidates"]]
"""One number per candidate, finite wherever there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSources:
    """The sources of rewards; None where nobody gave a source, and a reward that needs it refuses.

    embeddings: of every item, from an encoder that knows nothing of the policy: `semantic`.
    collaborative: a recommender trained on the same training part: `collaborative`.
    item_head: the item head of the policy as it was before: `item-head`.
    categories: of every item, -1 where it has none: `category`.
    head_categories: of every item, as the category head of the policy numbers categories; -1 where
        the item has none: `category-hit`.
    codes: of every item, by codebook: `step-hit`.
    code_sums: makes the sum of the vectors of the codes of every item, of length 1: `path`.
    popularity: interactions with every item in the training part: `novelty`.
    worths: what every item is worth to the shop, in any unit: `worth`, `log-worth`, `exact-worth`.
    """

    embeddings: LeafEmbeddings | None = None
    collaborative: ItemScores | None = None
    item_head: ItemScores | None = None
    categories: Int[np.ndarray, " items"] | None = None
    head_categories: Int[Tensor, " items"] | None = None
    codes: Int[Tensor, "items codebooks"] | None = None
    code_sums: Callable[[], Float[Tensor, "items dim"]] | None = None
    popularity: Int[np.ndarray, " items"] | None = None
    worths: Float[np.ndarray, " items"] | None = None


def code_sums(network: SemanticIdModel) -> Float[Tensor, "items dim"]:
    """The sum of the vectors of the codes of every item, of length 1, without gradient.

    The vectors are the rows of the network by which it chooses codes. A network in which items
    choose the last code has no rows for this code, and the sum is over the others.

    Raises:
        ValueError: the network has no rows of codes.
    """
    rows = network.head_weight.detach()
    flat = network.flat_codes(torch.arange(network.num_items, device=rows.device))
    sums = sum(rows[own] for own in flat.T if int(own.max()) < len(rows))
    if not isinstance(sums, Tensor):
        raise ValueError(
            "rewards: path compares the vectors of codes, and items choose the only code of this "
            "network; leave the reward out."
        )
    return functional.normalize(sums.float(), dim=1)


def item_head_scores(network: SemanticIdModel) -> ItemScores | None:
    """Scores of a network's item head as it is now; None if the network has none."""
    if network.item_scorer is None:
        return None
    kept = copy.deepcopy(network).requires_grad_(False).eval()

    def scores(histories: HistoryBatch) -> Tensor:
        root, _ = kept.encode(histories, capacity=1)
        assert kept.item_scorer is not None
        return kept.item_scorer.item_logits(root.hidden[:, 0], histories)

    return ItemScores(network=kept, of=scores)


class Rewards:
    """A weighted sum of rewards."""

    def __init__(self, terms: Sequence[RewardTerm], sources: RewardSources) -> None:
        """Makes every reward.

        Raises:
            ValueError: there is none, one is unknown, or what it needs is missing.
        """
        if not any(term.weight for term in terms):
            raise ValueError(
                "rewards: name at least one of a weight other than 0; else nothing can be learned."
            )
        self._terms = [(term, _reward(term.reward, sources)) for term in terms]
        by_reward = {"collaborative": sources.collaborative, "item-head": sources.item_head}
        asked = {term.reward for term in terms}
        self.modules: Mapping[str, nn.Module] = {
            name: scores.network
            for name, scores in by_reward.items()
            if scores is not None and name in asked
        }
        """The networks that judge, by the names of their rewards."""
        self.reads_intents = any(
            term.reward in _OF_INTENTS or is_import_path(term.reward) for term in terms
        )
        """Whether a reward may read `RewardScene.intents`."""

    def __call__(self, scene: RewardScene) -> Float[Tensor, "users candidates"]:
        """The sum; 0 at padding.

        Raises:
            ValueError: a reward failed, or gave another shape, NaN or infinity; names it.
        """
        total = torch.zeros(scene.leaves.shape, device=scene.leaves.device)
        for term, reward in self._terms:
            try:
                with in_float32(total.device):
                    given = reward(scene)
            except Exception as error:
                raise ValueError(
                    f"reward {term.reward!r} failed: {type(error).__name__}: {error}"
                ) from error
            if not isinstance(given, Tensor) or given.shape != scene.leaves.shape:
                shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
                raise ValueError(
                    f"reward {term.reward!r} gave {shape} for candidates of shape "
                    f"{tuple(scene.leaves.shape)}; give one number per user and candidate."
                )
            values = given.float().masked_fill(~scene.is_candidate, 0.0)
            if not values.isfinite().all():
                raise ValueError(
                    f"reward {term.reward!r} gave NaN or infinity to "
                    f"{int((~values.isfinite()).sum())} candidates; give finite numbers."
                )
            total = total + term.weight * values
        return total.detach()


def _reward(name: str, sources: RewardSources) -> Reward:
    """A reward by its name or import path.

    Raises:
        ValueError: see `Rewards`.
    """
    if is_import_path(name):
        return _imported(name)
    if name not in REWARDS:
        near = difflib.get_close_matches(name, REWARDS, n=1, cutoff=0.5)
        hint = f"perhaps {near[0]!r} is meant" if near else f"there are {', '.join(REWARDS)}"
        raise ValueError(
            f"rewards: unknown reward {name!r:.80}; {hint}, or name your own as "
            "package.module:function."
        )
    return REWARDS[name](sources)


def _imported(path: str) -> Reward:
    try:
        found = imported(path)
    except ValueError as error:
        raise ValueError(f"rewards: {error}") from error
    if not callable(found):
        raise ValueError(f"rewards: {path!r:.80} is a {type(found).__name__}, not a function.")
    reward: Reward = found
    return reward


def _exact(sources: RewardSources) -> Reward:
    del sources
    return lambda scene: exact_match(scene.leaves, scene.target_leaves)


def _rank(sources: RewardSources) -> Reward:
    del sources
    return lambda scene: rank_penalty(scene.is_target, scene.log_probs, scene.is_candidate)


def _rank_aware(sources: RewardSources) -> Reward:
    exact, rank = _exact(sources), _rank(sources)
    return lambda scene: exact(scene) + rank(scene)


def _prefix(sources: RewardSources) -> Reward:
    del sources

    def reward(scene: RewardScene) -> Tensor:
        weights = level_weights(scene.states.shape[2])
        is_on_path = scene.states == scene.trie.prefixes(scene.target_leaves)[:, None]
        return prefix_match(is_on_path, [weight / sum(weights) for weight in weights])

    return reward


def _semantic(sources: RewardSources) -> Reward:
    placed = [
        _given(sources.embeddings, "semantic", "the vectors of 'sidestep embed' (--embeddings)")
    ]

    def reward(scene: RewardScene) -> Tensor:
        placed[0] = embeddings = placed[0].to(scene.leaves.device)
        return target_cosines(embeddings.at(scene.leaves), embeddings.items[scene.known_targets])

    return reward


def _collaborative(sources: RewardSources) -> Reward:
    needed = "a run of kind sasrec on the same dataset (--collaborative)"
    return _by_items(_given(sources.collaborative, "collaborative", needed))


def _item_head(sources: RewardSources) -> Reward:
    return _by_items(_given(sources.item_head, "item-head", "a backbone with an item head"))


def _by_items(item_scores: ItemScores) -> Reward:
    """The probability of each leaf in a distribution over items, all of its items together."""

    def reward(scene: RewardScene) -> Tensor:
        logs = item_scores.of(scene.histories).float().log_softmax(dim=1)
        items = scene.space.items(scene.leaves)  # [users, candidates, bucket]
        flat = logs.gather(1, items.clamp(min=0).flatten(1)).view(items.shape)
        by_leaf = flat.masked_fill(items < 0, -torch.inf).logsumexp(dim=2)
        return likeliness(by_leaf, logs.shape[1])

    return reward


def _category(sources: RewardSources) -> Reward:
    categories = torch.from_numpy(
        _given(sources.categories, "category", "items with a column 'categories'")
    ).long()

    def reward(scene: RewardScene) -> Tensor:
        of_items = categories.to(scene.leaves.device)
        return category_match(of_items[_first_items(scene)], of_items[scene.known_targets])

    return reward


def _soon(sources: RewardSources) -> Reward:
    del sources

    def reward(scene: RewardScene) -> Tensor:
        leaves = scene.space.state_of(scene.known_futures)  # [users, horizon]
        return soonness(scene.leaves, leaves)

    return reward


def _step_hit(sources: RewardSources) -> Reward:
    codes = _given(sources.codes, "step-hit", "the codes of the items")

    def reward(scene: RewardScene) -> Tensor:
        of_items = codes.to(scene.leaves.device)
        futures = of_items[scene.known_futures.clamp(min=0)]
        return step_hit(of_items[_first_items(scene)], futures, scene.future_weights)

    return reward


def _category_hit(sources: RewardSources) -> Reward:
    categories = _given(sources.head_categories, "category-hit", _CATEGORY_HEAD)

    def reward(scene: RewardScene) -> Tensor:
        futures = scene.known_futures
        of_futures = categories.to(futures.device)[futures.clamp(min=0)]
        of_futures = of_futures.masked_fill(futures < 0, -1)
        return category_hit(scene.known_intents, scene.is_step, of_futures, scene.future_weights)

    return reward


def _step_consistency(sources: RewardSources) -> Reward:
    _given(sources.head_categories, "step-consistency", _CATEGORY_HEAD)
    return lambda scene: step_consistency(scene.known_intents, scene.is_step)


def _path(sources: RewardSources) -> Reward:
    sums = _given(sources.code_sums, "path", "the vectors of codes of the policy")()

    def reward(scene: RewardScene) -> Tensor:
        vectors = sums.to(scene.leaves.device)
        similarities = vectors[_first_items(scene)] @ vectors.T
        return path_hit(similarities, scene.known_futures, scene.future_weights, nearest=_NEAREST)

    return reward


def _novelty(sources: RewardSources) -> Reward:
    counts = torch.from_numpy(_given(sources.popularity, "novelty", "counts of the items")).long()

    def reward(scene: RewardScene) -> Tensor:
        return novelty(counts.to(scene.leaves.device)[_first_items(scene)], int(counts.max()))

    return reward


def _worth(sources: RewardSources) -> Reward:
    return _by_number(_given(sources.worths, "worth", _WORTHS))


def _log_worth(sources: RewardSources) -> Reward:
    worths = _given(sources.worths, "log-worth", _WORTHS)
    if (worths <= 0).any():
        raise ValueError(
            f"rewards: log-worth needs worths above 0, and {int((worths <= 0).sum())} items have "
            f"at most 0, the smallest {worths.min():g}; change their worth, or take the reward "
            "worth."
        )
    return _by_number(np.log(worths))


def _exact_worth(sources: RewardSources) -> Reward:
    exact, worths = _exact(sources), _given(sources.worths, "exact-worth", _WORTHS)
    of_items = torch.tensor(worths).float()

    def reward(scene: RewardScene) -> Tensor:
        return exact(scene) * of_items.to(scene.leaves.device)[scene.known_targets, None]

    return reward


def _by_number(numbers: Float[np.ndarray, " items"]) -> Reward:
    """A number of each item, whatever came next."""
    of_items = torch.tensor(numbers).float()
    return lambda scene: of_items.to(scene.leaves.device)[_first_items(scene)]


def _first_items(scene: RewardScene) -> Int[Tensor, "users candidates"]:
    """The item that each leaf recommends first."""
    return scene.space.items(scene.leaves)[..., 0].clamp(min=0)


def _given(source: T | None, name: str, needed: str) -> T:
    if source is None:
        raise ValueError(f"rewards: {name} needs {needed}; give it, or leave the reward out.")
    return source


_CATEGORY_HEAD = "a policy with model.category_head"

_NEAREST = 10
"""N of the reward `path`: the cut-off of the metrics."""

_OF_INTENTS = frozenset({"category-hit", "step-consistency"})

_WORTHS = "a table of what items are worth (--worth)"

REWARDS: Mapping[str, Callable[[RewardSources], Reward]] = {
    "exact": _exact,
    "rank": _rank,
    "rank-aware": _rank_aware,
    "prefix": _prefix,
    "semantic": _semantic,
    "collaborative": _collaborative,
    "item-head": _item_head,
    "category": _category,
    "novelty": _novelty,
    "worth": _worth,
    "log-worth": _log_worth,
    "exact-worth": _exact_worth,
    "soon": _soon,
    "step-hit": _step_hit,
    "category-hit": _category_hit,
    "step-consistency": _step_consistency,
    "path": _path,
}
"""The rewards that have a name; see `objectives.rewards` for what they are.

`rank-aware` is `exact` plus `rank`; `prefix` weighs levels as values do, 1 in all; `exact-worth` is
`exact` times the worth of the item that came next. `worth` and `log-worth` need no target: a
policy that is proportional to π_before · exp(reward / τ) for the reward τ · log(worth) is
π_before · worth, which ranks by expected worth. `step-hit`, `category-hit`, `step-consistency` and
`path` are those of REG4Rec (arXiv:2508.15308, sec. V-2).
"""
