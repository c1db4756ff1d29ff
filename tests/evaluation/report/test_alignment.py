"""The page of an alignment run: its numbers, and how a reader's browser shows it."""

from dataclasses import replace

import numpy as np
import pytest

from sidestep.evaluation.advantage_compression import AdvantageCompression
from sidestep.evaluation.alignment_history import AlignmentHistory
from sidestep.evaluation.report.alignment import alignment_page
from sidestep.evaluation.report.chart import Chart
from sidestep.evaluation.report.page import write_page
from sidestep.evaluation.report.table import Table
from tests.browser import SCHEMES, WIDTHS, problems

LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenhalter, 中文, of an unreasonable length"
STEPS = tuple(range(10, 310, 10))


def curve(start, end):
    return tuple(float(value) for value in np.linspace(start, end, len(STEPS)))


HISTORY = AlignmentHistory(
    steps=STEPS,
    parts={
        "reward": curve(0.1, 0.3),
        "best_reward": curve(0.4, 0.6),
        "zero_advantage": curve(0.5, 0.2),
        "found": curve(0.3, 0.5),
        "matched": curve(1.0, 2.0),
        "diversity": curve(0.8, 0.6),
        "tokens": curve(65.0, 65.0),
        "candidates": curve(16.0, 16.0),
        "target_log_prob": curve(-9.0, -7.0),
        "clipped": curve(0.0, 0.1),
        "kl": curve(0.0, 0.5),
        "policy": curve(0.0, -0.2),
        "value": curve(0.2, 0.1),
        **{f"entropy_{level}": curve(3.0 / level, 1.0 / level) for level in (1, 2, 3, 4)},
    },
    prompts_per_s=curve(100.0, 120.0),
    epochs=(1, 2, 4),
    metrics={
        "HR@1": (0.01, 0.02, 0.015),
        "HR@10": (0.05, 0.06, 0.055),
        "HR@50": (0.2, 0.18, 0.15),
        "NDCG@10": (0.03, 0.04, 0.035),
        "coverage": (0.5, 0.4, 0.3),
    },
    scores=(0.03, 0.04, 0.035),
    stopped="finished",
)
COMPRESSION = AdvantageCompression(
    depths=np.array([0, 1, 1, 2]),
    overlaps=np.array([0.1, 0.5, 0.4, 0.75]),
    group_spreads=np.array([0.9, 0.5, 0.3, 0.1]),
    sibling_spreads=np.array([1.0, 1.0, 0.0, 1.0]),
)
FACTS = {"Rollouts": LONG}


def page(history=HISTORY, compression=COMPRESSION):
    return alignment_page(
        history,
        title=LONG,
        score_name="NDCG@10",
        compression=compression,
        compression_lead=LONG,
        facts=FACTS,
    )


def charts_of(shown):
    return {
        part.title: part
        for section in shown.sections
        for part in section.parts
        if isinstance(part, Chart)
    }


def test_every_number_of_the_log_has_its_curve():
    charts = charts_of(page())
    drawn = {
        (title, curve.label): curve.y for title, chart in charts.items() for curve in chart.curves
    }
    expected = {
        ("Reward", "mean"): "reward",
        ("Reward", "best"): "best_reward",
        ("Groups", "nothing to learn"): "zero_advantage",
        ("Groups", "target found"): "found",
        ("Matched depth", "matched"): "matched",
        ("Diversity of the candidates", "diversity"): "diversity",
        ("Distance from the reference", "KL"): "kl",
        ("Entropy by code", "code 1"): "entropy_1",
        ("Entropy by code", "code 4"): "entropy_4",
        ("Clipped codes", "clipped"): "clipped",
        ("Likelihood of the target", "target"): "target_log_prob",
        ("Tokens of the rollouts", "tokens"): "tokens",
        ("Loss: value", "value"): "value",
    }
    for place, name in expected.items():
        assert drawn[place] == HISTORY.parts[name], place
    assert drawn["Speed", "candidates"] == pytest.approx(curve(1600.0, 1920.0))
    assert charts["Reward"].curves[0].x == tuple(map(float, STEPS))


def test_validations_show_quality_and_its_drift():
    charts = charts_of(page())
    names = ["HR@1", "HR@10", "HR@50", "NDCG@10"]
    quality, drift = charts["Quality by epoch"], charts["Drift since the first validation"]
    assert [curve.label for curve in quality.curves] == names
    assert quality.curves[2].y == (0.2, 0.18, 0.15)
    assert quality.curves[2].x == (1.0, 2.0, 4.0)
    by_name = {curve.label: curve.y for curve in drift.curves}
    assert by_name["HR@1"] == pytest.approx((0, 100, 50))
    assert by_name["HR@50"] == pytest.approx((0, -10, -25))
    [coverage] = charts["Breadth by epoch"].curves
    assert (coverage.label, coverage.y) == ("coverage", (0.5, 0.4, 0.3))


def test_the_summary_says_best_drift_and_reward():
    assert page().summary == (
        "NDCG@10 is best after epoch 2: 0.0400. Between the first validation and the last: HR@1 "
        "from 0.0100 to 0.0150, HR@50 from 0.2000 to 0.1500. The mean reward went from 0.1000 to "
        "0.3000."
    )


def test_advantages_are_held_against_each_other_by_depth_and_by_overlap():
    *_, section = page().sections
    by_depth, cloud, table = section.parts
    group, siblings = by_depth.curves
    assert group.x == (0.0, 1.0, 2.0)
    assert group.y == pytest.approx((0.9, 0.4, 0.1))
    assert siblings.y == pytest.approx((1.0, 0.5, 1.0))
    assert cloud.curves[0].x == pytest.approx((10, 40, 50, 75))
    assert cloud.curves[0].y == (0.9, 0.3, 0.5, 0.1)
    assert not cloud.curves[0].is_joined
    assert isinstance(table, Table)
    assert [row[:3] for row in table.rows] == [("0", 1, 1.0), ("1", 2, 0.5), ("2", 1, 1.0)]


def test_a_cloud_of_many_prefixes_is_thinned_and_says_so():
    many = AdvantageCompression.joined([COMPRESSION] * 250)
    cloud = charts_of(page(compression=many))["Spread of the advantage by overlap"]
    assert "one of 3 prefixes" in cloud.caption
    assert len(cloud.curves[0].x) == 334


def test_what_a_log_does_not_have_is_left_out():
    poor = replace(HISTORY, parts={"likelihood": curve(5.0, 4.0)}, epochs=(), metrics={}, scores=())
    shown = page(poor, None)
    assert list(charts_of(shown)) == ["Loss: likelihood", "Speed"]
    assert charts_of(shown)["Speed"].curves[0].label == "prompts"
    assert shown.summary == ""
    once = replace(HISTORY, epochs=(1,), scores=(0.1,), metrics={"HR@1": (0.1,)})
    assert "Drift since the first validation" not in charts_of(page(once))
    unbegun = replace(poor, steps=(), parts={}, prompts_per_s=())
    assert not charts_of(page(unbegun, None))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("alignment") / "page.html"
    write_page(path, page())
    return path


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_can_be_read(browser, path, width, scheme):
    assert problems(browser, path, width=width, scheme=scheme) == []
