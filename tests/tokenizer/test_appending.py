import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.tokenizer.appending import append_last_codes, append_numbers

SIZES = (2, 3, 4)
CODEWORDS = np.array([[0.0], [1.0], [2.0], [3.0]], dtype=np.float32)


def append(existing, new, residuals, **policy):
    return append_last_codes(
        np.array(existing, dtype=np.int32).reshape(-1, len(new[0])),
        np.array(new, dtype=np.int32),
        np.array(residuals, dtype=np.float32)[:, None],
        CODEWORDS,
        **policy,
    ).tolist()


def test_a_free_code_is_kept_and_a_taken_one_is_left_for_the_nearest_free():
    # Worked by hand: 1.4 is nearest to code 1, which is taken; then to 2 (0.36), not 0 (1.96).
    assert append([[0, 1], [1, 2]], [[0, 1], [0, 3]], [1.4, 3.0]) == [[0, 2], [0, 3]]
    assert append([[1, 1]], [[0, 1]], [1.4]) == [[0, 1]]


def test_new_items_of_one_group_share_the_free_codes_at_the_least_total_distance():
    # Codes 0 and 3 are free: 1.0 + 4.0 beats 2.25 + 0.25 + ... only in one order.
    assert append([[0, 1], [0, 2]], [[0, 1], [0, 2]], [1.0, 1.5]) == [[0, 0], [0, 3]]
    assert append([[0, 1], [0, 2]], [[0, 2], [0, 1]], [1.5, 1.0]) == [[0, 3], [0, 0]]


@st.composite
def catalogs(draw):
    every = list(itertools.product(*map(range, SIZES)))
    old = draw(st.lists(st.sampled_from(every), max_size=20, unique=True))
    new = draw(st.lists(st.sampled_from(every), min_size=1, max_size=12))
    residuals = draw(st.lists(st.floats(0, 3), min_size=len(new), max_size=len(new)))
    return old, new, residuals


@given(catalogs())
def test_ids_are_new_the_prefixes_stay_and_the_cost_is_that_of_brute_force(catalog):
    old, new, residuals = catalog
    groups = {}
    for row, code in enumerate(new):
        groups.setdefault(code[:-1], []).append(row)
    free = {p: [c for c in range(4) if (*p, c) not in old] for p in groups}
    if any(len(rows) > len(free[prefix]) for prefix, rows in groups.items()):
        with pytest.raises(ValueError, match="fewer free last codes than new items"):
            append(old, new, residuals)
        return
    appended = append(old, new, residuals)
    assert len({tuple(row) for row in appended} | set(old)) == len(old) + len(new)
    assert [row[:-1] for row in appended] == [list(row[:-1]) for row in new]
    for prefix, rows in groups.items():
        wanted = [new[row][-1] for row in rows]
        if len(set(wanted)) == len(wanted) and set(wanted) <= set(free[prefix]):
            assert [appended[row][-1] for row in rows] == wanted
            continue
        cost = sum((residuals[row] - appended[row][-1]) ** 2 for row in rows)
        least = min(
            sum((residuals[row] - code) ** 2 for row, code in zip(rows, codes, strict=True))
            for codes in itertools.permutations(free[prefix], len(rows))
        )
        assert cost == pytest.approx(least, abs=1e-5)


def test_a_full_group_is_refused_with_its_numbers_and_the_remedies():
    old = [[0, 0], [0, 1], [0, 2]]
    with pytest.raises(ValueError, match=r"under \(0,\) 1 of 4 codes are free for 2 items"):
        append(old, [[0, 1], [0, 2]], [1.0, 2.4])


def test_a_full_group_may_share_and_gives_the_free_codes_to_the_nearest():
    old = [[0, 0], [0, 1], [0, 2]]
    assert append(old, [[0, 1], [0, 2]], [1.0, 2.4], full_groups="share") == [[0, 1], [0, 3]]


def test_no_new_items_need_no_codes():
    none = np.zeros((0, 2), dtype=np.int64)
    old = np.array([[0, 1]])
    assert append_last_codes(old, none, np.zeros((0, 3)), np.zeros((4, 3))).shape == (0, 2)
    assert append_numbers(old, none[:, :1]).shape == (0, 2)


def test_codes_of_one_level_are_one_group():
    assert append([[0], [2]], [[2], [0]], [2.0, 0.4]) == [[3], [1]]


def test_new_items_of_a_bucket_get_its_lowest_free_numbers():
    # Bucket (0, 1) has numbers 0 and 2, so 1 is free, then 3; bucket (1, 1) has none.
    old = np.array([[0, 1, 0], [0, 1, 2], [0, 2, 0]], dtype=np.int32)
    new = np.array([[0, 1], [1, 1], [0, 1], [1, 1]], dtype=np.int32)
    expected = [[0, 1, 1], [1, 1, 0], [0, 1, 3], [1, 1, 1]]
    assert append_numbers(old, new).tolist() == expected


BUCKETS = st.tuples(st.integers(0, 1), st.integers(0, 1))


@given(
    st.sets(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 3)), max_size=12),
    st.lists(BUCKETS, min_size=1, max_size=12),
)
def test_numbers_are_distinct_and_leave_no_lower_one_free(old, new):
    existing = np.array(sorted(old), dtype=np.int32).reshape(-1, 3)
    appended = append_numbers(existing, np.array(new, dtype=np.int32))
    assert [tuple(row) for row in appended[:, :-1].tolist()] == new
    assert len({tuple(row) for row in appended.tolist()} | old) == len(old) + len(new)
    for bucket in set(new):
        mine = [number for *codes, number in appended.tolist() if tuple(codes) == bucket]
        theirs = {number for *codes, number in old if tuple(codes) == bucket}
        assert mine == sorted(mine)
        assert set(range(max(mine))) <= theirs | set(mine)
