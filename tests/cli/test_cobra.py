"""COBRA by commands: trained, searched by BeamFusion and by every search over codes, and kept."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

import sidestep
from sidestep.data.dataset import Dataset
from tests.cli.beside import listed, measured, training
from tests.cli.commands import refused, run

CONFIG = """\
kind: cobra
embeddings: {vectors}
max_history: 10
model: {{dim: 16, num_layers: 1, num_heads: 2}}
training: {{epochs: 1, batch_size: 16}}
validation: {{num_users: 20, num_beams: 5}}
"""


@pytest.fixture(scope="module")
def command(shop, tmp_path_factory):
    """The command that trains a COBRA over the semantic IDs of the shop."""
    out = tmp_path_factory.mktemp("cobra")
    (out / "cobra.yaml").write_text(CONFIG.format(vectors=shop / "vectors.npy"))
    return (*training(shop, out / "cobra.yaml", out / "run"), "--catalog", shop / "catalog")


@pytest.fixture(scope="module")
def trained(command):
    """The run of the command."""
    run(*command)
    return command[command.index("--out") + 1]


def test_the_bundle_keeps_the_vectors_and_the_search_that_validation_chose(shop, trained):
    loaded = sidestep.load(trained, device="cpu")
    assert loaded.kind == "cobra"
    assert loaded.network.config.vector_dim == 8
    vectors = torch.from_numpy(np.load(shop / "vectors.npy"))
    given = torch.nn.functional.normalize(vectors, dim=1)
    torch.testing.assert_close(loaded.network.item_vectors, given)
    scores = loaded.manifest.training["searches"]
    assert len(scores) == 6
    kept = loaded.manifest.search
    assert scores[kept.in_words] == max(scores.values())
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert set(log[0]["parts"]) == {"code_1", "code_2", "dense"}
    assert len(loaded.similar("item-1", k=3)) == 3


def test_a_wide_search_finds_every_item_in_the_order_of_the_kept_search(trained):
    loaded = sidestep.load(trained, device="cpu")
    every = loaded.catalog.ids_of(np.arange(loaded.catalog.num_items))
    fused = ("--search", "beam-fusion", "--beams", 400)
    wide = listed(trained, *fused, "-k", len(every))
    assert sorted(wide) == sorted(every)
    kept = loaded.manifest.search
    asked = [f"--search-option={name}={value}" for name, value in kept.options.items()]
    assert listed(trained, *fused, *asked, "-k", 10) == listed(trained, "--beams", 400, "-k", 10)
    plain = listed(trained, "--search", "beam", "--beams", 400, "-k", 10)
    assert listed(trained, "--search", "exhaustive", "-k", 10) == plain
    assert listed(trained, *fused, "--search-option=among=prefix", "-k", 10) == plain
    # Only the ratio of the two weights changes a ranking.
    halves = ("--search-option", "tau=0.5", "--search-option", "psi=0.5")
    assert listed(trained, *fused, *halves, "-k", 10) == wide[:10]


def test_what_is_measured_names_the_search_and_nothing_is_invalid(trained):
    told = measured(trained, "--search", "beam-fusion", "--beams", 8, "--search-option", "psi=2")
    assert told["metrics"]["invalid_rate"] == 0
    assert told["setting"]["search_options"] == "psi=2"
    assert told["method"] == "beam-fusion"
    assert told["flops_per_user"] > 0


def test_a_list_holds_no_seen_item_where_they_are_left_out(trained):
    assert {"item-1", "item-2"} <= set(listed(trained, "-k", 60))
    assert not {"item-1", "item-2"} & set(listed(trained, "--exclude-seen", "-k", 58))


def test_a_policy_that_began_as_a_cobra_is_improved_as_any_other(trained, tmp_path):
    few = ("--set", "validation.num_users=20", "--set", "objective.num_prompts=32")
    run("align", trained, "--recipe", "grpo-beam", "--out", tmp_path / "better", *few)
    before, after = (
        load_file(folder / "bundle/model.safetensors") for folder in (trained, tmp_path / "better")
    )
    moved = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert {"encoder", "head", "blocks"} <= moved
    assert "item_vectors" not in moved


def test_an_appended_item_is_read_by_the_vector_of_its_text(shop, trained, tmp_path):
    old = Dataset.load(shop / "dataset").items.frame.head(1)
    old.with_columns(item_id=pl.lit("new-1")).write_csv(tmp_path / "new.csv")
    run("append", trained, "--items", tmp_path / "new.csv", "--out", tmp_path / "grown")
    grown = sidestep.load(tmp_path / "grown", device="cpu").network.item_vectors
    assert len(grown) == len(sidestep.load(trained, device="cpu").network.item_vectors) + 1
    torch.testing.assert_close(grown[-1], grown[0], atol=1e-5, rtol=1e-5)


def test_a_dry_run_tells_the_parameters_without_the_given_vectors(command, trained, tmp_path):
    dry = [*command]
    dry[dry.index("--out") + 1] = tmp_path / "dry"
    told = json.loads(run(*dry, "--dry-run", "--json"))
    network = sidestep.load(trained, device="cpu").network
    assert told["parameters"] == sum(weights.numel() for weights in network.parameters())
    assert not (tmp_path / "dry").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--set", "model.vector_dim=7"), "model.vector_dim is 7, but the vectors of"),
        (("--set", "embeddings=nowhere.npy"), "embeddings: there is no nowhere.npy"),
        (("--catalog", "flat"), "needs semantic IDs of at least two codes"),
        (("--catalog", "sets"), "the codes of this catalog are sets"),
    ],
)
def test_what_makes_no_cobra_is_refused_before_anything_is_written(
    shop, command, tmp_path, options, words
):
    given = [*command]
    given[given.index("--out") + 1] = tmp_path / "run"
    if "--catalog" in options:
        how = {
            "flat": ("--codebook-sizes", 16),
            "sets": ("--codebook-sizes", "4,4,8", "--method", "opq", "--space", "sets"),
        }[options[1]]
        vectors = ("--vectors", shop / "vectors.npy", "--collisions", "none")
        given[given.index("--catalog") + 1] = tmp_path / "catalog"
        run("tokenize", shop / "dataset", *vectors, *how, "--out", tmp_path / "catalog")
        options = ()
    message = refused(*given, *options)
    assert words in message, message
    assert not (tmp_path / "run").exists()


def test_an_export_to_a_language_model_is_refused(trained, tmp_path):
    assert "no token stands for it" in refused("export", trained, "--out", tmp_path / "llama")
