"""Quality of searches, compared with searches by hand on a trie of two levels."""

import itertools

import numpy as np
import pytest
import torch

from sidestep.catalog.trie import Trie
from sidestep.evaluation.search_quality import search_quality
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.policy import Scope
from sidestep.search.proposals import plain_beam
from tests.evaluation.rows import rows_of
from tests.search.fakes import ValueTable, histories_of, prefix_log_probs

IDS = np.array(list(itertools.product(range(3), repeat=2)))
SCOPE = Scope(trie=Trie.build(IDS, (3, 3)))
MODEL = ValueTable((3, 3))
PAST = 2  # an item whose two likeliest next leaves share their first code


def ranked(depth):
    """Prefixes of a depth, the likeliest first."""
    sums = prefix_log_probs(MODEL, histories_of(PAST), IDS, depth)
    return sorted(sums, key=sums.get, reverse=True)


def item(path):
    """The item with these codes."""
    return int((path == IDS).all(axis=1).argmax())


def watched_at(target, policy, **how):
    [found] = search_quality(MODEL, rows_of((PAST, item(target))), SCOPE, [policy], **how)
    return found


def shares(found):
    return [
        [of.mean for of in (at.kept, at.recalled, at.dropped, at.unproposed)] for at in found.depths
    ]


def test_a_target_is_lost_where_a_narrow_beam_loses_it():
    beam = plain_beam(num_beams=1, candidates=2)
    first, second, third = ranked(1)
    below = [path for path in ranked(2) if path[:1] == first]
    # Kept all the way; dropped as the second of two proposals; not proposed as the third.
    assert shares(watched_at(below[0], beam)) == [[1, 1, 0, 0], [1, 1, 0, 0]]
    assert shares(watched_at(below[1], beam)) == [[1, 1, 0, 0], [0, 0, 1, 0]]
    assert shares(watched_at(below[2], beam)) == [[1, 1, 0, 0], [0, 0, 0, 1]]
    # A target that is lost at the first code is not lost again at the second code.
    assert shares(watched_at((*second, 0), beam)) == [[0, 0, 1, 0], [0, 0, 0, 0]]
    assert shares(watched_at((*third, 0), beam)) == [[0, 0, 0, 1], [0, 0, 0, 0]]


def test_a_kept_prefix_need_not_be_one_of_the_answer():
    first, second, _ = ranked(1)
    assert {path[:1] for path in ranked(2)[:2]} == {first}
    found = watched_at((*second, 0), BeamSearch(num_beams=2))
    # A beam without a scorer remembers no proposals beyond what it keeps.
    assert shares(found) == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_candidate_sets_by_hand():
    embeddings = torch.eye(9)
    best, second = ranked(2)[:2]
    embeddings[item(second)] = embeddings[item(best)] + 2 * embeddings[item(second)]
    search = ExhaustiveSearch(num_leaves=2)
    outside = ranked(2)[-1]
    of = watched_at(best, search, embeddings=embeddings).candidates
    assert (of.size.mean, of.has_target.mean) == (2, 1)
    assert of.diversity.mean == 0.5  # one code of two in common
    assert of.best_cosine.mean == pytest.approx(1)
    embeddings[item(outside)] = embeddings[item(best)] + embeddings[item(second)]
    missed = watched_at(outside, search, embeddings=embeddings).candidates
    assert missed.has_target.mean == 0
    # With a = e1 and b = e1 + 2 e2, a + b = 2 e1 + 2 e2 is nearest to b: 6 / √(8 · 5).
    assert missed.best_cosine.mean == pytest.approx(6 / 40**0.5)
    assert watched_at(best, search).candidates.best_cosine is None


def test_a_retired_target_is_in_no_candidate_set_although_its_leaf_is():
    ids = np.concatenate([IDS, IDS[:1]])  # item 9 shares the leaf of item 0
    trie = Trie.build(ids, (3, 3))
    scope = Scope(trie=trie, available=trie.availability(torch.arange(10) != 9))
    search = ExhaustiveSearch(num_leaves=9)
    for target, expected in ((0, 1), (9, 0)):
        [found] = search_quality(MODEL, rows_of((PAST, target)), scope, [search])
        assert found.candidates.has_target.mean == expected
        assert found.depths[-1].kept.mean == 1


def test_a_search_that_misses_nothing_keeps_every_target():
    rows = rows_of(*((past, past) for past in range(9)))
    policies = [ExhaustiveSearch(num_leaves=9, name="all"), BeamSearch(num_beams=9, name="wide")]
    found = search_quality(MODEL, rows, SCOPE, policies)
    assert [search.name for search in found] == ["all", "wide"]
    for search in found:
        assert shares(search) == [[1, 1, 0, 0], [1, 1, 0, 0]]
        assert search.num_rows == 9
        assert search.candidates.size.mean == 9


def test_what_was_lost_and_what_was_kept_is_everybody_whatever_the_batches():
    rows = rows_of(*((past, 2 * past % 9) for past in range(9)))
    policies = [plain_beam(num_beams=2, candidates=3)]
    told = []
    [found] = search_quality(
        MODEL, rows, SCOPE, policies, batch_size=4, progress=lambda *done: told.append(done)
    )
    assert [found] == list(search_quality(MODEL, rows, SCOPE, policies))
    assert told == [(4, 9), (8, 9), (9, 9)]
    lost = sum(at.dropped.mean + at.unproposed.mean for at in found.depths)
    assert lost + found.depths[-1].kept.mean == pytest.approx(1)
    assert 0 < lost < 1


def test_no_rows_are_refused():
    rows = rows_of((PAST, 0)).select(np.array([], dtype=np.int64))
    with pytest.raises(ValueError, match="the split is empty"):
        search_quality(MODEL, rows, SCOPE, [BeamSearch(num_beams=1)])
