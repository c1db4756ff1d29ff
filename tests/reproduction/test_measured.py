"""Numbers of a table: means over seeds beside published ones, and gains worked by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from sidestep.data.splits import SplitName
from sidestep.evaluation.results import PerUser, Setting, write_per_user
from sidestep.pipelines.memory import Memory
from sidestep.pipelines.pipeline import Pipeline
from sidestep.reproduction.measured import measured_parts
from sidestep.reproduction.page import table_page
from sidestep.reproduction.planning import Evaluations, Planned

from .test_declarations import table

NUM_USERS = 4
TABLE = table(
    reference="A",
    rows=[
        {"method": "A", "run": "a", "published": {"beauty": [0.2]}},
        {"method": "B", "run": "b", "published": {"beauty": [0.3]}, "differs": "fewer layers"},
        {"method": "C", "published": {"beauty": [0.4]}},
    ],
)
"""A has half of our hits, B three quarters, and C was not run."""


def write(run: Path, method: str, seed: int, hits: int, *, split: SplitName = "test") -> Path:
    """Keeps an evaluation of `NUM_USERS` users, of whom the first `hits` have a hit at rank 1."""
    setting = Setting(
        search=None,
        beams=None,
        k_plus=None,
        budget=None,
        history=None,
        codes=None,
        exclude_seen=False,
        users="all",
    )
    is_hit = np.arange(NUM_USERS) < hits
    file = run / "evaluations" / f"{split}-{method}-{hits}" / "per_user.parquet"
    write_per_user(
        file,
        PerUser(
            dataset="beauty",
            method=method,
            split=split,
            seed=seed,
            setting=setting,
            k=10,
            user_ids=tuple(map(str, range(NUM_USERS))),
            targets=np.zeros(NUM_USERS, dtype=np.int64),
            rank_before=np.where(is_hit, 0, -1),
            num_tied=np.ones(NUM_USERS, dtype=np.int64),
            items=np.where(is_hit[:, None], np.arange(10), np.arange(1, 11)),
        ),
    )
    return run


def planned(folder: Path) -> Planned:
    """A plan whose runs have been evaluated with two seeds: A hits 2 and 2, B hits 2 and 4."""
    hits = {("a", 0): 2, ("a", 1): 2, ("b", 0): 2, ("b", 1): 4}
    runs = {
        (run, seed): write(folder / f"{run}-{seed}", run, seed, number)
        for (run, seed), number in hits.items()
    }
    pipeline = Pipeline(out=folder, makers=[], judged="test", memory=Memory(folder / "steps.json"))
    evaluations = [
        Evaluations(
            row=row,
            seen="kept",
            runs=tuple(runs[str(row.run), seed] for seed in range(2)),
            commands=tuple(f"sidestep evaluate {row.run}-{seed}" for seed in range(2)),
            users="all",
        )
        for row in TABLE.rows[:2]
    ]
    return Planned(data="beauty", pipeline=pipeline, evaluations=evaluations)


def test_ours_is_the_mean_over_seeds_and_stands_beside_the_published_number(tmp_path):
    [part] = measured_parts(TABLE, [planned(tmp_path)])
    ours = {row.row.method: row for row in part.rows}
    b = ours["B"].numbers["HR@10"]
    assert b.ours.mean == pytest.approx(0.75)
    assert b.ours.interval.low <= 0.75 <= b.ours.interval.high
    assert b.difference == pytest.approx(0.45)
    assert (ours["B"].seeds, ours["B"].num_users) == ((0, 1), NUM_USERS)


def test_a_gain_is_relative_to_the_reference(tmp_path):
    [part] = measured_parts(TABLE, [planned(tmp_path)])
    a, b, c = (row.numbers["HR@10"] for row in part.rows)
    assert (a.published_gain, a.our_gain) == (None, None)
    assert b.published_gain == pytest.approx(0.5)
    assert b.our_gain == pytest.approx(0.5)
    assert c.published_gain == pytest.approx(1.0)
    assert c.ours is None
    assert c.difference is None


def test_of_two_evaluations_of_one_name_the_later_counts(tmp_path):
    plan = planned(tmp_path)
    before = measured_parts(TABLE, [plan])[0].rows[0].numbers["HR@10"].ours.mean
    write(tmp_path / "a-0", "a", 0, 4)
    after = measured_parts(TABLE, [plan])[0].rows[0].numbers["HR@10"].ours.mean
    assert (before, after) == (0.5, 0.75)


def test_an_evaluation_that_is_gone_is_told_with_its_command(tmp_path):
    plan = planned(tmp_path)
    for file in tmp_path.glob("b-1/evaluations/*/per_user.parquet"):
        file.unlink()
    write(tmp_path / "b-1", "other", 1, 2)
    with pytest.raises(FileNotFoundError, match="make it again: sidestep evaluate b-1"):
        measured_parts(TABLE, [plan])


def test_the_parts_are_plain_json(tmp_path):
    [part] = measured_parts(TABLE, [planned(tmp_path)])
    told = json.loads(json.dumps(part.as_json()))
    assert told["rows"][1]["metrics"]["HR@10"]["published"] == 0.3
    assert told["rows"][2]["metrics"]["HR@10"]["ours"] is None


def cells(tmp_path, **changed):
    """The texts and notes of the row B of the page."""
    changed_table = TABLE.model_copy(update=changed)
    parts = measured_parts(TABLE, [planned(tmp_path)])
    page = table_page(changed_table, parts, is_fast=False, is_other_data=False, facts={})
    [_, row, last] = page.sections[0].parts[0].rows
    return page, row, last


def test_the_page_shows_number_interval_difference_and_words(tmp_path):
    page, row, last = cells(tmp_path)
    method, published, ours, seeds, differs = row
    assert (method, published.text, ours.text) == ("B", "0.3000", "0.7500")
    assert ours.notes[1:] == ("Δ +0.4500", "+50.0%")
    assert (seeds.text, differs) == ("2", "fewer layers")
    assert last[2] is None
    assert "no such method" in last[4]
    assert page.summary == ""


def test_numbers_of_other_data_are_compared_by_gains_alone(tmp_path):
    page, row, _ = cells(tmp_path, same_data=False)
    assert "only the gains over A can be compared" in page.summary
    assert not any("Δ" in note for note in row[2].notes)
    assert "+50.0%" in row[2].notes


def test_the_page_of_a_smoke_run_says_so(tmp_path):
    parts = measured_parts(TABLE, [planned(tmp_path)])
    page = table_page(TABLE, parts, is_fast=True, is_other_data=True, facts={})
    assert "A smoke run" in page.summary
    assert "not those of the published numbers" in page.summary
