"""The whole chain with a real, tiny network: model, search, recommender."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.evaluation.evaluator import evaluate
from sidestep.metrics.ties import NOT_LISTED
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.padding import NO_ITEM
from sidestep.recommender import (
    BestItems,
    GenerativeRecommender,
    Recommendations,
    ReservedPlaces,
    with_reserved,
)
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.policy import Scope
from sidestep.search.spent import Spent
from sidestep.step import HistoryBatch
from tests.evaluation.rows import rows_of

SIZES = (5, 4, 6)


def catalog_and_model(history: str, num_items: int = 40):
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(size, size=num_items) for size in SIZES], axis=1)
    torch.manual_seed(1)
    config = TransformerConfig(
        dim=16,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        history=history,
        item_embedding=history == "items",
    )
    model = Transformer(config, torch.from_numpy(ids), SIZES).eval()
    with torch.no_grad():
        model.head.weight.mul_(50)  # so that no two leaves score alike
    return ids, Trie.build(ids, SIZES), model


def batch(*rows: list[int]) -> HistoryBatch:
    width = max(map(len, rows))
    items = torch.tensor([row + [NO_ITEM] * (width - len(row)) for row in rows], dtype=torch.long)
    return HistoryBatch(
        items=items.view(len(rows), width), lengths=torch.tensor([len(row) for row in rows])
    )


ROWS = ([3, 7, 1, 30], [], [12], [5, 5, 39, 2, 8, 9])


@pytest.mark.parametrize("history", ["codes", "items"])
@pytest.mark.parametrize("normaliser", ["legal", "codebook"])
def test_a_beam_as_wide_as_the_catalog_equals_exhaustive_ranking(history, normaliser):
    _, trie, model = catalog_and_model(history)
    scope = Scope(trie=trie)
    wide = BeamSearch(num_beams=trie.num_leaves, normaliser=normaliser)
    full = ExhaustiveSearch(num_leaves=trie.num_leaves, normaliser=normaliser, chunk_size=7)
    by_beam = wide.search(model, batch(*ROWS), scope)
    by_all = full.search(model, batch(*ROWS), scope)
    torch.testing.assert_close(by_beam.log_probs, by_all.log_probs, atol=1e-4, rtol=1e-4)
    assert torch.equal(by_beam.leaves, by_all.leaves)
    if normaliser == "legal":  # the probabilities of the leaves sum to one
        torch.testing.assert_close(by_all.log_probs.exp().sum(1), torch.ones(len(ROWS)))


@pytest.mark.parametrize("history", ["codes", "items"])
def test_a_user_gets_the_same_list_alone_in_any_batch_and_in_any_order(history):
    _, trie, model = catalog_and_model(history)
    recommender = GenerativeRecommender(
        model, Scope(trie=trie), BeamSearch(num_beams=6), max_history=None
    )
    together = recommender.recommend(batch(*ROWS), 10)
    backwards = recommender.recommend(batch(*ROWS[::-1]), 10)
    for user, row in enumerate(ROWS):
        alone = recommender.recommend(batch(row), 10)
        assert torch.equal(alone.items[0], together.items[user])
        assert torch.equal(alone.items[0], backwards.items[len(ROWS) - 1 - user])
        torch.testing.assert_close(alone.scores[0], together.scores[user], atol=1e-4, rtol=1e-4)


def test_layers_compute_in_the_precision_of_the_recommender_and_scores_in_float32():
    _, trie, model = catalog_and_model("items")
    seen: dict[str, set[torch.dtype]] = {}

    def lists(precision):
        found = seen.setdefault(precision, set())
        hooks = [
            part.register_forward_hook(lambda part, given, made: found.add(made.dtype))
            for part in model.modules()
            if isinstance(part, torch.nn.Linear)
        ]
        recommender = GenerativeRecommender(
            model, Scope(trie=trie), BeamSearch(num_beams=40), max_history=20, precision=precision
        )
        answer = recommender.recommend(batch(*ROWS), 10)
        for hook in hooks:
            hook.remove()
        return answer

    exact, rounded = lists("fp32"), lists("bf16")
    assert seen["fp32"] == {torch.float32}
    assert torch.bfloat16 in seen["bf16"]
    assert rounded.scores.dtype == torch.float32
    assert not torch.equal(rounded.scores, exact.scores)
    torch.testing.assert_close(rounded.scores, exact.scores, atol=0.5, rtol=0.05)


def test_seen_excluded_and_unavailable_items_are_not_recommended_and_cost_no_place():
    _, trie, model = catalog_and_model("items")
    is_available = torch.ones(40, dtype=torch.bool)
    is_available[::3] = False
    recommender = GenerativeRecommender(
        model,
        Scope(trie=trie, available=trie.availability(is_available)),
        BeamSearch(num_beams=trie.num_leaves),
        max_history=None,
    )
    excluded = torch.tensor([[4, 5], [NO_ITEM, NO_ITEM], [12, 31], [7, NO_ITEM]])
    answer = recommender.recommend(batch(*ROWS), 40, exclude_seen=True, excluded=excluded)
    for row, own, items in zip(ROWS, excluded.tolist(), answer.items.tolist(), strict=True):
        found = {item for item in items if item != NO_ITEM}
        assert found == {item for item in range(40) if item % 3} - set(row) - set(own)


@pytest.mark.parametrize("history", ["codes", "items"])
def test_what_is_not_read_of_a_history_changes_no_score_and_is_excluded_all_the_same(history):
    _, trie, model = catalog_and_model(history)
    policy = BeamSearch(num_beams=trie.num_leaves)
    recommender = GenerativeRecommender(model, Scope(trie=trie), policy, max_history=2)
    whole, latest = batch(*ROWS), batch(*[row[-2:] for row in ROWS])
    answer = recommender.recommend(whole, 40)
    expected = recommender.recommend(latest, 40)
    assert torch.equal(answer.items, expected.items)
    assert torch.equal(answer.scores, expected.scores)
    assert torch.equal(answer.spent.flops, expected.spent.flops)
    unseen = recommender.recommend(whole, 40, exclude_seen=True)
    told = recommender.recommend(latest, 40, excluded=whole.items)
    assert torch.equal(unseen.items, told.items)
    for row, items in zip(ROWS, unseen.items.tolist(), strict=True):
        assert set(items) - {NO_ITEM} == set(range(40)) - set(row)


@pytest.mark.parametrize("policy", [BeamSearch(num_beams=4), ExhaustiveSearch(num_leaves=4)])
def test_a_narrow_search_of_what_is_left_is_the_search_of_a_catalog_that_has_no_more(policy):
    ids, trie, model = catalog_and_model("items")
    left = [item for item in range(40) if item % 3]
    rest = Scope(trie=Trie.build(ids[left], SIZES))
    alone = GenerativeRecommender(model, rest, policy, max_history=None)
    is_available = torch.zeros(40, dtype=torch.bool)
    is_available[left] = True
    gone = torch.tensor([[item for item in range(40) if not item % 3]]).expand(len(ROWS), -1)
    in_stock = Scope(trie=trie, available=trie.availability(is_available))
    by_stock = GenerativeRecommender(model, in_stock, policy, max_history=None).recommend(
        batch(*ROWS), 4
    )
    by_user = GenerativeRecommender(model, Scope(trie=trie), policy, max_history=None).recommend(
        batch(*ROWS), 4, excluded=gone
    )
    expected = alone.recommend(batch(*ROWS), 4)
    named = torch.tensor(left)[expected.items]
    assert torch.equal(by_stock.items, named)
    assert torch.equal(by_user.items, named)
    torch.testing.assert_close(by_stock.scores, expected.scores)
    torch.testing.assert_close(by_user.scores, expected.scores)
    if isinstance(policy, BeamSearch):
        assert torch.equal(by_user.spent.tokens, expected.spent.tokens)


def test_items_of_a_bucket_share_a_score_and_stand_together():
    ids = np.array([[0, 0], [0, 0], [1, 1], [0, 1]])
    trie = Trie.build(ids, (2, 2), popularity=np.array([1, 5, 2, 2]))
    torch.manual_seed(0)
    model = Transformer(
        TransformerConfig(dim=8, num_layers=1, num_heads=2), torch.from_numpy(ids), (2, 2)
    ).eval()
    answer = GenerativeRecommender(
        model, Scope(trie=trie), BeamSearch(num_beams=4), max_history=None
    ).recommend(batch([2]), 10)
    items = answer.items[0].tolist()
    assert sorted(items) == [NO_ITEM] * 6 + [0, 1, 2, 3]
    place = items.index(1)  # the more popular of the two items comes first
    assert items[place + 1] == 0
    assert answer.scores[0, place] == answer.scores[0, place + 1]
    assert (answer.leaves[0] != NO_ITEM).sum() == 3


def tied_leaves(**limits) -> GenerativeRecommender:
    """A network that gives four leaves equal scores; items 0 and 1 share a leaf."""
    ids = np.array([[0, 0], [0, 0], [0, 1], [1, 0], [1, 1]])
    trie = Trie.build(ids, (2, 2), popularity=np.arange(5)[::-1].copy())
    model = Transformer(
        TransformerConfig(dim=8, num_layers=1, num_heads=2), torch.from_numpy(ids), (2, 2)
    ).eval()
    torch.nn.init.zeros_(model.head.weight)
    if "available" in limits:
        limits["available"] = trie.availability(limits["available"])
    scope = Scope(trie=trie, **limits)
    return GenerativeRecommender(model, scope, BeamSearch(num_beams=4), max_history=None)


def test_leaves_of_equal_scores_are_tied_with_all_their_items_also_past_the_end_of_the_list():
    rows = rows_of(*[(2, target) for target in range(5)])
    for k in (1, 3, 5, 9):
        evaluation = evaluate(tied_leaves(), rows, k=k)
        assert evaluation.rank_before.tolist() == [0] * 5
        assert evaluation.num_tied.tolist() == [5] * 5
        assert evaluation.metrics["HR@1"] == pytest.approx(1 / 5)


def test_a_bucket_counts_the_items_that_can_be_listed_and_a_retired_target_is_a_miss():
    is_available = torch.tensor([True, False, False, False, True])
    recommender = tied_leaves(available=is_available)
    rows = rows_of((2, 0), (2, 1), (2, 4))
    evaluation = evaluate(recommender, rows, k=5)
    assert evaluation.rank_before.tolist() == [0, NOT_LISTED, 0]
    assert evaluation.num_tied.tolist() == [2, 1, 2]
    # The bucket of a live and a retired item, alone: the live item is a certain hit.
    evaluation = evaluate(tied_leaves(available=torch.arange(5) == 0), rows, k=5)
    assert evaluation.metrics["HR@1"] == pytest.approx(1 / 3)
    assert evaluation.num_tied.tolist() == [1, 1, 1]
    # A user who has taken item 0 before can only get item 4.
    evaluation = evaluate(recommender, rows_of((0, 1), (0, 4)), k=5, exclude_seen=True)
    assert evaluation.rank_before.tolist() == [NOT_LISTED, 0]
    assert evaluation.num_tied.tolist() == [1, 1]


def test_of_a_bucket_the_seen_item_is_never_listed_and_the_unseen_one_is():
    answer = tied_leaves().recommend(batch([0]), 9, exclude_seen=True)
    assert sorted(answer.items[0].tolist()) == [NO_ITEM] * 5 + [1, 2, 3, 4]
    answer = tied_leaves().recommend(batch([]), 9, excluded=torch.tensor([[1]]))
    assert sorted(answer.items[0].tolist()) == [NO_ITEM] * 5 + [0, 2, 3, 4]


def test_a_bucket_of_a_retired_and_an_excluded_item_takes_no_beam():
    recommender = tied_leaves(available=torch.arange(5) != 1)
    answer = recommender.recommend(batch([0]), 9, exclude_seen=True)
    assert sorted(answer.leaves[0].tolist()) == [NO_ITEM, 2, 3, 4]
    assert sorted(answer.items[0].tolist()) == [NO_ITEM] * 6 + [2, 3, 4]


def test_a_catalog_of_other_codebooks_is_refused():
    _, _, model = catalog_and_model("codes")
    other = Trie.build(np.array([[0, 0, 0]]), (1, 1, 1))
    with pytest.raises(ValueError, match="the catalog that the model was trained on"):
        GenerativeRecommender(model, Scope(trie=other), BeamSearch(), max_history=None)


def test_a_search_never_returns_a_leaf_that_is_not_there():
    _, trie, model = catalog_and_model("codes", num_items=3)
    users = batch([0, 2, 1], [], [1])
    candidates = BeamSearch(num_beams=50).search(model, users, Scope(trie=trie))
    found = candidates.leaves[candidates.leaves != NO_STATE]
    assert len(found) == 3 * trie.num_leaves
    assert bool(((found >= trie.first_leaf) & (found < trie.num_nodes())).all())


def test_evaluated_prefixes_hold_every_depth_of_the_leaves_that_were_returned():
    ids, trie, model = catalog_and_model("items")
    answer = GenerativeRecommender(
        model, Scope(trie=trie), BeamSearch(num_beams=5), max_history=None
    ).recommend(batch(*ROWS), 5)
    for user in range(len(ROWS)):
        prefixes = set(map(tuple, answer.evaluated[user].tolist()))
        for item in answer.leaves[user].tolist():
            path = tuple(ids[item].tolist())
            assert {(path[0], -1, -1), (path[0], path[1], -1), path} <= prefixes


NUM_ITEMS = 8


@st.composite
def reservations(draw):
    """Lists of k from all items, lists of k even items, and places reserved for even items."""
    k = draw(st.integers(1, 6))
    ordinary = draw(st.lists(st.integers(0, NUM_ITEMS - 1), unique=True, max_size=k))
    even = st.integers(0, NUM_ITEMS // 2 - 1).map(lambda half: 2 * half)
    reserved = draw(st.lists(even, unique=True, max_size=k))
    return k, ordinary, reserved, draw(st.integers(0, k))


def test_ties_of_the_reserved_places_are_those_of_the_new_items_and_else_those_of_the_others():
    scores = torch.tensor([[3.0, 2, 1]])
    usual = replace(
        answer_of([0, 1, 2], 3, best=3.0), scores=scores, runners_up=torch.tensor([[3, 4, NO_ITEM]])
    )
    new = torch.tensor([[5, 6, NO_ITEM]])
    few = replace(usual, items=new, scores=torch.tensor([[0.5, 0.25, -torch.inf]]))
    few = replace(few, runners_up=None)
    many = replace(few, items=torch.tensor([[5, 6, 7]]), scores=torch.tensor([[0.5, 0.25, 0.25]]))
    many = replace(many, runners_up=torch.tensor([[8]]))
    # Scores of the two parts may be equal, and still only new items compete for new places.
    equal = replace(usual, scores=torch.full((1, 3), 0.25))
    short = answer_of([0], 3, best=3.0)
    leaf_of = torch.arange(9)
    for ordinary, reserved, num_places, items, runners_up in (
        (usual, few, 0, [0, 1, 2], [3, 4]),
        (usual, few, 1, [0, 1, 5], []),
        (usual, few, 3, [5, 6, 0], []),  # 0 has a better score than 1
        (usual, many, 2, [0, 5, 6], [7, 8]),
        (usual, many, 3, [5, 6, 7], [8]),
        (equal, many, 2, [0, 5, 6], [7, 8]),
        (short, replace(many, scores=torch.full((1, 3), 0.5)), 1, [0, 5, NO_ITEM], []),
    ):
        answer = with_reserved(ordinary, reserved, num_places=num_places, leaf_of=leaf_of)
        assert answer.items[0].tolist() == items
        assert [item for item in answer.runners_up[0].tolist() if item != NO_ITEM] == runners_up


def answer_of(found: list[int], k: int, *, best: float) -> Recommendations:
    missing = k - len(found)
    items = torch.tensor([found + [NO_ITEM] * missing], dtype=torch.long)
    scores = [best - place for place in range(len(found))] + [-torch.inf] * missing
    return Recommendations(
        items=items,
        scores=torch.tensor([scores]),
        score_kind="log_prob",
        spent=Spent(tokens=torch.tensor([3]), scored=torch.tensor([20]), flops=torch.tensor([500])),
        leaves=items,
        evaluated=torch.full((1, 2, 1), int(best)),
    )


@given(reservations())
def test_reserved_places_are_those_of_a_loop_over_the_lists(case):
    k, ordinary, reserved, num_places = case
    answer = with_reserved(
        answer_of(ordinary, k, best=-1.0),
        answer_of(reserved, k, best=-101.0),
        num_places=num_places,
        leaf_of=torch.arange(NUM_ITEMS) // 3,
    )
    head = ordinary[: k - num_places]
    fresh = [item for item in reserved if item not in head][:num_places]
    expected = head + fresh + [item for item in ordinary if item not in head + fresh]
    found = [item for item in answer.items[0].tolist() if item != NO_ITEM]
    assert answer.items.shape == answer.scores.shape == (1, k)
    assert found == expected[:k]
    assert len(set(found)) == len(found) >= len(ordinary)
    assert set(answer.items[0, len(found) :].tolist()) <= {NO_ITEM}
    for item, score in zip(found, answer.scores[0].tolist(), strict=False):
        at = -101.0 - reserved.index(item) if item in fresh else -1.0 - ordinary.index(item)
        assert score == at
    assert (answer.scores[0, len(found) :] == -torch.inf).all()
    leaves = [item // 3 for item in answer.leaves[0].tolist() if item != NO_ITEM]
    assert leaves == list(dict.fromkeys(item // 3 for item in found))
    assert answer.spent.tokens.tolist() == [6]
    assert answer.spent.scored.tolist() == [40]
    assert answer.spent.flops.tolist() == [1000]
    assert sorted(answer.evaluated.flatten().tolist()) == [-101, -101, -1, -1]


@given(reservations())
def test_no_reserved_place_and_nothing_to_put_there_change_no_list(case):
    k, ordinary, reserved, num_places = case
    usual = answer_of(ordinary, k, best=-1.0)
    leaf_of = torch.arange(NUM_ITEMS)
    for other, places in ((reserved, 0), ([], num_places), (ordinary, num_places)):
        given_other = answer_of(other, k, best=-1.0)
        answer = with_reserved(usual, given_other, num_places=places, leaf_of=leaf_of)
        assert torch.equal(answer.items, usual.items)
        assert torch.equal(answer.scores, usual.scores)


def test_more_reserved_places_than_the_list_has_are_refused():
    empty = answer_of([], 3, best=-1.0)
    with pytest.raises(ValueError, match="4 places are reserved in a list of 3"):
        with_reserved(empty, empty, num_places=4, leaf_of=torch.arange(NUM_ITEMS))


@pytest.mark.parametrize("policy", [BeamSearch(num_beams=6), ExhaustiveSearch(num_leaves=6)])
def test_reserved_places_hold_what_a_search_among_the_reserved_items_finds(policy):
    _, trie, model = catalog_and_model("items")
    is_reserved = torch.arange(40) >= 35
    ordinary = GenerativeRecommender(model, Scope(trie=trie), policy, max_history=None)
    new = Scope(trie=trie, available=trie.availability(is_reserved))
    reserved = GenerativeRecommender(model, new, policy, max_history=None)
    both = ReservedPlaces(ordinary, reserved, num_places=2)
    seen_too = both.recommend(batch(*ROWS), 6)
    kept = both.recommend(batch(*ROWS), 6, exclude_seen=False)
    assert torch.equal(seen_too.items, kept.items)
    answer = both.recommend(batch(*ROWS), 6, exclude_seen=True)
    assert not torch.equal(answer.items, kept.items)
    usual = ordinary.recommend(batch(*ROWS), 6, exclude_seen=True)
    among = reserved.recommend(batch(*ROWS), 6, exclude_seen=True)
    assert torch.equal(answer.items[:, :4], usual.items[:, :4])
    for user, items in enumerate(answer.items.tolist()):
        fresh = [item for item in among.items[user].tolist() if item not in items[:4]]
        assert items[4:] == fresh[:2]
    assert torch.equal(answer.spent.tokens, usual.spent.tokens + among.spent.tokens)
    assert both.name == f"{policy.name}, 2 reserved"
    assert torch.equal(both.leaf_of, ordinary.leaf_of)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        ReservedPlaces(ordinary, reserved, num_places=-1)


def test_runners_up_are_only_those_that_tie_with_the_last_of_the_list():
    items = torch.tensor([[1, 2, 3, 4, 5], [5, 4, 3, 2, NO_ITEM]])
    scores = torch.tensor([[9.0, 8.0, 8.0, 8.0, 1.0], [9.0, 8.0, 7.0, 6.0, -torch.inf]])
    best = BestItems.first(items, scores, 2)
    assert best.items.tolist() == [[1, 2], [5, 4]]
    assert best.runners_up.tolist() == [[3, 4], [NO_ITEM, NO_ITEM]]
