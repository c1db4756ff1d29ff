"""The evaluator on a recommender whose every metric can be worked out by hand."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sidestep.baselines.item_scores import PopularityRecommender, SasRecRecommender
from sidestep.data.histories import Histories
from sidestep.data.splits import Rows
from sidestep.evaluation.evaluator import (
    evaluate,
    fixed_users,
    per_user_metrics,
    target_bucket_sizes,
    target_ranks,
)
from sidestep.metrics.ranking import NOT_LISTED
from sidestep.model.config import SasRecConfig
from sidestep.model.sasrec import SasRec
from sidestep.padding import NO_ITEM
from sidestep.recommender import Recommendations
from sidestep.step import HistoryBatch

# Items 0 and 1 share a leaf, and so do 4, 5 and 6.
SEMANTIC_IDS = torch.tensor([[0, 0], [0, 0], [0, 1], [1, 0], [1, 1], [1, 1], [1, 1]])
LEAF_OF = torch.tensor([0, 0, 1, 2, 3, 3, 3])
BUCKETS = ([0, 1], [2], [3], [4, 5, 6])


@dataclass
class FixedOrder:
    """Ranks the leaves in one order for every user; leaves past the end are not found."""

    leaf_order: tuple[int, ...]
    max_history: int | None = None
    batch_widths: list[int] = field(default_factory=list)
    name: str = "fixed"
    num_items: int = 7
    leaf_of: Tensor = field(default_factory=lambda: LEAF_OF)

    def recommend(
        self, histories: HistoryBatch, k: int, *, exclude_seen: bool = False
    ) -> Recommendations:
        self.batch_widths.append(histories.items.shape[1])
        read = histories if self.max_history is None else histories.latest(self.max_history)
        lists, leaves = [], []
        for seen in histories.items.tolist():
            hidden = set(seen) if exclude_seen else set()
            buckets = [[i for i in BUCKETS[leaf] if i not in hidden] for leaf in self.leaf_order]
            lists.append([item for bucket in buckets for item in bucket][:k])
            leaves.append([bucket[0] for bucket in buckets if bucket][:k])
        items = rectangle(lists)
        return Recommendations(
            items=items,
            scores=torch.where(items == NO_ITEM, -math.inf, 0.0),
            score_kind="none",
            tokens=read.lengths + 1,
            scored=read.lengths * 10,
            flops=read.lengths * 100,
            leaves=rectangle(leaves),
        )


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
    assert evaluation.bucket_size.tolist() == [1, 3, 1, 2]
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
    # 6 itself is not listed: of its bucket of three, one place is.
    assert evaluation.items.tolist() == [[3, 4]]
    assert per_user_metrics(evaluation.rank_before, evaluation.bucket_size, 2)[
        "MRR"
    ].item() == pytest.approx(1 / 2 / 3)


def test_excluding_seen_items_shortens_buckets_and_hides_seen_targets():
    rows = rows_of([[4, 4, 3], [6, 3], [0, 5]], targets=[6, 6, 1])
    evaluation = evaluate(FixedOrder(leaf_order=(2, 3, 0)), rows, k=5, exclude_seen=True)
    assert evaluation.items[0].tolist() == [5, 6, 0, 1, NO_ITEM]
    # 4 is gone from the bucket of 6; the second target was seen; 0 is gone from that of 1.
    assert evaluation.rank_before.tolist() == [0, NOT_LISTED, 3]
    assert evaluation.bucket_size.tolist() == [2, 3, 1]
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
    """Lists an item twice, one that does not exist, and one that was seen."""

    def recommend(
        self, histories: HistoryBatch, k: int, *, exclude_seen: bool = False
    ) -> Recommendations:
        answer = super().recommend(histories, k, exclude_seen=False)
        items = torch.tensor([[3, 3, 99, 2]] * len(histories.lengths))
        return replace(answer, items=items, scores=torch.zeros(items.shape))


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
        SasRecRecommender(network, max_history=1),
    ):
        metrics = evaluate(recommender, rows, k=10, exclude_seen=True).metrics
        assert metrics["HR@1"] == metrics["NDCG@10"] == 1.0
        assert metrics["invalid_rate"] == 0.0


@dataclass
class TreeSearch(FixedOrder):
    """Evaluated the prefixes (0), (1) and (1, 1) on its way."""

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


def test_without_pairs_of_leaves_there_is_no_diversity():
    evaluation = evaluate(
        FixedOrder(leaf_order=(2,)), rows_of([[2]], targets=[3]), semantic_ids=SEMANTIC_IDS
    )
    assert "diversity" not in evaluation.metrics


def test_ranks_count_invalid_entries_and_stop_at_the_first_of_the_bucket():
    items = torch.tensor([[99, 5, 4, NO_ITEM], [0, 1, 2, 3], [NO_ITEM] * 4])
    assert target_ranks(items, torch.tensor([4, 3, 0]), LEAF_OF).tolist() == [1, 3, NOT_LISTED]


def test_bucket_sizes_count_excluded_items_once_and_never_the_target():
    targets = torch.tensor([4, 4, 3])
    excluded = torch.tensor([[5, 5, 0, NO_ITEM], [4, 6, 5, 5], [4, 5, 6, 0]])
    assert target_bucket_sizes(targets, LEAF_OF).tolist() == [3, 3, 1]
    assert target_bucket_sizes(targets, LEAF_OF, excluded=excluded).tolist() == [2, 1, 1]


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
        (FixedOrder((2,)), rows_of([[1]], [1]), {"k": 0}, "at least 1"),
        (FixedOrder((2,), num_items=8), rows_of([[1]], [1]), {}, "leaves for 7"),
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
