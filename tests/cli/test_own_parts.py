"""Parts of a user's own go by import path alone, from the tokenizer to the list."""

import json
import shutil

import numpy as np
import pytest

import sidestep
from sidestep.evaluation.results import read as read_lines
from tests.cli.commands import refused, run

PARTS = "tests.own_parts.parts"
SPACES = "tests.own_parts.spaces"


@pytest.fixture(scope="module")
def trained(shop, files, tmp_path_factory):
    """A run whose tokenizer and objective are a user's own."""
    folder = tmp_path_factory.mktemp("own_parts")
    run(
        *("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy"),
        *("--method", f"{PARTS}:OwnKMeans", "--codebook-sizes", "4,4,16"),
        *("--out", folder / "catalog"),
    )
    run(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", folder / "catalog", "--out", folder / "run", "--set", "training.epochs=1"),
        *("--set", f"objective={{objective: '{PARTS}:Doubled', factor: 3}}"),
    )
    return folder / "run"


def listed(folder, *options):
    answer = run("recommend", folder, "--history", "item-1,item-2", "-k", 5, "--json", *options)
    return [item["item_id"] for item in json.loads(answer)["items"]]


def measured(folder, *options):
    return json.loads(run("evaluate", folder, "--users", 10, "--json", *options))


def test_the_tokenizer_is_kept_and_encodes_new_items(trained):
    kept = json.loads((trained.parent / "catalog" / "tokenizer.json").read_text())
    assert f"{PARTS}:OwnCodebooks" in json.dumps(kept)


def test_the_objective_is_what_is_lowered(trained):
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    [epoch] = [line for line in lines if line["kind"] == "epoch"]
    assert epoch["loss"] == pytest.approx(3 * epoch["parts"]["inner"])
    assert "factor: 3" in (trained / "config.yaml").read_text()


def test_the_search_ranks_in_evaluations_and_lists(trained):
    own = ("--search", f"{PARTS}:Backwards", "--beams", 5)
    assert listed(trained, *own) == listed(trained, "--search", "beam", "--beams", 5)[::-1]
    found = measured(trained, *own, "--search-option", "shift=1")
    assert found["method"] == "own-backwards"
    assert found["setting"]["beams"] == 5
    assert found["setting"]["search_options"] == "shift=1"


def test_the_scorer_guides_a_beam_below_its_ceiling(trained, tmp_path):
    own = ("--search-option", f"scorer={PARTS}:PopularPrefixes", "--likelihood-weight", 0)
    wide = ("--beams", 64, "--candidates", 64)
    results = tmp_path / "quality.jsonl"
    guided = measured(trained, "--search", "guided-beam", *wide, *own, "--results", results)
    ceiling = measured(trained, "--search", "exhaustive-guided", *own, "--results", results)
    assert guided["metrics"]["NDCG@10"] == pytest.approx(ceiling["metrics"]["NDCG@10"])
    assert [line.method for line in read_lines(results)] == [
        "guided-beam-popular-prefixes",
        "exhaustive-guided-popular-prefixes",
    ]
    assert guided["setting"]["k_plus"] == 64
    popular = listed(trained, "--search", "guided-beam", *wide, *own)
    assert popular == listed(trained, "--search", "exhaustive-guided", *own)
    assert popular != listed(trained, "--search", "beam")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "the search guided-beam: names no scorer; give scorer="),
        (("--search-option", f"scorer={PARTS}:Backwards"), "is no scorer; name a class"),
        (("--search-option", f"scorer={PARTS}:NeedsMore"), "a class method 'of_bundle'"),
        (("--search-option", f"scorer={PARTS}:Nothing"), "cannot be imported"),
    ],
)
def test_what_is_no_scorer_is_refused_before_the_work(trained, options, words):
    arguments = ("evaluate", trained, "--search", "guided-beam", *options, "--dry-run")
    assert words in refused(*arguments)


@pytest.fixture(scope="module")
def often(shop, tmp_path_factory):
    """A run whose recommender is a user's own."""
    folder = tmp_path_factory.mktemp("often") / "run"
    run(
        *("train", "--set", "kind=recommender", "--set", f"recommender={PARTS}:Often"),
        *("--dataset", shop / "dataset", "--out", folder),
    )
    return folder


