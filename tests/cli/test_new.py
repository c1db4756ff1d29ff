"""`sidestep new`: it reports its findings, and the import reads the pipeline that it writes."""

import gzip
import json

import polars as pl
import pytest

from sidestep.data.dataset import Dataset
from sidestep.runs.plain_yaml import read_yaml
from tests.cli.commands import call, refused, run


def csv(*rows, header="user_id,item_id,timestamp"):
    return "\n".join([header, *rows]) + "\n"


FOUR = [f"u{user},i{(user + item) % 5},{item}" for user in range(6) for item in range(4)]


def late_type(number):
    price = "$5" if number > 130 else None
    return {"user_id": f"u{number % 9}", "item_id": f"i{number % 7}", "price": price}


def as_floats(row):
    user, item, time = row.split(",")
    return f"{user[1:]}.0,{item[1:]}.0,{time}"


TABLES = {
    "late-type.jsonl": "".join(json.dumps(late_type(number)) + "\n" for number in range(160)),
    "blank-end.csv": csv(*FOUR) + "\n",
    "packed.csv.gz": gzip.compress(csv(*FOUR).encode()),
    "semicolons.csv": csv(*FOUR).replace(",", ";"),
    "gaps.csv": csv(*FOUR, ",i1,9", "u1,,9", "u1,i1,"),
    "nobody.csv": csv(*FOUR, *["NA,i1,9"] * 5, "u1,null,9", "u2,null,9"),
    "zero.csv": csv(*[f"{row[:-1]}160000000{row[-1]}" for row in FOUR], "u1,i2,0"),
    "floats.csv": csv(*map(as_floats, FOUR)),
    "utc.csv": csv(
        "2031-05-06 07:08:09 UTC,view,s1,v1",
        "2031-05-06 07:08:10 UTC,buy,s2,v1",
        "2031-05-06 07:08:10.5 UTC,view,s2,v1",
        header="at,kind,sku,visitor",
    ),
    "pandas.csv": csv(
        *[f"{number},{row}" for number, row in enumerate(FOUR)],
        header=",user_id,item_id,timestamp",
    ),
    "twos.csv": csv(*[f"u{n // 2},i{n % 5},{n}" for n in range(20)]),
    "odd names.csv": csv(*FOUR, header="User ID, Item: é,date'\"x"),
}


def new(tmp_path, name, *options):
    path = tmp_path / name
    content = TABLES[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return ("new", tmp_path / "my shop", "--interactions", path, *options)


def imported(folder):
    """The dataset that the import command in the pipeline of a folder makes."""
    section = read_yaml(folder / "sidestep.yaml")["import"]
    options = []
    for key, value in section.items():
        if key not in ("from", "path") and value is not None:
            text = ",".join(value) if isinstance(value, list) else value
            options += [f"--{key}", folder / text if key == "items" else text]
    run("import", section["from"], folder / section["path"], *options, "--out", folder / "dataset")
    return Dataset.load(folder / "dataset")


@pytest.mark.parametrize("name", TABLES)
def test_what_is_written_is_imported_as_it_was_found(tmp_path, name):
    options = ("--item", "Item: é") if name.startswith("odd") else ()
    told = json.loads(run(*new(tmp_path, name, *options), "--json"))["found"]
    folder = tmp_path / "my shop"
    run("run", folder, "--dry-run")
    stats = imported(folder).stats()
    assert (told["interactions"], told["users"], told["items"]) == (
        *(stats.interactions, stats.users, stats.items),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (csv("u1,a,1600000000", "u1,b,1600000000000"), "is in seconds, but the column has times"),
        (csv("u1,a,1/2/2024", "u1,b,3/4/2024"), "may be read as day and month or as month and day"),
        (csv("u1,a,2024-01-01 10:00 EST"), "timestamp '2024-01-01 10:00 EST' is neither"),
        (csv('u1,"a,1', "u2,b,2"), "a quoted text does not end properly"),
        (csv("u1,1.5e+10,1", "u2,2.5e+10,2"), "is a number without its last digits"),
        (csv("u1,a"), "line 2: 2 fields, the header has 3"),
    ],
)
def test_what_the_import_refuses_is_refused_in_its_words(tmp_path, text, message):
    path = tmp_path / "log.csv"
    path.write_text(text)
    options = ("--time", "timestamp")
    said = refused("new", tmp_path / "shop", "--interactions", path, *options)
    assert message in said
    assert said == refused("import", "table", path, *options, "--out", tmp_path / "dataset")
    assert sorted(tmp_path.iterdir()) == [path]


