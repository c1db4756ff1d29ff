import numpy as np
import pytest

from sidestep.evaluation.id_examples import id_examples

WORDS = ("green tea", "black tea", "tea pot", "cup", "saucer")
IDS = np.array([[0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0]])
POPULARITY = np.array([5, 9, 1, 2, 3])


def test_prefixes_are_worded_by_size_and_their_items_by_popularity():
    examples = id_examples(IDS, WORDS, POPULARITY, num_prefixes=1, num_items=2)
    [largest] = examples.largest
    assert (largest.codes, largest.num_items) == ((0,), 3)
    assert largest.items == ("black tea", "green tea")
    assert largest.title == "0 · 3 items"
    [other] = examples.random
    assert other.codes in {(1,), (2,)}
    assert other.title.endswith("1 item")
    [deeper] = examples.deeper
    assert (deeper.codes, deeper.items) == ((0, 0), ("black tea", "green tea"))


def test_the_way_to_the_most_popular_item_shows_what_else_it_might_have_been():
    examples = id_examples(IDS, WORDS, POPULARITY, num_prefixes=1)
    assert examples.item == "black tea"
    assert [step.chosen.codes for step in examples.way] == [(0,), (0, 0), (0, 0, 0)]
    assert [[other.codes for other in step.others] for step in examples.way] == [
        [(1,)],
        [(0, 1)],
        [(0, 0, 1)],
    ]
    assert [step.num_others for step in examples.way] == [2, 1, 1]
    assert id_examples(IDS, WORDS, POPULARITY, item=3).item == "cup"


def test_the_seed_decides_the_random_ones():
    ids = np.arange(40)[:, None]
    words = tuple(map(str, range(40)))
    drawn = [id_examples(ids, words, np.ones(40, dtype=int), seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0].random != drawn[2].random
    assert not set(drawn[0].random) & set(drawn[0].largest)


@pytest.mark.parametrize("ids", [np.zeros((1, 1), dtype=int), np.zeros((1, 4), dtype=int)])
def test_one_item_is_enough(ids):
    examples = id_examples(ids, ("tea",), np.zeros(1, dtype=int))
    assert (examples.random, examples.deeper) == ((), ())
    assert len(examples.way) == ids.shape[1]
