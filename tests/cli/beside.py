"""Models that are trained beside a run: their command, and checks that hold for every kind."""

import json
import shutil
import signal
from pathlib import Path

import torch
from safetensors.torch import load_file

import sidestep
from tests.cli.commands import call, refused, run


def training(shop: Path, config: Path, out: Path, *more: object) -> tuple[object, ...]:
    """The command that trains with a configuration of the shop."""
    return ("train", "--config", config, "--dataset", shop / "dataset", "--out", out, *more)


def measured(folder, *how):
    """Result of `sidestep evaluate`."""
    return json.loads(run("evaluate", folder, *how, "--json"))


def listed(run_folder, *options):
    """The items of one answer."""
    asked = ("recommend", run_folder, "--history", "item-1,item-2", "--json")
    return [item["item_id"] for item in json.loads(run(*asked, *options))["items"]]


def assert_recommends_as_its_backbone_does(shop, folder, *, seed):
    """A model beside the run `beam` changes no list unless the search uses the model."""
    ours, before = (load_file(of / "bundle/model.safetensors") for of in (folder, shop / "beam"))
    assert all(torch.equal(ours[name], before[name]) for name in before)
    plain = [measured(of, "--beams", 20) for of in (folder, shop / "beam")]
    assert plain[0]["metrics"] == plain[1]["metrics"]
    assert plain[0]["setting"] == plain[1]["setting"]
    assert plain[0]["train_s"] > plain[1]["train_s"]
    assert [line["seed"] for line in plain] == [seed, 0]
    assert sidestep.load(folder).manifest.training["backbone"]["seed"] == 0


def assert_ends_the_same_after_an_interruption(command, whole, parts, weights, monkeypatch):
    """Ctrl-C leaves no bundle; the same command then makes the bundle of an uninterrupted run."""

    def interrupting(progress):
        if progress.step == 3:
            signal.raise_signal(signal.SIGINT)
        return "working"

    # A process started in the background may ignore Ctrl-C, and training respects that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("sidestep.cli.console.training_bar._described", interrupting)
            assert call(*command).exit_code == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (parts / "bundle").exists()
    run(*command)
    expected, found = (load_file(folder / "bundle" / weights) for folder in (whole, parts))
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def assert_tells_sizes_in_a_dry_run(command, whole, weights):
    """A dry run tells the sizes of the real run, and writes nothing."""
    told = json.loads(run(*command, "--dry-run", "--json"))
    kept = load_file(whole / "bundle" / weights)
    assert told["parameters"] == sum(tensor.numel() for tensor in kept.values())
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert told["steps"] == max(line.get("step", 0) for line in lines)
    assert not Path(command[command.index("--out") + 1]).exists()


MISFITS = [
    (("--set", "backbone=nowhere"), "backbone: there is no nowhere, seen from this file"),
    (("--catalog", "other"), "leave the option out"),
    (("--dataset", "elsewhere"), "the bundle was trained on another dataset"),
    (("--out", "beam"), "is the backbone's own folder; choose another one for --out"),
]
"""Options, in a copy of the shop's folder, that fit no kind of model, and words of the refusal."""


def assert_refuses_before_anything_is_written(shop, config, folder, monkeypatch, more, words):
    """Options that do not fit are refused, in a copy of the shop with the files that they name."""
    shutil.copytree(shop, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    (folder / "popularity.yaml").write_text("kind: popularity")
    if "backbone=popularity" in more:
        dataset = ("--dataset", "dataset", "--out", "popularity")
        run("train", "--config", "popularity.yaml", *dataset)
    if "other" in more:
        codes = ("--codebook-sizes", "4,4,17", "--out", "other")
        run("tokenize", "dataset", "--vectors", "vectors.npy", *codes)
    if "elsewhere" in more:
        shutil.copytree("dataset", "elsewhere")
        run("data", "split", "elsewhere", "--strategy", "global-time")
    before = sorted(folder.rglob("*"))
    local = ("--set", f"backbone={folder / 'beam'}")
    message = refused(*training(folder, config, folder / "run"), *local, *more)
    assert words in message, message
    assert sorted(folder.rglob("*")) == before
