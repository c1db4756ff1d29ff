import json
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import sidestep
from sidestep.cli.main import MISTAKE
from sidestep.evaluation.results import read as read_lines
from sidestep.training.checkpoint import checkpoints
from tests.cli.commands import call, refused, run


def trained(shop, files, out, *more):
    return (
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", "--out", out, *more),
    )


def test_a_table_comes_through_import_as_a_dataset(shop):
    description = json.loads((shop / "dataset" / "dataset.json").read_text())
    assert description["name"] == "shop"
    assert description["stats"]["users"] == 80


def test_a_run_folder_holds_what_was_asked_and_what_came_out(shop):
    names = {path.name for path in (shop / "beam").iterdir()}
    assert {"config.yaml", "run.json", "log.jsonl", "bundle", "evaluations"} <= names


def test_the_kept_configuration_trains_the_same_network(shop, files, tmp_path):
    run(
        *("train", "--config", shop / "beam" / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", "--out", tmp_path / "again"),
    )
    name = "bundle/model.safetensors"
    first, second = load_file(shop / "beam" / name), load_file(tmp_path / "again" / name)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_seed_trains_another_network(shop, files, tmp_path):
    run(*trained(shop, files, tmp_path / "seed-1", "--seed", 1))
    name = "bundle/model.safetensors"
    first, second = load_file(shop / "beam" / name), load_file(tmp_path / "seed-1" / name)
    assert not torch.equal(first["head.weight"], second["head.weight"])


def test_every_kind_is_trained_evaluated_and_compared(shop, files, tmp_path):
    for kind in ("sasrec", "popularity"):
        config = tmp_path / f"{kind}.yaml"
        config.write_text(f"kind: {kind}\nmax_history: 10\n")
        small = ("--set", "model.dim=8", "--set", "training.epochs=1") if kind == "sasrec" else ()
        out = tmp_path / kind
        run("train", "--config", config, "--dataset", shop / "dataset", "--out", out, *small)
        run("evaluate", out, "--split", "test")
    runs = (tmp_path / "popularity", tmp_path / "sasrec", shop / "beam")
    methods = json.loads(
        run("compare", *runs, "--split", "test", "--reference", "sasrec", "--json")
    )
    assert [method["method"] for method in methods] == ["popularity", "sasrec", "beam"]
    assert 0 < methods[2]["tests"]["NDCG@10"]["p_value"] <= 1
    assert "popularity" in run("compare", *runs, "--split", "test")
    # An evaluation on fewer users is left out unless it is asked for.
    run("evaluate", tmp_path / "sasrec", "--split", "test", "--users", 20)
    assert len(json.loads(run("compare", *runs, "--split", "test", "--json"))) == 3
    [few] = json.loads(
        run("compare", tmp_path / "sasrec", "--split", "test", "--users", 20, "--json")
    )
    assert few["num_users"] == 20
    # A number above that of all users means all users, in comparisons and in evaluations.
    run("evaluate", tmp_path / "sasrec", "--split", "test", "--users", 500)
    [every] = json.loads(
        run("compare", tmp_path / "sasrec", "--split", "test", "--users", 500, "--json")
    )
    assert every["num_users"] == 80


def test_evaluate_writes_one_line_of_the_results_file(shop, tmp_path):
    results = tmp_path / "quality.jsonl"
    arguments = ("evaluate", shop / "beam", "--users", 40, "--beams", 20, "--results", results)
    done = call(*arguments, "--json")
    assert done.exit_code == 0, done.output
    [line] = read_lines(results)
    assert (line.method, line.split, line.seed) == ("beam", "validation", 0)
    assert (line.setting.history, line.setting.codes) == ("items@10", "catalog")
    assert (line.setting.beams, line.setting.users) == (20, 40)
    assert line.metrics["invalid_rate"] == 0
    assert json.loads(done.stdout)["metrics"] == line.metrics


def test_a_wide_beam_finds_what_the_exhaustive_search_finds(shop):
    found = [
        json.loads(run("evaluate", shop / "beam", *how, "--json"))["metrics"]["NDCG@10"]
        for how in (("--beams", 64), ("--search", "exhaustive"))
    ]
    assert found[0] == pytest.approx(found[1])


def test_only_the_selected_setting_sees_the_test_rows(shop, tmp_path):
    message = refused(
        "evaluate", shop / "beam", "--split", "test", "--results", tmp_path / "q.jsonl"
    )
    assert "--selected" in message
    assert not (tmp_path / "q.jsonl").exists()


def test_recommend_speaks_in_words_and_in_json(shop):
    words = run("recommend", shop / "beam", "--user", "user-3", "--dataset", shop / "dataset")
    assert "Recommended" in words
    answer = json.loads(
        run("recommend", shop / "beam", "--history", "item-1,nothing,item-2", "--k", 4, "--json")
    )
    assert len(answer["items"]) == 4
    assert answer["unknown_items"] == 1
    assert answer["score_kind"] == "log_prob"
    [same] = sidestep.load(shop / "beam").recommend([["item-1", "item-2"]], k=4)
    assert [item["item_id"] for item in answer["items"]] == same.item_ids


@pytest.fixture
def interruptible():
    """A process started in the background may ignore Ctrl-C, and training respects that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_same_command_after_an_interruption_continues_and_ends_the_same(
    shop, files, tmp_path, monkeypatch
):
    longer = ("--set", "training.epochs=2", "--set", "training.batch_size=16")
    run(*trained(shop, files, tmp_path / "whole", *longer))

    # Ctrl-C arrives while the third step is reported.
    def interrupting(progress):
        if progress.step == 3:
            signal.raise_signal(signal.SIGINT)
        return "working"

    with monkeypatch.context() as patch:
        patch.setattr("sidestep.cli.console.training_bar._described", interrupting)
        stopped = call(*trained(shop, files, tmp_path / "parts", *longer))
    assert stopped.exit_code == 130, stopped.output
    assert "same command again" in " ".join(stopped.stderr.split())
    assert checkpoints(tmp_path / "parts")
    assert not (tmp_path / "parts" / "bundle").exists()
    run(*trained(shop, files, tmp_path / "parts", *longer))
    name = "bundle/model.safetensors"
    whole, parts = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_folder_in_which_another_process_trains_is_refused(shop, files, tmp_path):
    again = trained(shop, files, tmp_path / "run")
    second = []

    def beside(progress):
        if not second:
            command = [sys.executable, "-m", "sidestep", *map(str, again)]
            second.append(subprocess.run(command, capture_output=True, text=True, check=False))
        return "working"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sidestep.cli.console.training_bar._described", beside)
        run(*again)
    assert second[0].returncode == MISTAKE
    assert f"{tmp_path / 'run'}: another process is training here" in second[0].stderr
    run(*again)  # the first run has ended


def test_without_a_terminal_each_epoch_is_a_line(shop, files, tmp_path):
    done = call(*trained(shop, files, tmp_path / "run", "--set", "training.epochs=2"))
    lines = [line for line in done.stderr.splitlines() if line.startswith("transformer: epoch")]
    assert len(lines) == 2
    assert "epoch 2/2 · loss" in lines[1]
    assert "NDCG@10" in lines[1]


def test_lines_that_may_be_copied_are_left_whole(shop, files, tmp_path):
    out = tmp_path / ("long-" * 30)
    done = call(*trained(shop, files, out))
    assert f"Wrote {out / 'bundle'}. Next: sidestep evaluate {out}" in done.stderr.splitlines()
    message = call("evaluate", out / "nowhere").stderr.splitlines()
    assert len(message) == 1


def test_a_user_is_looked_up_in_the_dataset_of_the_run(shop):
    asked = ("recommend", shop / "beam", "--user", "user-3", "--json")
    assert run(*asked) == run(*asked, "--dataset", shop / "dataset")


def test_recommend_says_when_it_gives_less_than_was_asked_for(shop):
    done = call("recommend", shop / "beam", "--history", "nothing", "--k", 9, "--beams", 2)
    assert done.exit_code == 0, done.output
    assert "nothing of the history is known" in done.stderr
    assert "of 9 items were found; more --beams" in done.stderr


def test_recommend_says_so_where_a_short_list_is_all_there_can_be(shop, tmp_path):
    (tmp_path / "stock.txt").write_text("item-1\nitem-2\nitem-5\n")
    asked = ("recommend", shop / "beam", "--history", "item-5", "--available")
    few = call(*asked, tmp_path / "stock.txt", "--exclude-seen").stderr
    assert "2 of 10 items were found, which are all that may be recommended." in few
    none = call(*asked, tmp_path / "stock.txt", "--exclude", "item-1,item-2,item-5").stderr
    assert "every item of the catalog is left out, so there is none to recommend." in none
    assert "--beams" not in few + none
    said = call(*asked, tmp_path / "stock.txt", "--exclude", "item-1,itme-2").stderr
    assert "--exclude names what is no item of the catalog: itme-2." in said


def test_training_warns_of_rows_to_validate_that_are_not_there(tmp_path):
    (tmp_path / "events.csv").write_text(
        "user_id,item_id\n" + "".join(f"u{user},i{user % 3}\nu{user},i9\n" for user in range(9))
    )
    run("import", "table", tmp_path / "events.csv", "--out", tmp_path / "dataset")
    (tmp_path / "config.yaml").write_text("kind: sasrec\ntraining: {epochs: 1}\nmodel: {dim: 8}\n")
    done = call(
        *("train", "--config", tmp_path / "config.yaml", "--dataset", tmp_path / "dataset"),
        *("--out", tmp_path / "run"),
    )
    assert "there are no validation rows" in done.stderr
    assert "keeps the last weights" in done.stderr


def test_a_folder_with_another_run_is_refused(shop, files):
    message = refused(*trained(shop, files, shop / "beam", "--set", "model.dim=32"))
    assert "another run" in message
    assert "already" in message or "resume" in message
