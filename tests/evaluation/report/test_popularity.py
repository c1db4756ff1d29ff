import numpy as np
import pytest

from sidestep.evaluation.report.popularity import popularity_section
from sidestep.metrics.ties import NOT_LISTED
from tests.evaluation.report.small_runs import BEAM, SASREC, per_user

# Items tea, cups, kettle, biscuits: 6 of 12 interactions are the head's, 4 the middle's.
POPULARITY = np.array([1, 6, 4, 1])


def parts(runs, popularity=POPULARITY):
    return {
        getattr(part, "title", None) or part.caption: part
        for part in runs_section(runs, popularity)
    }


def runs_section(runs, popularity):
    return popularity_section(runs, popularity).parts


def table(runs, start, popularity=POPULARITY):
    [found] = [part for name, part in parts(runs, popularity).items() if name.startswith(start)]
    return found


def texts(row):
    return [getattr(entry, "text", entry) for entry in row]


RUNS = {"beam": [BEAM], "sasrec": [SASREC]}


def test_groups_are_counted_in_items_interactions_and_users():
    rows = table(RUNS, "The groups").rows
    assert [texts(row) for row in rows] == [
        ["head", 1, "6–6", "50.0%", 1],
        ["middle", 1, "4–4", "33.3%", 1],
        ["tail", 2, "1–1", "16.7%", 0],
    ]


def test_lists_are_measured_together_and_stand_beside_what_users_chose():
    rows = [texts(row) for row in table(RUNS, "The first 3").rows]
    # Beam lists biscuits, cups and tea, then tea and cups: 2 cups of 5 entries, 3 of 4 items.
    assert rows[0] == ["beam", "75.0%", pytest.approx(0.35), "40.0%", "0.0%", "60.0%"]
    assert rows[2] == ["what users chose next", None, None, "50.0%", "50.0%", "0.0%"]


def test_groups_without_users_are_left_out_and_one_group_is_no_comparison():
    long = {"beam": [per_user("beam", [[*range(4), *range(4, 10)]] * 2, [1, 2])]}
    long = {"beam": [type(BEAM)(**{**_fields(long["beam"][0]), "k": 10})]}
    popularity = np.array([1, 6, 4, *[1] * 7])
    charts = parts(long, popularity)
    assert charts["HR@10 by the target's popularity"].x_names == ("head", "middle")
    by_group = table(long, "By the popularity", popularity)
    assert by_group.columns[1:] == (
        *("HR@10, head", "HR@10, middle", "NDCG@10, head", "NDCG@10, middle"),
    )
    assert texts(by_group.rows[0])[1:3] == ["1.0000", "1.0000"]
    alone = parts(long, np.ones(10, dtype=int))
    assert len(alone) == 2  # the groups and the lists


def test_the_interval_of_a_group_knows_whose_rows_it_has():
    def interval(user_ids):
        changes = {
            "k": 10,
            "user_ids": tuple(user_ids),
            "rank_before": np.array([0, NOT_LISTED] * 20),
            "items": np.full((40, 10), 1),
            "targets": np.array([1] * 38 + [2] * 2),
            "num_tied": np.ones(40, dtype=int),
        }
        run = type(BEAM)(**{**_fields(BEAM), **changes})
        return table({"beam": [run]}, "By the popularity").rows[0][1]

    alone, shared = (interval(str(row // size) for row in range(40)) for size in (1, 2))
    assert alone.text == shared.text == "0.5000"
    # Each user has one hit and one miss: whoever is drawn, the mean is the same.
    assert shared.notes == ("0.5000–0.5000",)
    assert alone.notes != shared.notes


def _fields(run):
    return {name: getattr(run, name) for name in run.__dataclass_fields__}
