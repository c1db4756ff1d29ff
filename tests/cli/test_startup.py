"""Imports of commands: modules, not seconds, are counted in processes of their own.

A process runs several commands one after the other. That is sound, because a module that a command
must not import is forbidden to all commands before it too.
"""

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

from .test_main import ONES

HEAVY = {
    "torch",
    "sklearn",
    "scipy",
    "matplotlib",
    "accelerate",
    "transformers",
    "jinja2",
    "optuna",
}
"""Packages that no command may import to show its help, or to say that something is missing."""

MOST_MODULES = 1000
"""Largest number of modules of all light commands together; torch alone has as many."""

PROGRAM = """\
import json, sys
from typer.testing import CliRunner
from sidestep.cli.main import app

for line in sys.stdin:
    done = CliRunner().invoke(app, json.loads(line))
    packages = [name.partition(".")[0] for name in sys.modules]
    packages = [name for name in packages if name != "pandas"]  # pyarrow's, where there is one
    print(json.dumps([done.exit_code, sorted(set(packages)), len(packages), done.output]))
"""


def imported(*commands: Sequence[object]) -> list[tuple[int, set[str], int, str]]:
    """Runs commands in one process; returns exit code, packages, modules and output of each."""
    lines = [json.dumps([str(argument) for argument in command]) for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [(code, set(packages), modules, said) for code, packages, modules, said in answers]


def refuse_heavy(commands: Sequence[Sequence[object]], *, exit_code: int) -> int:
    """Checks the exit code of commands, and that they import no heavy package.

    Returns the number of modules.
    """
    found = imported(*commands)
    assert len(found) == len(commands)
    for command, (code, packages, _, said) in zip(commands, found, strict=True):
        assert code == exit_code, (command, said)
        assert not packages & HEAVY, f"{command} imports {packages & HEAVY}"
    return found[-1][2]


def test_the_list_of_commands_needs_none_of_them():
    [(code, packages, modules, _)] = imported(["--help"])
    assert code == 0
    assert not packages & {*HEAVY, "numpy", "polars", "pyarrow", "pydantic"}
    assert modules < 400


def test_the_help_of_a_command_needs_nothing_heavy():
    commands = [[*names, "--help"] for names in ONES]
    assert refuse_heavy(commands, exit_code=0) < MOST_MODULES


@pytest.fixture(scope="module")
def pipeline(files, tmp_path_factory):
    """A folder with a pipeline that was never run."""
    folder = tmp_path_factory.mktemp("pipelines") / "new"
    tables = ("--interactions", files / "events.csv", "--items", files / "products.csv")
    columns = ("--user", "user", "--item", "sku", "--time", "at", "--items-id", "sku")
    refuse_heavy([["new", folder, *tables, *columns]], exit_code=0)
    return folder


def test_data_and_kept_evaluations_need_nothing_heavy(shop, files, tmp_path):
    table = ("table", files / "events.csv", "--user", "user", "--item", "sku", "--time", "at")
    commands = [
        ["import", *table, "--out", tmp_path / "dataset"],
        ["data", "stats", tmp_path / "dataset"],
        ["data", "split", tmp_path / "dataset", "--strategy", "global-time"],
        ["data", "sample", tmp_path / "dataset", "--users", "2", "--out", tmp_path / "some"],
        ["compare", shop / "beam", "--split", "test"],
    ]
    assert refuse_heavy(commands, exit_code=0) < MOST_MODULES


def test_what_is_missing_or_mistaken_is_said_before_anything_heavy_is_imported(
    shop, files, pipeline
):
    gone, out = files / "gone", ("--out", files / "out")
    trained = ("train", "--dataset", shop / "dataset", *out, "--config")
    commands = [
        ["import", "table", gone, *out],
        ["embed", gone, *out],
        ["embed", shop / "dataset", "--weights", "text=none", "--out", files / "v.npy"],
        ["tokenize", gone, *out, "--vectors", gone],
        ["tokenize", shop / "dataset", *out],
        ["inspect", gone, "--dataset", gone],
        [*trained, gone],
        [*trained, files / "config.yaml", "--set", "model.dim=none"],
        [*trained, files / "config.yaml", "--set", "training.epoch=3"],
        ["tune", gone, "--dataset", shop / "dataset", *out],
        ["tune", "sasrec", "--dataset", gone, *out],
        ["tune", "sasrec", "--dataset", shop / "dataset", *out, "--space", "model.dims=1,2"],
        ["align", gone, *out],
        ["prefer", gone, *out],
        ["evaluate", gone],
        ["evaluate", shop / "beam", "--users", "none"],
        ["evaluate", shop / "beam", "--likelihood-weight", "none"],
        ["compare", gone],
        ["diagnose", gone],
        ["scale", gone],
        ["scale", shop / "beam", "--times", "none"],
        ["run", gone],
        ["run", pipeline, "--dry-run", "--set", "train.sasrec.epochs=3"],
        ["run", pipeline, "--set", "embed.columns=[none]", "--set", "tokenize.sizes=3"],
        ["reproduce"],
        ["reproduce", "none", "--data", gone],
        ["reproduce", "ours-main", "--data", gone],
        ["recommend", gone, "--history", "a"],
        ["recommend", shop / "beam"],
        ["attach", gone, "--ranker", gone, *out],
        ["append", gone, "--items", gone, *out],
        ["retire", gone, "--items", "a", *out],
        ["recommend-all", gone, *out],
        ["serve", gone],
        ["export", gone, *out],
        ["adopt", gone, *out],
        ["push", gone, "owner/name"],
        ["push", shop / "beam", "name"],
        ["pull", gone, *out],
    ]
    refuse_heavy(commands, exit_code=2)
    assert {command[0] for command in commands} >= {names[0] for names in ONES} - {
        *("data", "new", "demo"),  # above; no input of it could be missing
    }


def test_work_imports_what_it_needs_and_no_more(shop, files, pipeline, tmp_path):
    needs = {  # in an order in which each needs everything that the commands before it need
        "recommend": ["recommend", shop / "beam", "--history", "none"],
        "evaluate": ["evaluate", shop / "beam", "--split", "test"],
        "train": [
            *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
            *("--catalog", shop / "catalog", "--out", tmp_path / "run"),
        ],
        "embed": ["embed", shop / "dataset", "--dim", 8, "--out", tmp_path / "vectors.npy"],
        "tokenize": [
            *("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy"),
            *("--codebook-sizes", "4,4,16", "--out", tmp_path / "catalog"),
        ],
        # A rehearsal tokenizes and trains a little, to estimate the time of all steps.
        "run": ["run", pipeline, "--dry-run"],
        "inspect": ["inspect", shop / "catalog", "--dataset", shop / "dataset"],
    }
    added = {
        "recommend": {"torch"},
        "evaluate": set(),
        "train": {"accelerate"},
        "embed": {"sklearn", "scipy"},
        "tokenize": set(),
        "run": set(),
        "inspect": {"jinja2"},
    }
    allowed: set[str] = set()
    for (name, command), (code, packages, _, said) in zip(
        needs.items(), imported(*needs.values()), strict=True
    ):
        allowed |= added[name]
        assert code == 0, (command, said)
        assert packages & HEAVY <= allowed, f"{name} imports {packages & HEAVY - allowed}"
