"""Evaluations: their descriptions, their checks before the work, and their names."""

import json
import shutil

import pytest

from sidestep.evaluation import results
from sidestep.evaluation.results import Setting
from sidestep.runs.evaluations import evaluation_name
from tests.cli.commands import call, refused, run

REPEATERS = "user_id,item_id\n" + "".join(
    f"u{user},{item}\n" for user, items in enumerate(("kbk", "bck", "cdd", "dbk")) for item in items
)
"""Sequences. The last items of the first and of the third user are in their own history."""


@pytest.fixture(scope="module")
def repeaters(tmp_path_factory):
    """The run of kind popularity on users; half of the users take an item again."""
    folder = tmp_path_factory.mktemp("repeaters")
    (folder / "log.csv").write_text(REPEATERS)
    (folder / "popularity.yaml").write_text("kind: popularity\nmax_history: 1\n")
    run("import", "table", folder / "log.csv", "--out", folder / "dataset")
    train = ("train", "--config", folder / "popularity.yaml", "--dataset", folder / "dataset")
    run(*train, "--out", folder / "run")
    return folder / "run"


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_targets_that_no_list_can_hold_are_counted(repeaters, more):
    asked = ("evaluate", repeaters, "--split", "test", *more)
    said = " ".join(call(*asked, "--exclude-seen").stderr.split())
    assert "2 of 4 targets (50.0%) are items that their user had taken before" in said
    assert "had taken before" not in call(*asked).stderr


def test_retired_targets_are_counted(repeaters, tmp_path):
    shutil.copytree(repeaters, tmp_path / "run", ignore=shutil.ignore_patterns("bundle"))
    run("retire", repeaters, "--items", "k", "--out", tmp_path / "bundle")
    (tmp_path / "bundle").rename(tmp_path / "run" / "bundle")
    said = call("evaluate", tmp_path / "run", "--split", "test", "--dry-run").stderr
    assert "3 of 4 targets (75.0%) are retired items" in " ".join(said.split())
    line = json.loads(run("evaluate", tmp_path / "run", "--split", "test", "--json"))["metrics"]
    assert line["HR@5"] == 1 / 4


def test_seen_items_are_left_out_wherever_they_stand_in_the_history(repeaters):
    line = json.loads(run("evaluate", repeaters, "--split", "test", "--exclude-seen", "--json"))[
        "metrics"
    ]
    # All items are equally popular; the other two users can get one of two items each.
    assert line["HR@1"] == pytest.approx(2 / 4 * 1 / 2)
    assert line["invalid_rate"] == 0.0


def test_a_network_that_learned_nothing_of_users_without_a_history_says_so(shop, files, tmp_path):
    asked = ("--history", "nothing", "--k", 3)
    assert "Warning" not in call("recommend", shop / "beam", *asked).stderr
    train = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset")
    run(*train, "--catalog", shop / "catalog", "--out", tmp_path, "--set", "min_context=1")
    said = " ".join(call("recommend", tmp_path, *asked).stderr.split())
    assert "trained to predict no user's first item" in said
    assert "Train it with 'min_context: 0'" in said
    assert "Warning" not in call("recommend", tmp_path, "--history", "item-5", "--k", 3).stderr


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
    message = refused("evaluate", shop / "beam", "--method", "My own", *dry)
    assert "'My own' is no name of a method: write small letters and digits with" in message
    assert sorted((shop / "beam/evaluations").iterdir()) == before


def test_an_evaluation_in_another_precision_is_another_one(repeaters, beam):
    given = ("evaluate", beam, "--search", "beam", "--beams", 4, "--users", 20, "--json")
    exact, rounded = (json.loads(run(*given, *more)) for more in ((), ("--precision", "bf16")))
    assert "precision" not in exact["setting"]
    assert rounded["setting"] == {**exact["setting"], "precision": "bf16"}
    assert rounded["per_user"] != exact["per_user"]
    assert "bf16" in rounded["per_user"]
    assert "precision bf16 is for networks that write semantic IDs" in refused(
        "evaluate", repeaters, "--precision", "bf16"
    )


def test_a_name_of_ones_own_goes_into_the_results(shop, tmp_path):
    arguments = ("evaluate", shop / "beam", "--method", "my-own", "--users", 5)
    assert json.loads(run(*arguments, "--dry-run", "--json"))["method"] == "my-own"
    run(*arguments, "--results", tmp_path / "quality.jsonl")
    [line] = results.read(tmp_path / "quality.jsonl")
    assert line.method == "my-own"


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
    alike = json.loads(run("compare", beam, "--split", "test", "--json"))
    assert [method["setting"]["exclude_seen"] for method in alike] == [False]
    told = call("compare", beam, "--split", "test").stderr
    assert "was evaluated with and without items of the history" in told
    assert "give --exclude-seen" in told
    assert "name its folder, such as" in told
    unseen = json.loads(run("compare", beam, "--split", "test", "--exclude-seen", "--json"))
    assert [method["setting"]["exclude_seen"] for method in unseen] == [True]
    message = refused("compare", beam, "--split", "test", shop / "beam", "--exclude-seen")
    assert f"{shop / 'beam'}: has no evaluation on test without items of the history" in message
    assert f"sidestep evaluate {shop / 'beam'} --split test --exclude-seen" in message
    [single] = (beam / "evaluations").glob("test-*-unseen")
    mixed = refused("compare", single, shop / "beam", "--split", "test")
    assert "or compare lists with items of the history with --include-seen" in mixed
    run("compare", single)


def test_tables_name_the_network_and_the_search(beam):
    assert "transformer (beam)" in run("compare", beam, "--split", "test")
    [method] = json.loads(run("compare", beam, "--split", "test", "--reference", "beam", "--json"))
    assert (method["label"], method["method"]) == ("transformer (beam)", "beam")
