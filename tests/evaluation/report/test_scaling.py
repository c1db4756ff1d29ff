"""The page of test-time scaling: its numbers, and how a reader's browser shows it."""

import pytest

from sidestep.evaluation.report.chart import Chart
from sidestep.evaluation.report.page import write_page
from sidestep.evaluation.report.scaling import scaling_page
from sidestep.evaluation.scaling import Scaling, ScalingPoint
from sidestep.metrics.statistics import Interval
from tests.browser import SCHEMES, WIDTHS, problems

FACTS = {"Dataset": "shop"}


def point(search, budget, ndcg, *, tokens, scored=0.0, flops=1e6, ms=1.0):
    return ScalingPoint(
        search=search,
        budget=budget,
        metrics={
            "NDCG@10": ndcg,
            "HR@10": 2 * ndcg,
            **{f"HRecall@{depth}@50": 0.9 / depth for depth in (1, 2, 3)},
        },
        intervals={"NDCG@10": Interval(low=ndcg - 0.01, high=ndcg + 0.01)},
        tokens=tokens,
        scored=scored,
        flops=flops,
        ms=ms,
    )


BEAM = [
    point("beam", f"K = {50 * n}", 0.04 + n / 1000, tokens=1 + 100.0 * n, flops=n * 1e8, ms=2.0 * n)
    for n in (1, 2, 4)
]
GUIDED = [
    point(
        "item-beam",
        f"K+ = {50 * n}",
        0.042 + n / 500,
        tokens=101.0,
        scored=120.0 * n,
        flops=1e8 + n * 5e7,
        ms=2.0 + n,
    )
    for n in (1, 2, 4)
]
EVERY = point("exhaustive", "every item", 0.046, tokens=4000.0, flops=9e9, ms=90.0)
BEST = point("exhaustive-item", "every item", 0.06, tokens=4000.0, scored=9000.0, flops=9.1e9)
SCALING = Scaling(points=[*BEAM, *GUIDED], ceilings={"beam": EVERY, "item-beam": BEST})


def page():
    return scaling_page(SCALING, title="Budgets", facts=FACTS)


def charts_of(section):
    return {part.y_label: part for part in section.parts if isinstance(part, Chart)}


def test_every_metric_is_drawn_against_every_unit_below_its_ceilings():
    _, *sections = page().sections
    assert [section.title for section in sections] == [
        *("Against tokens", "Against wall time", "Against FLOPs", "Against scored prefixes"),
    ]
    drawn = {section.title: charts_of(section) for section in sections}
    for charts in drawn.values():
        assert list(charts) == [
            *("NDCG@10", "HR@10", "HRecall@1@50", "HRecall@2@50", "HRecall@3@50"),
        ]
    beam, guided = drawn["Against tokens"]["NDCG@10"].curves
    assert (beam.x, guided.x) == ((101.0, 201.0, 401.0), (101.0, 101.0, 101.0))
    assert guided.y == pytest.approx((0.044, 0.046, 0.05))
    levels = drawn["Against tokens"]["HR@10"].levels
    assert [(level.label, level.y, level.colour) for level in levels] == [
        *(("exhaustive", 0.092, 0), ("exhaustive-item", 0.12, 1)),
    ]
    beam, guided = drawn["Against FLOPs"]["NDCG@10"].curves
    assert (beam.x, guided.x) == ((100.0, 200.0, 400.0), (150.0, 200.0, 300.0))
    [only] = drawn["Against scored prefixes"]["NDCG@10"].curves
    assert (only.label, only.x, only.colour) == ("item-beam", (120.0, 240.0, 480.0), 1)


def test_points_of_one_cost_all_stand_in_the_table_and_so_do_ceilings():
    chart = charts_of(page().sections[1])["NDCG@10"]
    rows = [
        tuple(round(v, 3) if isinstance(v, float) else v for v in r) for r in chart.table().rows
    ]
    assert rows == [
        ("101", 0.041, 0.044),
        ("101", None, 0.046),
        ("101", None, 0.05),
        ("201", 0.042, None),
        ("401", 0.044, None),
        ("exhaustive", 0.046, None),
        ("exhaustive-item", None, 0.06),
    ]


def test_tables_have_every_point_and_searches_at_equal_cost():
    points, equal = page().sections[0].parts
    assert [row[:2] for row in points.rows][-2:] == [
        *(("exhaustive", "every item"), ("exhaustive-item", "every item")),
    ]
    assert len(points.rows) == 8
    assert points.rows[3][-4].text == "101"
    assert points.columns[-2:] == ("MFLOPs", "ms")
    # At 150, 200 and 300 MFLOPs, and at 3, 4 and 6 ms, the beam has .041 + .001 · log2(3 / 2), .042
    # and .042 + .002 · log2(6 / 4).
    assert equal.columns[1] == "NDCG@10 at equal FLOPs"
    assert [row[1].text for row in equal.rows] == ["+0.0024", "+0.0040", "+0.0068"]
    assert [row[3].text for row in equal.rows] == ["+0.0024", "+0.0040", "+0.0068"]


def test_the_summary_names_the_best_budget_and_the_ceiling():
    assert page().summary == (
        "beam reaches NDCG@10 0.0440 at K = 200; ranking every item would give 0.0460. item-beam "
        "reaches NDCG@10 0.0500 at K+ = 200; ranking every item would give 0.0600."
    )


def test_one_search_without_ceiling_or_flops_is_shown_as_far_as_it_goes():
    one = [
        point("beam", f"K = {number}", 0.04, tokens=10.0 * number, flops=None) for number in (1, 2)
    ]
    shown = scaling_page(Scaling(points=one, ceilings={}), title="t", facts=FACTS)
    assert len(shown.sections[0].parts) == 1
    assert [len(section.parts) for section in shown.sections[1:]] == [5, 5, 0, 0]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("scaling") / "page.html"
    write_page(path, page())
    return path


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_can_be_read(browser, path, width, scheme):
    assert problems(browser, path, width=width, scheme=scheme) == []
