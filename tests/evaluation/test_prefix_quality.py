"""Scores of prefixes, judged on tries so small that each prefix can be scored again alone."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from sidestep.catalog.trie import Trie
from sidestep.evaluation.prefix_judge import PrefixSettings
from sidestep.evaluation.prefix_quality import prefix_quality
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import Scope
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance
from tests.evaluation.rows import rows_of
from tests.search.fakes import (
    ItemTable,
    ValueTable,
    catalogs,
    found,
    histories_of,
    prefix_log_probs,
    value_of,
)

IDS = np.array(list(itertools.product(range(3), repeat=3)))
TRIE = Trie.build(IDS, (3, 3, 3))


def judged(model, rows, scope, *, embeddings=None, guidances=None, batch_size=32, **how):
    return prefix_quality(
        model,
        rows,
        scope,
        guidances=guidances or {},
        embeddings=embeddings,
        batch_size=batch_size,
        settings=PrefixSettings(**{"num_prefixes": None, "num_beams": 2, "candidates": 4} | how),
    )


def share_below(own, others):
    below = [1.0 if own > other else 0.5 if own == other else 0.0 for other in others]
    return sum(below) / len(below) if below else None


def mean_of(measured):
    return None if measured is None else measured.mean


@settings(max_examples=25)
@given(catalogs(), st.data())
def test_log_prob_is_judged_as_one_prefix_at_a_time(catalog, data):
    ids, sizes = catalog
    target = data.draw(st.integers(0, len(ids) - 1))
    model, scope = ValueTable(sizes), Scope(trie=Trie.build(ids, sizes))
    result = judged(model, rows_of((4, target)), scope)
    own = tuple(ids[target].tolist())
    kept = {()}
    for at in result.scores["log_prob"]:
        sums = prefix_log_probs(model, histories_of(4), ids, at.depth)
        mine = sums.pop(own[: at.depth])
        siblings = [score for path, score in sums.items() if path[:-1] == own[: at.depth - 1]]
        assert mean_of(at.auc) == pytest.approx(share_below(mine, sums.values()))
        assert mean_of(at.sibling_auc) == pytest.approx(share_below(mine, siblings))
        # The plain beam, by hand: the four likeliest children of the two prefixes that it kept.
        longer = {path: score for path, score in sums.items() if path[:-1] in kept}
        if own[: at.depth - 1] in kept:
            longer[own[: at.depth]] = mine
        proposed = sorted(longer, key=longer.get, reverse=True)[:4]
        kept = set(proposed[:2])
        others = [longer[path] for path in proposed if path != own[: at.depth]]
        expected = share_below(mine, others) if own[: at.depth] in proposed else None
        assert mean_of(at.hard_auc) == pytest.approx(expected)


def test_values_and_other_scores_are_judged_as_what_they_say():
    model, scope, rows = ValueTable((3, 3, 3)), Scope(trie=TRIE), rows_of((4, 13), (7, 2))
    scorer = ItemSupport(head=ItemTable(len(IDS)))
    guidances = {
        "alone": Guidance(scorer=scorer),
        "mixed": Guidance(scorer=scorer, likelihood_weight=0.5),
    }
    result = judged(model, rows, scope, guidances=guidances)
    assert list(result.scores) == ["log_prob", "value", "alone", "mixed"]
    assert result.is_exact
    for name, guidance in guidances.items():
        ranked = ExhaustiveSearch(num_leaves=27, guidance=guidance).search(
            model, histories_of(4, 7), scope
        )
        below = []
        for user, target in enumerate((13, 2)):
            place = trie_order(ranked, user).index(target)
            below.append((26 - place) / 26)
        assert result.scores[name][2].auc.mean == pytest.approx(np.mean(below))
    leaves = torch.arange(TRIE.first_leaf, TRIE.num_nodes()).tolist()
    codes = [TRIE.path(torch.tensor(leaf)).tolist() for leaf in leaves]
    values = [value_of(model, 4, path) for path in codes]
    others = values[:13] + values[14:]
    alone = judged(model, rows_of((4, 13)), scope)
    assert alone.scores["value"][2].auc.mean == pytest.approx(share_below(values[13], others))


def trie_order(candidates, user):
    """Leaves of a user from the best on, numbered from 0."""
    return (candidates.leaves[user] - TRIE.first_leaf).tolist()


def test_a_sample_of_all_prefixes_is_all_of_them():
    model, scope, rows = ValueTable((3, 3, 3)), Scope(trie=TRIE), rows_of((4, 13), (7, 2), (5, 0))
    whole, sampled = judged(model, rows, scope), judged(model, rows, scope, num_prefixes=27)
    for name, depths in whole.scores.items():
        for exact, at in zip(depths, sampled.scores[name], strict=True):
            for kind in ("auc", "hard_auc", "sibling_auc"):
                assert getattr(at, kind) == getattr(exact, kind)
            assert exact.oracle is not None
            assert at.oracle is None


def test_a_small_sample_is_right_on_average():
    model, scope, rows = ValueTable((3, 3, 3)), Scope(trie=TRIE), rows_of((4, 13))
    whole = judged(model, rows, scope).scores["log_prob"][2].auc.mean
    drawn = [
        judged(model, rows, scope, num_prefixes=4, seed=seed).scores["log_prob"][2].auc.mean
        for seed in range(150)
    ]
    assert len(set(drawn)) > 1
    assert np.mean(drawn) == pytest.approx(whole, abs=0.05)


def test_batches_change_nothing():
    model, scope = ValueTable((3, 3, 3)), Scope(trie=TRIE)
    rows = rows_of(*((past, 2 * past) for past in range(9)))
    embeddings = torch.randn(27, 4, generator=torch.Generator().manual_seed(0))
    how = {"embeddings": embeddings, "num_prefixes": 5, "pool_size": 6}
    assert judged(model, rows, scope, **how) == judged(model, rows, scope, batch_size=2, **how)


def test_the_oracle_finds_what_the_exhaustive_search_finds():
    model, scope = ValueTable((3, 3, 3)), Scope(trie=TRIE)
    pairs = [(past, 2 * past) for past in range(9)]
    result = judged(model, rows_of(*pairs), scope, num_beams=5, candidates=5)
    found_leaves = ExhaustiveSearch(num_leaves=5).search(
        model, histories_of(*(past for past, _ in pairs)), scope
    )
    for at in result.scores["log_prob"]:
        hits = [
            any(tuple(path[: at.depth]) == tuple(IDS[target][: at.depth]) for path in paths)
            for (_, target), paths in zip(
                pairs, TRIE.path(found_leaves.leaves).tolist(), strict=True
            )
        ]
        assert at.oracle.mean == pytest.approx(np.mean(hits))
    assert 0 < result.scores["log_prob"][0].oracle.mean < 1


@pytest.mark.parametrize("temperature", [1.5, 40.0])
def test_correlations_are_those_of_the_pool_by_scipy(temperature):
    model, scope = ValueTable((3, 3, 3)), Scope(trie=TRIE)
    embeddings = torch.randn(27, 4, generator=torch.Generator().manual_seed(1))
    how = {"pool_size": 8, "temperature": temperature}
    result = judged(model, rows_of((4, 13)), scope, embeddings=embeddings, **how)
    pool = Sampling(num_samples=8, temperature=temperature).search(model, histories_of(4), scope)
    rewards = {
        path: float(torch.cosine_similarity(embeddings[item], embeddings[13], dim=0))
        for path in found(pool, TRIE, 0)
        for item in [int((path == IDS).all(axis=1).argmax())]
    }
    for at in result.scores["log_prob"]:
        below = {}
        for path, reward in rewards.items():
            below.setdefault(path[: at.depth], []).append(reward)
        likely = prefix_log_probs(model, histories_of(4), IDS, at.depth)
        expected = spearmanr(
            [likely[path] for path in below], [np.mean(below[path]) for path in below]
        ).statistic
        assert at.correlation.mean == pytest.approx(expected, abs=1e-6)
    values = result.scores["value"][2].correlation.mean
    expected = spearmanr([value_of(model, 4, path) for path in rewards], list(rewards.values()))
    assert values == pytest.approx(expected.statistic, abs=1e-6)


def test_targets_out_of_stock_tell_nothing():
    is_available = torch.ones(27, dtype=torch.bool)
    is_available[13] = False
    scope = Scope(trie=TRIE, available=TRIE.availability(is_available))
    model = ValueTable((3, 3, 3))
    both = judged(model, rows_of((4, 13), (7, 2)), scope)
    one = judged(model, rows_of((7, 2)), scope)
    assert both.num_rows == 2
    assert both.scores == one.scores
    assert judged(model, rows_of((4, 13)), scope).scores["log_prob"][0].auc is None
    # Nor does it if another item has its leaf, which is returned.
    trie = Trie.build(np.concatenate([IDS, IDS[13:14]]), (3, 3, 3))
    scope = Scope(trie=trie, available=trie.availability(torch.arange(28) != 27))
    of_twin = judged(model, rows_of((4, 13)), scope).scores["log_prob"][0].auc
    assert of_twin is not None
    assert judged(model, rows_of((4, 27)), scope).scores["log_prob"][0].auc is None


def test_no_rows_are_refused():
    rows = rows_of((4, 13)).select(np.array([], dtype=np.int64))
    with pytest.raises(ValueError, match="the split is empty"):
        judged(ValueTable((3, 3, 3)), rows, Scope(trie=TRIE))
    with pytest.raises(ValueError, match="num_prefixes must be at least 1"):
        PrefixSettings(num_prefixes=0)
