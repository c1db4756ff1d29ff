"""The evaluator on a recommender whose metrics can all be computed by hand."""

import itertools
import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sidestep.baselines.item_scores import (
    ItemNetworkRecommender,
    ItemScoreRecommender,
    PopularityRecommender,
)
from sidestep.data.histories import Histories
from sidestep.data.splits import Rows
from sidestep.evaluation.evaluator import evaluate, fixed_users, target_ranks
from sidestep.evaluation.target_metrics import per_user_metrics
from sidestep.metrics.ties import NOT_LISTED
from sidestep.model.config import SasRecConfig
from sidestep.model.sasrec import SasRec
from sidestep.padding import NO_ITEM
from sidestep.recommender import BestItems, Recommendations
from sidestep.search.spent import Spent
from sidestep.step import HistoryBatch

# Items 0 and 1 share a leaf, and so do 4, 5 and 6.
SEMANTIC_IDS = torch.tensor([[0, 0], [0, 0], [0, 1], [1, 0], [1, 1], [1, 1], [1, 1]])
LEAF_OF = torch.tensor([0, 0, 1, 2, 3, 3, 3])
BUCKETS = ([0, 1], [2], [3], [4, 5, 6])


@dataclass
class FixedOrder:
    """Recommender that ranks the leaves in one order for every user; other leaves are not found."""

    leaf_order: tuple[int, ...]
    max_history: int | None = None
    batch_widths: list[int] = field(default_factory=list)
    name: str = "fixed"
    num_items: int = 7

    def recommend(
        self, histories: HistoryBatch, k: int, *, exclude_seen: bool = False
    ) -> Recommendations:
        self.batch_widths.append(histories.items.shape[1])
        read = histories if self.max_history is None else histories.latest(self.max_history)
        lists, leaves = [], []
        for seen in histories.items.tolist():
            hidden = set(seen) if exclude_seen else set()
            buckets = [[i for i in BUCKETS[leaf] if i not in hidden] for leaf in self.leaf_order]
            lists.append([item for bucket in buckets for item in bucket])
            leaves.append([bucket[0] for bucket in buckets if bucket][:k])
        items = rectangle(lists)
        scores = torch.where(items == NO_ITEM, -math.inf, self.leaf_scores()[items.clamp(min=0)])
        best = BestItems.first(items, scores, k)
        return Recommendations(
            items=best.items,
            scores=best.scores,
            runners_up=best.runners_up,
            score_kind="place of the leaf",
            spent=Spent(
                tokens=read.lengths + 1, scored=read.lengths * 10, flops=read.lengths * 100
            ),
            leaves=rectangle(leaves),
        )

    def leaf_scores(self) -> Tensor:
        """Score of the leaf of each item; arbitrary if the leaf is not ranked."""
        place_of = torch.zeros(len(BUCKETS))
        place_of[torch.tensor(self.leaf_order)] = torch.arange(0.0, len(self.leaf_order))
        return -place_of[LEAF_OF]


def rectangle(lists: list[list[int]]) -> Tensor:
    width = max(map(len, lists))
    return torch.tensor([entries + [NO_ITEM] * (width - len(entries)) for entries in lists])


def rows_of(histories: list[list[int]], targets: list[int]) -> Rows:
    lengths = [len(history) for history in histories]
    return Rows(
        histories=Histories(
            items=np.array([item for history in histories for item in history], dtype=np.int64),
            offsets=np.cumsum([0, *lengths], dtype=np.int64),
            user_ids=tuple(f"u{row}" for row in range(len(histories))),
        ),
        targets=np.array(targets, dtype=np.int64),
    )


def test_every_metric_of_a_small_evaluation_is_the_one_worked_by_hand():
    # The list is 3, then 4 5 6 in any order, then 2; the leaf of 0 and 1 is not found.
    recommender = FixedOrder(leaf_order=(2, 3, 1), max_history=2)
    rows = rows_of([[2], [3, 2, 0], [], [1, 1]], targets=[3, 6, 2, 0])
    evaluation = evaluate(recommender, rows, k=5, batch_size=3, semantic_ids=SEMANTIC_IDS)
    assert evaluation.user_ids == ("u0", "u1", "u2", "u3")
    assert evaluation.rank_before.tolist() == [0, 1, 4, NOT_LISTED]
    assert evaluation.num_tied.tolist() == [1, 3, 1, 1]
    assert evaluation.items.tolist() == [[3, 4, 5, 6, 2]] * 4
    in_bucket = (1 / math.log2(3) + 1 / 2 + 1 / math.log2(5)) / 3
    assert evaluation.metrics == pytest.approx(
        {
            "HR@1": 1 / 4,
            "HR@5": 3 / 4,
            "NDCG@5": (1 + in_bucket + 1 / math.log2(6)) / 4,
            "MRR": (1 + (1 / 2 + 1 / 3 + 1 / 4) / 3 + 1 / 5) / 4,
            # The prefix 0 of the target 0 is found through item 2, its whole ID is not.
            "HRecall@1@5": 1.0,
            "HRecall@2@5": 3 / 4,
            "coverage": 5 / 7,
            # Leaves (1,0), (1,1), (0,1): one of three pairs shares its first code.
            "diversity": (0.5 + 1 + 1) / 3,
            "invalid_rate": 0.0,
        }
    )
    assert evaluation.tokens_per_user == (2 + 3 + 1 + 3) / 4  # history cut to 2, plus one
    assert evaluation.scored_per_user == (1 + 2 + 0 + 2) / 4 * 10
    assert evaluation.flops_per_user == (1 + 2 + 0 + 2) / 4 * 100
    assert evaluation.ms_per_user > 0


