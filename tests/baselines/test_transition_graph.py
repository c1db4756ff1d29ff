import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.baselines.transition_graph import TransitionGraph
from sidestep.data.histories import Histories
from sidestep.padding import NO_ITEM
from sidestep.recommender import Recommender
from sidestep.step import HistoryBatch

NUM_ITEMS = 6
SETTINGS = {
    "max_distance": 5,
    "distance_decay": 0.7,
    "backward_weight": 0.0,
    "prior": 3.0,
    "place_decay": 0.5,
    "similarity_weight": 0.05,
}


def histories_of(*rows, **more):
    return Histories(
        items=np.array([item for row in rows for item in row], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, rows)]),
        user_ids=tuple(f"u{row}" for row in range(len(rows))),
        **more,
    )


def batch_of(*histories):
    width = max(1, *map(len, histories))
    rows = [[*history, *[NO_ITEM] * (width - len(history))] for history in histories]
    return HistoryBatch(
        items=torch.tensor(rows), lengths=torch.tensor([len(history) for history in histories])
    )


def graph_of(*rows, num_items=NUM_ITEMS, max_history=2, **settings):
    return TransitionGraph.fit(
        histories_of(*rows), num_items, max_history=max_history, **{**SETTINGS, **settings}
    )


def test_a_worked_example():
    """The numbers of the formula by hand; popularity adds less than a millionth."""
    graph = graph_of(
        [0, 1, 2], [0, 1], max_distance=2, distance_decay=0.5, prior=1.0, place_decay=0.5
    )
    # After 0: 1 twice, and 2 once behind a skipped item: 2 and 0.5, of 2.5 + 1 events.
    # After 1: 2 once, of 1 + 1 events.
    found = graph.scores(batch_of([0], [0, 1], [3, 0, 1]))
    expected = [
        [0, 2 / 3.5, 0.5 / 3.5, 0, 0, 0],
        [0, 0.5 * 2 / 3.5, 1 / 2 + 0.5 * 0.5 / 3.5, 0, 0, 0],
        [0, 0.5 * 2 / 3.5, 1 / 2 + 0.5 * 0.5 / 3.5, 0, 0, 0],  # 3 is no last item any more
    ]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert isinstance(graph, Recommender)
    assert graph.recommend(batch_of([0]), 1).score_kind == "graph"


def test_by_default_it_is_a_markov_chain_of_direct_transitions():
    chain = TransitionGraph.fit(histories_of([0, 1, 0, 2], [0, 1]), 3, max_history=1)
    found = chain.scores(batch_of([2, 0], [1], [2]))
    np.testing.assert_allclose(found, [[0, 2 / 3, 1 / 3], [1, 0, 0], [0, 0, 0]], atol=1e-6)


def test_transitions_against_the_order_of_time_count_by_their_weight():
    graph = graph_of([0, 1], max_distance=1, backward_weight=0.25, prior=0.0)
    found = graph.scores(batch_of([0], [1]))
    np.testing.assert_allclose(found[:, :2].numpy(), [[0, 1], [1, 0]], atol=1e-6)
    both = graph_of([0, 1], [1, 2], max_distance=1, backward_weight=0.25, prior=0.0)
    # Around 1: 2 after it, 0 before it.
    np.testing.assert_allclose(both.scores(batch_of([1]))[0, :3].numpy(), [0.2, 0, 0.8], atol=1e-6)


def test_similar_items_are_added_and_no_item_is_similar_to_itself():
    vectors = np.array([[2, 0], [3, 0], [0, 5], [1, 1], [0, 0], [-1, 0]], dtype=np.float32)
    graph = graph_of([0, 2], max_distance=1, prior=0.0, vectors=vectors, similarity_weight=0.5)
    found = graph.scores(batch_of([0], [4], [0, 0], []))
    cosines = [0, 1, 0, 0.5**0.5, 0, -1]
    np.testing.assert_allclose(
        found[0].numpy(), np.array([0, 0, 1, 0, 0, 0]) + 0.5 * np.array(cosines), atol=2e-6
    )
    np.testing.assert_allclose(found[1].numpy(), np.zeros(NUM_ITEMS), atol=1e-6)  # unknown
    np.testing.assert_allclose(found[2].numpy(), 1.5 * found[0].numpy(), atol=2e-6)
    np.testing.assert_allclose(found[3].numpy(), np.zeros(NUM_ITEMS), atol=1e-6)


