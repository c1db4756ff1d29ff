"""Comparisons of runs whose means can be computed by hand."""

import numpy as np
import pytest

from sidestep.evaluation.compare import compare
from sidestep.evaluation.results import PerUser, Setting
from sidestep.evaluation.words import rows_in_words
from sidestep.metrics.statistics import Interval
from sidestep.metrics.ties import NOT_LISTED
from sidestep.padding import NO_ITEM

NUM_USERS = 40


def setting(**changes) -> Setting:
    fields = dict.fromkeys(Setting.model_fields) | {"exclude_seen": False, "users": "all"}
    return Setting(**{**fields, **changes})


def run(ranks: list[int], **changes) -> PerUser:
    """A run with `ranks` for its first users; the rest are not listed."""
    ranks = ranks + [NOT_LISTED] * (NUM_USERS - len(ranks))
    fields = {
        "dataset": "scientific",
        "method": "beam",
        "split": "test",
        "seed": 0,
        "setting": setting(),
        "k": 10,
        "user_ids": tuple(map(str, range(NUM_USERS))),
        "targets": np.arange(NUM_USERS),
        "rank_before": np.array(ranks),
        "num_tied": np.ones(NUM_USERS, dtype=int),
        "items": np.full((NUM_USERS, 10), NO_ITEM),
    }
    return PerUser(**{**fields, **changes})


def test_seeds_are_averaged_and_methods_tested_against_the_reference():
    rows = compare(
        [run([0] * 4, seed=1), run([0] * 8, seed=0), run([0] * 20, method="sasrec")],
        reference="beam",
        num_resamples=999,
    )
    beam, sasrec = rows
    assert (beam.label, beam.seeds, beam.num_users) == ("beam", (0, 1), NUM_USERS)
    assert beam.estimates["HR@10"].mean == pytest.approx(6 / NUM_USERS)
    # Means .2 and .1 of two seeds have a sample standard deviation of .1 / sqrt(2).
    assert beam.estimates["HR@10"].seed_std == pytest.approx(0.1 / 2**0.5)
    assert beam.estimates["HR@10"].interval.low < 6 / NUM_USERS
    assert beam.tests == {}
    assert sasrec.estimates["HR@10"].seed_std is None
    test = sasrec.tests["HR@10"]
    assert test.difference == pytest.approx(14 / NUM_USERS)
    assert test.p_value == 1 / 1000
    assert test.interval.low < test.difference < test.interval.high


def test_what_is_tested_is_the_mean_over_seeds():
    beam, _ = compare(
        [run([0] * 8, seed=0), run([0] * 4, seed=1), run([0] * 20, method="sasrec")],
        reference="sasrec",
        num_resamples=9,
    )
    assert beam.tests["HR@10"].difference == pytest.approx((6 - 20) / NUM_USERS)


def test_rows_of_one_user_are_drawn_and_flipped_together():
    def both(user_ids):
        ids = tuple(user_ids)
        return compare(
            [run([0] * 4, user_ids=ids), run([0] * 20, method="sasrec", user_ids=ids)],
            reference="beam",
            metrics=["HR@10"],
            num_resamples=999,
        )[1]

    alone = both(map(str, range(NUM_USERS)))
    shared = both(str(row // 10) for row in range(NUM_USERS))
    assert (alone.num_rows, alone.num_users) == (NUM_USERS, NUM_USERS)
    assert (shared.num_rows, shared.num_users) == (NUM_USERS, 4)
    assert shared.estimates["HR@10"].mean == alone.estimates["HR@10"].mean == 0.5
    # Two of four users have all the hits, 20 of 40 rows: means with stds of 1/4 and of 0.08.
    assert shared.estimates["HR@10"].interval == Interval(low=0.0, high=1.0)
    assert alone.estimates["HR@10"].interval.low > 0.3
    # Two users moved, both up: half of all flips are as extreme.
    assert shared.tests["HR@10"].p_value == pytest.approx(0.5, abs=0.06)
    assert alone.tests["HR@10"].p_value == 1 / 1000
    assert rows_in_words(40, 4) == "40 rows of 4 users"
    assert rows_in_words(2000, 2000) == "2,000 users"


def test_lists_of_ten_have_no_metrics_at_fifty():
    (row,) = compare([run([0])])
    assert set(row.estimates) == {"HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10", "MRR"}
    assert row.tests == {}


def test_chosen_metrics_come_alone_and_in_order():
    (row,) = compare([run([0])], metrics=["MRR", "HR@1"])
    assert list(row.estimates) == ["MRR", "HR@1"]
    with pytest.raises(ValueError, match="HR@50"):
        compare([run([0])], metrics=["HR@50"])


def test_settings_of_one_method_are_told_apart_by_what_differs():
    rows = compare(
        [
            run([0], setting=setting(beams=20)),
            run([0, 1], setting=setting(beams=50)),
            run([0], method="popularity"),
        ]
    )
    assert [row.label for row in rows] == ["beam (beams 20)", "beam (beams 50)", "popularity"]
    hot = run([0], setting=setting(search_options="temperature=2"))
    rows = compare([run([0, 1]), hot])  # one file does not have the setting that the other names
    assert [row.label for row in rows] == ["beam", "beam (search_options temperature=2)"]


def test_a_comparison_is_plain_json():
    as_json = compare([run([0]), run([1], method="sasrec")], reference="beam", num_resamples=9)[
        1
    ].as_json()
    assert as_json["setting"]["users"] == "all"
    assert as_json["estimates"]["MRR"]["mean"] == pytest.approx(0.5 / NUM_USERS)
    assert as_json["tests"]["MRR"]["difference"] == pytest.approx(-0.5 / NUM_USERS)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dataset": "beauty"}, "the dataset"),
        ({"split": "validation"}, "the split"),
        ({"user_ids": tuple("x" * NUM_USERS)}, "the users"),
        ({"targets": np.zeros(NUM_USERS, dtype=int)}, "the targets"),
        ({"k": 9, "items": np.zeros((NUM_USERS, 9), dtype=int)}, "length of the lists"),
        ({"setting": setting(exclude_seen=True)}, "seen items"),
        ({"setting": setting(strategy="given")}, r"how the data was split \(leave-one-out, given"),
    ],
)
def test_runs_that_answered_other_questions_are_refused(changes, named):
    with pytest.raises(ValueError, match=rf"beam \(seed 0\) with sasrec.*{named}"):
        compare([run([0]), run([0], method="sasrec", **changes)])


def test_a_seed_given_twice_and_an_unknown_reference_are_refused():
    with pytest.raises(ValueError, match=r"given twice.*'sidestep evaluate --method"):
        compare([run([0]), run([1])])
    with pytest.raises(ValueError, match="no run of the reference 'sasrec'; there are beam"):
        compare([run([0])], reference="sasrec")
    with pytest.raises(ValueError, match="no runs"):
        compare([])