def test_a_bucket_cut_off_by_the_list_counts_its_share():
    evaluation = evaluate(FixedOrder(leaf_order=(2, 3)), rows_of([[2]], targets=[6]), k=2)
    # 6 itself is not listed: the list has one place for its bucket of three.
    assert evaluation.items.tolist() == [[3, 4]]
    assert evaluation.metrics["MRR"] == pytest.approx(1 / 2 / 3)


def test_excluding_seen_items_shortens_buckets_and_hides_seen_targets():
    rows = rows_of([[4, 4, 3], [6, 3], [0, 5]], targets=[6, 6, 1])
    evaluation = evaluate(FixedOrder(leaf_order=(2, 3, 0)), rows, k=5, exclude_seen=True)
    assert evaluation.items[0].tolist() == [5, 6, 0, 1, NO_ITEM]
    # 4 is excluded from the bucket of 6; the second target was seen; 0 is excluded from that of 1.
    assert evaluation.rank_before.tolist() == [0, NOT_LISTED, 3]
    assert evaluation.num_tied.tolist() == [2, 1, 1]
    assert evaluation.metrics["invalid_rate"] == 0.0


def test_four_items_that_tie_are_worth_the_mean_over_their_orders():
    rows = rows_of([[1], [2], [3], [1]], targets=[0, 3, 2, 0])
    evaluation = evaluate(PopularityRecommender(np.array([1, 1, 1, 1])), rows, k=50)
    metrics = {name: evaluation.metrics[name] for name in ("HR@1", "HR@5", "NDCG@5", "MRR")}
    assert metrics == pytest.approx(
        {"HR@1": 0.25, "HR@5": 1, "NDCG@5": 0.6404, "MRR": 0.5208}, abs=1e-4
    )
    # As many items tie if the list has no place for all of them.
    evaluation = evaluate(PopularityRecommender(np.array([1, 1, 1, 1])), rows, k=1)
    assert evaluation.metrics["HR@1"] == evaluation.metrics["MRR"] == 0.25


NUM_SCORED = 5


class GivenScores(ItemScoreRecommender):
    """Recommender with the same scores for every user."""

    name = "given"
    score_kind = "none"
    num_items = NUM_SCORED

    def __init__(self, scores: list[int], is_available: Tensor) -> None:
        self.given = torch.tensor(scores).float()
        self.is_available = is_available

    def scores(self, histories: HistoryBatch) -> Tensor:
        return self.given.expand(len(histories.lengths), -1)


@given(
    scores=st.lists(st.integers(0, 2), min_size=NUM_SCORED, max_size=NUM_SCORED),
    available=st.lists(st.booleans(), min_size=NUM_SCORED, max_size=NUM_SCORED),
    seen=st.lists(st.integers(0, NUM_SCORED - 1), max_size=2),
    k=st.integers(1, NUM_SCORED + 1),
)
@settings(max_examples=40)
def test_metrics_are_means_over_all_orders_of_the_items(scores, available, seen, k):
    every = range(NUM_SCORED)
    rows = rows_of([seen] * NUM_SCORED, targets=list(every))
    recommender = GivenScores(scores, torch.tensor(available))
    evaluation = evaluate(recommender, rows, k=k, exclude_seen=True)
    found = per_user_metrics(evaluation.rank_before.numpy(), evaluation.num_tied.numpy(), k)
    allowed = [item for item in every if available[item] and item not in seen]
    orders = list(itertools.permutations(allowed))
    ranks = np.full((NUM_SCORED, len(orders)), NOT_LISTED)
    for column, order in enumerate(orders):
        for rank, item in enumerate(sorted(order, key=lambda item: -scores[item])[:k]):
            ranks[item, column] = rank
    for target in every:
        alone = per_user_metrics(ranks[target], np.ones(len(orders), dtype=int), k)
        for name, values in alone.items():
            assert found[name][target].item() == pytest.approx(values.mean().item(), abs=1e-9)
    assert evaluation.metrics["invalid_rate"] == 0.0


