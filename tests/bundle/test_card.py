"""A card says what a bundle is, holds no path and no user, and stops nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from sidestep.bundle import card, card_text
from sidestep.bundle.card_facts import CardMetric, CardResult, facts_of, plain
from sidestep.bundle.card_text import METHODS, card_body, metric_type
from sidestep.bundle.folder import load, save_bundle
from sidestep.bundle.layout import CARD, LISTED
from sidestep.bundle.manifest import KINDS as KNOWN_KINDS
from sidestep.bundle.writing import check_bundle_place
from sidestep.catalog.catalog import Catalog
from sidestep.data.histories import Histories
from sidestep.files import file_sha256
from tests.bundle.test_bundle import KINDS, saved

RESULT = CardResult(
    dataset="things",
    split="test",
    method="transformer",
    setting="search beam, beams 50",
    excludes_seen=False,
    num_rows=120,
    num_users=100,
    metrics={"NDCG@10": CardMetric(mean=0.08215, low=0.0791, high=0.0853)},
)


def front_matter(text):
    head = text.removeprefix("---\n").partition("\n---\n")[0]
    return yaml.safe_load(head)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_bundle_has_a_card_that_says_what_it_is(kind, tmp_path):
    saved(tmp_path / "bundle", kind)
    text = (tmp_path / "bundle" / CARD).read_text()
    assert METHODS[kind] in text
    head = front_matter(text)
    assert head["library_name"] == "sidestep"
    assert head["datasets"] == ["things"]
    assert kind in head["tags"]
    assert ("semantic-ids" in head["tags"]) == ("A beam search keeps" in text)
    assert "license" not in head
    assert "model-index" not in head


def test_every_known_kind_has_words():
    assert METHODS.keys() == set(KNOWN_KINDS)


def test_the_sections_stand_in_the_order_of_a_reader(made):
    lines = (made / CARD).read_text().splitlines()
    titles = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert titles == ["Data", "Method", "Metrics", "Search", "Limits", "Use"]


def test_a_card_belongs_to_no_bundle(bundle):
    """The manifest does not list the card, so the hash that stands for a bundle stays."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert CARD not in manifest["files"]
    assert CARD not in LISTED
    before = file_sha256(bundle / "manifest.json")
    loaded = load(bundle)
    loaded.save(bundle.parent / "again")
    assert file_sha256(bundle.parent / "again" / "manifest.json") == before
    assert (bundle.parent / "again" / CARD).read_text() == (bundle / CARD).read_text()


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b"---\nlicense: [\n", "folder"])
def test_a_card_that_is_missing_or_damaged_stops_nothing(bundle, content):
    (bundle / CARD).unlink()
    if content == "folder":
        (bundle / CARD).mkdir()
    elif content is not None:
        (bundle / CARD).write_bytes(content)
    assert load(bundle).catalog.num_items == 12
    check_bundle_place(bundle)


def test_a_manifest_that_lists_a_card_is_refused(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][CARD] = file_sha256(bundle / CARD)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"lists 'README\.md', which no bundle holds"):
        load(bundle)


def test_what_a_card_shows_of_a_manifest_is_plain():
    for told in ("/home/me/data", "C:\\data", "https://host", "a\nb", "<b>", "`x`", "", " ", 3):
        assert plain(told) is None
    assert plain("my shop 2.0") == "my shop 2.0"


def test_paths_and_histories_do_not_get_into_a_card(tmp_path):
    catalog = Catalog.build(["a", "b", "c"], np.array([[0], [1], [2]]), (3,))
    data = {"name": "/home/me/shop", "interactions": "/home/me/log.csv"}
    training = {"adopted_from": "/home/me/model", "steps": 7}
    save_bundle(
        tmp_path / "plain",
        network=None,
        counts=np.array([3, 2, 1]),
        catalog=catalog,
        max_history=1,
        seed=0,
        data=data,
        training=training,
    )
    users, _ = Histories.from_item_ids({"secret-user": ["a", "c"]}, catalog.indices_of)
    load(tmp_path / "plain", device="cpu").with_users(users).save(tmp_path / "known")
    text = (tmp_path / "known" / CARD).read_text()
    assert "/home" not in text
    assert "secret-user" not in text
    assert str(tmp_path) not in text
    assert "7 steps of the optimizer" in text
    assert "**The bundle holds histories of known users**" in text
    assert "does not tell on which data" in text
    assert "holds no history of a user" in (tmp_path / "plain" / CARD).read_text()


