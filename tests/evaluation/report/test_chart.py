import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.evaluation.report.chart import NUM_COLOURS, Chart, Curve
from sidestep.evaluation.report.chart_drawing import drawn, parted
from sidestep.evaluation.report.page import Page, Section, write_page

THINGS = st.lists(st.tuples(st.floats(0, 100), st.floats(1, 20)), min_size=1, max_size=8)


@given(THINGS)
def test_parted_things_keep_their_order_and_do_not_overlap(things):
    centres, heights = map(list, zip(*things, strict=True))
    moved = parted(centres, heights)
    order = sorted(range(len(things)), key=lambda index: centres[index])
    for below, above in pairwise(order):
        assert moved[below] + heights[below] / 2 <= moved[above] - heights[above] / 2 + 1e-6


def test_only_what_overlaps_is_moved_and_evenly():
    assert parted([0.0, 1.0, 50.0], [4.0, 4.0, 4.0]) == [-1.5, 2.5, 50.0]
    # Moving the upper two apart pushes the lower one into the third, which then moves too.
    assert parted([10.0, 13.0, 13.0], [4.0, 4.0, 4.0]) == [8.0, 12.0, 16.0]


def test_the_numbers_of_a_chart_are_its_table():
    chart = Chart(
        title="t",
        caption="c",
        x_label="",
        y_label="HR@10",
        curves=(
            Curve(label="beam", x=(0.0, 1.0), y=(0.5, 0.25)),
            Curve(label="sasrec", x=(1.0,), y=(0.125,)),
        ),
        x_names=("head", "tail"),
    )
    table = chart.table()
    assert table.columns == ("group", "beam", "sasrec")
    assert table.rows == (("head", 0.5, None), ("tail", 0.25, 0.125))


def test_a_long_curve_has_a_short_table_with_both_ends():
    xs = tuple(map(float, range(1, 1001)))
    curve = Curve(label="loss", x=xs, y=xs)
    rows = Chart(title="", caption="", x_label="step", y_label="loss", curves=(curve,)).table().rows
    assert len(rows) <= 31
    assert (rows[0][0], rows[-1][0]) == ("1", "1,000")


def test_a_drawing_takes_its_colours_from_the_page_and_has_one_for_each(tmp_path):
    curves = tuple(
        Curve(label=f"c{n}", x=(0.0, 1.0), y=(float(n), float(n))) for n in range(NUM_COLOURS + 1)
    )
    chart = Chart(title="t", caption="c", x_label="x", y_label="y", curves=curves)
    svg = str(drawn(chart, "a"))
    write_page(
        tmp_path / "page.html", Page(title="t", sections=[Section(title="s", parts=[chart])])
    )
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for number in range(1, NUM_COLOURS + 1):
        assert f"var(--series-{number})" in svg
        assert page.count(f"--series-{number}: #") == 2  # light and dark
    assert "currentColor" in svg
    assert "#a0000" not in svg
    assert "#123456" not in svg


@pytest.mark.parametrize("log_x", [False, True])
def test_a_single_point_can_be_drawn(log_x):
    point = Curve(label="beam", x=(3.5,), y=(0.06,), low=(0.05,), high=(0.07,))
    chart = Chart(title="t", caption="c", x_label="ms", y_label="y", curves=(point,), log_x=log_x)
    assert ">beam<" in str(drawn(chart, "a"))


def test_points_that_are_not_joined_are_a_cloud():
    curve = Curve(label="all", x=tuple(map(float, range(20))), y=(0.5,) * 20)
    joined, cloud = (
        drawn(
            Chart(title="t", caption="c", x_label="x", y_label="y", curves=(shown,)), "name"
        ).count("<use ")
        for shown in (curve, replace(curve, is_joined=False))
    )
    assert cloud == joined + 20


def test_one_epoch_alone_stands_between_whole_numbers():
    curve = Curve(label="all", x=(1.0,), y=(0.5,))
    chart = Chart(title="t", caption="c", x_label="epoch", y_label="y", curves=(curve,))
    below = drawn(chart, "name").partition("matplotlib.axis_2")[0]
    assert re.findall(r"<text[^>]*>([^<]*)</text>", below) == ["0", "1", "2", "epoch"]


def test_the_axes_leave_room_for_the_words_around_them():
    def edges(label, top):
        """Left and right edge of the axes, in a drawing that is 360 points wide."""
        curve = Curve(label=label, x=(0.0, 1.0), y=(0.0, top))
        chart = Chart(title="t", caption="c", x_label="x", y_label="y", curves=(curve,))
        found = re.search(r'patch_2">\s*<path d="M ([\d.]+) \S+\s+L ([\d.]+)', drawn(chart, "a"))
        assert found is not None
        return float(found[1]), float(found[2])

    left, right = edges("beam", 2.0)
    assert 0 < left < right < 360
    assert edges("beam", 0.0002)[0] > left + 5  # the numbers of the y axis have more digits
    assert edges("a beam with words", 2.0)[1] < right - 40  # points; the label stands at the right
