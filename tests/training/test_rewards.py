"""Rewards by name: each has its defined value, and mistakes in a user's own reward are named."""

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.search.policy import Scope
from sidestep.step import HistoryBatch
from sidestep.training.objective_config import RewardTerm
from sidestep.training.rewards import (
    REWARDS,
    ItemScores,
    Rewards,
    RewardScene,
    RewardSources,
    item_head_scores,
)

IDS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [1, 1]])
TRIE = Trie.build(IDS, (2, 2))
LEAVES = TRIE.leaf_of(torch.arange(5))
FREE = {"exact", "rank", "rank-aware", "prefix", "soon"}
"""Rewards that need no source."""


def scene(leaves=(0, 1, 2, NO_STATE), target=1, log_probs=(-1.0, -2.0, -3.0, -torch.inf)):
    """One user; each candidate is given by one of its items."""
    found = torch.tensor([[NO_STATE if item == NO_STATE else int(LEAVES[item]) for item in leaves]])
    return RewardScene(
        histories=HistoryBatch(items=torch.tensor([[3]]), lengths=torch.tensor([1])),
        futures=torch.tensor([target])[:, None],
        leaves=found,
        states=TRIE.prefixes(found),
        log_probs=torch.tensor([log_probs]),
        is_candidate=found != NO_STATE,
        is_step=(found != NO_STATE)[..., None].expand(1, len(leaves), 2),
        space=Scope(trie=TRIE),
    )


def given(*names, sources=None, at=None):
    terms = [RewardTerm(reward=name) for name in names]
    return Rewards(terms, sources or RewardSources())(at or scene())[0].tolist()


def scored(scores) -> ItemScores:
    """Scores that no network gives."""
    return ItemScores(network=torch.nn.Identity(), of=scores)


def test_exact_and_prefix():
    assert given("exact") == [0.0, 1.0, 0.0, 0.0]
    # The weights of two levels are .3 and 1: the target earns both, its sibling only the first.
    assert given("prefix") == pytest.approx([0.3 / 1.3, 1.0, 0.0, 0.0])


def test_rank_aware_is_exact_and_what_wrong_ones_pay():
    both = [exact + rank for exact, rank in zip(given("exact"), given("rank"), strict=True)]
    assert given("rank-aware") == both
    assert given("rank")[0] < given("rank")[2] < 0  # the likelier wrong candidate pays more


def test_semantic_is_the_cosine_of_what_leaves_mean():
    embeddings = LeafEmbeddings.of(
        torch.tensor([[1.0, 0], [0, 2], [0, -1], [1, 0], [0, 1]]), Scope(trie=TRIE)
    )
    sources = RewardSources(embeddings=embeddings)
    # The last leaf is shared by items of (1, 0) and (0, 1): cosine 1/√2 with the target's (0, 2).
    earned = given("semantic", sources=sources, at=scene((0, 1, 2, 3), log_probs=(-1.0,) * 4))
    assert earned == pytest.approx([0.0, 1.0, -1.0, 0.5**0.5])


def test_semantic_compares_with_the_target_itself_and_not_with_its_leaf():
    """The target is the item of (1, 0) in a leaf that it shares with the item of (0, 1)."""
    embeddings = LeafEmbeddings.of(
        torch.tensor([[1.0, 0], [0, 2], [0, -1], [1, 0], [0, 1]]), Scope(trie=TRIE)
    )
    at = scene((0, 1, 2, 3), target=3, log_probs=(-1.0,) * 4)
    earned = given("semantic", sources=RewardSources(embeddings=embeddings), at=at)
    assert earned == pytest.approx([1.0, 0.0, 0.0, 0.5**0.5])


def test_items_of_a_leaf_are_likely_together():
    logs = torch.tensor([[0.2, 0.2, 0.2, 0.1, 0.3]]).log()
    # Scores need not be normalised.
    sources = RewardSources(collaborative=scored(lambda _: logs + 7.0))
    earned = given("collaborative", sources=sources, at=scene((0, 3), log_probs=(-1.0, -2.0)))
    assert earned == pytest.approx([0.0, 1 + np.log(0.4) / np.log(5)], abs=1e-6)


def test_the_item_head_is_asked_with_each_users_own_history():
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, item_head=True, repeat_bias=True)
    network = Transformer(shape, IDS, (2, 2)).eval()
    network.item_head.repeat.data.fill_(-5.0)
    scores = item_head_scores(network)
    both = scores.of(HistoryBatch(items=torch.tensor([[0], [1]]), lengths=torch.tensor([1, 1])))
    assert (both.argmin(dim=1) == torch.tensor([0, 1])).all()


def test_the_item_head_is_that_of_before():
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, item_head=True)
    network = Transformer(shape, IDS, (2, 2)).eval()
    sources = RewardSources(item_head=item_head_scores(network))
    before = given("item-head", sources=sources)
    with torch.no_grad():
        network.item_head.weight.zero_()
    assert given("item-head", sources=sources) == before
    assert item_head_scores(Transformer(TransformerConfig(dim=8, num_heads=2), IDS, (2, 2))) is None


def test_rewards_are_computed_in_float32_under_autocast():
    """The item head finds two items that bf16 cannot tell apart."""
    rows = torch.eye(2, 5) * torch.tensor([1.0, 1.001, 0, 0, 0])

    def scores(histories):
        del histories
        return torch.tensor([[1.0, 1.0]]) @ rows

    made = Rewards([RewardTerm(reward="item-head")], RewardSources(item_head=scored(scores)))
    with torch.autocast("cpu", torch.bfloat16):
        earned = made(scene())[0]
    assert earned[0] < earned[1]


