"""Parts of a user's own go by import path alone, from the tokenizer to the list."""

import json

import numpy as np
import pytest

import sidestep
from sidestep.evaluation.results import read as read_lines
from tests.cli.commands import refused, run

PARTS = "tests.own_parts.parts"


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
