"""One configuration from tables to recommendations: no step is done twice, no result is lost."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from sidestep.data.dataset import Dataset
from sidestep.runs.folder import RunFolder
from sidestep.runs.locks import LOCK
from sidestep.runs.plain_yaml import read_yaml, write_yaml
from tests.cli.commands import call, refused, run

TINY = {
    "popularity": {"kind": "popularity"},
    "transformer": {
        "kind": "transformer",
        "max_history": 10,
        "model": {
            "dim": 16,
            "num_layers": 1,
            "num_heads": 2,
            "history": "items",
            "item_head": True,
        },
        "objective": {"item_weight": 1.0},
        "training": {"epochs": 1, "batch_size": 16},
        "validation": {"num_users": 30, "num_beams": 10},
    },
}


@pytest.fixture(scope="module")
def done(files, tmp_path_factory):
    """A folder after `sidestep new` and `sidestep run`, with their printed results."""
    folder = tmp_path_factory.mktemp("pipeline") / "My Shop"
    tables = ("--interactions", files / "events.csv", "--items", files / "products.csv")
    told = call("new", folder, *tables)
    assert told.exit_code == 0, (told.output, told.exception)
    config = read_yaml(folder / "sidestep.yaml")
    small = {"train": TINY, "attach": {}, "tokenize": {"seed": 3}}
    write_yaml(folder / "sidestep.yaml", {**config, **small})
    return folder, told, call("run", folder)


def states(*arguments):
    """State of each step of a run."""
    told = json.loads(run("run", *arguments, "--json"))
    return {step["step"]: step["state"] for step in told["steps"]}


def contents(folder):
    """Time of writing of each file, without the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {path: path.stat().st_mtime_ns for path in files}


def test_new_says_which_columns_it_took_and_why(done):
    _, told, _ = done
    assert "user" in told.stdout
    assert "100% of its values stand in 'sku' of the items" in told.stdout
    assert "If a column is wrong, correct it there. Next: sidestep run" in told.stderr


def test_a_run_ends_with_a_table_and_recommendations_in_words(done):
    folder, _, outcome = done
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)
    assert "beam" in outcome.stdout
    assert outcome.stdout.count("Recommended") == 3
    assert "Next:" not in outcome.stderr
    assert "my-shop, validation, 80 users" in outcome.stdout
    names = {path.name for path in folder.iterdir()}
    assert {"dataset", "catalog", "vectors.npy", "popularity", "transformer"} <= names


def test_the_run_that_validation_found_best_recommends_unless_another_is_named(done):
    folder, _, outcome = done
    scores = {}
    for name in ("popularity", "transformer"):
        [file] = (folder / name / "evaluations").glob("validation-*/metrics.json")
        scores[name] = json.loads(file.read_text())["metrics"]["NDCG@10"]
    best, other = sorted(scores, key=lambda name: -scores[name])
    assert scores[best] > scores[other]
    assert _recommending(outcome) == {best}
    named = call("run", folder, "--set", f"recommend.run={other}")
    assert _recommending(named) == {other}


def _recommending(outcome):
    """The folders of the runs that recommended."""
    lines = [shlex.split(line) for line in outcome.stderr.splitlines() if "• recommend: " in line]
    return {Path(words[words.index("recommend") + 1]).name for words in lines}


def test_a_ranker_stands_beside_a_run_and_only_a_change_of_either_attaches_it_again(done, tmp_path):
    folder = tmp_path / "shop"
    shutil.copytree(done[0], folder)
    config = read_yaml(folder / "sidestep.yaml")
    config["import"] |= {
        key: os.path.relpath(done[0] / config["import"][key], folder) for key in ("path", "items")
    }
    config["train"]["graph"] = {"kind": "graph", "embeddings": "vectors.npy"}
    config["attach"] = {"together": {"run": "transformer", "ranker": "graph"}}
    write_yaml(folder / "sidestep.yaml", config)
    told = states(folder)
    assert told["train transformer"] == "unchanged"
    assert {told["train graph"], told["attach together"]} == {"done"}
    assert "+graph" in (folder / "report.html").read_text()
    again = states(folder)
    assert {state for step, state in again.items() if "together" in step} == {"unchanged"}
    changed = states(folder, "--set", "attach.together.weight=3")
    assert changed["train graph"] == "unchanged"
    assert {changed["attach together"], changed["evaluate together"]} == {"done"}


