"""New items by commands: from a CSV of new products to recommendations, and tombstones."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch

import sidestep
from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.files import file_sha256
from tests.cli.commands import refused, run


@pytest.fixture(scope="module")
def products(files, shop):
    """New products: copies of known products with other names, where last codes are free."""
    known = pl.read_csv(files / "products.csv", infer_schema=False)
    codes = Catalog.load(shop / "catalog").semantic_ids[:, :-1].tolist()
    is_free = [codes.count(prefix) < 12 for prefix in codes]
    new = known.filter(is_free).head(3).with_columns(sku=pl.format("new-{}", "sku"))
    path = files / "new-products.csv"
    new.write_csv(path)
    return path


@pytest.fixture(scope="module")
def appended(shop, products):
    out = shop / "appended"
    said = run(
        "append", shop / "beam", "--items", products, "--item", "sku", "--out", out, "--json"
    )
    return out, json.loads(said)


def test_from_a_csv_of_new_items_to_recommendations(shop, products, appended):
    path, said = appended
    old, new = sidestep.load(shop / "beam"), sidestep.load(path)
    assert said["appended"] == 3
    assert said["items"] == old.catalog.num_items + 3
    assert said["parent_version"] == old.catalog.version
    assert said["shared"] == said["items_without_vector"] == 0
    first = pl.read_csv(products, infer_schema=False)["sku"][0]
    answer = json.loads(run("recommend", path, "--history", first, "--k", said["items"], "--json"))
    assert answer["unknown_items"] == 0
    assert {entry["item_id"] for entry in answer["items"]} == set(new.catalog.item_ids.to_pylist())
    assert all(entry["title"] for entry in answer["items"])


def test_a_new_item_is_put_beside_the_one_of_the_same_text(shop, products, appended):
    new = sidestep.load(appended[0]).catalog
    for sku in pl.read_csv(products, infer_schema=False)["sku"]:
        mine = new.semantic_ids[new.index_of(sku)].tolist()
        twin = new.semantic_ids[new.index_of(sku.removeprefix("new-"))].tolist()
        assert mine[:-1] == twin[:-1]
        assert mine != twin


def test_an_appended_bundle_says_why_it_cannot_be_evaluated(appended):
    said = refused("evaluate", appended[0])
    assert "it is a bundle alone, as 'sidestep append'" in said
    assert "In Python, sidestep.evaluate judges a bundle alone" in said


def test_an_appended_bundle_is_judged_by_rows_of_its_new_items(shop, appended, tmp_path):
    loaded = sidestep.load(appended[0])
    old = Dataset.load(shop / "dataset")
    ids = loaded.catalog.item_ids.to_pylist()
    items = pl.DataFrame({"item_id": ids})
    larger = Dataset.from_frames(old.interactions.frame, items, name="larger")
    with pytest.raises(ValueError, match="as test rows alone, with a table of the bundle's 63 "):
        sidestep.evaluate(loaded, larger)
    with pytest.raises(ValueError, match=r"or train again\.$"):
        sidestep.evaluate(sidestep.load(shop / "beam"), larger)

    items.write_csv(tmp_path / "items.csv")
    rows = [{"user_id": item, "history": ids[:2], "target": item} for item in (ids[5], ids[-1])]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run(
        *("import", "rows", "--test", tmp_path / "rows.jsonl", "--items", tmp_path / "items.csv"),
        *("--out", tmp_path / "rows"),
    )
    judged = sidestep.evaluate(
        loaded,
        Dataset.load(tmp_path / "rows"),
        split="test",
        search="exhaustive",
    )
    assert judged.evaluation.targets.tolist() == [5, len(ids) - 1]


def test_the_rows_of_new_items_are_those_of_siblings_or_zeros(shop, products, tmp_path):
    """A SASRec that reads codes has rows per item beside them; the old rows stay as they are."""
    small = ("--set", "kind=sasrec", "--set", "model.dim=8", "--set", "training.epochs=1")
    coded = ("--set", "model.code_embedding=true", "--catalog", shop / "catalog")
    run("train", *small, *coded, "--dataset", shop / "dataset", "--out", tmp_path / "sasrec")
    rows = {}
    for kind in ("siblings", "zeros"):
        words = ("append", tmp_path / "sasrec", "--items", products, "--item", "sku")
        run(*words, "--new-rows", kind, "--out", tmp_path / kind)
        rows[kind] = sidestep.load(tmp_path / kind).network.item_embedding.weight
    assert torch.equal(rows["siblings"][:-3], rows["zeros"][:-3])
    assert rows["siblings"][-3:].any(dim=1).all()
    assert not rows["zeros"][-3:].any()


def test_given_vectors_stand_for_the_texts(shop, products, appended):
    skus = pl.read_csv(products, infer_schema=False)["sku"].str.strip_prefix("new-").to_list()
    rows = Catalog.load(shop / "catalog").indices_of(skus)
    vectors = np.load(shop / "vectors.npy")[rows]
    np.save(shop / "new-vectors.npy", vectors)
    said = json.loads(
        run(
            *("append", shop / "beam", "--items", products, "--item", "sku", "--json"),
            *("--vectors", shop / "new-vectors.npy", "--out", shop / "by-vectors"),
        )
    )
    assert said["version"] == appended[1]["version"]
    np.save(shop / "narrow.npy", vectors[:, :3])
    message = refused(
        *("append", shop / "beam", "--items", products, "--item", "sku"),
        *("--vectors", shop / "narrow.npy", "--out", shop / "nowhere"),
    )
    assert "width 3, expected 8" in message
    assert not (shop / "nowhere").exists()


def test_more_items_than_free_codes_are_refused_or_share(shop, products, tmp_path):
    one = pl.read_csv(products, infer_schema=False).head(1)
    many = pl.concat([one.with_columns(sku=pl.lit(f"copy-{number}")) for number in range(20)])
    many.write_csv(tmp_path / "many.csv")
    asked = ("append", shop / "beam", "--items", tmp_path / "many.csv", "--item", "sku")
    message = refused(*asked, "--out", tmp_path / "out")
    assert "of 16 codes are free for 20 items" in message
    said = json.loads(run(*asked, "--full-groups", "share", "--out", tmp_path / "out", "--json"))
    assert said["shared"] > 4


def test_where_items_of_a_bucket_are_numbered_there_is_a_number_for_every_new_one(
    shop, files, tmp_path
):
    old, new = tmp_path / "old", tmp_path / "new"
    run(
        *("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy"),
        *("--codebook-sizes", "2,2", "--collisions", "extra", "--out", tmp_path / "catalog"),
    )
    train = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset")
    run(*train, "--catalog", tmp_path / "catalog", "--out", old)
    known = pl.read_csv(files / "products.csv", infer_schema=False)
    known.with_columns(sku=pl.format("new-{}", "sku")).write_csv(tmp_path / "new.csv")
    asked = ("append", old, "--items", tmp_path / "new.csv", "--item", "sku", "--out", new)
    said = json.loads(run(*asked, "--json"))
    before, after = sidestep.load(old), sidestep.load(new)
    *sizes, largest = before.catalog.codebook_sizes
    assert said["codebook_sizes"] == [*sizes, 2 * largest]  # every bucket is twice as large
    assert (said["appended"], said["shared"], said["moved"]) == (60, 0, 0)
    assert torch.equal(after.catalog.semantic_ids[:60], before.catalog.semantic_ids)
    [usual] = before.recommend([[known["sku"][0]]], k=10)
    old_ids = before.catalog.item_ids.to_pylist()
    [limited] = after.recommend([[known["sku"][0]]], k=10, available=old_ids)
    assert limited.item_ids == usual.item_ids
    assert limited.scores == pytest.approx(usual.scores, abs=1e-5)


def test_items_that_are_known_and_bundles_that_cannot_encode_are_refused(shop, files, appended):
    message = refused(
        *("append", shop / "beam", "--items", files / "products.csv", "--item", "sku"),
        *("--out", shop / "nowhere"),
    )
    assert "in the catalog already" in message
    bare = shop / "bare"
    shutil.copytree(shop / "beam" / "bundle", bare)
    for name in ("tfidf.safetensors", "tokenizer.json"):
        (bare / "catalog" / name).unlink()
        whole, catalog = (bare / place / "manifest.json" for place in (".", "catalog"))
        content = json.loads(catalog.read_text())
        del content["companions"][name]
        catalog.write_text(json.dumps(content))
        content = json.loads(whole.read_text())
        del content["files"][f"catalog/{name}"]
        content["files"]["catalog/manifest.json"] = file_sha256(catalog)
        whole.write_text(json.dumps(content))
        message = refused(
            *("append", bare, "--items", files / "new-products.csv", "--item", "sku"),
            *("--out", shop / "nowhere"),
        )
        expected = "keeps no tokenizer" if name.startswith("tok") else "give --vectors"
        assert expected in message


def test_retired_items_are_recommended_no_more_and_can_come_back(shop, appended):
    catalog = sidestep.load(appended[0]).catalog
    gone, kept = catalog.item_ids[0].as_py(), catalog.item_ids[1].as_py()
    out = shop / "retired"
    said = json.loads(run("retire", appended[0], "--items", gone, "--out", out, "--json"))
    assert said["retired"] == 1

    def recommended(*options):
        asked = ("recommend", out, "--history", gone, "--k", catalog.num_items, "--json")
        answer = json.loads(run(*asked, *options))
        assert answer["unknown_items"] == 0
        return {entry["item_id"] for entry in answer["items"]}

    assert recommended() == set(catalog.item_ids.to_pylist()) - {gone}
    (shop / "stock.txt").write_text(f"{gone}\n\n{kept}\n")
    assert recommended("--available", shop / "stock.txt") == {kept}
    assert recommended("--available", shop / "stock.txt", "--exclude", f"{kept},other") == set()
    retired, out = out, shop / "restored"
    run("retire", retired, "--file", shop / "stock.txt", "--restore", "--out", out)
    assert recommended("--available", shop / "stock.txt") == {gone, kept}


def test_wrong_requests_to_retire_are_refused(shop, tmp_path):
    out = ("--out", tmp_path / "x")
    assert "either --items" in refused("retire", shop / "beam", *out)
    assert "names no item" in refused("retire", shop / "beam", "--items", ",", *out)
    assert "no item 'gone'" in refused("retire", shop / "beam", "--items", "gone", *out)
    (tmp_path / "ids.txt").write_text("\n")
    assert "one per line" in refused("retire", shop / "beam", "--file", tmp_path / "ids.txt", *out)


@pytest.fixture(scope="module")
def encoder(minilm, tmp_path_factory):
    """A sentence encoder in a folder of its own, which may be moved."""
    folder = tmp_path_factory.mktemp("models") / "encoder"
    shutil.copytree(minilm, folder)
    return folder


@pytest.fixture(scope="module")
def of_sentences(shop, files, encoder, tmp_path_factory):
    """A run on a catalog of titles, read by an encoder and by TF-IDF, and its vectors."""
    folder = tmp_path_factory.mktemp("sentences")
    vectors, catalog, trained = folder / "vectors.npy", folder / "catalog", folder / "run"
    run(
        *("embed", shop / "dataset", "--sentence", encoder, "--text", "--columns", "title"),
        *("--dim", 8, "--weights", "sentence=2", "--out", vectors),
    )
    run(
        *("tokenize", shop / "dataset", "--vectors", vectors),
        *("--codebook-sizes", "4,4,32", "--out", catalog),
    )
    train = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset")
    run(*train, "--catalog", catalog, "--out", trained)
    return trained, np.load(vectors)


def test_a_sentence_encoder_reads_new_items_as_it_read_the_old_ones(
    shop, files, products, of_sentences, tmp_path
):
    trained, vectors = of_sentences
    asked = ("append", trained, "--items", products, "--item", "sku", "--json")
    said = json.loads(run(*asked, "--out", tmp_path / "by-texts"))
    assert said["items_without_vector"] == 0
    skus = pl.read_csv(products, infer_schema=False)["sku"].str.strip_prefix("new-").to_list()
    np.save(tmp_path / "v.npy", vectors[Catalog.load(shop / "catalog").indices_of(skus)])
    given = json.loads(run(*asked, "--vectors", tmp_path / "v.npy", "--out", tmp_path / "by-v"))
    assert said["version"] == given["version"]


def test_new_items_without_any_text_get_the_codes_of_no_text(of_sentences, tmp_path):
    (tmp_path / "bare.csv").write_text("sku,title\nbare-1,\nbare-2,\n")
    asked = ("append", of_sentences[0], "--items", tmp_path / "bare.csv", "--item", "sku")
    said = json.loads(run(*asked, "--out", tmp_path / "out", "--json"))
    assert said["items_without_vector"] == 2
    (tmp_path / "bare.csv").write_text("sku,words\nbare-1,drill\n")
    message = refused(*asked, "--out", tmp_path / "other")
    assert "made of the text columns ['title'], but ['title'] are missing" in message


def test_a_sentence_encoder_that_is_gone_moved_or_another_is_named_with_the_remedy(
    shop, products, encoder, of_sentences, tmp_path
):
    asked = ("append", of_sentences[0], "--items", products, "--item", "sku")
    assert "give one of the two" in refused(
        *(*asked, "--sentence", encoder, "--vectors", "v.npy", "--out", tmp_path / "out")
    )
    idle = ("append", shop / "beam", "--items", products, "--item", "sku")
    message = refused(*idle, "--sentence", encoder, "--out", tmp_path / "out")
    assert "the catalog's vectors are made of text; leave it out" in message
    moved = encoder.rename(tmp_path / "moved")
    try:
        message = refused(*asked, "--out", tmp_path / "out")
        assert f"made by the sentence encoder {encoder}, which is needed for new items" in message
        assert "no folder here" in message
        assert "name its place now with --sentence, or give --vectors" in message
        assert not (tmp_path / "out").exists()
        run(*asked, "--sentence", moved, "--out", tmp_path / "out")
        pooling = moved / "1_Pooling" / "config.json"
        changed = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        before = pooling.read_text()
        pooling.write_text(json.dumps({**json.loads(before), **changed}))
        message = refused(*asked, "--sentence", moved, "--out", tmp_path / "other")
        assert f"{moved}: not the sentence encoder that made the catalog's vectors" in message
        assert "where the old one still is, name its place now" in message
        pooling.write_text(before)
    finally:
        moved.rename(encoder)
