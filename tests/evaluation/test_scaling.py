import math
from dataclasses import replace

import numpy as np
import pytest

from sidestep.evaluation.scaling import Scaling, ScalingPoint, at_equal_cost, scaling_point
from tests.evaluation.report.small_runs import BEAM


def point(search, budget, ndcg, *, tokens=1.0, scored=0.0, flops=None, ms=1.0):
    return ScalingPoint(
        search=search,
        budget=budget,
        metrics={"HR@10": 2 * ndcg, "NDCG@10": ndcg, "HRecall@1@50": 0.5, "HRecall@1@evaluated": 1},
        intervals={},
        tokens=tokens,
        scored=scored,
        flops=flops,
        ms=ms,
    )


CURVE = [point("beam", "K = 1", 0.1, flops=10.0), point("beam", "K = 8", 0.4, flops=80.0)]


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(10.0, 0.1), (20.0, 0.2), (40.0, 0.3), (80.0, 0.4), (9.0, None), (81.0, None), (None, None)],
)
def test_between_two_budgets_quality_is_linear_in_the_logarithm_of_cost(amount, expected):
    # 10 · 2 and 10 · 4 are one and two thirds of the way to 10 · 8.
    reached = at_equal_cost(CURVE, unit="flops", amount=amount, metric="NDCG@10")
    assert reached == (None if expected is None else pytest.approx(expected))


def test_costs_that_are_unknown_or_nothing_or_all_the_same_are_no_curve():
    unknown = [point("beam", "K = 1", 0.1), point("beam", "K = 2", 0.2)]
    assert at_equal_cost(unknown, unit="flops", amount=10.0, metric="NDCG@10") is None
    assert at_equal_cost(unknown, unit="scored", amount=10.0, metric="NDCG@10") is None
    assert at_equal_cost(unknown, unit="tokens", amount=1.0, metric="NDCG@10") == 0.2
    assert at_equal_cost(CURVE[:1], unit="flops", amount=10.0, metric="NDCG@10") == 0.1


def test_curves_keep_their_order_and_what_is_drawn_is_that_of_the_lists():
    guided = point("item-beam", "K+ = 2", 0.3)
    scaling = Scaling(points=[*CURVE, guided], ceilings={})
    assert scaling.by_search == {"beam": CURVE, "item-beam": [guided]}
    assert scaling.metrics == ["NDCG@10", "HR@10", "HRecall@1@50"]


def test_a_point_knows_how_sure_its_metrics_are():
    # Of two users one has the item first and one has it fourth: NDCG 1 and 1 / log2(5).
    run = replace(BEAM, k=10, items=np.zeros((2, 10), dtype=int), rank_before=np.array([0, 3]))
    made = scaling_point(
        run, search="beam", budget="K = 1", metrics={}, tokens=1.0, scored=0.0, flops=None, ms=1.0
    )
    interval = made.intervals["NDCG@10"]
    assert (interval.low, interval.high) == (pytest.approx(1 / math.log2(5)), pytest.approx(1.0))
    assert made.intervals["HR@10"].low == made.intervals["HR@10"].high == 1.0
    assert made.as_json()["intervals"]["HR@10"] == [1.0, 1.0]