def test_a_recipe_improves_a_run_and_is_followed_again_after_a_change_of_that_run(done, tmp_path):
    folder = tmp_path / "shop"
    shutil.copytree(done[0], folder)
    config = read_yaml(folder / "sidestep.yaml")
    config["import"] |= {
        key: os.path.relpath(done[0] / config["import"][key], folder) for key in ("path", "items")
    }
    taught = {
        "run": "transformer",
        "recipe": "tree",
        "objective": {"num_prompts": 16, "teacher_leaves": 4},
        "training": {"epochs": 1, "batch_size": 16},
        "validation": {"num_users": 20, "num_beams": 5},
    }
    config["align"] = {"taught": taught}
    write_yaml(folder / "sidestep.yaml", config)
    told = states(folder)
    assert told["train transformer"] == "unchanged"
    assert {told["train taught"], told["evaluate taught"]} == {"done"}
    assert "tree-taught" in (folder / "report.html").read_text()
    assert set(states(folder).values()) == {"unchanged"}
    # A rehearsal finds the network that is improved, and says where it would write.
    dry = ("run", folder, "--dry-run", "--set")
    told = call(*dry, "align.taught.training.learning_rate=0.01")
    assert told.exit_code == 0, (told.output, told.exception)
    place = os.path.relpath(folder / "taught" / "bundle")
    assert f"Would write {place}. " in told.stderr
    told = call(*dry, "train.transformer.model.dim=24")
    assert told.exit_code == 0, (told.output, told.exception)
    assert "• train taught: to do (train transformer changed)" in told.stderr
    [line] = [line for line in told.stderr.splitlines() if line.startswith("Estimated time: ")]
    assert ", without train taught; " in line


def test_a_warning_is_said_once_and_its_remedy_can_be_copied(done):
    folder, _, outcome = done
    assert outcome.stderr.count("leaks time") == 1
    quoted = shlex.quote(os.path.relpath(folder / "dataset"))
    assert f"sidestep data split {quoted} --strategy" in outcome.stderr


def test_a_run_ends_with_a_page(done):
    folder, _, outcome = done
    page = (folder / "report.html").read_text()
    assert "popularity" in page
    assert "beam" in page
    assert "report.html" in outcome.stderr


def test_the_commands_it_shows_can_be_given_by_hand(done):
    _, _, outcome = done
    shown = [line for line in outcome.stderr.splitlines() if line.startswith("• tokenize: ")]
    assert "--vectors" in shown[0]
    assert shown[0].endswith("--seed 3")


def test_nothing_is_done_twice_but_the_comparison(done):
    folder, _, _ = done
    before = contents(folder)
    assert set(states(folder).values()) == {"unchanged"}
    after = contents(folder)
    page = folder / "report.html"
    assert before.pop(page) < after.pop(page)
    assert after == before


def test_a_pipeline_goes_on_from_within_its_folder_and_after_it_was_moved(
    done, tmp_path_factory, monkeypatch
):
    moved = tmp_path_factory.mktemp("elsewhere") / "Shop"  # the tables are as far away as before
    shutil.copytree(done[0], moved)
    monkeypatch.chdir(moved)
    outcome = call("run", ".")
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)
    assert outcome.stderr.count("unchanged") == 7
    for name in ("transformer", "popularity"):
        assert RunFolder(Path(name)).dataset() == Path("dataset")


def test_only_what_depends_on_a_change_is_done_again(done):
    folder, _, _ = done
    told = json.loads(
        run("run", folder, "--set", "train.transformer.model.dim=8", "--dry-run", "--json")
    )
    to_do = {step["step"]: step["reasons"] for step in told["steps"] if step["state"] == "to do"}
    assert to_do == {
        "train transformer": ["model.dim was 16 and is 8"],
        "evaluate transformer": ["train transformer changed"],
    }