def test_categories_and_novelty():
    sources = RewardSources(
        categories=np.array([4, 2, 2, 2, -1]), popularity=np.array([0, 3, 1, 1, 1])
    )
    assert given("category", sources=sources) == [0.0, 1.0, 1.0, 0.0]
    assert given("novelty", sources=sources) == pytest.approx([1.0, 0.0, 0.5, 0.0])


def test_worths_count_whoever_wants_them_and_hits_count_by_the_worth_of_the_target():
    sources = RewardSources(worths=np.array([2.0, 0.5, 1.0, 4.0, 8.0]))
    assert given("worth", sources=sources) == [2.0, 0.5, 1.0, 0.0]  # the last is padding
    logs = [np.log(2.0), np.log(0.5), 0.0, 0.0]
    assert given("log-worth", sources=sources) == pytest.approx(logs)
    assert given("exact-worth", sources=sources) == [0.0, 0.5, 0.0, 0.0]
    # The target's own worth counts, and not that of the item which its leaf recommends first.
    shared = scene((0, 3), target=4, log_probs=(-1.0, -2.0))
    assert given("exact-worth", sources=sources, at=shared) == [0.0, 8.0]


def test_a_logarithm_needs_worths_above_0():
    sources = RewardSources(worths=np.array([2.0, 0.0, 1.0, -4.0, 8.0]))
    assert given("worth", sources=sources)[1] == 0.0
    with pytest.raises(ValueError, match="2 items have at most 0, the smallest -4"):
        given("log-worth", sources=sources)


def test_terms_are_weighted_and_padding_gets_nothing():
    terms = [RewardTerm(reward="exact", weight=2.0), RewardTerm(reward="exact", weight=-0.5)]
    assert Rewards(terms, RewardSources())(scene())[0].tolist() == [0.0, 1.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (
            lambda scene: torch.zeros(3),
            r"'mine:reward' gave \(3,\) for candidates of shape \(1, 4\)",
        ),
        (lambda scene: [1, 2], "'mine:reward' gave list for candidates"),
        (
            lambda scene: torch.tensor([[0.0, torch.nan, 0.0, torch.nan]]),
            "'mine:reward' gave NaN or infinity to 1 candidates",  # padding may hold any value
        ),
    ],
)
def test_what_a_users_own_reward_does_wrong_is_named(monkeypatch, reward, message):
    module = types.ModuleType("mine")
    module.reward = reward
    monkeypatch.setitem(sys.modules, "mine", module)
    with pytest.raises(ValueError, match=message):
        given("mine:reward")


def test_a_users_own_reward_is_added_up(monkeypatch):
    module = types.ModuleType("mine")
    module.reward = lambda scene: scene.is_target.float() * 10
    monkeypatch.setitem(sys.modules, "mine", module)
    assert given("exact", "mine:reward") == [0.0, 11.0, 0.0, 0.0]


@pytest.mark.parametrize("source", ["x = (", "raise SystemExit(7)", "1 / 0"])
def test_a_module_that_does_not_even_load_is_named(tmp_path, monkeypatch, source):
    (tmp_path / "broken_reward.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="'broken_reward:reward' cannot be imported"):
        given("broken_reward:reward")


def test_rewards_that_cannot_be_made_are_refused():
    with pytest.raises(ValueError, match="unknown reward 'exat'; perhaps 'exact' is meant"):
        given("exat")
    with pytest.raises(ValueError, match="'no_such_module:reward' cannot be imported"):
        given("no_such_module:reward")
    with pytest.raises(ValueError, match="'math:pi' is a float, not a function"):
        given("math:pi")
    for terms in ([], [RewardTerm(reward="exact", weight=0.0)]):
        with pytest.raises(ValueError, match="name at least one"):
            Rewards(terms, RewardSources())
    lacking = {name for name in REWARDS if name not in FREE}
    for name in lacking:
        with pytest.raises(ValueError, match=f"{name} needs "):
            given(name)


def test_a_reward_that_fails_is_named(monkeypatch):
    module = types.ModuleType("mine")
    module.reward = lambda scene: scene.no_such_thing
    monkeypatch.setitem(sys.modules, "mine", module)
    with pytest.raises(ValueError, match="reward 'mine:reward' failed: AttributeError: "):
        given("mine:reward")


def test_what_comes_soon_is_worth_less_the_later_it_comes():
    ahead = replace(scene(), futures=torch.tensor([[2, 0, 2]]))
    assert given("soon", at=ahead) == pytest.approx([1 / np.log2(3), 0.0, 1.0, 0.0])
    cut_off = replace(scene(), futures=torch.tensor([[1, -1, -1]]))
    assert given("soon", at=cut_off) == given("exact", at=cut_off)


def test_who_asks_what_nobody_knows_is_named():
    open_scene = replace(scene(), futures=None)
    with pytest.raises(ValueError, match="reward 'exact' failed: ValueError: it asks what came"):
        given("exact", at=open_scene)
    assert given("novelty", sources=RewardSources(popularity=np.ones(5, int)), at=open_scene)
    worths = RewardSources(worths=np.ones(5))
    assert given("worth", "log-worth", sources=worths, at=open_scene) == [1.0, 1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="reward 'exact-worth' failed: ValueError: it asks"):
        given("exact-worth", sources=worths, at=open_scene)


def test_levels_are_weighed_exactly_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        earned = given("prefix")
    assert earned == given("prefix")