def test_rows_share_batches_with_rows_of_their_length_and_keep_their_order():
    histories = [[1] * length for length in (1, 9, 2, 8, 0, 9)]
    recommender = FixedOrder(leaf_order=(2,))
    done = []
    evaluation = evaluate(
        recommender,
        rows_of(histories, targets=[0, 1, 2, 3, 4, 5]),
        batch_size=2,
        progress=lambda now, total: done.append((now, total)),
    )
    assert recommender.batch_widths == [9, 8, 1]
    assert done == [(2, 6), (4, 6), (6, 6)]
    assert evaluation.targets.tolist() == [0, 1, 2, 3, 4, 5]
    assert evaluation.rank_before.tolist() == [-1, -1, -1, 0, -1, -1]


@given(st.lists(st.lists(st.integers(0, 6), max_size=4), min_size=1, max_size=7), st.data())
@settings(max_examples=20)
def test_no_result_depends_on_the_batch(histories, data):
    targets = data.draw(
        st.lists(st.integers(0, 6), min_size=len(histories), max_size=len(histories))
    )
    rows = rows_of(histories, targets)
    recommender = FixedOrder(leaf_order=(3, 0, 1))
    alone = evaluate(recommender, rows, k=4, batch_size=1, exclude_seen=True)
    together = evaluate(recommender, rows, k=4, batch_size=5, exclude_seen=True)
    assert alone.metrics == together.metrics
    assert torch.equal(alone.items, together.items)
    assert torch.equal(alone.rank_before, together.rank_before)


@dataclass
class Broken(FixedOrder):
    """Recommender that lists an item twice, an item that does not exist, and a seen item."""

    def recommend(
        self, histories: HistoryBatch, k: int, *, exclude_seen: bool = False
    ) -> Recommendations:
        answer = super().recommend(histories, k, exclude_seen=False)
        items = torch.tensor([[3, 3, 99, 2]] * len(histories.lengths))
        scores = torch.arange(4.0).flip(0).expand(items.shape)
        return replace(answer, items=items, scores=scores, runners_up=None)


def test_invalid_entries_are_counted_and_are_no_hits():
    rows = rows_of([[2]], targets=[2])
    recommender = Broken(leaf_order=(2, 1))
    evaluation = evaluate(recommender, rows, k=5, semantic_ids=SEMANTIC_IDS)
    assert evaluation.metrics["invalid_rate"] == 2 / 4
    assert evaluation.rank_before.tolist() == [3]
    evaluation = evaluate(recommender, rows, k=5, exclude_seen=True)
    assert evaluation.metrics["invalid_rate"] == 3 / 4
    assert evaluation.rank_before.tolist() == [NOT_LISTED]


def test_a_seen_item_is_invalid_wherever_it_stands_in_the_history():
    rows = rows_of([[2, *[0] * 30]], targets=[3])
    evaluation = evaluate(Broken(leaf_order=(2, 1), max_history=1), rows, k=5, exclude_seen=True)
    # Of 3, 3, 99 and 2 only the first is valid: 2 was taken 31 items ago.
    assert evaluation.metrics["invalid_rate"] == 3 / 4


def test_exclusion_knows_the_whole_history_of_which_a_recommender_reads_the_latest_items():
    # Users took a, b, c and x, and then d; c is the most popular item, and d the least.
    rows = rows_of([[0, 1, 2, 3]] * 4, targets=[4] * 4)
    torch.manual_seed(0)
    network = SasRec(SasRecConfig(dim=8, num_layers=1, num_heads=2, max_items=5), 5).eval()
    for recommender in (
        PopularityRecommender(np.array([5, 5, 9, 4, 1])),
        ItemNetworkRecommender(network, max_history=1),
    ):
        metrics = evaluate(recommender, rows, k=10, exclude_seen=True).metrics
        assert metrics["HR@1"] == metrics["NDCG@10"] == 1.0
        assert metrics["invalid_rate"] == 0.0


@dataclass
class TreeSearch(FixedOrder):
    """Recommender whose search evaluated the prefixes (0), (1) and (1, 1)."""

    def recommend(
        self, histories: HistoryBatch, k: int, *, exclude_seen: bool = False
    ) -> Recommendations:
        answer = super().recommend(histories, k, exclude_seen=exclude_seen)
        evaluated = torch.tensor([[[0, -1], [1, -1], [1, 1]]] * len(histories.lengths))
        return replace(answer, evaluated=evaluated)


