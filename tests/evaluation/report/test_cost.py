from sidestep.evaluation.compare import compare
from sidestep.evaluation.report.cost import Cost, cost_section
from tests.evaluation.report.small_runs import BEAM, SASREC

METHODS = compare([BEAM, SASREC], num_resamples=9)


def test_what_was_measured_is_a_table_and_quality_against_it():
    costs = {
        "beam": Cost(train_s=406.4, ms_per_user=3.476, tokens_per_user=101.0),
        "sasrec": Cost(ms_per_user=0.4639),
    }
    table, chart = cost_section(costs, METHODS, metric="MRR").parts
    assert table.columns == ("method", "training (s)", "ms per user", "tokens per user")
    assert [getattr(entry, "text", entry) for entry in table.rows[0]] == [
        *("beam", "406", "3.48", "101"),
    ]
    assert [getattr(entry, "text", entry) for entry in table.rows[1]] == [
        *("sasrec", None, "0.464", None),
    ]
    # Only one method has a training time: nothing to compare.
    assert chart.title == "Quality against time to answer"
    assert [(curve.x, curve.y) for curve in chart.curves] == [
        ((3.476,), (0.25,)),
        ((0.4639,), (1.0,)),
    ]


def test_without_measurements_there_is_nothing():
    assert cost_section({"beam": Cost()}, METHODS, metric="MRR").parts == []
    only = {"beam": Cost(ms_per_user=2.0), "sasrec": Cost()}
    [table] = cost_section(only, METHODS, metric="MRR").parts
    assert len(table.rows) == 1
