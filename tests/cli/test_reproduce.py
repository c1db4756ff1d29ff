"""Tables run from end to end on an invented shop: what is missing is run, and nothing twice."""

import json

import pytest

from sidestep.data.dataset import Dataset
from sidestep.reproduction.declarations import read_table
from tests.cli.commands import call, refused, run
from tests.reproduction.research_data import write_research_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of invented data in the forms of the research data."""
    folder = tmp_path_factory.mktemp("research") / "data"
    write_research_data(folder, ("scientific", "beauty", "ml-100k"))
    return folder


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    """The folder of a smoke run of promise-1 on beauty, and its printed JSON."""
    out = tmp_path_factory.mktemp("work") / "out"
    return out, json.loads(run(*asked("promise-1", data, out), "--json"))


def asked(table, data, out):
    """The arguments of a smoke run on beauty."""
    return (
        *("reproduce", table, "--data", data, "--out", out, "--only", "beauty"),
        *("--fast", "--other-data"),
    )


def states(told):
    """State of each step on beauty."""
    return {step["step"]: step["state"] for step in told["steps"]["beauty"]}


def test_a_table_ends_with_a_page_of_both_numbers(done):
    out, told = done
    page = (out / "promise-1.html").read_text()
    assert told["page"] == str(out / "promise-1.html")
    assert "A smoke run" in page
    assert "0.0821" in page  # published
    [part] = told["parts"]
    rows = {row["method"]: row for row in part["rows"]}
    ours = rows["PROMISE"]["metrics"]["HR@10"]
    assert 0 <= ours["low"] <= ours["ours"] <= ours["high"] <= 1
    assert ours["difference"] == pytest.approx(ours["ours"] - 0.0821)
    assert rows["HGN"]["metrics"]["HR@10"]["ours"] is None
    assert rows["SASRec"]["users"] == 50
    assert json.loads((out / "promise-1.json").read_text())["parts"] == told["parts"]


def test_nothing_is_done_twice_and_what_is_gone_is_done_again(done, data):
    out, told = done
    assert {*states(told).values()} == {"done"}
    (out / "beauty" / "vectors.npy").unlink()
    steps = json.loads(run(*asked("promise-1", data, out), "--dry-run", "--json"))["steps"]
    to_do = [step["step"] for step in steps["beauty"] if step["state"] == "to do"]
    assert to_do == ["embed"]
    again = json.loads(run(*asked("promise-1", data, out), "--json"))
    assert [name for name, state in states(again).items() if state == "done"] == ["embed"]
    assert states(again)["evaluate promise-0 promise-prm-beam kept"] == "unchanged"


def test_another_table_takes_the_steps_it_shares(done, data):
    out, _ = done
    foretold = json.loads(run(*asked("reg4rec-2", data, out), "--dry-run", "--json"))
    found = states(foretold)
    assert found["train sasrec-0"] == found["train tiger-0"] == "unchanged"
    assert found["train reg4rec-0"] == "to do"
    told = json.loads(run(*asked("reg4rec-2", data, out), "--json"))
    assert states(told)["evaluate reg4rec-0 reg4rec-reg4rec kept"] == "done"
    assert states(told)["train sasrec-0"] == "unchanged"


def test_other_data_are_refused_before_anything_is_trained(data, tmp_path):
    words = refused(
        *("reproduce", "ours-main", "--data", data, "--out", tmp_path / "out"),
        *("--only", "scientific", "--fast"),
    )
    assert "scientific: these are not the data of the table: 60 users instead of 8,317" in words
    assert "--other-data" in words
    assert {path.name for path in (tmp_path / "out" / "scientific").iterdir()} <= {
        *("dataset", "steps.json"),
        ".lock",
    }


def test_the_list_names_the_tables_and_needs_no_data():
    told = json.loads(run("reproduce", "--list", "--json"))
    assert {"promise-1", "vstar-1", "vstar-2", "reg4rec-2", "ours-main"} <= told.keys()
    assert "promise-1" in run("reproduce", "--list")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give a TABLE and --data FOLDER, or --list"),
        (("promise-9",), "there is no table 'promise-9'; there are ours-main"),
        (("promise-1", "--only", "toys"), "--only toys: table promise-1 has the data sets beauty"),
        (("promise-1",), "must hold a folder for each data set of the table: beauty, sports"),
    ],
)
def test_a_mistake_is_said_with_its_remedy(arguments, message, data, tmp_path):
    given = ("--data", data, "--out", tmp_path / "out") if arguments else ()
    assert message in refused("reproduce", *arguments, *given)
    assert not (tmp_path / "out").exists()


def test_a_row_alone_is_done(data, tmp_path):
    arguments = (*asked("zoo", data, tmp_path / "out"), "--json", "--method", "popularity")
    told = json.loads(run(*arguments, "--method", "transitions"))
    trained = {name for name in states(told) if name.startswith("train")}
    assert trained == {"train popularity-0", "train transitions-0"}
    kept, left_out = told["parts"]
    methods = ["popularity", "transitions: from item to item", "SASRec, full cross-entropy"]
    assert [row["method"] for row in kept["rows"]] == methods
    assert [row["seeds"] for row in kept["rows"]] == [[0], [0], []]
    assert [row["method"] for row in left_out["rows"]] == methods[:2]
    assert "has no such row; there are popularity, transitions" in refused(
        *asked("zoo", data, tmp_path / "none"), "--method", "nobody"
    )


def test_a_split_by_time_is_made_once_and_judges_all_rows(data, tmp_path):
    arguments = (
        *("reproduce", "zoo-time", "--data", data, "--out", tmp_path / "out", "--fast"),
        *("--other-data", "--json", "--method", "popularity", "--method", "popularity-7"),
    )
    told = json.loads(run(*arguments))
    assert {step["state"] for step in told["steps"]["ml-100k"]} == {"done"}
    split = Dataset.load(tmp_path / "out" / "ml-100k" / "dataset").split
    assert split.strategy.startswith("global-time@")
    assert split.strategy.endswith(",every")
    [kept, _] = told["parts"]
    assert [row["seeds"] for row in kept["rows"]] == [[0], [0]]
    told = json.loads(run(*arguments))
    assert {step["state"] for step in told["steps"]["ml-100k"]} == {"unchanged"}


def test_every_baseline_of_the_zoo_has_steps(data, tmp_path):
    told = json.loads(run(*asked("zoo", data, tmp_path / "out"), "--dry-run", "--json"))
    evaluated = [name for name in states(told) if name.startswith("evaluate")]
    assert len(evaluated) == 2 * sum(row.run is not None for row in read_table("zoo").rows)
    assert "attach head-and-graph-0" in states(told)


def test_a_dry_run_writes_nothing(data, tmp_path):
    outcome = call("reproduce", "vstar-2", "--data", data, "--out", tmp_path / "out", "--dry-run")
    assert outcome.exit_code == 0, outcome.output
    assert "• train vstar-2: to do (never run): sidestep train" in outcome.stderr
    assert not (tmp_path / "out").exists()