def test_gaps_are_found_and_left_out_in_words(tmp_path):
    done = call(*new(tmp_path, "gaps.csv"))
    assert done.exit_code == 0, done.output
    assert "left out, as they lack a user 1" in " ".join(done.stdout.split())
    section = read_yaml(tmp_path / "my shop" / "sidestep.yaml")["import"]
    assert [section[f"missing-{what}"] for what in ("users", "items", "times")] == ["drop"] * 3
    assert "Next: sidestep run '" in done.stderr  # the folder's name has a blank


def test_times_of_nothing_are_left_out_in_words(tmp_path):
    said = " ".join(call(*new(tmp_path, "zero.csv")).stdout.split())
    assert "left out, as they have the time 0 or -1 1 users" in said
    assert imported(tmp_path / "my shop").stats().interactions == 24


def test_nobodies_are_left_out_in_words(tmp_path):
    done = call(*new(tmp_path, "nobody.csv"))
    assert "'NA' in 5 rows, 'null' in 2 rows. These rows are left out" in done.stderr
    section = read_yaml(tmp_path / "my shop" / "sidestep.yaml")["import"]
    assert section["missing-words"] == ["NA", "null"]
    assert imported(tmp_path / "my shop").stats().users == 6


def test_sessions_are_offered_where_users_are_not_known(tmp_path):
    path = tmp_path / "log.csv"
    rows = [f"s{n // 3},{'NA' if n > 8 else 'u1'},i{n}" for n in range(15)]
    path.write_text(csv(*rows, header="sessionId,userId,itemId"))
    done = call("new", tmp_path / "shop", "--interactions", path)
    assert "With --user sessionId every sessionId would be a user instead." in done.stderr


def test_event_types_are_shown_and_written(tmp_path):
    done = call(*new(tmp_path, "utc.csv"))
    shown = " ".join(done.stdout.split())
    assert "event types view 2, buy 1 to be predicted buy to be read all types" in shown
    text = (tmp_path / "my shop" / "sidestep.yaml").read_text()
    assert '\n  event: "kind"   # view 2, buy 1\n  target-events: ["buy"]   # what is' in text
    assert '\n  # input-events: ["buy", "view=0.2"]' in text
    assert '\n  # events: ["buy"]' in text
    dataset = imported(tmp_path / "my shop")
    assert dataset.interactions.frame["event"].to_list() == ["view", "buy", "view"]
    assert dataset.event_weights.target_types == ("buy",)


def log_of(tmp_path, *steps, users=6):
    """A log in which each user does these (item, event) in order, with items of its own."""
    path = tmp_path / "log.csv"
    rows = [
        f"u{user},{item}{user % 3},{place},{event}"
        for user in range(users)
        for place, (item, event) in enumerate(steps)
    ]
    path.write_text(csv(*rows, header="user,item,time,event"))
    return path


def test_types_that_give_the_targets_away_are_not_read(tmp_path):
    bought = [(item, event) for item in "abcd" for event in ("view", "cart", "purchase")]
    path = log_of(tmp_path, *bought)
    told = json.loads(run("new", tmp_path / "shop", "--interactions", path, "--json"))["found"]
    assert told["event_weights"] == {"targets": {"purchase": 1.0}, "inputs": {"purchase": 1.0}}
    assert told["repeat_target_share"] == 0.0
    text = (tmp_path / "shop" / "sidestep.yaml").read_text()
    assert (
        'input-events: ["purchase"]   # what is read; with all types, 100% of the targets' in text
    )
    assert "repeats" not in read_yaml(tmp_path / "shop" / "sidestep.yaml")["train"]
    assert read_yaml(tmp_path / "shop" / "sidestep.yaml")["evaluate"]["exclude-seen"] is True