def test_a_tree_search_also_recalls_what_it_only_evaluated():
    rows = rows_of([[2], [2]], targets=[2, 5])
    evaluation = evaluate(TreeSearch(leaf_order=(2,)), rows, k=5, semantic_ids=SEMANTIC_IDS)
    names = ["HRecall@1@5", "HRecall@2@5", "HRecall@1@evaluated", "HRecall@2@evaluated"]
    assert [evaluation.metrics[name] for name in names] == [0.5, 0.0, 1.0, 0.5]


@dataclass
class Generous(FixedOrder):
    """Recommender that returns all leaves, however few were asked for."""

    def recommend(
        self, histories: HistoryBatch, k: int, *, exclude_seen: bool = False
    ) -> Recommendations:
        answer = FixedOrder.recommend(self, histories, k, exclude_seen=exclude_seen)
        leaves = torch.tensor([[BUCKETS[leaf][0] for leaf in self.leaf_order]])
        return replace(answer, leaves=leaves.expand(len(histories.lengths), -1))


def test_leaves_past_the_first_k_do_not_count():
    # The first two leaves are (1, 0) and (1, 1); the target's, (0, 1), is the third.
    rows = rows_of([[2]], targets=[2])
    evaluation = evaluate(Generous(leaf_order=(2, 3, 1)), rows, k=2, semantic_ids=SEMANTIC_IDS)
    assert evaluation.metrics["HRecall@1@2"] == evaluation.metrics["HRecall@2@2"] == 0.0
    assert evaluation.metrics["diversity"] == 0.5


def test_coverage_counts_the_first_ten_of_longer_lists():
    recommender = PopularityRecommender(np.arange(40))
    evaluation = evaluate(recommender, rows_of([[2]], targets=[2]), k=20)
    assert evaluation.metrics["coverage"] == 10 / 40


def test_without_pairs_of_leaves_there_is_no_diversity():
    evaluation = evaluate(
        FixedOrder(leaf_order=(2,)), rows_of([[2]], targets=[3]), semantic_ids=SEMANTIC_IDS
    )
    assert "diversity" not in evaluation.metrics


def answer_of(items: Tensor, scores: Tensor, runners_up: Tensor | None = None) -> Recommendations:
    zeros = torch.zeros(len(items), dtype=torch.long)
    return Recommendations(
        items=items,
        scores=scores,
        runners_up=runners_up,
        score_kind="none",
        spent=Spent(tokens=zeros, scored=zeros, flops=None),
        leaves=items,
    )


def test_ranks_count_better_entries_invalid_ones_too_and_all_that_are_tied():
    answer = answer_of(
        torch.tensor([[99, 5, 4, NO_ITEM], [0, 1, 2, 3], [NO_ITEM] * 4, [0, 1, 2, 3]]),
        torch.tensor([[3.0, 2, 2, -math.inf], [4, 3, 2, 1], [-math.inf] * 4, [4, 3, 3, 3]]),
        torch.tensor([[NO_ITEM] * 2, [NO_ITEM] * 2, [NO_ITEM] * 2, [6, 5]]),
    )
    rank_before, num_tied = target_ranks(answer, torch.tensor([4, 3, 0, 5]))
    assert rank_before.tolist() == [1, 3, NOT_LISTED, 1]
    assert num_tied.tolist() == [2, 1, 1, 5]
    # Neither in the list nor a runner-up, and in the list without a tie.
    rank_before, num_tied = target_ranks(answer, torch.tensor([6, 5, 1, 0]))
    assert rank_before.tolist() == [NOT_LISTED, NOT_LISTED, NOT_LISTED, 0]
    assert num_tied.tolist() == [1, 1, 1, 1]


def test_the_fixed_users_never_change():
    users = fixed_users(8317)
    assert len(np.unique(users)) == 2000
    assert users[:5].tolist() == [1, 3, 4, 15, 16]
    assert fixed_users(10, 20).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("recommender", "rows", "arguments", "named"),
    [
        (FixedOrder((2,)), rows_of([], []), {}, "no rows"),
        (FixedOrder((2,)), rows_of([[1]], [9]), {}, "the target 9 is no item"),
        (FixedOrder((2,)), rows_of([[1], [1]], [1, 9]), {}, "the target 9 is no item"),
        (FixedOrder((2,)), rows_of([[1]], [1]), {"k": 0}, "at least 1"),
        (
            FixedOrder((2,)),
            rows_of([[1]], [1]),
            {"semantic_ids": SEMANTIC_IDS[:3]},
            "semantic IDs for 3",
        ),
        (Broken((2,)), rows_of([[1]], [1]), {"k": 2}, "asked for 2 items"),
    ],
)
def test_what_does_not_fit_together_is_refused(recommender, rows, arguments, named):
    with pytest.raises(ValueError, match=named):
        evaluate(recommender, rows, **arguments)
