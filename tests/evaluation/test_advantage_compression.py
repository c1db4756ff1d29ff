"""Spreads of advantages below shared prefixes: by hand, by brute force and by law."""

import itertools
from collections import defaultdict
from statistics import fmean, pstdev

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.evaluation.advantage_compression import AdvantageCompression, advantage_compression

NUM_LEVELS = 3


def states_of(ids):
    """Number of each prefix of each semantic ID: [candidates][levels]."""
    numbers: dict[tuple[int, ...], int] = {}
    return [
        [numbers.setdefault(code[: length + 1], len(numbers)) for length in range(len(code))]
        for code in ids
    ]


def measured(sets, **options):
    """Compression of candidate sets. Each set maps semantic IDs to rewards."""
    width = max(map(len, sets))
    num_levels = len(next(iter(sets[0])))
    rewards = torch.full((len(sets), width), torch.nan)
    states = torch.zeros(len(sets), width, num_levels, dtype=torch.long)
    for user, candidates in enumerate(sets):
        rewards[user, : len(candidates)] = torch.tensor(list(candidates.values()))
        states[user, : len(candidates)] = torch.tensor(states_of(candidates))
    return advantage_compression(rewards, states, ~rewards.isnan(), **options)


def rows_of(found):
    """The parents of a result, sorted."""
    columns = (found.depths, found.overlaps, found.group_spreads, found.sibling_spreads)
    return rounded(zip(*(column.tolist() for column in columns), strict=True))


def rounded(rows):
    return sorted(tuple(round(value, 4) for value in row) for row in rows)


def test_rewards_that_follow_the_first_code_leave_little_below_it():
    # Rewards ±6 ± 1: mean 0, standard deviation √37. Of the six pairs, two share one code of two.
    found = measured([{(0, 0): 7.0, (0, 1): 5.0, (1, 0): -5.0, (1, 1): -7.0}])
    root, below = found.by_depth
    assert (root.depth, root.num_parents, root.informative) == (0, 1, 1.0)
    assert root.overlap == pytest.approx(2 * 0.5 / 6)
    assert root.group_spread == pytest.approx(6 / 37**0.5, abs=1e-5)
    assert (below.depth, below.num_parents, below.overlap) == (1, 2, 0.5)
    assert below.group_spread == pytest.approx(1 / 37**0.5, abs=1e-5)
    assert root.sibling_spread == pytest.approx(1, abs=1e-5)
    assert below.sibling_spread == pytest.approx(1, abs=1e-5)


def test_a_parent_counts_with_its_children_and_not_with_its_candidates():
    # One hit of four: advantages √3 and three times -1/√3. Below code 0 the children 0 and 1 have
    # the means (√3 - 1/√3) / 2 = 1/√3 and -1/√3; code 1 has one child and is left out.
    found = measured([{(0, 0, 0): 1.0, (0, 0, 1): 0.0, (0, 1, 0): 0.0, (1, 0, 0): 0.0}])
    assert found.depths.tolist() == [0, 1, 2]
    assert found.group_spreads == pytest.approx(
        [(1 / (3 * 3**0.5) + 1 / 3**0.5) / 2, 1 / 3**0.5, 2 / 3**0.5], abs=1e-5
    )
    # At depth 1: two codes of three shared by one pair, one by the two others.
    assert found.overlaps == pytest.approx([(2 + 1 + 1) / 18, (2 + 1 + 1) / 9, 2 / 3])
    # Without the scaling, siblings differ by half the difference of their mean rewards.
    plain = measured([{(0, 0): 1.0, (0, 1): 0.0, (1, 1): 0.0}], scaling="mean-only")
    assert plain.sibling_spreads == pytest.approx([0.25, 0.5])


def test_where_rewards_agree_below_a_parent_nothing_is_told_apart():
    found = measured([{(0, 0): 2.0, (0, 1): 2.0, (1, 0): 5.0}])
    root, below = found.by_depth
    assert (root.informative, below.informative) == (1.0, 0.0)
    assert (below.group_spread, below.sibling_spread) == (0.0, 0.0)


sets = st.dictionaries(
    st.tuples(*[st.integers(0, 2)] * NUM_LEVELS),
    st.integers(-72, 72).map(lambda eighths: eighths / 8),  # sums of these are exact
    min_size=1,
    max_size=8,
)


def lcp(one, other):
    """Number of codes in the longest common prefix."""
    pairs = zip(one, other, strict=True)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def by_brute_force(candidates):
    mean, std = fmean(candidates.values()), pstdev(candidates.values())
    parents = defaultdict(lambda: defaultdict(list))
    for code in candidates:
        for depth in range(NUM_LEVELS):
            parents[code[:depth]][code[depth]].append(code)
    rows = []
    for parent, children in parents.items():
        if len(children) < 2:
            continue
        means = [fmean(candidates[code] for code in below) for below in children.values()]
        pairs = itertools.combinations([code for below in children.values() for code in below], 2)
        rows.append(
            (
                len(parent),
                fmean(lcp(*pair) / NUM_LEVELS for pair in pairs),
                pstdev([(of_child - mean) / (std + 1e-6) for of_child in means]),
                pstdev(means) / (pstdev(means) + 1e-6),
            )
        )
    return rounded(rows)


@given(sets)
def test_every_parent_of_two_or_more_is_as_counted_one_by_one(candidates):
    found = measured([candidates])
    expected = by_brute_force(candidates)
    assert len(found.depths) == len(expected)
    for mine, theirs in zip(rows_of(found), expected, strict=True):
        assert mine == pytest.approx(theirs, abs=2e-4)


@given(st.lists(sets, min_size=2, max_size=3))
def test_users_do_not_mix(several):
    together = measured(several)
    alone = AdvantageCompression.joined([measured([candidates]) for candidates in several])
    assert rows_of(together) == rows_of(alone)
    assert sum(at.num_parents for at in together.by_depth) == len(together.depths)


@given(sets, st.floats(-9, 9, width=32), st.sampled_from(["std", "mean-only", "leave-one-out"]))
def test_equal_rewards_have_no_spread(candidates, reward, scaling):
    found = measured([dict.fromkeys(candidates, reward)], scaling=scaling)
    assert np.abs(found.group_spreads).max(initial=0) < 1e-6
    assert np.abs(found.sibling_spreads).max(initial=0) < 1e-6
    assert all(at.informative == 0 for at in found.by_depth)