def test_a_recommender_is_fitted_kept_evaluated_and_asked(often, shop, tmp_path):
    loaded = sidestep.load(often)
    assert (loaded.kind, loaded.fitted.max_history) == (f"{PARTS}:Often", 20)
    found = measured(often, "--results", tmp_path / "quality.jsonl")
    assert found["method"] == "own-often"
    best = listed(often)
    items = loaded.catalog.ids_of(np.arange(loaded.catalog.num_items))
    counts = dict(zip(items, loaded.fitted.counts, strict=True))
    assert [counts[item] for item in best] == sorted(counts.values(), reverse=True)[:5]
    without = tmp_path / "in-stock.txt"
    without.write_text("\n".join(item for item in counts if item != best[0]))
    assert listed(often, "--available", without)[0] == best[1]
    run("retire", often, "--items", best[0], "--out", tmp_path / "retired")
    assert listed(tmp_path / "retired")[0] == best[1]


def test_settings_reach_the_recommender_and_what_is_none_is_refused(often, shop, tmp_path):
    train = ("train", "--dataset", shop / "dataset", "--out", tmp_path / "run", "--set")
    own = ("kind=recommender", "--set", f"recommender={PARTS}:Often", "--set")
    run(*train, *own, "settings.sign=-1")
    assert listed(tmp_path / "run")[0] not in listed(often)
    other = ("kind=recommender", "--set", f"recommender={PARTS}:Backwards", "--dry-run")
    assert "is no recommender that a run can fit" in refused(*train, *other)


def test_an_objective_that_is_none_is_refused(shop, files, tmp_path):
    train = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset")
    here = (*train, "--catalog", shop / "catalog", "--out", tmp_path / "run", "--dry-run", "--set")
    assert "is no objective" in refused(*here, f"objective={PARTS}:Often")
    more = f"objective={{objective: '{PARTS}:Doubled', fctor: 3}}"
    assert "unexpected keyword argument 'fctor'" in refused(*here, more)
    assert "objective.label_smothing" in refused(*here, "objective.label_smothing=1")


def test_a_mistake_in_code_of_ones_own_is_no_bug_of_ours(shop, files, tmp_path):
    train = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset")
    here = (*train, "--catalog", shop / "catalog", "--out", tmp_path / "run", "--set")
    words = refused(*here, f"objective={PARTS}:Broken")
    assert "Error: TypeError: unsupported operand" in words
    assert "tests/own_parts/parts.py, line" in words
    assert "This is your own code" in words
    words = refused(*here, f"objective={{objective: '{PARTS}:Broken', reason: no batch}}")
    assert "Error: ValueError: no batch (" in words
    assert "tests/own_parts/parts.py, line" in words


def with_space(shop, folder, name):
    run(
        *("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy"),
        *("--method", f"{PARTS}:OwnKMeans", "--codebook-sizes", "4,4,16"),
        *("--space", f"{SPACES}:{name}", "--out", folder / "catalog"),
    )
    return folder / "catalog"


@pytest.fixture(scope="module")
def titles(shop, files, tmp_path_factory):
    """A run of a Transformer whose codes are words of titles: tokenizer, objective and space."""
    folder = tmp_path_factory.mktemp("titles")
    run(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", with_space(shop, folder, "EndedTitles"), "--out", folder / "run"),
        *("--set", f"objective={{objective: '{PARTS}:Doubled', factor: 3}}"),
    )
    return folder / "run"


@pytest.fixture(scope="module")
def sets(shop, files, tmp_path_factory):
    """A run in which all is a user's own: tokenizer, space, network, kind of run and objective."""
    folder = tmp_path_factory.mktemp("sets")
    run(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", with_space(shop, folder, "AnyOrder"), "--out", folder / "run"),
        *("--set", f"kind={SPACES}:SetRun", "--set", f"objective={SPACES}:AllCodes"),
    )
    return folder / "run"


@pytest.mark.parametrize("kind", ["titles", "sets"])
def test_a_space_is_trained_evaluated_bundled_and_asked(request, shop, tmp_path, kind):
    folder = request.getfixturevalue(kind)
    loaded = sidestep.load(folder, device="cpu")
    catalog, space = loaded.catalog, loaded.recommender().space
    name = {"titles": "EndedTitles", "sets": "AnyOrder"}[kind]
    assert (catalog.space, type(space).__name__) == (f"{SPACES}:{name}", name)
    wide = ("--search", f"{PARTS}:Backwards", "--beams", 400)
    found = measured(folder, *wide, "--results", tmp_path / "quality.jsonl")
    assert found["method"] == "own-backwards"
    assert measured(folder)["metrics"]["NDCG@10"] >= 0
    # A wide beam finds every item, and none that is sold out, seen or retired.
    everything = set(catalog.ids_of(np.arange(catalog.num_items)))
    asked = (folder, "--search", "beam", "--beams", 400, "-k", catalog.num_items)
    assert set(listed(*asked)) == everything
    stock = sorted(everything)[::2]
    (tmp_path / "stock.txt").write_text("\n".join(stock))
    in_stock = (*asked, "--available", tmp_path / "stock.txt")
    assert set(listed(*in_stock)) == set(stock)
    assert set(listed(*in_stock, "--exclude-seen")) == set(stock) - {"item-1", "item-2"}
    run("retire", folder, "--items", stock[0], "--out", tmp_path / "retired")
    retired = sidestep.load(tmp_path / "retired", device="cpu")
    assert retired.catalog.version == catalog.version
    assert set(listed(tmp_path / "retired", *asked[1:])) == everything - {stock[0]}


