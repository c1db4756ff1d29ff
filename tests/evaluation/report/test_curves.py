import json

import pytest

from sidestep.evaluation.report.chart import Curve
from sidestep.evaluation.report.curves import (
    length_charts,
    prefix_recall_chart,
    training_chart,
)
from tests.evaluation.report.small_runs import BEAM, SASREC, per_user

RUNS = {"beam": [BEAM], "sasrec": [SASREC]}


def test_hit_rates_by_length_of_the_list():
    chart, _ = length_charts(RUNS)
    assert chart.y_label == "HR@K"
    assert [(curve.label, curve.y) for curve in chart.curves] == [
        ("beam", (0.0, 0.5, 0.5)),
        ("sasrec", (1.0, 1.0, 1.0)),
    ]


def test_ndcg_counts_a_second_place_less():
    _, chart = length_charts(RUNS)
    beam, _ = chart.curves
    assert beam.y == pytest.approx((0.0, 0.5 / 1.584962500721156, 0.5 / 1.584962500721156))


def test_a_curve_is_the_mean_over_seeds():
    second = per_user("beam", [[1, 0, 3], [2, 0, 1]], [0, 0], seed=1)
    chart, _ = length_charts({"beam": [BEAM, second]})
    [curve] = chart.curves
    assert curve.y == (0.5, 0.75, 0.75)


def test_prefix_recall_by_depth_and_kind():
    chart = prefix_recall_chart(
        {
            "beam": [
                {"HRecall@2@50": 0.2, "HRecall@1@50": 0.4, "HRecall@1@evaluated": 0.6, "HR@1": 0.1},
                {"HRecall@2@50": 0.4, "HRecall@1@50": 0.6, "HRecall@1@evaluated": 0.8, "HR@1": 0.1},
            ],
            "popularity": [{"HR@1": 0.1}],
        }
    )
    assert chart is not None
    assert [curve.label for curve in chart.curves] == ["beam", "beam, all evaluated"]
    assert chart.curves[0].x == (1.0, 2.0)
    assert chart.curves[0].y == pytest.approx((0.5, 0.3))
    assert chart.curves[1].y == pytest.approx((0.7,))
    assert prefix_recall_chart({"popularity": [{"HR@1": 0.1}]}) is None


@pytest.fixture
def log(tmp_path):
    def write(name, losses):
        path = tmp_path / f"{name}.jsonl"
        lines = [{"kind": "step", "epoch": 1, "loss": 9.0}] + [
            {
                "kind": "epoch",
                "epoch": epoch,
                "loss": loss,
                "parts": {"item": 2 * loss},
                "best": None,
            }
            for epoch, loss in enumerate(losses, start=1)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


def chart_of(logs, y):
    return training_chart(logs, y=y, title="Loss", caption="Falls.", y_label="nats")


def test_training_curves_come_from_the_lines_that_have_them(log):
    logs = {"beam": [log("a", [5.0, 4.0])]}
    chart = chart_of(logs, "loss")
    assert chart is not None
    assert chart.curves == (Curve(label="beam", x=(1.0, 2.0), y=(5.0, 4.0)),)
    parts = chart_of(logs, "parts.item")
    assert parts is not None
    assert parts.curves[0].y == (10.0, 8.0)
    assert chart_of(logs, "best") is None
    assert chart_of(logs, "parts.code_1") is None


def test_seeds_make_a_mean_and_a_range_over_the_epochs_they_share(log):
    chart = chart_of({"beam": [log("a", [5.0, 4.0, 3.0]), log("b", [7.0, 4.0])]}, "loss")
    assert chart is not None
    assert chart.curves == (
        Curve(label="beam", x=(1.0, 2.0), y=(6.0, 4.0), low=(5.0, 4.0), high=(7.0, 4.0)),
    )


def test_a_broken_log_is_refused_with_its_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind": "epoch"}\n[1]\n')
    with pytest.raises(ValueError, match=r"log\.jsonl, line 2: not a JSON object"):
        chart_of({"beam": [path]}, "loss")
    path.write_text("{\n")
    with pytest.raises(ValueError, match=r"log\.jsonl, line 1: not valid JSON"):
        chart_of({"beam": [path]}, "loss")
