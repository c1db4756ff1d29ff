import json

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from sidestep.cli.commands import inspect
from sidestep.evaluation.report.table import number
from sidestep.tokenizer.kept import read_record
from tests.cli.commands import call, refused, run


def inspected(shop, *more):
    return ("inspect", shop / "catalog", "--dataset", shop / "dataset", *more)


def test_tables_of_several_sets_stay_whole_in_80_columns(shop, other, monkeypatch):
    monkeypatch.setattr(inspect, "OUT", Console(width=80))
    names = [other.rename(other.with_name(f"a-name-longer-than-is-wise-{other.name}"))]
    vectors = ("--vectors", shop / "vectors.npy")
    found = json.loads(run(*inspected(shop, *vectors, "--against", *names, "--json")))
    shown = run(*inspected(shop, *vectors, "--against", *names))
    assert max(map(len, shown.splitlines())) <= 80
    words = set(shown.split())
    for ids in found["ids"].values():
        for at in ids["depths"]:
            assert number(at["fan_out"]["prefixes"]) in words
            assert number(at["next_items"]["chance"]) in words
            assert number(at["balance"]["perplexity"]) in words


@pytest.fixture
def other(shop, tmp_path):
    """A second catalog of the same items."""
    run(
        *("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy"),
        *("--codebook-sizes", "8,32", "--out", tmp_path / "other"),
    )
    return tmp_path / "other"


def test_a_catalog_is_inspected_in_words_and_numbers(shop):
    words = run(*inspected(shop, "--vectors", shop / "vectors.npy"))
    for expected in ("Codes by level", "Collisions", "perplexity", "Examples of catalog on shop"):
        assert expected in words
    found = json.loads(run(*inspected(shop, "--vectors", shop / "vectors.npy", "--json")))
    quality = found["ids"]["catalog"]
    assert quality["codebook_sizes"] == [4, 4, 16]
    assert quality["collisions"]["distinct"] == 60
    moved = read_record(shop / "catalog").moved
    assert quality["collisions"]["resolution"] == {"policy": "reassign", "items": moved}
    assert f"For that {moved} of 60 items" in " ".join(words.split())
    # The codebooks are in the catalog; their error is larger than that of the prefix means.
    for at in quality["depths"]:
        made = at["reconstruction"]
        assert 1 - made["explained"] <= made["codebook_error"] + 1e-6
    assert quality["depths"][0]["reconstruction"]["codebook_error"] < 1


def test_without_vectors_the_rest_is_measured_and_the_next_step_asks_for_them(shop):
    done = call(*inspected(shop))
    assert "What prefixes know of training" in done.stdout
    assert "of the vectors" not in done.stdout
    assert "With --vectors FILE the same command says" in done.stderr


def test_sets_of_ids_are_compared_and_drawn(shop, other, tmp_path):
    page = tmp_path / "ids.html"
    arguments = inspected(shop, "--against", other, "--out", page)
    found = json.loads(run(*arguments, "--json"))
    assert list(found["ids"]) == ["catalog", "other"]
    assert found["report"] == str(page)
    assert "other: Largest first codes" in page.read_text()
    alone = json.loads(run("inspect", other, "--dataset", shop / "dataset", "--json"))
    assert alone["ids"]["other"] == found["ids"]["other"]
    assert "other" in run(*arguments)


def test_held_out_interactions_change_nothing(shop, files, tmp_path):
    events = pl.read_csv(files / "events.csv")
    place = pl.int_range(pl.len()).over("user")
    is_held_out = (place >= pl.len().over("user") - 2) & (pl.len().over("user") >= 3)
    skus = pl.read_csv(files / "products.csv")["sku"].to_list()
    changed = events.with_columns(
        sku=pl.when(is_held_out).then(pl.lit(skus[0])).otherwise(pl.col("sku"))
    )
    assert not changed.equals(events)
    changed.write_csv(tmp_path / "events.csv")
    run(
        *("import", "table", tmp_path / "events.csv", "--user", "user", "--item", "sku"),
        *("--time", "at", "--items", files / "products.csv", "--name", "shop"),
        *("--out", tmp_path / "dataset"),
    )
    command = ("inspect", shop / "catalog", "--json", "--window", 3, "--dataset")
    assert run(*command, shop / "dataset") == run(*command, tmp_path / "dataset")


def test_the_way_to_an_item_may_be_asked_for(shop):
    words = run(*inspected(shop, "--item", "item-7"))
    assert "The way to" in words
    assert "no item 'nothing'" in refused(*inspected(shop, "--item", "nothing"))


def test_codebooks_of_other_vectors_are_left_out_and_said_so(shop, tmp_path):
    np.save(tmp_path / "mine.npy", np.eye(60, 3, dtype=np.float32) + 1)
    given = ("--given", tmp_path / "mine.npy", "--out", tmp_path / "v.npy")
    run("embed", shop / "dataset", *given)
    done = call(*inspected(shop, "--vectors", tmp_path / "v.npy", "--json"))
    assert "fitted on other vectors (of width 8, not 3)" in done.stderr
    found = json.loads(done.stdout)
    assert found["ids"]["catalog"]["depths"][0]["reconstruction"]["codebook_error"] is None


def test_what_cannot_be_inspected_is_refused(shop, files, tmp_path):
    assert "names a catalog twice" in refused(*inspected(shop, "--against", shop / "catalog"))
    assert "sidestep tokenize" in refused("inspect", "nowhere", "--dataset", shop / "dataset")
    np.save(tmp_path / "v.npy", np.ones((3, 4), dtype=np.float32))
    assert "v.json is missing" in refused(*inspected(shop, "--vectors", tmp_path / "v.npy"))
    run(
        *("import", "table", files / "events.csv", "--user", "user", "--item", "sku"),
        *("--k-core", 5, "--out", tmp_path / "small"),
    )
    message = refused("inspect", shop / "catalog", "--dataset", tmp_path / "small")
    assert "not those of the dataset" in message