def test_where_people_come_back_to_items_the_pipeline_has_repeats_beside_popularity(tmp_path):
    steps = [(item, "purchase") for item in "abacab"]
    path = log_of(tmp_path, *steps)
    done = call("new", tmp_path / "shop", "--interactions", path)
    assert "so the pipeline also has the run 'repeats'" in " ".join(done.stderr.split())
    text = (tmp_path / "shop" / "sidestep.yaml").read_text()
    assert "repeats: {kind: repeats}   # own most frequent items, then popularity: 50.0% of" in text
    section = read_yaml(tmp_path / "shop" / "sidestep.yaml")
    assert list(section["train"]) == ["popularity", "repeats", "graph", "sasrec", "transformer"]
    assert section["evaluate"]["exclude-seen"] is False
    assert section["import"]["event"] == "event"  # a single type needs no weights
    assert "target-events" not in section["import"]


def test_times_are_told_with_their_unit(tmp_path):
    told = json.loads(run(*new(tmp_path, "utc.csv"), "--json", "--dry-run"))["found"]["times"]
    assert (told["unit"], told["last"] - told["first"]) == ("ms", 1500)
    assert "0 to 3, which do not count from 1970" in run(*new(tmp_path, "blank-end.csv"))


def test_doubts_are_warnings(tmp_path):
    path = tmp_path / "crowd.csv"
    path.write_text(csv(*FOUR, *[f"0,i{n % 5},{n}" for n in range(40)]))
    said = call("new", tmp_path / "shop", "--interactions", path).stderr
    assert "Warning: 40 of 64 (62.5%) interactions have the user '0'" in said


def test_users_of_two_items_are_split_by_time(tmp_path):
    said = call(*new(tmp_path, "twos.csv")).stderr
    assert "Warning: no user has three interactions or more" in said
    section = read_yaml(tmp_path / "my shop" / "sidestep.yaml")["split"]
    assert section["strategy"] == "global-time"


def test_where_nothing_can_be_tested_new_and_run_say_the_same(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(csv(*[f"u{n // 2},i{n % 5}" for n in range(20)], header="user_id,item_id"))
    said = call("new", tmp_path / "shop", "--interactions", path, "--time", "none").stderr
    message = refused("run", tmp_path / "shop", "--dry-run").partition(": no user ")[2]
    assert message.startswith(
        "has three interactions or more, so that leave-one-out leaves no rows"
    )
    assert message in " ".join(said.split())


def test_times_that_nobody_finds_are_warned_of(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(csv(*[f"{row.rpartition(',')[0]},long ago" for row in FOUR]))
    asked = ("new", tmp_path / "shop", "--interactions", path, "--dry-run")
    said = call(*asked).stderr
    assert "'timestamp' is called like one, but 'long ago' is no time" in said
    assert "Warning" not in call(*asked, "--time", "none").stderr


def test_a_late_key_of_the_items_is_one_of_their_texts(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(csv(*FOUR))
    items = [{"item_id": f"i{n}", "title": f"Tent {n}"} for n in range(150)]
    items[101]["description"] = "A sturdy tent"
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    tables = ("--interactions", path, "--items", tmp_path / "items.jsonl")
    told = json.loads(run("new", tmp_path / "shop", *tables, "--json"))
    assert told["columns"]["texts"] == ["title", "description"]
    assert imported(tmp_path / "shop").items.text_columns == ("title", "description")


@pytest.mark.parametrize("form", ["by-item", "array"])
def test_items_may_be_json(tmp_path, form):
    path = tmp_path / "log.csv"
    path.write_text(csv(*FOUR))
    texts = {f"i{n}": {"title": f"Tent {n}", "price": "3"} for n in range(6)}
    rows = [{"item_id": item, **fields} for item, fields in texts.items()]
    (tmp_path / "items.json").write_text(json.dumps(texts if form == "by-item" else rows))
    tables = ("--interactions", path, "--items", tmp_path / "items.json")
    told = json.loads(run("new", tmp_path / "shop", *tables, "--json"))
    assert told["columns"]["texts"] == ["title"]
    assert told["found"]["items"] == 6
    assert imported(tmp_path / "shop").items.text_columns == ("title",)


def test_a_folder_of_parts_becomes_a_pipeline(tmp_path):
    folder = tmp_path / "ev.parquet"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    for part in range(2):
        frame = pl.DataFrame({"user_id": ["a", "b"] * 3, "item_id": [*"xyzxyz"], "t": [*range(6)]})
        frame.write_parquet(folder / f"part-{part}.snappy.parquet")
    run("new", tmp_path / "shop", "--interactions", folder)
    run("run", tmp_path / "shop", "--dry-run")
    assert imported(tmp_path / "shop").stats().interactions == 12