def test_popularity_orders_what_nothing_else_tells_apart():
    graph = graph_of([5, 4, 5], [4, 5], [3], [1, 1, 1], max_distance=1)
    answer = graph.recommend(batch_of([], [0], [3]), NUM_ITEMS)
    assert answer.items[0].tolist() == [1, 5, 4, 3, 0, 2]
    assert answer.items[1].tolist() == answer.items[2].tolist() == answer.items[0].tolist()
    # Items of equal vectors tie, however the products are rounded.
    vectors = np.repeat(np.random.default_rng(0).normal(size=(1, 96)), NUM_ITEMS, axis=0)
    alike = graph_of([1], [1], [2], max_distance=1, vectors=vectors.astype(np.float32))
    assert alike.recommend(batch_of([0]), 3, exclude_seen=True).items.tolist() == [[1, 2, 3]]


def test_only_what_is_read_leads_to_only_what_may_be_predicted():
    rows = histories_of(
        [0, 1, 2],
        input_weights=np.array([0.5, 0.0, 1.0]),
        target_weights=np.array([1.0, 0.0, 0.4]),
    )
    settings = {**SETTINGS, "max_distance": 2, "distance_decay": 1.0, "prior": 0.8}
    graph = TransitionGraph.fit(rows, 3, max_history=1, **settings)
    assert graph.next_items.tolist() == [2]  # 0 leads to 2; 1 is neither read nor predicted
    np.testing.assert_allclose(graph.weights.numpy(), [0.2 / (0.2 + 0.8)], atol=1e-6)


def test_an_item_of_little_weight_in_the_history_counts_little():
    graph = graph_of([0, 1], [2, 3], max_distance=1, prior=0.0, place_decay=1.0)
    histories = batch_of([0, 2])
    light = HistoryBatch(
        items=histories.items, lengths=histories.lengths, weights=torch.tensor([[0.25, 1.0]])
    )
    np.testing.assert_allclose(graph.scores(light)[0].numpy(), [0, 0.25, 0, 1, 0, 0], atol=1e-6)


item_rows = st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=6), min_size=1, max_size=5)


@settings(max_examples=60)
@given(item_rows, item_rows, st.integers(1, 3), st.integers(1, 4), st.sampled_from([0.0, 0.5]))
def test_the_scores_are_those_of_plain_loops_whatever_the_batch(
    rows, asked, max_history, max_distance, backward
):
    vectors = np.random.default_rng(1).normal(size=(NUM_ITEMS, 3)).astype(np.float32)
    graph = graph_of(
        *rows,
        max_history=max_history,
        max_distance=max_distance,
        backward_weight=backward,
        vectors=vectors,
    )
    counts = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for row in rows:
        for place, item in enumerate(row):
            for distance, later in enumerate(row[place + 1 : place + 1 + max_distance]):
                counts[item, later] += 0.7**distance
    counts = counts + backward * counts.T
    shares = counts / (counts.sum(axis=1, keepdims=True) + 3)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units.T - np.eye(NUM_ITEMS)
    found = graph.scores(batch_of(*asked))
    for row, history in enumerate(asked):
        expected = np.zeros(NUM_ITEMS)
        for place, item in enumerate(reversed(history[-max_history:])):
            expected += 0.5**place * (shares[item] + 0.05 * cosines[item])
        np.testing.assert_allclose(found[row].numpy(), expected, atol=2e-6)
        alone = graph.scores(batch_of(history))[0]
        np.testing.assert_allclose(alone.numpy(), found[row].numpy(), atol=1e-6)


