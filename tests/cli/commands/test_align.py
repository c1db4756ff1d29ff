"""Reinforcement learning and preference training by commands, up to bundles that recommend."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sidestep
from sidestep.catalog.catalog import Catalog
from sidestep.runs.plan_parts import refuse_lone_leaf
from tests.cli.beside import assert_ends_the_same_after_an_interruption, measured
from tests.cli.commands import call, refused, run

SMALL = (
    *("--set", "training.batch_size=16", "--set", "training.log_every=2"),
    *("--set", "validation.num_users=20", "--set", "validation.num_beams=10"),
    *("--set", "objective.num_prompts=96"),
)


def aligning(backbone, out, *more):
    """The command with rollouts of six beams."""
    beams = "objective.rollouts={search: beam, num_beams: 6}"
    recipe = ("--recipe", "grpo-beam", "--set", beams)
    return ("align", backbone, "--out", out, *recipe, *SMALL, *more)


def lines_of(folder, kind):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def with_values(shop, backbone, folder):
    """A run with a value head beside a network."""
    file = folder / "value.yaml"
    file.write_text(
        f"""\
kind: value
backbone: {backbone}
embeddings: {shop}/vectors.npy
model: {{num_heads: 2}}
training: {{epochs: 1, batch_size: 64}}
validation: {{num_users: 20, num_beams: 5}}
"""
    )
    run("train", "--config", file, "--dataset", shop / "dataset", "--out", folder / "value")
    return folder / "value"


@pytest.fixture(scope="module")
def valued(shop, tmp_path_factory):
    return with_values(shop, shop / "beam", tmp_path_factory.mktemp("valued"))


@pytest.fixture(scope="module")
def headed(shop, files, tmp_path_factory):
    """A run whose network has an item head."""
    return with_head(shop, files, tmp_path_factory.mktemp("headed") / "headed", seed=0)


def with_head(shop, files, out, *, seed):
    head = ("--set", "model.item_head=true", "--set", "objective.item_weight=1.0")
    run(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", "--out", out, "--seed", seed, *head),
    )
    return out


@pytest.fixture(scope="module")
def aligned(shop, tmp_path_factory):
    out = tmp_path_factory.mktemp("aligned") / "grpo"
    run(*aligning(shop / "beam", out, "--seed", 3))
    return out


def test_the_policy_moves_and_recommends_by_itself(shop, aligned):
    ours, before = (load_file(of / "bundle/model.safetensors") for of in (aligned, shop / "beam"))
    assert ours.keys() == before.keys()
    assert any(not torch.equal(ours[name], before[name]) for name in before)
    loaded = sidestep.load(aligned)
    assert loaded.manifest.training["backbone"]["seed"] == 0
    assert loaded.manifest.seed == 3
    assert measured(aligned, "--beams", 10)["setting"]["search"] == "beam"


def test_the_log_tells_of_rollouts_and_of_whole_lists(aligned):
    parts = lines_of(aligned, "step")[0]["parts"]
    told = {"reward", "best_reward", "reward_range", "zero_advantage", "found", "matched", "kl"}
    assert told | {"entropy_1", "clipped", "diversity", "tokens"} <= set(parts)
    assert 0 < parts["zero_advantage"] < 1
    assert {"HR@1", "HR@10", "NDCG@10", "coverage"} <= set(lines_of(aligned, "epoch")[0]["metrics"])


def test_who_watches_sees_rollouts_and_how_lists_change(shop, tmp_path):
    told = call(*aligning(shop / "beam", tmp_path / "watched")).stderr
    line = next(line for line in told.splitlines() if "epoch 1/1" in line)
    parts = [part.strip() for part in line.split("·")]
    names = [re.sub(r"\d[\d.,e+-]*", "N", part) for part in parts]
    for name in ("N rollouts/s", "reward N", "zero advantage N", "kl N", "found N", "HR@N N"):
        assert name in names


def test_the_run_leaves_a_page_of_itself(shop, aligned):
    page = (aligned / "alignment.html").read_text()
    for words in ("Reward", "Entropy by code", "Quality by epoch", "HR@10", "rank-aware"):
        assert words in page
    assert "Spread of the advantage by overlap" in page
    assert "on 94 of its prompts" in page
    # If the command is given again, the run has ended already, and the page is written again.
    (aligned / "alignment.html").unlink()
    told = call(*aligning(shop / "beam", aligned, "--seed", 3)).stderr
    assert f"Wrote {aligned / 'alignment.html'}: rollouts" in told
    told = json.loads(run(*aligning(shop / "beam", aligned, "--seed", 3, "--json")))
    assert told["page"] == str(aligned / "alignment.html")
    again = (aligned / "alignment.html").read_text()
    figures = [text[text.index("<main>") : text.index("</main>")] for text in (page, again)]
    assert figures[0] == figures[1]


def test_the_optimum_asks_the_item_head_and_goes_by_no_advantages(headed, tmp_path):
    out = tmp_path / "optimum"
    few = ("--set", "objective.rollouts={search: beam, num_beams: 6}")
    run("align", headed, "--out", out, "--recipe", "optimum", *SMALL, *few)
    parts = lines_of(out, "step")[0]["parts"]
    assert "found" not in parts
    assert 0 < parts["reward"] < 1
    assert parts["kl"] >= 0
    page = (out / "alignment.html").read_text()
    assert "item-head" in page
    assert "Spread of the advantage by overlap" not in page


def test_tree_distillation_lets_items_choose_the_last_code(shop, headed, tmp_path):
    out = tmp_path / "tree"
    asked = ("--recipe", "tree", "--set", "training.epochs=1")
    refusal = refused("align", shop / "beam", "--out", out, *asked)
    assert "item_head: true" in refusal
    assert not out.exists()
    run("align", headed, "--out", out, *asked)
    made = sidestep.load(out)
    assert made.network.config.last_code_head == "items"
    assert made.network.config.few_items == 128
    message = refused("align", headed, "--out", out, *asked, "--set", "few_items=0")
    assert "belongs to another run" in message
    assert measured(out, "--beams", 10)["setting"]["search"] == "beam"
    plain = tmp_path / "plain"
    run("align", headed, "--out", plain, *asked, "--set", "last_code_head=null")
    assert sidestep.load(plain).network.config.last_code_head == "codes"


def test_our_update_on_what_ved_finds_leaves_the_values_behind(shop, headed, tmp_path):
    out = tmp_path / "vstar-optimum"
    few = "objective.rollouts={search: ved, num_leaves: 6, budget: 14, warm_width: 2}"
    recipe = ("--out", out, "--recipe", "vstar-optimum", *SMALL, "--set", few)
    assert "value head" in refused("align", headed, *recipe)
    run("align", with_values(shop, headed, tmp_path), *recipe)
    assert lines_of(out, "step")[0]["parts"]["kl"] >= 0
    assert sidestep.load(out).value_head is None


def test_vstar_learns_values_on_what_it_finds(shop, valued, tmp_path):
    out = tmp_path / "vstar"
    ved = "objective.rollouts={search: ved, num_leaves: 6, budget: 14, warm_width: 2}"
    run(
        *("align", valued, "--out", out, "--embeddings", shop / "vectors.npy"),
        *("--set", ved, *SMALL),
    )
    heads = [load_file(of / "bundle/value_head.safetensors") for of in (out, valued)]
    assert any(not torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert "value" in lines_of(out, "step")[0]["parts"]
    ranked = measured(out, "--search", "ved", "--search-option", "warm_width=2")
    assert ranked["setting"]["search"] == "ved"


def test_values_of_states_that_have_moved_are_left_out(valued, tmp_path):
    run(*aligning(valued, tmp_path / "grpo"))
    assert sidestep.load(valued).value_head is not None
    assert sidestep.load(tmp_path / "grpo").value_head is None


def test_the_control_goes_on_with_the_likelihood_of_before(shop, tmp_path):
    out = tmp_path / "continued"
    run("align", shop / "beam", "--out", out, "--recipe", "sft-continued", *SMALL)
    parts = lines_of(out, "step")[0]["parts"]
    assert "likelihood" in parts
    assert "reward" not in parts
    page = (out / "alignment.html").read_text()
    assert "Loss: likelihood" in page
    assert "Spread of the advantage" not in page


def test_preferences_raise_what_came_next_over_what_was_found(shop, tmp_path):
    out = tmp_path / "sdpo"
    run("prefer", shop / "beam", "--out", out, *SMALL, "--set", "training.learning_rate=0.001")
    first, *_, last = [line["parts"] for line in lines_of(out, "step")]
    assert last["preferred"] > 0.5
    assert last["preference"] < first["preference"]
    assert measured(out, "--beams", 10)["metrics"]["HR@10"] >= 0


def test_lists_turn_to_what_is_worth_more(shop, tmp_path):
    """Every other item is worth e³ times as much, and the policy is pulled to π · worth."""
    before = sidestep.load(shop / "beam")
    ids = before.catalog.ids_of(np.arange(before.catalog.num_items))
    table = tmp_path / "margins.csv"
    rows = [f"{name},{np.exp(3.0 * (number % 2))}" for number, name in enumerate(ids)]
    table.write_text("\n".join(["item_id,worth", *rows]))
    out = tmp_path / "margin"
    run(
        *("align", shop / "beam", "--out", out, "--recipe", "optimum", "--worth", table, *SMALL),
        *("--set", "objective.rewards=[{reward: log-worth, weight: 0.06}]"),
        *("--set", "training.learning_rate=0.01"),
    )
    histories = [[ids[0], ids[5]], [ids[3]], []]

    def share(loaded):
        listed = [item for answer in loaded.recommend(histories, 10) for item in answer.item_ids]
        return np.mean([ids.index(item) % 2 for item in listed])

    after = sidestep.load(out)
    assert share(after) > share(before) + 0.1
    assert "worth: " in (out / "config.yaml").read_text()


def test_interrupted_and_given_again_it_ends_the_same(shop, aligned, tmp_path, monkeypatch):
    parts = tmp_path / "parts"
    assert_ends_the_same_after_an_interruption(
        aligning(shop / "beam", parts, "--seed", 3),
        aligned,
        parts,
        "model.safetensors",
        monkeypatch,
    )


def test_a_dry_run_tells_sizes(shop, aligned, tmp_path):
    told = json.loads(
        run(*aligning(shop / "beam", tmp_path / "dry", "--seed", 3), "--dry-run", "--json")
    )
    assert told["steps"] == lines_of(aligned, "step")[-1]["step"]
    assert told["targets"] == 94  # the number of windows
    assert not (tmp_path / "dry").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--recipe", "vstar"), "value: the backbone has no value head; train one beside it"),
        (("--set", "objective.rollouts={search: ved}"), "ved reads values, and the backbone"),
        (("--set", "objective.rewards=[{reward: exat}]"), "perhaps 'exact' is meant"),
        (("--set", "objective.rewards=[{reward: semantic}]"), "semantic needs the vectors of"),
        (("--set", "objective.rewards=[{reward: item-head}]"), "item-head needs a backbone with"),
        (("--collaborative", "nowhere"), "collaborative: nowhere: no bundle here"),
        (("--worth", "nowhere.csv"), "worth: nowhere.csv: no table here"),
        (("--set", "objective.rewards=[{reward: worth}]"), "worth needs a table of what items"),
        (
            ("--set", "objective={open_prompts: true, rewards: [{reward: exact-worth}]}"),
            "the reward 'exact-worth' asks what came next",
        ),
        (("--embeddings", "nowhere.npy"), "embeddings: nowhere.npy: no vectors here"),
        (("--set", "objective.repair=pray"), "objective.repair: "),
        (
            ("--set", "objective.rollouts={search: beam, num_beams: 1}"),
            "beam finds 1 candidate, which has no other to be better than",
        ),
        (
            ("--set", "objective.rollouts={search: sampling, num_samples: 1}"),
            "sampling finds 1 candidate, which has no other to be better than",
        ),
        (("--set", "objective.valu={}"), "did you mean 'value'?"),
        (("--set", "objective.value={}"), "value: the backbone has no value head"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(shop, tmp_path, more, words):
    message = refused(*aligning(shop / "beam", tmp_path / "run"), *more)
    assert words in message
    assert not (tmp_path / "run").exists()


def test_where_all_items_share_one_semantic_id_there_is_nothing_to_prefer():
    def catalog(codes):
        return Catalog.build(["a", "b"], np.array(codes), (2, 2))

    refuse_lone_leaf(catalog([[0, 0], [0, 1]]))
    with pytest.raises(ValueError, match="share one semantic ID, so that a search has nothing to"):
        refuse_lone_leaf(catalog([[0, 1], [0, 1]]))


def test_what_is_not_there_or_would_be_written_into_is_refused(shop, tmp_path):
    assert "nowhere: does not exist" in refused(*aligning(tmp_path / "nowhere", tmp_path / "run"))
    inside = shop / "beam" / "inside"
    assert "lies within the backbone" in refused(*aligning(shop / "beam", inside))
    assert not inside.exists()


def test_a_bundle_alone_needs_the_dataset(shop, tmp_path):
    command = aligning(shop / "beam" / "bundle", tmp_path / "run")
    assert "give --dataset" in refused(*command)
    assert call(*command, "--dataset", shop / "dataset", "--dry-run").exit_code == 0


def test_a_graph_that_has_taught_is_left_out_of_the_new_run(shop, headed, tmp_path):
    (tmp_path / "graph.yaml").write_text("kind: graph")
    train = ("train", "--config", tmp_path / "graph.yaml", "--dataset", shop / "dataset")
    run(*train, "--out", tmp_path / "graph")
    run("attach", headed, "--ranker", tmp_path / "graph", "--out", tmp_path / "both")
    asked = ("--recipe", "tree", "--set", "training.epochs=1", "--set", "validation.num_users=20")
    run("align", tmp_path / "both", "--out", tmp_path / "taught", *asked)
    taught = sidestep.load(tmp_path / "taught")
    assert taught.ranker is None
    assert taught.manifest.search.name == "beam"
    other = ("--set", "teacher_ranker=false")
    run("align", tmp_path / "both", "--out", tmp_path / "alone", *asked, *other)
    assert sidestep.load(tmp_path / "alone").ranker is not None, "it has taught nothing"


def test_heads_of_other_runs_teach_if_they_know_the_same_items(shop, files, headed, tmp_path):
    asked = ("--recipe", "tree", "--set", "training.epochs=1", "--set", "validation.num_users=20")
    command = ("align", headed, "--out", tmp_path / "taught", *asked)
    other = with_head(shop, files, tmp_path / "other-head", seed=1)
    run(*command, "--teacher", other)
    steps = lines_of(tmp_path / "taught", "step")
    assert steps[0]["parts"]["head"] > 0.001, "the head learns from another one"
    manifest = other / "bundle" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 1', '"seed": 5'))
    assert "teachers" in refused(*command, "--teacher", other), "another training at this place"
    assert "teaches already" in refused(*command, "--teacher", headed)
    assert "teachers: /nowhere" in refused(*command, "--set", "teachers=[/nowhere]")
    words = refused(*command, "--teacher", shop / "beam")
    assert "has no item head" in words
    assert "sidestep attach" in words
    grpo = ("align", headed, "--out", tmp_path / "other", "--recipe", "grpo-beam")
    assert "--teacher: only the recipe tree takes teachers" in refused(*grpo, "--teacher", other)


def test_another_teacher_begins_another_training(headed, tmp_path):
    """The folder of a run holds one training: the teachers belong to it."""
    asked = ("--recipe", "tree", "--set", "training.epochs=1", "--set", "validation.num_users=20")
    command = ("align", headed, "--out", tmp_path / "taught", *asked)
    run(*command)
    shutil.copytree(headed, tmp_path / "other")
    manifest = tmp_path / "other" / "bundle" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 5'))
    assert "teachers" in refused(*command, "--teacher", tmp_path / "other")
