"""A run finds its dataset from any working folder, and after it was moved."""

import json
import os
import shutil
from pathlib import Path

import pytest

from sidestep.data.dataset import Dataset
from sidestep.runs.config import read_config
from sidestep.runs.diagnosed_run import DiagnosedRun
from sidestep.runs.folder import RunFolder
from sidestep.runs.plain_yaml import read_yaml
from tests.cli.commands import call, refused, run


@pytest.fixture(scope="module")
def moved(shop, tmp_path_factory):
    """The shop somewhere else, with a run of popularity that was trained by relative paths."""
    folder = tmp_path_factory.mktemp("moved") / "shop"
    shutil.copytree(shop, folder)
    (folder / "popularity.yaml").write_text("kind: popularity\n")
    before = Path.cwd()
    os.chdir(folder.parent)
    try:
        run(
            *("train", "--config", "shop/popularity.yaml", "--dataset", "shop/dataset"),
            *("--out", "shop/popularity"),
        )
    finally:
        os.chdir(before)
    return folder


def test_the_files_of_a_run_name_paths_from_its_folder(moved):
    info = json.loads((moved / "popularity/run.json").read_text())
    assert info["dataset"] == "../dataset"
    assert info["catalog"] is None


@pytest.mark.parametrize("name", ["popularity", "beam"])
@pytest.mark.parametrize("place", [".", "..", "beam/bundle"])
def test_a_run_finds_its_dataset_from_anywhere(moved, monkeypatch, place, name):
    monkeypatch.chdir(moved / place)
    folder = RunFolder(Path(os.path.relpath(moved / name)))
    assert folder.dataset().resolve() == moved / "dataset"
    assert not folder.dataset().is_absolute()
    run("evaluate", folder.path, "--users", 20)
    run("compare", folder.path, "--split", "validation", "--users", 20)


def test_each_command_asks_the_run(moved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    beam = os.path.relpath(moved / "beam")
    user = Dataset.load(moved / "dataset").histories().user_ids[0]
    own = Dataset.load(RunFolder(Path(beam)).dataset())
    told = json.loads(run("recommend", beam, "--user", user, "--json"))
    assert told["unknown_items"] == 0
    assert DiagnosedRun.open(Path(beam), own, "test").data.name == "shop"
    run("scale", beam, "--users", 20, "--dry-run")
    run("prefer", beam, "--out", "preferred", "--dry-run")


def test_a_run_that_was_copied_alone_finds_the_dataset_where_it_was(shop, tmp_path):
    shutil.copytree(shop / "beam", tmp_path / "beam")
    assert RunFolder(tmp_path / "beam").dataset() == shop / "dataset"


def test_a_dataset_that_is_gone_is_told_with_the_file_that_names_it(moved, tmp_path):
    shutil.copytree(moved / "popularity", tmp_path / "popularity")
    file = tmp_path / "popularity/run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "folder": "/gone"}))
    for command in (("evaluate",), ("scale",), ("recommend", "--user", "u")):
        message = refused(command[0], tmp_path / "popularity", *command[1:])
        assert f"{file}: names the dataset {tmp_path / 'dataset'}, which is not there" in message
        assert "give the dataset's folder with --dataset" in message
    run("evaluate", tmp_path / "popularity", "--dataset", moved / "dataset")


def test_a_run_of_an_older_version_is_seen_from_where_it_was_trained(moved, monkeypatch):
    folder = moved.parent / "old"
    shutil.copytree(moved / "popularity", folder, dirs_exist_ok=True)
    info = {"dataset": "shop/dataset", "catalog": None, "seed": 0}
    (folder / "run.json").write_text(json.dumps(info))
    monkeypatch.chdir(moved.parent)
    run("evaluate", "old")
    monkeypatch.chdir(moved)
    message = refused("evaluate", "../old")
    assert "../old/run.json: names the dataset shop/dataset, which is not there from the" in message
    assert "call the command there, or give the dataset's folder with --dataset" in message


def test_what_a_configuration_names_is_seen_from_its_file(moved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = moved / "value.yaml"
    file.write_text("kind: value\nbackbone: beam\nembeddings: vectors.npy\n")
    assert Path(read_config(file).backbone).resolve() == moved / "beam"
    train = ("train", "--config", file, "--dataset", moved / "dataset", "--out", "value")
    run(*train, "--dry-run")
    monkeypatch.chdir(moved)  # paths from the working folder, as in the repository's configurations
    Path("inner").mkdir()
    shutil.copy(file, "inner/value.yaml")
    assert read_config(Path("inner/value.yaml")).backbone == "beam"
    file.write_text("kind: value\nbackbone: gone\nembeddings: vectors.npy\n")
    message = refused(*train)
    assert f"{file}: backbone: there is no gone, seen from this file or from the" in message
    run(*train, "--dry-run", "--set", "backbone=beam")


def test_a_further_run_names_its_backbone_from_its_own_folder(moved, monkeypatch):
    monkeypatch.chdir(moved)
    quick = ("--set", "training.max_seconds=0.01", "--set", "validation.num_users=10")
    run("prefer", "beam", "--out", "preferred", *quick)
    assert read_yaml(Path("preferred/config.yaml"))["backbone"] == "../beam"
    monkeypatch.chdir(moved.parent)
    assert read_config(Path("shop/preferred/config.yaml")).backbone == "shop/beam"
    again = call("prefer", "shop/beam", "--out", "shop/preferred", *quick, "--dry-run")
    assert again.exit_code == 0, again.output
