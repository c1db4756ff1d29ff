"""Quality of semantic IDs, whose codes are only names: by hand on four items, and by laws."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sidestep.data.histories import Histories
from sidestep.data.splits import TrainingPart, leave_one_out
from sidestep.evaluation.id_collisions import collisions
from sidestep.evaluation.id_quality import IdQuality, id_quality

# Items 0 and 1 share their whole ID, and their first code with item 2.
IDS = np.array([[0, 0], [0, 0], [0, 1], [1, 0]])
SIZES = (4, 2)
LEAF_OF = np.array([0, 0, 1, 2])


def histories(*users: list[int]) -> Histories:
    return Histories(
        items=np.array([item for user in users for item in user], dtype=np.int64),
        offsets=np.cumsum([0, *map(len, users)]),
        user_ids=tuple(map(str, range(len(users)))),
    )


def training(*users: list[int]) -> TrainingPart:
    given = histories(*users)
    return TrainingPart(histories=given, first_target=np.minimum(1, given.lengths))


TRAINING = training([0, 1, 3], [2, 2, 0], [])


def test_use_of_codes_worked_by_hand():
    first, second = id_quality(IDS, SIZES, training=TRAINING).levels
    # Three items and one: 3/4 log2(4/3) + 1/4 log2(4) = 0.8112781 bits, 2^0.8112781 = 1.7547654.
    assert (first.codebook_size, first.used, first.utilisation) == (4, 2, 0.5)
    assert first.perplexity == pytest.approx(1.7547654)
    assert first.evenness == pytest.approx(1.7547654 / 4)
    assert first.largest_share == 0.75
    # Interactions 5, 1, 0, 0: (1·1 + 3·5) / (4·6).
    assert first.gini == pytest.approx(2 / 3)
    assert (second.used, second.utilisation, second.largest_share) == (2, 1.0, 0.75)


def test_collisions_are_of_the_whole_id_and_count_interactions():
    assert id_quality(IDS, SIZES).collisions == collisions(LEAF_OF)
    counted = id_quality(IDS, SIZES, training=TRAINING).collisions
    assert counted == collisions(LEAF_OF, np.array([2, 1, 2, 1]))


def test_fan_out_worked_by_hand():
    first, second = (at.fan_out for at in id_quality(IDS, SIZES).depths)
    # The first code 0 has three items and the codes 0 and 1 after it; the code 1 one of each.
    assert (first.prefixes, first.mean_children, first.max_children, first.forced) == (
        2,
        1.5,
        2,
        0.5,
    )
    assert first.items == pytest.approx((1, 1.5, 2, 2.5, 2.8, 3))
    assert (second.prefixes, second.mean_children, second.forced) == (3, None, None)


def test_reconstruction_is_measured_by_prefix_and_by_codebook():
    vectors = np.array([[0.0], [2.0], [4.0], [10.0]])
    made = np.array([[1.0], [1.0], [4.0], [8.0]])
    first, second = (
        at.reconstruction
        for at in id_quality(IDS, SIZES, vectors=vectors, reconstructions=[made, made]).depths
    )
    assert (first.explained, second.explained) == pytest.approx((48 / 56, 54 / 56))
    assert (first.by_chance, second.by_chance) == pytest.approx((1 / 3, 2 / 3))
    assert first.codebook_error == pytest.approx((1 + 1 + 0 + 4) / 56)
    [alone, _] = id_quality(IDS, SIZES, vectors=vectors).depths
    assert alone.reconstruction.codebook_error is None


def test_next_items_worked_by_hand():
    first, second = id_quality(IDS, SIZES, training=TRAINING).depths
    # Followed by another item: 0 1, 1 3, 2 0. Interactions by item: 2, 1, 2, 1.
    assert (first.next_items.share, second.next_items.share) == pytest.approx((2 / 3, 1 / 3))
    assert first.next_items.chance == pytest.approx((25 + 1 - 10) / (36 - 10))
    assert second.next_items.chance == pytest.approx((9 + 4 + 1 - 10) / (36 - 10))
    assert first.next_items.lift == pytest.approx((2 / 3) / (16 / 26))
    assert first.balance.gini == pytest.approx(1 / 3)
    assert first.balance.perplexity == pytest.approx(2**0.6500224)
    assert first.balance.evenness == pytest.approx(2**0.6500224 / 2)


def test_the_share_of_items_that_follow_themselves_is_told():
    # 0 1, 1 3, 2 2, 2 0: one of four.
    assert id_quality(IDS, SIZES, training=TRAINING).repeats == 0.25
    assert id_quality(IDS, SIZES, training=training([0], [])).repeats is None
    assert id_quality(IDS, SIZES).repeats is None


def test_a_window_takes_pairs_further_apart_and_none_over_the_end_of_a_user():
    # Besides those next to each other: 0 3 and 2 0.
    first, second = id_quality(IDS, SIZES, training=TRAINING, window=2).depths
    assert (first.next_items.share, second.next_items.share) == pytest.approx((3 / 5, 1 / 5))


def test_the_first_code_worked_by_hand():
    found = id_quality(IDS, SIZES, training=TRAINING).first_code
    # Code 0 follows code 0 three times, among them the repeated item, and code 1 once.
    assert found.uniform == 2
    assert found.entropy == pytest.approx(0.6500224)  # 5 of 6 interactions
    assert found.conditional_entropy == pytest.approx(0.8112781)
    assert (found.information, found.information_by_chance) == pytest.approx((0, 0))
    told = id_quality(IDS, SIZES, training=training([0, 3], [1, 3], [3, 2], [3, 2])).first_code
    assert (told.information, told.conditional_entropy) == pytest.approx((1, 0))
    assert told.information_by_chance == pytest.approx(1 / 3)


def test_items_of_which_nothing_is_known_are_no_neighbours():
    vectors = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    first, second = id_quality(IDS, SIZES, vectors=vectors, num_neighbours=1).depths
    # Of 0, 2, 3 the nearest are 2, 0, 2; only 0 and 2 share their first code.
    assert (first.neighbours.share, first.neighbours.chance) == pytest.approx((2 / 3, 1 / 3))
    assert (second.neighbours.share, second.neighbours.lift) == (0, None)
    [alone, _] = id_quality(IDS, SIZES, vectors=vectors * [[1], [0], [0], [0]]).depths
    assert alone.neighbours is None


def test_what_is_not_given_is_not_measured():
    bare = id_quality(IDS, SIZES, training=training([], []), vectors=np.ones((4, 2)))
    assert bare.first_code is None
    assert bare.levels[0].gini is None
    assert all(at.reconstruction is None and at.next_items is None for at in bare.depths)
    assert all(at.balance is None for at in bare.depths)
    assert id_quality(IDS[:1], SIZES, vectors=np.ones((1, 2))).depths[0].neighbours is None


def test_held_out_items_change_nothing():
    shared = ([0, 1, 3], [2, 2, 0, 1], [3, 0])
    answers = [
        id_quality(IDS, SIZES, training=leave_one_out(histories(*users)).train, window=3)
        for users in (
            [[*past, 0, 1] for past in shared],
            [[*past, 3, 2] for past in shared],
        )
    ]
    assert answers[0] == answers[1]
    assert answers[0] == id_quality(IDS, SIZES, training=training(*shared), window=3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"vectors": np.ones((3, 2))}, "3 vectors for 4 semantic IDs"),
        ({"training": training([0, 4])}, "training names item 4"),
        ({"window": 0}, "at least 1"),
        ({"num_neighbours": 0}, "at least 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        id_quality(IDS, SIZES, **arguments)


@st.composite
def cases(draw):
    num_items, num_levels = draw(st.integers(2, 10)), draw(st.integers(1, 3))
    sizes = tuple(draw(st.integers(1, 4)) for _ in range(num_levels))
    ids = np.stack(
        [draw(arrays(np.int64, num_items, elements=st.integers(0, size - 1))) for size in sizes],
        axis=1,
    )
    vectors = draw(arrays(np.int64, (num_items, 2), elements=st.integers(-3, 3)))
    users = draw(st.lists(st.lists(st.integers(0, num_items - 1), max_size=5), max_size=4))
    return ids, sizes, vectors.astype(np.float64), users


def same(first: IdQuality, second: IdQuality) -> bool:
    return flat(first.as_json()) == pytest.approx(flat(second.as_json()), abs=1e-9)


def flat(value, name=""):
    if isinstance(value, dict | tuple):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            key: leaf
            for part, inner in entries
            for key, leaf in flat(inner, f"{name}.{part}").items()
        }
    return {name: value}


@settings(max_examples=40)
@given(cases())
def test_measures_keep_their_bounds(case):
    ids, sizes, vectors, users = case
    quality = id_quality(ids, sizes, training=training(*users), vectors=vectors)
    for level in quality.levels:
        assert 1 <= level.perplexity <= level.codebook_size + 1e-9
        assert level.perplexity <= level.used + 1e-9
    prefixes = [at.fan_out.prefixes for at in quality.depths]
    assert prefixes == sorted(prefixes)
    assert prefixes[-1] == quality.collisions.distinct
    explained = [at.reconstruction.explained for at in quality.depths if at.reconstruction]
    assert all(after >= before - 1e-9 for before, after in pairwise(explained))
    for part in ("neighbours", "next_items"):
        shares = [getattr(at, part).share for at in quality.depths if getattr(at, part)]
        assert all(after <= before + 1e-9 for before, after in pairwise(shares))
    assert sum(size * num for size, num in quality.collisions.buckets.items()) == len(ids)
    if quality.first_code is not None:
        assert quality.first_code.information <= quality.first_code.uniform + 1e-9


@settings(max_examples=40)
@given(cases(), st.data())
def test_no_codebook_errs_less_than_the_means_of_its_prefixes(case, data):
    ids, sizes, vectors, _ = case
    made, total = [], np.zeros_like(vectors)
    for codes, size in zip(ids.T, sizes, strict=True):
        codewords = data.draw(arrays(np.int64, (size, 2), elements=st.integers(-3, 3)))
        total = total + codewords[codes]
        made.append(total)
    for at in id_quality(ids, sizes, vectors=vectors, reconstructions=made).depths:
        if at.reconstruction is not None:
            assert at.reconstruction.codebook_error >= 1 - at.reconstruction.explained - 1e-9


@settings(max_examples=40)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_items_changes_nothing(case, random):
    ids, sizes, vectors, users = case
    order = random.sample(range(len(ids)), len(ids))
    place = np.argsort(order)
    moved = [[int(place[item]) for item in user] for user in users]
    before = id_quality(ids, sizes, training=training(*users), vectors=vectors)
    after = id_quality(ids[order], sizes, training=training(*moved), vectors=vectors[order])
    assert same(before, after)


@settings(max_examples=40)
@given(cases(), st.randoms(use_true_random=False))
def test_the_names_of_the_codes_change_nothing(case, random):
    ids, sizes, vectors, users = case
    names = [np.array(random.sample(range(size), size)) for size in sizes]
    renamed = np.stack([name[codes] for name, codes in zip(names, ids.T, strict=True)], axis=1)
    before, after = (
        id_quality(each, sizes, training=training(*users), vectors=vectors)
        for each in (ids, renamed)
    )
    assert same(before, after)


def test_the_main_numbers_have_names():
    numbers = id_quality(
        IDS, SIZES, training=TRAINING, vectors=np.array([[0.0], [2.0], [4.0], [10.0]])
    ).numbers()
    assert numbers["distinct IDs"] == 3
    assert numbers["explained@2"] == pytest.approx(54 / 56)
    assert numbers["next items@1"] == pytest.approx(2 / 3)
    assert numbers["first code information"] == 0
    assert set(id_quality(IDS, SIZES).numbers()) <= set(numbers)