def test_what_was_kept_scores_alike_and_what_is_another_recommenders_is_refused():
    vectors = np.random.default_rng(0).normal(size=(NUM_ITEMS, 3)).astype(np.float32)
    graph = graph_of([0, 1, 2, 3], [4, 2, 1], vectors=vectors, max_history=3)
    kept = dict(graph.arrays())
    again = TransitionGraph.from_arrays(kept, NUM_ITEMS, max_history=3)
    asked = batch_of([0, 1], [], [4, 2, 1])
    assert torch.equal(again.scores(asked), graph.scores(asked))
    broken = {
        "weights": (kept["weights"][:-1], "weights has the shape"),
        "starts": (kept["starts"][::-1], "starts does not divide"),
        "next_items": (kept["next_items"] + 3, "next_items names items"),
        "vectors": (kept["vectors"][1:], "vectors has the shape"),
        "target_counts": (kept["target_counts"] * np.nan, "target_counts holds what is no finite"),
        "place_decay": (np.zeros(2), "place_decay has the shape"),
    }
    for name, (array, words) in broken.items():
        with pytest.raises(ValueError, match=words):
            TransitionGraph.from_arrays({**kept, name: array}, NUM_ITEMS, max_history=3)
    del kept["starts"]
    with pytest.raises(ValueError, match="starts is missing"):
        TransitionGraph.from_arrays(kept, NUM_ITEMS, max_history=3)


def test_settings_and_vectors_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="no setting 'hops'"):
        graph_of([0, 1], hops=2)
    with pytest.raises(ValueError, match="5 vectors for 6 items"):
        graph_of([0, 1], vectors=np.zeros((5, 2), dtype=np.float32))


def test_only_similarities_cost_products():
    asked = batch_of([0], [])
    assert graph_of([0, 1]).flops(asked).tolist() == [0, 0]
    vectors = np.ones((NUM_ITEMS, 4), dtype=np.float32)
    assert graph_of([0, 1], vectors=vectors).flops(asked).tolist() == [48, 48]


def test_new_items_are_found_by_their_vectors_and_old_scores_stay():
    vectors = np.eye(NUM_ITEMS, 3, dtype=np.float32) + 0.1
    old = graph_of([0, 1, 2, 3], [4, 1, 5], vectors=vectors)
    new = old.grown(2, np.stack([5 * vectors[2], [0.0, 0.0, 0.0]]))
    batch = batch_of([0, 1], [2], [])
    before, after = old.scores(batch), new.scores(batch)
    assert new.num_items == NUM_ITEMS + 2
    torch.testing.assert_close(after[:, :NUM_ITEMS], before)
    # The first new item has the direction of item 2, which is similar to itself, as it is not.
    place = SETTINGS["similarity_weight"]
    assert float(after[1, NUM_ITEMS]) == pytest.approx(place, abs=1e-6)
    assert after[:, NUM_ITEMS + 1].tolist() == [0.0] * 3, "of this one nothing is known"
    assert new.scores(batch_of([NUM_ITEMS]))[0].argmax() == 2, "and it leads to what is like it"
    again = TransitionGraph.from_arrays(new.arrays(), NUM_ITEMS + 2, max_history=2)
    torch.testing.assert_close(again.scores(batch), after)


def test_without_vectors_a_new_item_is_like_no_item():
    vectors = np.eye(NUM_ITEMS, 3, dtype=np.float32) + 0.1
    for graph in (graph_of([0, 1, 2], vectors=vectors), graph_of([0, 1, 2])):
        new = graph.grown(1, None)
        assert new.scores(batch_of([0], [1]))[:, NUM_ITEMS].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"2 new items need vectors of 3 numbers.*got 2 of 4"):
        graph_of([0, 1], vectors=vectors).grown(2, np.ones((2, 4), dtype=np.float32))
