"""Searches that are chosen on the command line."""

import json
import shutil

import pytest

import sidestep
from sidestep.bundle.manifest import KeptSearch
from sidestep.evaluation.results import read as read_lines
from sidestep.evaluation.words import value_in_words
from sidestep.runs.search_text import read_weights
from tests.cli.commands import refused, run


@pytest.fixture(scope="module")
def headed(shop, files, tmp_path_factory):
    """A run whose network has an item head."""
    folder = tmp_path_factory.mktemp("headed") / "run"
    run(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", "--out", folder, "--set", "model.item_head=true"),
        *("--set", "objective.item_weight=1"),
    )
    return folder


def measured(folder, *how):
    return json.loads(run("evaluate", folder, *how, "--json"))


def test_a_wide_guided_beam_finds_what_its_oracle_finds(headed):
    wide = ("--search", "item-beam", "--beams", 64, "--candidates", 64)
    for weight in (0, 0.5):
        how = ("--likelihood-weight", weight)
        guided = measured(headed, *wide, *how)
        oracle = measured(headed, "--search", "exhaustive-item", *how)
        assert guided["metrics"]["NDCG@10"] == pytest.approx(oracle["metrics"]["NDCG@10"])
    plain = measured(headed, "--search", "beam", "--beams", 64)
    assert guided["metrics"]["NDCG@10"] != plain["metrics"]["NDCG@10"]
    assert guided["tokens_per_user"] == plain["tokens_per_user"]


def test_results_files_say_how_it_was_guided(headed, tmp_path):
    results = tmp_path / "quality.jsonl"
    guided = ("--search", "item-beam", "--beams", 5, "--likelihood-weight", 0.25)
    measured(headed, *guided, "--results", results)
    measured(headed, "--search", "beam", "--results", results)
    first, second = read_lines(results)
    assert first.method == "item-beam"
    assert (first.setting.beams, first.setting.k_plus) == (5, 20)
    assert first.setting.likelihood_weight == 0.25
    assert "likelihood_weight" not in results.read_text().splitlines()[1]
    assert second.setting.likelihood_weight is None


def test_every_level_may_have_a_weight_of_its_own(headed, tmp_path):
    results = tmp_path / "quality.jsonl"
    guided = ("--search", "item-beam", "--beams", 5)
    for weights in ("0.5", "0.5,0.5,0.5", "0,0,0.5"):
        measured(headed, *guided, "--likelihood-weight", weights, "--results", results)
    same, again, other = read_lines(results)
    assert same.metrics == again.metrics != other.metrics
    assert other.setting.likelihood_weight == (0, 0, 0.5)
    names = {path.name for path in (headed / "evaluations").iterdir()}
    assert "validation-item-beam-5-of-20-weight-0,0,0.5" in names


def test_levels_may_be_left_to_likelihood_and_then_few_items_are_scored(headed, tmp_path):
    results = tmp_path / "quality.jsonl"
    guided = ("--search", "item-beam", "--beams", 2, "--results", results)
    for candidates in ("4,4,4", "none,4,4", "2, 4, 4", "4,none,4"):
        measured(headed, *guided, "--candidates", candidates)
    all_levels, later_levels, same, outer = read_lines(results)
    assert all_levels.setting.k_plus == (4, 4, 4)
    assert later_levels.setting.k_plus == (None, 4, 4)
    assert outer.setting.k_plus == (4, None, 4)
    # With as many candidates as beams, there is no choice: this equals the plain first level.
    assert later_levels.metrics == pytest.approx(same.metrics)
    assert later_levels.scored_per_user < same.scored_per_user
    assert later_levels.flops_per_user < same.flops_per_user
    names = {path.name for path in (headed / "evaluations").iterdir()}
    assert "validation-item-beam-2-of-none,4,4-weight-1" in names


def test_recommend_is_guided_too(headed):
    asked = ("recommend", headed, "--history", "item-1,item-2", "-k", 3, "--json")
    guided = json.loads(run(*asked, "--search", "item-beam", "--likelihood-weight", 0))
    best = json.loads(run(*asked, "--search", "exhaustive-item", "--likelihood-weight", 0))
    assert guided["score_kind"] == best["score_kind"] == "item-support"
    assert guided["items"][0] == best["items"][0]


