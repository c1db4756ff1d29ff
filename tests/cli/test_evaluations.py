"""Evaluations are checked before the work, kept under names of their own, and found by kind."""

import json
import shutil

import pytest

from sidestep.cli.evaluations import evaluation_name
from sidestep.evaluation import results
from sidestep.evaluation.results import Setting
from tests.cli.commands import call, refused, run


@pytest.fixture(scope="module")
def beam(shop, tmp_path_factory):
    """A run of its own, evaluated with and without items of the history."""
    folder = tmp_path_factory.mktemp("evaluated") / "beam"
    shutil.copytree(shop / "beam", folder)
    run("evaluate", folder, "--split", "test", "--exclude-seen")
    return folder


def setting(*, exclude_seen):
    return Setting(
        search=None,
        beams=None,
        k_plus=None,
        budget=None,
        history=None,
        codes=None,
        exclude_seen=exclude_seen,
        users="all",
    )


def test_names_of_evaluations_say_once_that_seen_items_are_left_out_and_never_meet():
    methods = ("sasrec", "sasrec-unseen")
    names = [
        evaluation_name("test", method, setting(exclude_seen=exclude))
        for method in methods
        for exclude in (False, True)
    ]
    assert names == [
        "test-sasrec",
        "test-sasrec-unseen",
        "test-sasrec-unseen-with-seen",
        "test-sasrec-unseen",
    ]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_name_that_results_do_not_know_is_refused_before_the_work(shop, dry):
    before = sorted((shop / "beam/evaluations").iterdir())
    message = refused("evaluate", shop / "beam", "--method", "my-own", *dry)
    assert "'my-own' is no known method: use one of popularity, sasrec, beam" in message
    assert sorted((shop / "beam/evaluations").iterdir()) == before


@pytest.mark.parametrize("command", ["evaluate", "scale"])
def test_a_file_that_takes_no_line_is_refused_before_the_work(shop, tmp_path, command):
    file = tmp_path / "quality.jsonl"
    asked = (command, shop / "beam", "--users", 5, "--results", file, "--dry-run")
    file.write_text('{"no": "end"}')
    assert "the last line has no end" in refused(*asked)
    file.write_text("user,item\n")
    assert "quality.jsonl, line 1" in refused(*asked)
    assert "is a folder" in refused(*asked[:-2], tmp_path, "--dry-run")
    file.unlink()
    run(*asked)
    assert not file.exists()


def test_outside_of_git_a_line_has_no_commit(beam, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("evaluate", beam, "--users", 5, "--results", tmp_path / "quality.jsonl")
    [line] = results.read(tmp_path / "quality.jsonl")
    assert line.commit is None
    assert json.loads((tmp_path / "quality.jsonl").read_text())["commit"] is None


def test_runs_are_compared_by_the_lists_that_all_of_them_have(shop, beam):
    alike = json.loads(run("compare", beam, "--json"))
    assert [method["setting"]["exclude_seen"] for method in alike] == [False]
    told = call("compare", beam).stderr
    assert "was evaluated with and without items of the history" in told
    assert "give --exclude-seen" in told
    assert "name its folder, such as" in told
    unseen = json.loads(run("compare", beam, "--exclude-seen", "--json"))
    assert [method["setting"]["exclude_seen"] for method in unseen] == [True]
    message = refused("compare", beam, shop / "beam", "--exclude-seen")
    assert f"{shop / 'beam'}: has no evaluation on test without items of the history" in message
    assert f"sidestep evaluate {shop / 'beam'} --split test --exclude-seen" in message
    [single] = (beam / "evaluations").glob("test-*-unseen")
    mixed = refused("compare", single, shop / "beam")
    assert "or compare lists with items of the history with --include-seen" in mixed
    run("compare", single)


def test_tables_name_the_network_and_the_search(beam):
    assert "transformer (beam)" in run("compare", beam)
    [method] = json.loads(run("compare", beam, "--reference", "beam", "--json"))
    assert (method["label"], method["method"]) == ("transformer (beam)", "beam")