def test_ids_that_a_shell_would_read_otherwise_do_not_get_into_examples(tmp_path):
    for index, item_ids in enumerate((["a b", "c"], ["-k", "c"], ["$(x)", "c"], ["a", "b"])):
        catalog = Catalog.build(item_ids, np.array([[0], [1]]), (2,))
        save_bundle(
            tmp_path / str(index),
            network=None,
            counts=np.array([1, 1]),
            catalog=catalog,
            max_history=1,
            seed=0,
        )
        text = (tmp_path / str(index) / CARD).read_text()
        expected = "a,b" if item_ids == ["a", "b"] else "ITEM,ITEM"
        assert f"sidestep recommend bundle --history {expected}\n" in text


def test_a_metric_stands_in_the_index_and_in_the_text_with_its_interval(made):
    text = card_body(facts_of(made), [RESULT], repository="me/shop", license="mit")
    assert "| NDCG@10 | 0.0822 | 0.0791 to 0.0853 |" in text
    assert "120 rows of 100 users" in text
    head = front_matter(text)
    assert head["license"] == "mit"
    [entry] = head["model-index"]
    assert entry["name"] == "shop"
    [result] = entry["results"]
    assert result["dataset"] == {"name": "things", "type": "things", "split": "test"}
    [metric] = result["metrics"]
    assert metric["type"] == "ndcg_at_10"
    assert metric["value"] == 0.08215
    assert metric["args"] == {"interval_95": [0.0791, 0.0853]}
    assert "sidestep pull me/shop --out bundle" in text


def test_names_of_metrics_are_those_of_the_hub():
    names = ["HR@10", "NDCG@5", "MRR"]
    assert [*map(metric_type, names)] == ["hit_rate_at_10", "ndcg_at_5", "mrr"]


def test_the_library_of_the_hub_reads_the_front_matter(made):
    hub = pytest.importorskip("huggingface_hub")
    text = card_body(facts_of(made), [RESULT], license="mit")
    read = hub.ModelCard(card.signed(text, "0" * 64)).data
    assert read.license == "mit"
    assert read.library_name == "sidestep"
    [result] = read.eval_results
    assert (result.dataset_name, result.metric_type) == ("things", "ndcg_at_10")
    assert result.metric_value == 0.08215


def test_an_item_head_with_a_ranker_is_named_as_the_search(made):
    facts = facts_of(made)
    for name, words in (("item-head", "rank all items"), ("item-beam", "guided by the item head")):
        search = {"search": facts.manifest.search.model_copy(update={"name": name})}
        changed = replace(facts, manifest=facts.manifest.model_copy(update=search))
        assert f"`{name}`" in card_body(changed)
        assert words in card_body(changed)


def test_a_card_of_a_language_model_says_how_transformers_loads_it(made):
    text = card_body(facts_of(made), form="language-model")
    assert front_matter(text)["library_name"] == "transformers"
    assert 'AutoModelForCausalLM.from_pretrained("model")' in text
    assert "sidestep.load" not in text


def test_a_card_knows_whether_somebody_has_changed_it(made):
    text = (made / CARD).read_text()
    sha256 = file_sha256(made / "manifest.json")
    assert card.made_for(text) == sha256
    assert card.made_for(text.replace("12", "13", 1)) is None
    assert card.made_for(text + "More.\n") is None
    assert card.made_for(text[:-20]) is None
    assert card.made_for("") is None


def test_a_licence_replaces_the_one_before_and_nothing_else(made):
    text = (made / CARD).read_text()
    once = card.with_license(text, "mit")
    twice = card.with_license(once, "apache-2.0")
    assert front_matter(once) == {"license": "mit", **front_matter(text)}
    assert front_matter(twice)["license"] == "apache-2.0"
    assert twice.count("license:") == 1
    assert card.made_for(twice) == card.made_for(text)
    assert twice.partition("\n---\n")[2][:-150] == text.partition("\n---\n")[2][:-150]
    with pytest.raises(ValueError, match="changed by hand"):
        card.with_license("mine", "mit")


def test_a_licence_is_an_identifier():
    assert card.check_license(None) is None
    assert card.check_license("apache-2.0") == "apache-2.0"
    for wrong in ("MIT License", "a\nb: c", "", "-x"):
        with pytest.raises(ValueError, match="no identifier"):
            card.check_license(wrong)


def test_numbers_and_words_of_a_network_are_shown_and_what_is_nested_is_not():
    settings = {"dim": 8, "tied": True, "rate": 0.5, "path": "/x", "deep": {"a": 1}, "none": None}
    assert card_text._scalars(settings) == [("dim", "8"), ("tied", "yes"), ("rate", "0.5")]