def test_what_is_sampled_depends_on_how_and_is_told_in_results(shop, tmp_path):
    results = tmp_path / "quality.jsonl"
    sample = ("--search", "sampling", "--beams", 5, "--results", results)
    hot = ("--search-option", "temperature=9")
    for options in (
        (),
        ("--search-option", "temperature=1.0"),
        (*hot, "--search-option", "seed=2"),
    ):
        measured(shop / "beam", *sample, *options)
    plain, same, other = read_lines(results)
    assert (plain.method, plain.setting.beams) == ("sampling", 5)
    assert (plain.setting, plain.metrics) == (same.setting, same.metrics)
    assert plain.setting.search_options is None
    assert other.setting.search_options == "seed=2,temperature=9"
    assert other.metrics != plain.metrics
    assert other.tokens_per_user == plain.tokens_per_user
    names = {path.name for path in (shop / "beam" / "evaluations").iterdir()}
    assert {"validation-sampling-5", "validation-sampling-5-seed=2,temperature=9"} <= names


def test_a_weight_of_minus_nothing_is_nothing():
    assert value_in_words(read_weights("-0")) == "0"
    assert value_in_words(read_weights("1,-0.0,0.5")) == "1,0,0.5"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--search", "beam", "--candidates", 9),
            "--candidates 9: the search beam has no use for it, only diverse-beam, item-beam",
        ),
        (
            ("--search", "exhaustive", "--beams", 9),
            "only beam, diverse-beam, beam-fusion, item-beam, prm-beam, value-beam, ved, sampling,",
        ),
        (
            ("--search", "exhaustive", "--likelihood-weight", 1),
            "only item-beam, prm-beam, value-beam, guided-beam, exhaustive-item, exhaustive-prm",
        ),
        (("--search", "item-beam", "--likelihood-weight", "1,x"), "'1,x': write a number from 0"),
        (("--search", "item-beam", "--likelihood-weight", -1), "'-1': write a number from 0"),
        (("--search", "item-beam", "--likelihood-weight", "nan"), "'nan': write a number from 0"),
        (("--search", "item-beam", "--likelihood-weight", "1e30"), "number from 0 to 1000000000"),
        (("--beams", 10**20), f"{10**20} prefixes kept per level (--beams): out of all proportion"),
        (("--search", "item-beam", "--candidates", 10**20), "number from 1 to 1000000000"),
        (("--search", "item-beam", "--candidates", "9" * 5000), "number from 1 to 1000000000"),
        (("--search", "item-beam", "--candidates", "none,x"), "'none,x': write a number from 1"),
        (("--search", "item-beam", "--candidates", "0,60,60"), "'0,60,60': write a number from 1"),
        (("--search", "item-beam", "--candidates", "none,none"), "nothing is left to guide; that"),
        (
            ("--search", "item-beam", "--candidates", "60,60"),
            "--candidates 60,60: 2 values, but semantic IDs have 3 codes; write one, or",
        ),
        (
            ("--search", "ved", "--budget", 10**20),
            f"{10**20} beams to spend the tokens of (--budget): out of all",
        ),
        (("--search", "sampling", "--search-option", "temperature=nan"), "is no finite number"),
        (
            ("--search", "item-beam", "--likelihood-weight", "1,0.5"),
            "--likelihood-weight 1,0.5: 2 values, but semantic IDs have 3 codes; write one, or",
        ),
        (
            ("--search", "item-beam", "--candidates", 9),
            "--candidates 9: fewer than the 50 that are kept of them per level; raise it, or lower "
            "--beams, 50 unless it is given",
        ),
        (
            ("--search", "item-beam", "--beams", 8, "--candidates", "none,9,7"),
            "--candidates none,9,7: fewer than the 8 that are kept of them per level",
        ),
        (("--search", "sampling", "--budget", 2), "--budget 2: the search sampling has no use for"),
        (
            ("--search", "sampling", "--search-option", "temprature=2"),
            "the search sampling: unknown setting 'temprature'; perhaps 'temperature' is meant",
        ),
        (
            ("--search", "beam", "--search-option", "temperature=2"),
            "--search-option: the search beam: unknown setting 'temperature'; there are normaliser",
        ),
        (
            ("--search", "sampling", "--search-option", "num_samples=9"),
            "unknown setting",
        ),
        (
            ("--search", "sampling", "--search-option", "top_p=2"),
            "top_p must be above 0 and",
        ),
        (
            ("--search", "sampling", "--search-option", "top_k=few"),
            "top_k: Input should be",
        ),
        (
            ("--search", "beam", "--search-option", "codes_per_step=3"),
            "codes_per_step must be 1 or 2, got 3",
        ),
        (("--search", "sampling", "--search-option", "top_k"), "write each once, as name=value"),
        (("--search", "sampling", "--search-option", "top_k=[1]"), "a setting of a search is one"),
        (("--search", "sampling", "--search-option", "seed=9999999999999"), "out of all pro"),
    ],
)
def test_options_without_use_are_refused(headed, options, words):
    assert words in refused("evaluate", headed, *options, "--dry-run")


