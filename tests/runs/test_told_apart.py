"""Runs that differ in more than their seeds are no seeds of one method."""

import numpy as np
import pytest

from sidestep.evaluation.results import PerUser, Setting
from sidestep.runs.config import checked_run
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.runs.told_apart import told_apart

SETTING = Setting(
    search=None,
    beams=None,
    k_plus=None,
    budget=None,
    codes=None,
    history="item-ids@20",
    exclude_seen=False,
    users="all",
)
PLAIN = {"kind": "sasrec", "training": {"epochs": 2}}


def kept(folder, content=PLAIN, *, seed=0, method="sasrec", catalog=None, ranker=None):
    """A run, and the place and content of its evaluation."""
    info = RunInfo(dataset="data", catalog=catalog, seed=seed, ranker=ranker)
    RunFolder(folder).write(checked_run(content, "test"), info)
    one = np.zeros(1, dtype=np.int64)
    evaluation = PerUser(
        dataset="data",
        method=method,
        split="validation",
        seed=seed,
        setting=SETTING,
        k=1,
        user_ids=("u",),
        targets=one,
        rank_before=one,
        num_tied=one,
        items=one[:, None],
    )
    return folder / "evaluations" / f"validation-{method}" / "per_user.parquet", evaluation


def methods(*found):
    return [run.method for _, run in told_apart(found)]


def test_seeds_of_one_training_stay_one_method(tmp_path):
    more = {**PLAIN, "trials": 3, "training": {"epochs": 2, "checkpoint_every_s": 9}}
    found = (kept(tmp_path / "a-0"), kept(tmp_path / "a-1", more, seed=1))
    assert methods(*found) == ["sasrec", "sasrec"]
    assert told_apart(found) == list(found)


def test_other_settings_make_another_method(tmp_path):
    longer = {**PLAIN, "training": {"epochs": 9}}
    found = (kept(tmp_path / "Short 0"), kept(tmp_path / "long-1", longer, seed=1))
    assert methods(*found) == ["sasrec-short", "sasrec-long"]
    assert methods(found[0]) == ["sasrec"], "alone it needs no name"


@pytest.mark.parametrize("changed", [{"catalog": "c"}, {"ranker": "graph"}])
def test_other_codes_and_other_rankers_make_another_method(tmp_path, changed):
    method = "item-beam+graph"
    found = (
        kept(tmp_path / "a", method=method),
        kept(tmp_path / "b", method=method, seed=1, **changed),
    )
    assert methods(*found) == ["item-beam-a+graph", "item-beam-b+graph"]


def test_a_backbone_of_another_seed_is_no_other_training(tmp_path):
    (tmp_path / "tied-0").mkdir()
    (tmp_path / "tied-1").mkdir()
    (tmp_path / "wide").mkdir()
    taught = [
        kept(
            tmp_path / name,
            {"kind": "distill", "backbone": str(tmp_path / backbone)},
            seed=seed,
            method="beam",
        )
        for seed, (name, backbone) in enumerate(
            [("tree-0", "tied-0"), ("tree-1", "tied-1"), ("tree-wide-0", "wide")]
        )
    ]
    assert methods(*taught) == ["beam-tree", "beam-tree", "beam-tree-wide"]


def test_equal_names_in_other_folders_are_told_apart_by_these_folders(tmp_path):
    longer = {**PLAIN, "training": {"epochs": 9}}
    found = (kept(tmp_path / "x" / "a"), kept(tmp_path / "y" / "a", longer))
    assert methods(*found) == ["sasrec-x-a", "sasrec-y-a"]


def test_a_file_in_no_run_stays_as_it_is(tmp_path):
    _, run = kept(tmp_path / "a")
    longer = kept(tmp_path / "b", {**PLAIN, "training": {"epochs": 9}}, seed=1)
    alone = (tmp_path / "lonely.parquet", run)
    assert methods(alone, longer) == ["sasrec", "sasrec"]
