"""Types of events on the command line: kept, weighted, counted, and refused in words."""

import json

import polars as pl
import pytest

from sidestep.data.dataset import Dataset
from sidestep.data.events import EventWeights
from tests.cli.commands import call, refused, run

LOG = """\
user,item,at,action
u1,a,1,view
u1,a,2,cart
u1,a,3,purchase
u1,b,4,view
u1,c,5,purchase
u2,b,1,view
u2,b,2,
u2,c,3,purchase
u2,a,4,purchase
"""
COLUMNS = ("--user", "user", "--item", "item", "--time", "at", "--event", "action")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def imported(log, *options):
    out = log.parent / "dataset"
    to = ("--out", out, "--overwrite", "--json")
    told = json.loads(run("import", "table", log, *COLUMNS, *options, *to))
    return Dataset.load(out), told


def test_events_keeps_some_types_and_counts_the_others(log):
    dataset, told = imported(log, "--events", "purchase, cart")
    assert dataset.interactions.frame["event"].to_list() == ["cart", *["purchase"] * 4]
    assert told["left_out"] == {"are no event of type purchase or cart": 4}
    assert told["events"] == {"purchase": 4, "cart": 1}
    assert dataset.items.item_ids == ("a", "c")  # only the ID of b is known


def test_weights_are_kept_with_the_dataset(log):
    options = ("--target-events", "purchase=1,cart=0.3", "--input-events", "purchase,cart,view=0.2")
    dataset, told = imported(log, *options)
    weights = EventWeights(
        targets={"purchase": 1, "cart": 0.3}, inputs={"purchase": 1, "cart": 1, "view": 0.2}
    )
    assert dataset.event_weights.description() == weights.description() == told["event_weights"]
    assert dataset.histories().target_weights.tolist() == [0, 0.3, 1, 0, 1, 0, 0, 1, 1]
    plain, _ = imported(log)
    assert plain.event_weights == EventWeights()
    assert plain.histories().target_weights is None


def test_several_types_of_which_nothing_is_said_are_warned_of_with_counts_and_options(log):
    done = call("import", "table", log, *COLUMNS, "--out", log.parent / "d")
    said = " ".join(done.stderr.split())
    assert "of 4 types: purchase 4, view 3, (no type) 1, cart 1. All types count alike" in said
    assert "--events purchase. " in said
    assert "--target-events purchase --input-events purchase,view=0.2,cart=0.2" in said
    assert "types of events" in done.stdout
    for options in (("--events", "purchase"), ("--target-events", "purchase,view")):
        to = ("--out", log.parent / "d", "--overwrite")
        quiet = call("import", "table", log, *COLUMNS, *options, *to)
        assert quiet.exit_code == 0
        assert "All types count alike" not in quiet.stderr


def test_what_was_suggested_is_understood(log):
    dataset, _ = imported(
        log, "--target-events", "purchase", "--input-events", "purchase,view=0.2,cart=0.2"
    )
    assert dataset.event_weights.target_types == ("purchase",)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--events", "sale"), "no interaction is of the type 'sale'; there are purchase 4"),
        (("--events", " , "), "--events names no type of event"),
        (("--target-events", "purchase,sale"), "--target-events: no interaction is of the type"),
        (("--events", "view", "--target-events", "purchase"), "there are view 3"),
        (("--target-events", "cart=much"), "'much' is no number; write a type with its weight"),
        (("--target-events", "cart=-1"), "weight of target event 'cart' is -1"),
        (("--target-events", "cart,cart=2"), "names the type 'cart' twice"),
        (("--input-events", "view=0"), "no type of event has a weight above 0 as input"),
    ],
)
def test_what_no_log_could_mean_is_refused(log, options, reason):
    assert reason in refused("import", "table", log, *COLUMNS, *options, "--out", log.parent / "d")


def test_types_need_their_column(log):
    without = (
        "import",
        "table",
        log,
        "--user",
        "user",
        "--item",
        "item",
        "--out",
        log.parent / "d",
    )
    for options in (("--events", "view"), ("--input-events", "view")):
        assert "--event, which says where the types stand" in refused(*without, *options)


def test_a_column_that_looks_like_types_and_was_not_named_is_doubted(log, tmp_path):
    plain = ("import", "table", log, *COLUMNS[:6], "--out", tmp_path / "d", "--overwrite")
    [doubt] = json.loads(run(*plain, "--json"))["doubts"]
    assert "The column 'action' looks like types of events (purchase 4, view 3" in doubt
    assert "Name it with --event action; then --events purchase keeps some types." in doubt
    assert (
        json.loads(run(*plain, "--event", "action", "--events", "view", "--json"))["doubts"] == []
    )
    log.write_text("\n".join(line.rpartition(",")[0] for line in LOG.splitlines()))
    assert json.loads(run(*plain, "--json"))["doubts"] == []


def test_lists_have_types_of_events_too(tmp_path):
    path = tmp_path / "lists.csv"
    path.write_text("user_id,item_ids,what\nu,a b,view buy\nu,c,buy\nv,a b,buy buy\n")
    command = ("import", "lists", path, "--event", "what", "--out", tmp_path / "d", "--json")
    told = json.loads(run(*command, "--events", "buy"))
    assert told["left_out"] == {"are no event of type buy": 1}
    told = json.loads(run(*command, "--target-events", "buy", "--overwrite"))
    assert told["event_weights"]["targets"] == {"buy": 1.0}
    message = refused("import", "lists", path, "--events", "buy", "--out", tmp_path / "e")
    assert "--event, which says where the types stand" in message


def test_types_of_different_weights_are_no_duplicates(log):
    with log.open("a") as file:
        file.write("u2,a,5,purchase\nu2,b,6,view\n")
    dataset, told = imported(log, "--duplicates", "first", "--target-events", "purchase")
    assert told["left_out"] == {"repeat an item of their user": 2}
    assert dataset.interactions.frame.filter(pl.col("item_id") == "a").height == 4
    # If all types count equally, the first interaction with an item is kept.
    dataset, _ = imported(log, "--duplicates", "first")
    assert dataset.interactions.frame.filter(pl.col("item_id") == "a").height == 2


def test_recbole_has_types_of_events_too(tmp_path):
    path = tmp_path / "shop.inter"
    rows = [line.replace(",", "\t") for line in LOG.splitlines()[1:]]
    header = "user_id:token\titem_id:token\ttimestamp:float\taction:token"
    path.write_text("\n".join([header, *rows]) + "\n")
    out = tmp_path / "dataset"
    common = ("import", "recbole", path, "--event", "action", "--out", out, "--json", "--overwrite")
    told = json.loads(run(*common, "--events", "purchase"))
    assert told["left_out"] == {"are no event of type purchase": 5}
    told = json.loads(run(*common, "--target-events", "view", "--duplicates", "last"))
    assert told["left_out"] == {}
    told = json.loads(run(*common, "--duplicates", "last"))
    assert told["left_out"] == {"repeat an item of their user": 3}
    run(*common, "--target-events", "purchase")
    events = Dataset.load(out).interactions.frame["event"].to_list()
    wanted = [line.split(",")[3] or None for line in LOG.splitlines()[1:]]
    assert events == wanted
    assert Dataset.load(out).event_weights.target_types == ("purchase",)
    assert "no interaction is of the type 'sale'" in refused(*common, "--events", "sale")
    other = ("import", "recbole", path, "--event", "kind", "--out", tmp_path / "other")
    assert "there is no field 'kind'" in refused(*other)
