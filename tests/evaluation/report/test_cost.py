from sidestep.evaluation.compare import compare
from sidestep.evaluation.report.cost import Cost, cost_section
from tests.evaluation.report.small_runs import BEAM, SASREC

METHODS = compare([BEAM, SASREC], num_resamples=9)


def test_what_was_measured_is_a_table_and_quality_against_it():
    costs = {
        "beam": Cost(
            train_s=406.4,
            ms_per_user=3.476,
            tokens_per_user=101.0,
            scored_per_user=0.0,
            flops_per_user=2.5e8,
        ),
        "sasrec": Cost(ms_per_user=0.4639, flops_per_user=1.5e6),
    }
    table, chart, by_flops = cost_section(costs, METHODS, metric="MRR").parts
    assert table.columns == (
        *("method", "training (s)", "ms per user", "tokens per user"),
        *("prefixes scored per user", "MFLOPs per user"),
    )
    assert [getattr(entry, "text", entry) for entry in table.rows[0]] == [
        *("beam", "406", "3.48", "101", "0", "250"),
    ]
    assert [getattr(entry, "text", entry) for entry in table.rows[1]] == [
        *("sasrec", None, "0.464", None, None, "1.5"),
    ]
    # Only one method has a training time: nothing to compare.
    assert chart.title == "Quality against time to answer"
    assert [(curve.x, curve.y) for curve in chart.curves] == [
        ((3.476,), (0.25,)),
        ((0.4639,), (1.0,)),
    ]
    assert by_flops.title == "Quality against computation"
    assert [curve.x for curve in by_flops.curves] == [(250.0,), (1.5,)]


def test_without_measurements_there_is_nothing():
    assert cost_section({"beam": Cost()}, METHODS, metric="MRR").parts == []
    only = {"beam": Cost(ms_per_user=2.0), "sasrec": Cost()}
    [table] = cost_section(only, METHODS, metric="MRR").parts
    assert len(table.rows) == 1
