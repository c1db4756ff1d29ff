"""Every "Next: ..." works as it is printed, even if the name of a folder has a blank."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from sidestep.catalog.catalog import Catalog
from sidestep.cli.console.next_step import evaluation_of, recommendation_by
from sidestep.data.histories import Histories
from sidestep.data.names import split_names
from sidestep.data.splits import leave_one_out
from sidestep.notices import command
from tests.cli.commands import call, run

SMALL = (
    *("--set", "model.dim=16", "--set", "model.num_layers=1", "--set", "training.epochs=1"),
    *("--set", "validation.num_users=20"),
)


def following(done):
    """Arguments of the next command that a command suggests, without "sidestep"."""
    assert done.exit_code == 0, (done.output, done.exception)
    [line] = [line for line in done.stderr.splitlines() if "Next: " in line]
    program, *words = shlex.split(line.partition("Next: ")[2])
    assert program == "sidestep"
    return words


def test_a_command_is_quoted_as_a_shell_needs_it():
    words = ("embed", "My Shop/it's", "--out", "v.npy")
    assert shlex.split(command(*words)) == ["sidestep", *words]


@pytest.mark.parametrize("has_texts", [True, False])
def test_the_way_from_an_import_to_an_evaluation_can_be_walked_as_printed(
    files, tmp_path, has_texts
):
    table = ("import", "table", files / "events.csv", "--user", "user", "--item", "sku")
    texts = ("--items", files / "products.csv") if has_texts else ()
    words = following(call(*table, "--time", "at", *texts, "--out", tmp_path / "My Shop" / "data"))
    assert words[0] == "embed"
    assert ("--collaborative" in words) != has_texts
    assert following(call("data", "stats", tmp_path / "My Shop" / "data")) == words
    for name in ("tokenize", "train"):
        words = following(call(*words))
        assert words[0] == name
    words = following(call(*words, *SMALL))
    assert words[0] == "evaluate"
    run(*words)


def test_without_texts_and_pairs_there_is_nothing_to_embed(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id\na,x\nb,y\nc,x\n")
    words = following(call("import", "table", tmp_path / "events.csv", "--out", tmp_path / "d"))
    assert words == ["data", "stats", str(tmp_path / "d")]


def test_what_changes_a_bundle_says_how_to_ask_it(shop, tmp_path):
    retire = ("retire", shop / "beam", "--items", "item-1", "--out", tmp_path / "a b" / "retired")
    answer = run(*following(call(*retire)))
    assert "Recommended" in answer
    assert "item-1 " not in answer.partition("Recommended")[2]


def test_an_example_of_a_history_names_one_item_whatever_its_id_holds():
    codes = np.arange(1, dtype=np.int32)[:, None]
    for item_id, shown in (("red mug", "'red mug'"), ("a,b", "'\"a,b\"'"), (" c", "'\" c\"'")):
        catalog = Catalog.build([item_id], codes, (1,))
        said = recommendation_by(Path("run"), catalog)
        assert said == f"sidestep recommend run --history {shown}"
        assert split_names(shlex.split(said)[-1]) == [item_id]


def test_a_run_without_rows_to_choose_by_is_not_sent_to_evaluate(tmp_path):
    histories = Histories(
        items=np.array([0, 1]), offsets=np.array([0, 2]), user_ids=("a",), timestamps=None
    )
    catalog = Catalog.build(["x", "y"], np.arange(2, dtype=np.int32)[:, None], (2,))
    then = evaluation_of(Path("run"), leave_one_out(histories), catalog)
    assert then == "sidestep recommend run --history x"