def test_titles_that_end_alike_share_their_place(titles):
    """Items (2, 0, 5) and (2, 0, 9) are one title: nothing tells them apart."""
    loaded = sidestep.load(titles, device="cpu")
    codes = loaded.catalog.semantic_ids.tolist()
    leaves = loaded.recommender().leaf_of.tolist()
    cut = [tuple(row[: row.index(0) + 1]) if 0 in row else tuple(row) for row in codes]
    assert len(set(cut)) < len(set(map(tuple, codes)))
    assert [leaves[0] == leaf for leaf in leaves] == [cut[0] == each for each in cut]
    assert len(set(leaves)) == len(set(cut))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            ("evaluate", "RUN", "--search", "exhaustive"),
            "the search exhaustive needs semantic IDs or sets of codes",
        ),
        (
            ("evaluate", "RUN", "--search", "item-beam"),
            "the search item-beam needs semantic IDs or sets of codes",
        ),
        (("diagnose", "RUN"), "a diagnosis needs the trie"),
        (("append", "RUN", "--items", "NEW", "--out", "OUT"), "appending items needs the trie"),
        (("train", "--set", "kind=process-reward"), "a process reward model needs the trie"),
        (("train", "--set", "kind=value", "--set", "VECTORS"), "a value head needs the trie"),
        (("train", "--set", "kind=distill"), "a training beside a backbone needs the trie"),
        (("train", "--set", "kind=align"), "a training beside a backbone needs the trie"),
        (("attach", "RUN", "--ranker", "RUN", "--out", "OUT"), "a ranker beside a network"),
    ],
)
def test_what_needs_the_trie_refuses_another_space(titles, shop, files, tmp_path, command, words):
    named = {"RUN": titles, "OUT": tmp_path / "out", "NEW": tmp_path / "new.csv"}
    named["VECTORS"] = f"embeddings={shop / 'vectors.npy'}"
    (tmp_path / "new.csv").write_text("item_id,title\nnew-1,A new lamp\n")
    arguments = [named.get(word, word) for word in command]
    if command[0] == "train":
        arguments += ["--set", f"backbone={titles}", "--dataset", shop / "dataset"]
        arguments += ["--out", tmp_path / "out", "--dry-run"]
    message = refused(*arguments)
    assert words in message
    assert f"the space {SPACES}:EndedTitles" in message


def test_an_objective_that_reads_prefixes_refuses_another_space(titles, shop, files, tmp_path):
    train = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset", "--dry-run")
    here = (*train, "--catalog", titles.parent / "catalog", "--out", tmp_path / "run")
    beam_aware = ("--set", "objective={beam_aware: {weight: 1.0}}")
    assert "objective.beam_aware needs the trie" in refused(*here, *beam_aware)
    by_items = ("--set", "model.item_head=true", "--set", "objective.item_weight=1.0")
    by_items += ("--set", "model.last_code_head=items")
    assert "model.last_code_head: items needs the trie" in refused(*here, *by_items)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (f"{SPACES}:Nothing", "--space: 'tests.own_parts.spaces:Nothing' cannot be imported"),
        (f"{PARTS}:Often", "--space: tests.own_parts.parts:Often: makes no code space"),
    ],
)
def test_what_is_no_space_is_refused_before_the_work(shop, tmp_path, space, words):
    tokenize = ("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy")
    assert words in refused(*tokenize, "--space", space, "--out", tmp_path / "ids", "--dry-run")


def test_a_network_of_other_actions_is_refused(shop, files, sets, tmp_path):
    train = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset")
    here = (*train, "--catalog", sets.parent / "catalog", "--out", tmp_path / "run")
    message = refused(*here)
    assert "chooses among 16 actions at every step, but the space " in message
    assert "AnyOrder of this catalog has 24" in message
    assert not (tmp_path / "run").exists()


def test_a_bundle_whose_space_is_gone_says_so(titles, tmp_path):
    shutil.copytree(titles / "bundle", tmp_path / "bundle")
    file = tmp_path / "bundle" / "catalog" / "manifest.json"
    file.write_text(file.read_text().replace("EndedTitles", "GoneTitles"))
    with pytest.raises(ValueError, match=r"manifest\.json: the code space: .*cannot be imported"):
        sidestep.load(tmp_path / "bundle", verify=False)