def test_a_dry_run_writes_nothing(done, files, tmp_path):
    folder, _, _ = done
    before = contents(folder)
    outcome = call("run", folder, "--set", "seed=1", "--dry-run")
    assert outcome.exit_code == 0, outcome.output
    assert "• embed: to do (seed was 0 and is 1): sidestep embed" in outcome.stderr
    assert "Nothing was written." in outcome.stderr
    assert contents(folder) == before
    new = ("new", tmp_path / "other", "--interactions", files / "events.csv", "--dry-run")
    assert "sku" in run(*new)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_estimates_the_time_before_anything_is_made(done, tmp_path):
    folder, _, _ = done
    config = read_yaml(folder / "sidestep.yaml")
    imported = config["import"]
    files = {key: str((folder / imported[key]).resolve()) for key in ("path", "items")}
    config["import"] = {**imported, **files}
    write_yaml(tmp_path / "sidestep.yaml", config)
    told = call("run", tmp_path, "--dry-run")
    assert told.exit_code == 0, (told.output, told.exception)
    [line] = [line for line in told.stderr.splitlines() if line.startswith("Estimated time: ")]
    assert ", without import, embed; " in line
    assert json.loads(run("run", tmp_path, "--dry-run", "--json"))["estimated_seconds"] > 0
    assert "Estimated time" not in call("run", folder, "--dry-run").stderr
    # Random codes need not span a space of one's own, so the time of its training is not known.
    space = ("--set", "tokenize.space=tests.own_parts.spaces:NoSpace")
    told = call("run", tmp_path, "--dry-run", *space)
    assert told.exit_code == 0, (told.output, told.exception)
    [line] = [line for line in told.stderr.splitlines() if line.startswith("Estimated time: ")]
    assert ", without import, embed, train transformer; " in line


def test_a_dry_run_after_a_change_names_the_folders_of_the_pipeline(done):
    folder, _, _ = done
    told = call("run", folder, "--dry-run", "--set", "train.transformer.model.dim=24")
    assert told.exit_code == 0, told.output
    written = [line for line in told.stderr.splitlines() if line.startswith("Would write ")]
    place = os.path.relpath(folder / "transformer" / "bundle")
    assert any(line.startswith(f"Would write {place}. ") for line in written), written


def test_a_dry_run_asks_the_training_too(done):
    folder, _, _ = done
    before = contents(folder)
    dry = ("run", folder, "--dry-run", "--set")
    assert "steps" in call(*dry, "train.transformer.model.dim=8").stdout
    headless = ("train.transformer.model.item_head=false",)
    assert "item_weight is 1.0, but the model has no item head" in refused(*dry, *headless)
    assert contents(folder) == before


def test_other_interactions_are_imported_anew_and_the_old_run_is_kept(done, files, tmp_path):
    copy = tmp_path / "shop"
    shutil.copytree(done[0], copy)
    events = pl.read_csv(files / "events.csv", infer_schema=False)
    events.head(-5).write_csv(copy / "events.csv")
    assert set(states(copy, "--set", "import.path=events.csv").values()) == {"done"}
    assert (copy / "replaced" / "transformer-1" / "bundle").is_dir()
    assert (copy / "transformer" / "bundle").is_dir()


HOLD = """
import sys
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another(lock):
    """Makes a second process hold a lock, like a process that trains or runs a pipeline."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        process.stdout.readline()
        yield
    finally:
        process.communicate()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("transformer", "transformer: another process is training here; wait for its end"),
        (".", "another process runs a pipeline here; wait for its end, or stop it"),
    ],
)
def test_a_run_is_not_moved_while_another_process_trains_it(done, files, tmp_path, name, words):
    copy = tmp_path / "shop"
    shutil.copytree(done[0], copy)
    before = contents(copy)
    changed = ("--set", "train.transformer.model.dim=8", "--set", "seed=1")
    tables = (
        *("--set", f"import.path={files / 'events.csv'}"),
        *("--set", f"import.items={files / 'products.csv'}"),
    )
    with held_by_another(copy / name / LOCK):
        assert words in refused("run", copy, *changed, *tables)
        assert contents(copy) == before
    assert not (copy / "replaced").exists()


def test_the_same_bytes_elsewhere_are_the_same_input(done, files, tmp_path):
    copy = tmp_path / "shop"
    shutil.copytree(done[0], copy)
    shutil.copy(files / "events.csv", copy)
    shutil.copy(files / "products.csv", copy)
    moved = ("--set", "import.path=events.csv", "--set", "import.items=products.csv")
    assert set(states(copy, *moved).values()) == {"unchanged"}


def test_what_is_gone_is_made_again(done, files, tmp_path):
    copy = tmp_path / "shop"
    shutil.copytree(done[0], copy)
    shutil.rmtree(copy / "popularity" / "evaluations")
    here = (
        *("--set", f"import.path={files / 'events.csv'}"),
        *("--set", f"import.items={files / 'products.csv'}"),
    )
    told = states(copy, *here)
    assert [step for step, state in told.items() if state == "done"] == ["evaluate popularity"]