def test_a_network_without_an_item_head_guides_nothing(shop):
    message = refused("evaluate", shop / "beam", "--search", "item-beam")
    assert "with model.item_head: true" in message


def test_the_help_names_all_settings_with_their_defaults():
    said = " ".join(run("evaluate", "--help").replace("│", " ").split())
    for words in (
        "guided-beam and exhaustive-guided: scorer=null, normaliser=legal",
        "beam: normaliser=legal, codes_per_step=1, single_steps=4;",
        "sampling: seed=0, temperature=1, top_k=null, top_p=null, normaliser=legal;",
        "value-beam, exhaustive, exhaustive-item and exhaustive-prm: normaliser=legal",
    ):
        assert words in said


OWN = """\
from dataclasses import dataclass, replace

from sidestep.search.beam import BeamSearch


@dataclass(frozen=True)
class Reversed:
    num_beams: int = 10
    shift: float = 0.0
    name: str = "reversed"

    def search(self, model, histories, scope):
        found = BeamSearch(num_beams=self.num_beams).search(model, histories, scope)
        order = [*range(found.leaves.shape[1])][::-1]
        return replace(
            found, leaves=found.leaves[:, order], log_probs=-found.log_probs[:, order] + self.shift
        )


@dataclass(frozen=True)
class NoSearch:
    name: str = "none"
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder to call commands from, with a user's own search."""
    name = f"own_searches_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


def items_of(answer):
    return [item["item_id"] for item in json.loads(answer)["items"]]


def test_a_search_of_ones_own_goes_by_import_path(shop, own):
    arguments = (shop / "beam", "--history", "item-1", "--json", "-k", 5, "--beams", 5)
    ours = items_of(run("recommend", *arguments))
    theirs = items_of(run("recommend", *arguments, "--search", f"{own}:Reversed"))
    assert theirs == ours[::-1]
    evaluated = json.loads(
        run(
            "evaluate",
            shop / "beam",
            "--search",
            f"{own}:Reversed",
            "--json",
            "--users",
            10,
            "--search-option",
            "shift=1",
        )
    )
    assert evaluated["method"] == "own-reversed"
    assert evaluated["setting"]["search"] == f"{own}:Reversed"
    assert evaluated["setting"]["search_options"] == "shift=1"


def test_what_is_no_search_of_ones_own_is_refused(shop, own):
    def message(name, *more):
        return refused("evaluate", shop / "beam", "--search", name, "--users", 10, *more)

    assert "is no search; name a dataclass" in message(f"{own}:NoSearch")
    assert "cannot be imported" in message(f"{own}:Nothing")
    assert "there are beam, diverse-beam, beam-fusion, item-beam" in message("beem")
    assert "unknown setting 'shfit'; perhaps 'shift'" in message(
        f"{own}:Reversed", "--search-option", "shfit=1"
    )
    assert "has fields instead" in message(f"{own}:Reversed", "--budget", 2)


@pytest.mark.parametrize(
    "kept", [KeptSearch(name="item-beam", likelihood_weight=0.5), KeptSearch()]
)
def test_without_a_name_the_search_is_that_of_the_bundle(headed, tmp_path, kept):
    sidestep.load(headed).with_search(kept).save(tmp_path / "bundle")
    shutil.copy(headed / "config.yaml", tmp_path)
    shutil.copy(headed / "run.json", tmp_path)
    named = ("--search", kept.name)
    if kept.name == "item-beam":
        named += ("--likelihood-weight", 0.5)
    own = json.loads(run("evaluate", tmp_path, "--users", 10, "--json"))
    assert own["setting"]["search"] == kept.name
    assert own["setting"] == measured(tmp_path, "--users", 10, *named)["setting"]
    arguments = ("recommend", tmp_path, "--history", "item-1", "-k", 3, "--json")
    assert run(*arguments) == run(*arguments, *named)


def test_a_new_run_keeps_the_search_that_validation_chose(headed):
    manifest = sidestep.load(headed).manifest
    scores = manifest.training["searches"]
    assert scores.keys() == {"item-beam", "beam"}
    assert manifest.search.name == max(scores, key=scores.get)
    own = measured(headed, "--split", "validation", "--beams", 5)
    assert own["setting"]["search"] == manifest.search.name
