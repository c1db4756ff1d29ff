"""The page of a study."""

from sidestep.evaluation.report.chart import Chart
from sidestep.evaluation.report.page import write_page
from sidestep.evaluation.report.tuning import tuning_page
from sidestep.evaluation.tuning import Trial, Tuning


def trial(number, score, rate, dim, outcome="finished", reason=None):
    return Trial(
        number=number,
        outcome=outcome,
        settings={"rate": rate, "dim": dim, "fixed": 1},
        score=score,
        best_epoch=None if score is None else 2,
        steps=10,
        seconds=2.5,
        reason=reason,
    )


STUDY = Tuning(
    metric="NDCG@10",
    space={"rate": "log:0.001..0.01", "dim": "8,16", "fixed": "1..2"},
    trials=[
        trial(0, 0.2, 0.002, 8),
        trial(1, 0.5, 0.004, 16),
        trial(2, 0.1, 0.008, 16, "pruned"),
        trial(3, None, 0.009, 8, "failed", reason="the loss is nan."),
        trial(4, 0.4, 0.003, 8),
    ],
)


def charts(page):
    return {
        part.title: part
        for section in page.sections
        for part in section.parts
        if isinstance(part, Chart)
    }


def test_the_table_shows_the_best_first_in_bold_and_why_a_trial_failed():
    page = tuning_page(STUDY, title="Tuning", facts={})
    table = page.sections[0].parts[0]
    assert [row[0] for row in table.rows] == [f"trial {number}" for number in (1, 4, 0, 2, 3)]
    assert table.rows[0][2].is_best
    assert not table.rows[1][2].is_best
    assert table.rows[-1][1] == "failed: the loss is nan."
    assert "3 finished, 1 pruned, 1 failed" in page.summary
    assert "Trial 1 has the highest validation NDCG@10" in page.summary


def test_validation_is_drawn_by_trial_with_the_best_so_far():
    finished, pruned, best = charts(tuning_page(STUDY, title="", facts={}))[
        "Validation by trial"
    ].curves
    assert (finished.x, finished.y) == ((0, 1, 4), (0.2, 0.5, 0.4))
    assert (pruned.x, pruned.y) == ((2,), (0.1,))
    assert (best.x, best.y) == ((0, 1, 4), (0.2, 0.5, 0.5))


def test_validation_is_drawn_by_every_setting_that_differs():
    drawn = charts(tuning_page(STUDY, title="", facts={}))
    assert set(drawn) == {"Validation by trial", "Validation by rate", "Validation by dim"}
    rate, dim = drawn["Validation by rate"], drawn["Validation by dim"]
    assert rate.log_x
    assert rate.curves[0].x == (0.002, 0.003, 0.004)
    assert dim.x_names == ("8", "16")
    assert dim.curves[0].x == (0, 0, 1)


def test_the_page_is_one_file(tmp_path):
    write_page(
        tmp_path / "tune.html", tuning_page(STUDY, title="Tuning of sasrec", facts={"a": "b"})
    )
    text = (tmp_path / "tune.html").read_text()
    assert text.count("<svg") >= 3
    assert "Tuning of sasrec" in text
