"""Sets of codes by commands: tokenized, trained, searched, distilled, appended to and retired."""

import json

import numpy as np
import pytest
import torch
import yaml

import sidestep
from sidestep.bundle.appending import append_items
from sidestep.bundle.manifest import KeptSearch
from sidestep.catalog.set_space import SetSpace
from sidestep.search.process_reward import ProcessReward
from sidestep.step import HistoryBatch
from tests.cli.beside import listed, measured, training
from tests.cli.commands import call, refused, run

CONFIG = """\
kind: code-sets
model:
  dim: 16
  num_layers: 1
  num_heads: 2
  item_head: true
  tied_item_head: true
  category_head: categories
objective: {item_weight: 1.0, distillation_weight: 1.0, learned_steps: 2}
training: {epochs: 2, batch_size: 16}
validation: {num_users: 20, num_beams: 10}
"""


@pytest.fixture(scope="module")
def folder(shop, tmp_path_factory):
    """A catalog of sets, and a run of a network over them."""
    folder = tmp_path_factory.mktemp("sets")
    (folder / "config.yaml").write_text(CONFIG)
    run(
        *("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy", "--method", "opq"),
        *("--codebook-sizes", "8,8,8,16", "--space", "sets", "--out", folder / "catalog"),
    )
    run(
        *("train", "--config", folder / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", folder / "catalog", "--out", folder / "run"),
    )
    return folder


def test_a_run_over_sets_is_evaluated_and_finds_every_item_once(folder):
    loaded = sidestep.load(folder / "run", device="cpu")
    assert loaded.kind == "code-set-transformer"
    assert isinstance(loaded.recommender().space, SetSpace)
    every = loaded.catalog.ids_of(np.arange(loaded.catalog.num_items))
    found = listed(folder / "run", "--beams", 400, "-k", loaded.catalog.num_items)
    assert sorted(found) == sorted(every)
    assert measured(folder / "run", "--beams", 5)["metrics"]["invalid_rate"] == 0


def test_the_item_head_teaches_the_codes_of_sets(folder, tmp_path):
    few = ("--set", "training.epochs=1", "--set", "validation.num_users=20")
    other = ("--set", "order=informative", "--set", "few_items=3")
    run("align", folder / "run", "--recipe", "tree", "--out", tmp_path / "tree", *few, *other)
    config = sidestep.load(tmp_path / "tree").network.config
    assert (config.order, config.last_code_head) == ("informative", "items")
    assert config.few_items == 3
    before, after = (measured(path, "--beams", 5) for path in (folder / "run", tmp_path / "tree"))
    assert before["metrics"] != after["metrics"]


def test_paths_are_checked_by_the_category_head(folder):
    shown, plain = (
        measured(folder / "run", "--search", search, "--beams", 5) for search in ("reg4rec", "beam")
    )
    assert shown["method"] == "reg4rec"
    assert shown["setting"]["k_plus"] == 10
    assert shown["tokens_per_user"] > plain["tokens_per_user"]
    free = ("--search", "reg4rec", "--beams", 5, "--search-option", "threshold=1")
    plain = ("--search", "beam", "--beams", 5)
    assert listed(folder / "run", *free) == listed(folder / "run", *plain)


def test_two_codes_per_step_cost_fewer_tokens(shop, folder):
    pairs = ("--search-option", "codes_per_step=2", "--search-option", "single_steps=0")
    plain, paired = (
        measured(folder / "run", "--search", "beam", "--beams", 5, *how) for how in ((), pairs)
    )
    assert paired["tokens_per_user"] < plain["tokens_per_user"]
    assert paired["flops_per_user"] < plain["flops_per_user"]
    assert paired["metrics"]["invalid_rate"] == 0
    assert paired["setting"]["search_options"] == "codes_per_step=2,single_steps=0"
    message = refused("evaluate", shop / "beam", "--search", "beam", *pairs)
    assert "codes_per_step 2 needs a catalog of sets" in message


def test_likelihood_goes_on_by_the_loss_of_the_first_training(folder, tmp_path):
    few = ("--set", "validation.num_users=20")
    run("align", folder / "run", "--recipe", "sft-continued", "--out", tmp_path / "sft", *few)
    settings = yaml.safe_load((tmp_path / "sft" / "config.yaml").read_text())
    likelihood = settings["objective"]["likelihood"]
    assert (likelihood["learned_steps"], likelihood["item_weight"]) == (2, 1.0)
    assert "category" in (tmp_path / "sft" / "log.jsonl").read_text()


def test_a_network_without_a_category_head_checks_nothing(shop):
    message = refused("evaluate", shop / "beam", "--search", "reg4rec")
    assert "train a transformer or code-sets with model.category_head" in message


def test_the_rewards_of_reg4rec_improve_a_policy_over_sets(shop, folder, tmp_path):
    few = ("--set", "objective.num_prompts=40", "--set", "validation.num_users=20")
    out = ("--out", tmp_path / "pars")
    run("align", folder / "run", "--recipe", "reg4rec", *out, *few)
    before, after = (measured(path, "--beams", 5) for path in (folder / "run", tmp_path / "pars"))
    assert before["metrics"] != after["metrics"]
    message = refused("align", shop / "beam", "--recipe", "reg4rec", "--out", tmp_path / "b", *few)
    assert "category-hit needs a policy with model.category_head" in message


def test_a_catalog_of_codes_in_an_order_is_refused(shop, folder, tmp_path):
    train = ("train", "--config", folder / "config.yaml", "--dataset", shop / "dataset")
    message = refused(*train, "--catalog", shop / "catalog", "--out", tmp_path / "run")
    assert "needs a catalog whose codes are sets" in message
    assert "--space sets" in message


def test_wide_item_support_ranks_as_the_item_head_does(folder):
    number = sidestep.load(folder / "run", device="cpu").catalog.num_items
    wide = ("--beams", number, "--candidates", 4 * number, "--likelihood-weight", 0)
    by_head = listed(folder / "run", "--search", "item-head", "-k", 10)
    by_beam = listed(folder / "run", "--search", "item-beam", *wide, "-k", 10)
    assert by_head == by_beam


def test_items_may_choose_from_the_start_of_the_distillation_alone(shop, folder, tmp_path):
    train = ("train", "--config", folder / "config.yaml", "--dataset", shop / "dataset")
    last = ("--set", "model.last_code_head=items", "--out", tmp_path / "run")
    message = refused(*train, "--catalog", folder / "catalog", *last)
    assert "this loss teaches rows of codes" in message


def test_an_order_of_codebooks_needs_a_network_over_sets(shop, folder, tmp_path):
    align = ("align", shop / "beam", "--recipe", "tree", "--out", tmp_path / "tree")
    assert "order: " in refused(*align, "--set", "order=informative")


def test_a_bundle_over_sets_may_keep_the_search_that_the_item_head_guides(folder, tmp_path):
    loaded = sidestep.load(folder / "run", device="cpu")
    guided = loaded.with_search(KeptSearch(name="item-beam", likelihood_weight=0.5))
    [answer] = guided.recommend([["item-1", "item-2"]], k=3)
    assert len(answer.item_ids) == 3


BESIDE = """\
kind: process-reward
backbone: {folder}/run
model: {{dim: 8, dot_product: true}}
objective: {{num_negatives: 8, beam_negatives: 2}}
guidance: {{likelihood_weight: 0.5, candidates_per_beam: 3}}
training: {{epochs: 2, batch_size: 16}}
validation: {{num_users: 20, num_beams: 5}}
"""


@pytest.fixture(scope="module")
def rewarded(shop, folder, tmp_path_factory):
    """A run with a process reward model beside the network over sets."""
    out = tmp_path_factory.mktemp("rewarded")
    (out / "prm.yaml").write_text(BESIDE.format(folder=folder))
    run(*training(shop, out / "prm.yaml", out / "prm"))
    return out / "prm"


def test_a_process_reward_of_sets_guides_a_beam_and_changes_no_other_list(folder, rewarded):
    plain = [measured(of, "--beams", 20) for of in (folder / "run", rewarded)]
    assert plain[0]["metrics"] == plain[1]["metrics"]
    guided = measured(rewarded, "--search", "prm-beam", "--beams", 20)
    assert guided["metrics"] != plain[0]["metrics"]
    assert guided["metrics"]["invalid_rate"] == 0
    assert guided["setting"]["likelihood_weight"] == 0.5
    network = sidestep.load(rewarded, device="cpu").process_reward
    assert network.embedding.weight.shape == (8 + 8 + 8 + 16, 8)  # a row per code


def test_a_wide_beam_ranks_every_item_by_its_process_reward(rewarded):
    loaded = sidestep.load(rewarded, device="cpu")
    number = loaded.catalog.num_items
    wide = ("--beams", number, "--candidates", 4 * number, "--likelihood-weight", 0)
    found = listed(rewarded, "--search", "prm-beam", *wide, "-k", number)
    histories = HistoryBatch(
        items=torch.from_numpy(loaded.catalog.indices_of(["item-1", "item-2"]))[None].long(),
        lengths=torch.tensor([2]),
    )
    space = loaded.recommender().space
    root = loaded.network.encode(histories, capacity=0)
    with torch.no_grad():
        scores_of = ProcessReward(network=loaded.process_reward).begin(histories, *root, space)
        scores = scores_of(space.state_of(torch.arange(number))[None], 4)[0]
    best = scores.argsort(descending=True)[:10].numpy()
    assert found[:10] == loaded.catalog.ids_of(best)


def test_new_items_leave_the_process_rewards_of_old_sets_as_they_are(rewarded, tmp_path):
    loaded = sidestep.load(rewarded, device="cpu")
    codes = loaded.catalog.semantic_ids[:1].numpy()
    append_items(loaded, ["new"], codes).save(tmp_path / "grown")
    grown = sidestep.load(tmp_path / "grown", device="cpu")
    before, after = (of.process_reward.embedding.weight for of in (loaded, grown))
    assert torch.equal(before, after)
    longer = append_items(loaded, ["new"], codes, last_codebook_size=18).process_reward
    assert longer.embedding.weight.shape == (42, 8)
    assert torch.equal(longer.embedding.weight[-1], before[-1])
    assert torch.equal(longer.embedding.weight[:40], before)


def test_a_process_reward_learns_together_with_a_network_over_sets(shop, folder, tmp_path):
    (tmp_path / "prm.yaml").write_text(BESIDE.format(folder=folder))
    joint = ("--set", "objective.joint={item_weight: 1.0}", "--set", "fresh_backbone=true")
    few = ("--set", "training.epochs=1")
    run(*training(shop, tmp_path / "prm.yaml", tmp_path / "joint", *joint, *few))
    assert measured(tmp_path / "joint", "--search", "prm-beam", "--beams", 5)
    message = refused(
        *training(shop, tmp_path / "prm.yaml", tmp_path / "other", *few),
        "--set",
        "objective.joint={item_weight: 1.0, beam_aware: {}}",
    )
    assert "joint: beam_aware weighs codes in an order" in message


VALUES = """\
kind: value
backbone: {folder}/run
embeddings: {shop}/vectors.npy
model: {{num_heads: 2}}
candidates: {{search: sampling, num_samples: 6, temperature: 3}}
guidance: {{likelihood_weight: 0.5, candidates_per_beam: 3}}
training: {{epochs: 1, batch_size: 16}}
validation: {{num_users: 20, num_beams: 5}}
"""


@pytest.fixture(scope="module")
def valued(shop, folder, tmp_path_factory):
    """A run with a value head beside the network over sets."""
    out = tmp_path_factory.mktemp("valued")
    (out / "value.yaml").write_text(VALUES.format(folder=folder, shop=shop))
    run(*training(shop, out / "value.yaml", out / "value"))
    return out / "value"


def test_values_of_sets_rank_a_beam_and_change_no_other_list(folder, valued):
    plain = [measured(of, "--beams", 10) for of in (folder / "run", valued)]
    assert plain[0]["metrics"] == plain[1]["metrics"]
    found = measured(valued, "--search", "value-beam", "--beams", 10)
    assert found["metrics"] != plain[0]["metrics"]
    assert found["metrics"]["invalid_rate"] == 0
    grown = measured(valued, "--search", "ved", "--search-option", "warm_width=2", "--beams", 10)
    assert grown["tokens_per_user"] == 1 + 3 * 10  # the tokens of a beam of semantic IDs
    assert grown["metrics"]["invalid_rate"] == 0
    # All sets that are proposed are read with all codes, for their values.
    assert plain[0]["tokens_per_user"] < found["tokens_per_user"] <= 1 + 4 * 30


def test_policy_and_values_of_sets_improve_together(shop, valued, tmp_path):
    few = ("--set", "objective.num_prompts=16", "--set", "training.epochs=1")
    rollouts = "objective.rollouts={search: ved, num_leaves: 6, warm_width: 2, budget: 18}"
    compared = ("--embeddings", shop / "vectors.npy", "--set", rollouts)
    run("align", valued, "--recipe", "vstar", "--out", tmp_path / "vstar", *few, *compared)
    log = (tmp_path / "vstar" / "log.jsonl").read_text().splitlines()
    steps = [line["parts"] for line in map(json.loads, log) if line["kind"] == "step"]
    assert steps
    assert all(parts["value"] > 0 for parts in steps)
    assert measured(tmp_path / "vstar", "--search", "ved", "--search-option", "warm_width=2")


T5 = """\
kind: code-sets-t5
model: {dim: 16, num_layers: 1, num_decoder_layers: 2, num_heads: 2, order: informative}
objective: {learned_steps: 2}
training: {epochs: 1, batch_size: 16}
validation: {num_users: 20, num_beams: 5}
"""


@pytest.fixture(scope="module")
def of_t5(shop, folder, tmp_path_factory):
    """A run of a T5 over the sets of `folder`."""
    out = tmp_path_factory.mktemp("t5")
    (out / "t5.yaml").write_text(T5)
    run(*training(shop, out / "t5.yaml", out / "run"), "--catalog", folder / "catalog")
    return out / "run"


def test_an_encoder_decoder_over_sets_is_trained_measured_loaded_and_asked(of_t5):
    loaded = sidestep.load(of_t5, device="cpu")
    assert loaded.kind == "code-set-t5"
    assert loaded.network.config.order == "informative"
    every = loaded.catalog.ids_of(np.arange(loaded.catalog.num_items))
    wide = listed(of_t5, "--beams", 400, "-k", len(every))
    assert sorted(wide) == sorted(every)
    assert listed(of_t5, "--search", "exhaustive", "-k", 10) == wide[:10]
    found = measured(of_t5, "--beams", 5)
    assert found["metrics"]["invalid_rate"] == 0
    assert found["tokens_per_user"] < 1 + 3 * 5  # certain codes cost nothing
    mixed = measured(of_t5, "--beams", 5, "--search", "order-mixture")
    assert mixed["tokens_per_user"] > found["tokens_per_user"]


def test_an_encoder_decoder_over_sets_learns_on_by_likelihood_and_by_rewards(of_t5, tmp_path):
    few = ("--set", "validation.num_users=20")
    run("align", of_t5, "--recipe", "sft-continued", "--out", tmp_path / "sft", *few)
    settings = yaml.safe_load((tmp_path / "sft" / "config.yaml").read_text())
    assert settings["objective"]["likelihood"]["learned_steps"] == 2
    rewards = ("--set", "objective.rewards=[{reward: step-hit}]")
    short = ("--set", "objective.num_prompts=8", "--out", tmp_path / "rl")
    run("align", of_t5, "--recipe", "reg4rec", *few, *rewards, *short)
    assert sidestep.load(tmp_path / "rl", device="cpu").kind == "code-set-t5"


def test_what_an_encoder_decoder_over_sets_cannot_do_is_refused(shop, folder, of_t5, tmp_path):
    tree = ("align", of_t5, "--recipe", "tree", "--out", tmp_path / "tree")
    assert "learns from the item head, and the network has none" in refused(*tree)
    (tmp_path / "prm.yaml").write_text(f"kind: process-reward\nbackbone: {of_t5}\n")
    message = refused(*training(shop, tmp_path / "prm.yaml", tmp_path / "prm"))
    assert "the state after each past item, which it does not give" in message
    assert "this code-set-t5 has neither" in refused("evaluate", of_t5, "--search", "item-head")
    (tmp_path / "t5.yaml").write_text(T5)
    train = training(shop, tmp_path / "t5.yaml", tmp_path / "run")
    head = ("--set", "model.item_head=true", "--catalog", folder / "catalog")
    assert "unknown key 'model.item_head'" in refused(*train, *head)
    message = refused(*train, "--catalog", shop / "catalog")
    assert "a run of kind code-sets-t5 needs a catalog whose codes are sets" in message


def test_a_search_that_reads_prefixes_says_so(folder):
    message = refused("evaluate", folder / "run", "--search", "item-index")
    assert "the search item-index needs the trie" in message


def test_a_wide_beam_over_sets_finds_what_its_ceiling_finds(folder, rewarded):
    number = sidestep.load(folder / "run", device="cpu").catalog.num_items
    wide = ("--beams", number, "--candidates", 4 * number, "--likelihood-weight", 0.5)
    plain = ("--search", "beam", "--beams", number)
    for run_folder, search, ceiling in (
        (folder / "run", plain, ("exhaustive",)),
        (folder / "run", ("--search", "item-beam", *wide), ("exhaustive-item", wide[-2:])),
        (rewarded, ("--search", "prm-beam", *wide), ("exhaustive-prm", wide[-2:])),
    ):
        found = listed(run_folder, *search, "-k", 20)
        assert found == listed(run_folder, "--search", ceiling[0], *sum(ceiling[1:], ()), "-k", 20)


def test_the_next_step_of_a_catalog_of_sets_trains_a_network_over_sets(shop, folder, tmp_path):
    tokenize = ("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy", "--method", "opq")
    sizes = ("--codebook-sizes", "8,8,8,16", "--space", "sets", "--out", tmp_path / "catalog")
    assert "--set kind=code-sets" in call(*tokenize, *sizes).stderr
    inspect = ("inspect", folder / "catalog", "--dataset", shop / "dataset")
    assert "--set kind=code-sets" in call(*inspect).stderr


def test_an_ordered_network_on_sets_is_told_of_the_kind_for_sets(shop, folder, tmp_path):
    train = ("train", "--set", "kind=transformer", "--dataset", shop / "dataset")
    message = refused(*train, "--catalog", folder / "catalog", "--out", tmp_path / "run")
    assert "the codes of this catalog are sets" in message
    assert "kind code-sets" in message
    assert "chooses among" not in message


def test_a_space_of_no_name_is_refused_with_the_names_that_there_are(shop, tmp_path):
    tokenize = ("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy")
    message = refused(*tokenize, "--space", "set", "--out", tmp_path / "catalog")
    assert "there are trie, sets, and your own" in message


def test_scale_draws_the_ceiling_of_sets(folder, tmp_path):
    few = ("--users", 10, "--beams", 4, "--times", "1,2", "--searches", "beam,item-beam")
    page = ("--report", tmp_path / "scaling.html")
    found = json.loads(run("scale", folder / "run", *few, *page, "--json"))
    assert {name: point["search"] for name, point in found["ceilings"].items()} == {
        "beam": "exhaustive",
        "item-beam": "exhaustive-item",
    }
    tokens = [point["tokens_per_user"] for point in found["points"] if point["search"] == "beam"]
    assert found["ceilings"]["beam"]["tokens_per_user"] > max(tokens)


def test_searches_over_sets_are_diagnosed_beside_their_ceilings(shop, folder, tmp_path):
    how = ("--users", "all", "--beams", 10, "--set-size", 12, "--vectors", shop / "vectors.npy")
    page = tmp_path / "page.html"
    done = json.loads(
        run("diagnose", folder / "run", *how, "--prefixes", "all", "--report", page, "--json")
    )
    [found] = done
    assert found["prefixes"] is None
    searches = {search["name"]: search for search in found["searches"]}
    assert list(searches) == ["beam", "item-beam", "exhaustive", "exhaustive-item"]
    for name in searches:
        how_many = ("--beams", 10) if "beam" in name else ()
        metrics = measured(folder / "run", "--search", name, *how_many)["metrics"]
        kept = searches[name]["depths"][-1]["kept"]["mean"]
        assert kept == pytest.approx(metrics["HR@10"])
    assert [one["name"] for one in found["candidate_sets"]] == ["beam", "item-beam", "sampling"]
    assert found["candidate_sets"][0]["candidates"]["best_cosine"]["mean"] > 0
    text = page.read_text()
    assert "Where the target is lost" in text
    assert "Scores of prefixes" not in text
    assert "One user" not in text


def test_what_a_diagnosis_of_sets_leaves_out_is_told(folder):
    few = ("--users", 20, "--beams", 4)
    done = call("diagnose", folder / "run", *few)
    assert done.exit_code == 0
    assert "the codes are sets, which have no order" in " ".join(done.stderr.split())
    assert "loses the target, 20 rows of validation" in " ".join(done.stdout.split())
    trees = (*few, "--user", "user-3", "--report", folder / "page.html")
    message = refused("diagnose", folder / "run", *trees)
    assert "search trees need codes in an order" in message


def test_searches_by_values_of_sets_are_diagnosed(valued):
    [found] = json.loads(run("diagnose", valued, "--users", 10, "--beams", 4, "--json"))
    names = [search["name"] for search in found["searches"]]
    assert names == ["beam", "item-beam", "value-beam", "ved"]
    for search in found["searches"]:
        lost = [at[kind]["mean"] for at in search["depths"] for kind in ("dropped", "unproposed")]
        assert sum(lost) + search["depths"][-1]["kept"]["mean"] == pytest.approx(1)
