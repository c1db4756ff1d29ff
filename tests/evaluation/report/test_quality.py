from dataclasses import replace

from sidestep.evaluation.compare import compare
from sidestep.evaluation.report.quality import quality_section, signed
from tests.evaluation.report.small_runs import BEAM, SASREC, per_user


def test_methods_stand_below_each_other_and_the_best_is_bold():
    methods = compare([BEAM, SASREC], reference="sasrec", num_resamples=99)
    table, tests = quality_section(methods, reference="sasrec").parts
    assert table.columns == ("method", "HR@1", "MRR")
    assert [row[0].text for row in table.rows] == ["beam", "sasrec"]
    # The target of beam stands second for one of two users.
    assert table.rows[0][2].text == "0.2500"
    assert not table.rows[0][2].is_best
    assert table.rows[1][2].is_best
    [row] = tests.rows
    assert row[0] == "beam"
    assert row[1].text == "−1.0000"
    assert row[1].notes[1].startswith("p = .")


def test_one_method_has_its_metrics_below_each_other():
    section = quality_section(compare([BEAM], num_resamples=9), reference=None)
    [table] = section.parts
    assert [row[0] for row in table.rows] == ["HR@1", "MRR"]
    assert table.columns == ("metric", "mean", "95% interval")
    seeds = compare([BEAM, per_user("beam", [[1, 0, 3], [2, 0, 1]], [0, 0], seed=1)])
    [table] = quality_section(seeds, reference=None).parts
    assert table.columns[-1] == "std of seeds"


def test_rows_are_not_called_users_where_a_user_has_several():
    assert BEAM.user_ids == ("ann", "bob")
    section = quality_section(compare([BEAM]), reference=None)
    assert section.lead.startswith("2 users; ")
    assert section.parts[0].caption.startswith("Mean over users, ")
    section = quality_section(compare([replace(BEAM, user_ids=("ann", "ann"))]), reference=None)
    assert section.lead.startswith("2 rows of 1 users; ")
    assert section.parts[0].caption.startswith("Mean over rows, ")


def test_signs_are_those_of_print():
    assert [signed(value) for value in (0.01, -0.01, 0.0)] == ["+0.0100", "−0.0100", "0"]