def test_another_split_of_the_dataset_is_learned_and_judged_anew(done, files, tmp_path):
    copy = tmp_path / "shop"
    shutil.copytree(done[0], copy)
    run("data", "split", copy / "dataset", "--strategy", "global-time")
    here = (
        *("--set", f"import.path={files / 'events.csv'}"),
        *("--set", f"import.items={files / 'products.csv'}"),
    )
    told = json.loads(run("run", copy, *here, "--dry-run", "--json"))
    why = {step["step"]: step.get("reasons") for step in told["steps"]}
    assert why.pop("import") == []
    assert all("dataset changed" in reasons for reasons in why.values()), why


def test_runs_of_one_kind_are_compared_under_their_own_names(done, files, tmp_path):
    copy = tmp_path / "shop"
    shutil.copytree(done[0], copy)
    content = read_yaml(copy / "sidestep.yaml")
    tables = {"path": str(files / "events.csv"), "items": str(files / "products.csv")}
    content |= {"import": content["import"] | tables, "recommend": {"users": 0}}
    twins = {"first": TINY["popularity"], "Second": {"kind": "popularity", "min_context": 0}}
    write_yaml(copy / "sidestep.yaml", {**content, "train": twins})
    told = run("run", copy)
    assert "popularity-first" in told
    assert "popularity-second" in told
    message = refused("run", copy, "--set", "evaluate.method=mine")
    assert "evaluate: method: 'mine' would be the name of several runs" in message


def test_options_of_a_search_are_for_the_runs_that_search(done):
    folder, _, _ = done
    told = json.loads(run("run", folder, "--set", "evaluate.beams=7", "--dry-run", "--json"))
    commands = {step["step"]: step["command"] for step in told["steps"]}
    assert "--beams 7" in commands["evaluate transformer"]
    assert "--beams" not in commands["evaluate popularity"]


def test_a_section_splits_the_dataset_and_keeps_it_split_so(done, files, tmp_path):
    copy = tmp_path / "shop"
    shutil.copytree(done[0], copy)
    content = read_yaml(copy / "sidestep.yaml")
    tables = {"path": str(files / "events.csv"), "items": str(files / "products.csv")}
    content |= {"import": content["import"] | tables}
    content |= {"train": {"popularity": TINY["popularity"]}}
    timed = {"strategy": "global-time", "test-share": 0.2}
    write_yaml(copy / "sidestep.yaml", {**content, "split": timed})
    why = {
        step["step"]: step["reasons"]
        for step in json.loads(run("run", copy, "--dry-run", "--json"))["steps"]
    }
    assert why["import"] == []
    assert why["split"] == ["never run"]
    assert why["train popularity"] == ["split changed"]

    first = call("run", copy)
    assert first.exit_code == 0, first.output
    assert "leaks time" not in first.stderr
    split = Dataset.load(copy / "dataset").split
    assert split.strategy.startswith("global-time@")
    assert f"validation, {len(split.validation)} users" in first.stdout
    assert set(states(copy).values()) == {"unchanged"}

    # The configuration decides: a dataset that a command changed, or a new import, is split again.
    run("data", "split", copy / "dataset", "--strategy", "leave-one-out")
    told = json.loads(run("run", copy, "--json"))
    assert {step["step"] for step in told["steps"] if step["state"] == "done"} == {"split"}
    assert Dataset.load(copy / "dataset").split.strategy == split.strategy
    shutil.rmtree(copy / "dataset")
    told = states(copy)
    assert [step for step, state in told.items() if state == "done"] == ["import", "split"]

    # Without the section, the dataset is unchanged after the import.
    write_yaml(copy / "sidestep.yaml", content)
    told = states(copy)
    assert "split" not in told
    assert set(told.values()) == {"done"}
    assert Dataset.load(copy / "dataset").split is None
    assert set(states(copy).values()) == {"unchanged"}


def test_a_dry_run_asks_the_split_too(done):
    folder, _, _ = done
    before = contents(folder)
    message = refused(
        *("run", folder, "--dry-run"),
        *("--set", "split={strategy: global-time, test-share: 2}"),
    )
    assert "the shares of validation and test" in message
    assert contents(folder) == before


