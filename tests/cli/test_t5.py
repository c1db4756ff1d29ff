"""An encoder-decoder over semantic IDs by commands: trained, measured, asked and improved."""

import numpy as np
import pytest

import sidestep
from tests.cli.beside import listed, measured, training
from tests.cli.commands import refused, run

CONFIG = """\
kind: t5
max_history: 10
model: {dim: 16, num_layers: 1, num_heads: 2}
training: {epochs: 1, batch_size: 16}
validation: {num_users: 20, num_beams: 5}
"""


@pytest.fixture(scope="module")
def trained(shop, tmp_path_factory):
    """A run of a T5 over the semantic IDs of the shop."""
    out = tmp_path_factory.mktemp("t5")
    (out / "t5.yaml").write_text(CONFIG)
    run(*training(shop, out / "t5.yaml", out / "run"), "--catalog", shop / "catalog")
    return out / "run"


def test_a_wide_beam_of_an_encoder_decoder_finds_every_item_as_the_exhaustive_search_does(trained):
    loaded = sidestep.load(trained, device="cpu")
    assert loaded.kind == "semantic-id-t5"
    every = loaded.catalog.ids_of(np.arange(loaded.catalog.num_items))
    wide = listed(trained, "--beams", 400, "-k", len(every))
    assert sorted(wide) == sorted(every)
    assert listed(trained, "--search", "exhaustive", "-k", 10) == wide[:10]
    assert measured(trained, "--beams", 5)["metrics"]["invalid_rate"] == 0


def test_an_encoder_decoder_goes_on_with_the_objective_of_its_training(trained, tmp_path):
    out = tmp_path / "sft"
    few = ("--set", "validation.num_users=20", "--set", "objective.num_prompts=32")
    run("align", trained, "--recipe", "sft-continued", "--out", out, *few)
    assert sidestep.load(out, device="cpu").kind == "semantic-id-t5"


def test_sets_and_what_only_other_networks_have_are_refused(shop, trained, tmp_path):
    (tmp_path / "t5.yaml").write_text(CONFIG)
    train = training(shop, tmp_path / "t5.yaml", tmp_path / "run")
    run(
        *("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy", "--method", "opq"),
        *("--codebook-sizes", "8,8,8,16", "--space", "sets", "--out", tmp_path / "sets"),
    )
    message = refused(*train, "--catalog", tmp_path / "sets")
    assert "a run of kind t5 needs codes in an order" in message
    assert "a run of kind t5 needs semantic IDs: give --catalog" in refused(*train)
    assert "this semantic-id-t5 has neither" in refused(
        "evaluate", trained, "--search", "item-head"
    )
