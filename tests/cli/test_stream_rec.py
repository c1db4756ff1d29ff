"""STREAM-Rec by commands: trained, searched as any other network over codes, and improved."""

import numpy as np
import pytest

import sidestep
from tests.cli.beside import listed, measured, training
from tests.cli.commands import refused, run

CONFIG = """\
kind: stream-rec
max_history: 10
model: {dim: 16, num_layers: 1, num_heads: 2, num_thoughts: 3}
training: {epochs: 1, batch_size: 16}
validation: {num_users: 20, num_beams: 5}
"""


@pytest.fixture(scope="module")
def trained(shop, tmp_path_factory):
    """A run of STREAM-Rec over the semantic IDs of the shop."""
    out = tmp_path_factory.mktemp("stream-rec")
    (out / "stream-rec.yaml").write_text(CONFIG)
    run(*training(shop, out / "stream-rec.yaml", out / "run"), "--catalog", shop / "catalog")
    return out / "run"


def test_a_wide_beam_after_thoughts_finds_every_item_as_the_exhaustive_search_does(trained):
    loaded = sidestep.load(trained, device="cpu")
    assert loaded.kind == "stream-rec"
    assert loaded.network.config.num_thoughts == 3
    every = loaded.catalog.ids_of(np.arange(loaded.catalog.num_items))
    wide = listed(trained, "--beams", 400, "-k", len(every))
    assert sorted(wide) == sorted(every)
    assert listed(trained, "--search", "exhaustive", "-k", 10) == wide[:10]
    drawn = ("--search", "sampling", "-k", 10)
    assert listed(trained, *drawn) == listed(trained, *drawn)
    assert measured(trained, "--beams", 5)["metrics"]["invalid_rate"] == 0


@pytest.mark.parametrize("recipe", ["sft-continued", "grpo-beam"])
def test_a_network_that_thinks_is_improved_as_any_other(trained, tmp_path, recipe):
    few = ("--set", "validation.num_users=20", "--set", "objective.num_prompts=32")
    run("align", trained, "--recipe", recipe, "--out", tmp_path / "better", *few)
    better = sidestep.load(tmp_path / "better", device="cpu")
    assert better.kind == "stream-rec"
    before = sidestep.load(trained, device="cpu").network.state_dict()
    after = better.network.state_dict()
    moved = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert "decoder_blocks" in moved
    # What makes traces learns where traces are learned, and stays elsewhere.
    assert ("to_residual" in moved) == (recipe == "sft-continued")


def reward_stage(shop, folder, backbone):
    """The command of the reward stage."""
    (folder / "reward.yaml").write_text(
        f"""\
kind: stream-rec-reward
backbone: {backbone}
objective: {{group_size: 2, num_prompts: 32, num_negatives: 8}}
training: {{epochs: 1, batch_size: 16}}
validation: {{num_users: 20, num_beams: 5}}
"""
    )
    return training(shop, folder / "reward.yaml", folder / "better")


def test_the_reward_stage_goes_on_from_a_run_that_thinks(shop, trained, tmp_path):
    run(*reward_stage(shop, tmp_path, trained))
    better = sidestep.load(tmp_path / "better", device="cpu")
    assert better.kind == "stream-rec"
    before = sidestep.load(trained, device="cpu").network.state_dict()
    after = better.network.state_dict()
    moved = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert {"decoder_blocks", "encoder_blocks", "code_embedding"} <= moved
    assert not {"to_residual", "to_state"} & moved
    assert len(listed(tmp_path / "better", "-k", 5)) == 5


def test_the_reward_stage_refuses_a_network_that_does_not_think(shop, tmp_path):
    message = refused(*reward_stage(shop, tmp_path, shop / "beam"))
    assert "name a run of kind stream-rec, which this run improves" in message
    assert not (tmp_path / "better" / "bundle").exists()