def test_dates_of_a_split_are_read_as_they_are_written(done):
    folder, _, _ = done
    dry = call(
        *("run", folder, "--dry-run"),
        *("--set", "split={strategy: global-time, validation-from: 2024-07-01, test-from: 99}"),
    )
    assert "--validation-from 2024-07-01 --test-from 99" in dry.stderr
    # The tables count their events from 0, so that no date can name a moment.
    assert "'2024-07-01' is a date, but the timestamps are no seconds" in dry.stderr


def test_options_of_searches_are_given_to_runs_that_search_alone(done):
    dry = ("run", done[0], "--set", "evaluate.precision=bf16", "--dry-run", "--json")
    reasons = {step["step"]: step.get("reasons") for step in json.loads(run(*dry))["steps"]}
    changed = {name for name, why in reasons.items() if name.startswith("evaluate") and why}
    assert "evaluate transformer" in changed
    assert "evaluate popularity" in {*reasons} - changed


def test_an_interrupted_run_continues_with_the_same_command(done, files, tmp_path, monkeypatch):
    copy = tmp_path / "shop"
    shutil.copytree(done[0], copy)
    again = (
        *("run", copy, "--set", f"import.path={files / 'events.csv'}"),
        *("--set", f"import.items={files / 'products.csv'}"),
        *("--set", "train.transformer.training.epochs=2"),
    )

    def interrupting(progress):
        if progress.step == 3:
            signal.raise_signal(signal.SIGINT)
        return "working"

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr("sidestep.cli.console.training_bar._described", interrupting)
        stopped = call(*again)
    signal.signal(signal.SIGINT, before)
    assert stopped.exit_code == 130, stopped.output
    told = json.loads(run(*again, "--dry-run", "--json"))
    reasons = {step["step"]: step.get("reasons") for step in told["steps"]}
    assert reasons["train transformer"] == ["interrupted"]
    run(*again)
    assert [path.name for path in (copy / "replaced").iterdir()] == ["transformer-1"]
    lines = (copy / "transformer" / "log.jsonl").read_text().splitlines()
    assert sum('"kind": "stop"' in line for line in lines) == 1


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("embed.dimm=3", "embed: there is no 'dimm'; there are text, sentence,"),
        ("embed.dim=three", "embed: dim: Input should be a valid integer"),
        ("embed.given=nowhere.npy", "nowhere.npy does not exist"),
        ("embed.out=v.npy", "embed: the pipeline itself decides 'out'"),
        ("import.from=floppy", "import: 'floppy' is none of"),
        ("evaluate.split=tests", "evaluate: split: 'tests' is not one of"),
        ("train.transformer.model.dims=3", "train.transformer: unknown key 'model.dims'"),
        ("train.dataset.kind=popularity", "'dataset' is no name for a run"),
        (
            "train.prm={kind: process-reward, backbone: x}",
            "train.prm: process-reward goes by a finished",
        ),
        ("train={}", "train: Dictionary should have at least 1 item"),
        ("trains.x=1", "unknown key 'trains'; did you mean 'train'?"),
        ("import.columns={a: b}", "import: columns: {'a': 'b'} is no value"),
        ("split.strategy=by-luck", "split: strategy: 'by-luck' is not one of"),
        ("split.from=2020", "split: there is no 'from'; there are strategy, validation-from,"),
        ("split.validation-share=0.1", "split: strategy: must be given."),
        ("evaluate.users=20", "evaluate.users is 20 and compare.users is all"),
        ("compare.users=20", "evaluate.users is all and compare.users is 20"),
    ],
)
def test_a_wrong_pipeline_is_refused_with_section_and_option(done, setting, expected):
    folder, _, _ = done
    before = contents(folder)
    message = refused("run", folder, "--set", setting)
    assert expected in message
    # The schema of the file knows the setting; the options of a section are checked later.
    origin = (
        f"--set {setting!r}" if expected.startswith(("train: ", "unknown key")) else "sidestep.yaml"
    )
    assert origin in message
    assert contents(folder) == before


def test_new_never_replaces_a_configuration(done, files):
    folder, _, _ = done
    assert "exists; edit it" in refused("new", folder, "--interactions", files / "events.csv")


def test_new_without_tables_writes_names_to_replace(tmp_path):
    run("new", tmp_path / "shop")
    assert "put in the names of your files" in (tmp_path / "shop" / "sidestep.yaml").read_text()
    assert "events.csv" in refused("run", tmp_path / "shop")
