"""Items that are in no training: held out of a shop, appended by their texts, recommended."""

import json

import polars as pl
import pytest
import torch

import sidestep
from tests.cli.commands import refused, run


@pytest.fixture(scope="module")
def held_out(files):
    """The items that are held out: 5 % of the shop, in the order of the file."""
    every = pl.read_csv(files / "products.csv", infer_schema=False)
    return every.sample(fraction=0.05, seed=0, shuffle=False)


@pytest.fixture(scope="module")
def bundles(files, held_out, tmp_path_factory):
    """The run that was trained without these items, and the bundle to which they are appended."""
    folder = tmp_path_factory.mktemp("cold")
    for name in ("events", "products"):
        table = pl.read_csv(files / f"{name}.csv", infer_schema=False)
        table.filter(~pl.col("sku").is_in(held_out["sku"].implode())).write_csv(
            folder / f"{name}.csv"
        )
    held_out.write_csv(folder / "new.csv")
    dataset, catalog, old = folder / "dataset", folder / "catalog", folder / "old"
    run(
        *("import", "table", folder / "events.csv", "--user", "user", "--item", "sku"),
        *("--time", "at", "--items", folder / "products.csv", "--out", dataset),
    )
    run("embed", dataset, "--dim", 8, "--out", folder / "vectors.npy")
    run(
        *("tokenize", dataset, "--vectors", folder / "vectors.npy"),
        *("--codebook-sizes", "4,4,16", "--out", catalog),
    )
    train = ("train", "--config", files / "config.yaml", "--dataset", dataset)
    run(*train, "--catalog", catalog, "--out", old)
    new = folder / "new"
    run("append", old, "--items", folder / "new.csv", "--item", "sku", "--out", new)
    return old, new


def test_held_out_items_are_recommended_and_nothing_old_changes(files, held_out, bundles):
    old, new = (sidestep.load(path, device="cpu") for path in bundles)
    old_ids, new_ids = old.catalog.item_ids.to_pylist(), held_out["sku"].to_list()
    assert len(new_ids) >= 2
    assert new.new_item_ids == new_ids
    assert new.catalog.item_ids.to_pylist() == [*old_ids, *new_ids]
    assert torch.equal(new.catalog.semantic_ids[: len(old_ids)], old.catalog.semantic_ids)
    for name, weights in old.network.state_dict().items():
        assert torch.equal(new.network.state_dict()[name][: len(weights)], weights)
    events = pl.read_csv(files / "events.csv", infer_schema=False)
    rows = events.filter(pl.col("sku").is_in(old_ids)).group_by("user", maintain_order=True)
    histories = [list(skus["sku"]) for _, skus in rows][:20]
    assert len(histories) == 20
    # If all other items are unavailable, every list holds all new items ...
    for answer in new.recommend(histories, k=10, available=new_ids):
        assert sorted(answer.item_ids) == sorted(new_ids)
        assert all(answer.is_new)
        assert all(map(torch.isfinite, torch.tensor(answer.scores)))
    # ... and if the new items are unavailable, every list is the old list, with equal scores.
    for before, after in zip(
        old.recommend(histories, k=10),
        new.recommend(histories, k=10, available=old_ids),
        strict=True,
    ):
        assert after.item_ids == before.item_ids
        assert after.scores == pytest.approx(before.scores, abs=1e-5)
        assert not any(after.is_new)


def test_places_for_new_items_by_command(held_out, bundles):
    old, new = bundles
    known = sidestep.load(old).catalog.item_ids[0].as_py()
    asked = ("recommend", new, "--history", known, "--k", 6)
    usual = json.loads(run(*asked, "--json"))["items"]
    answer = json.loads(run(*asked, "--new-places", 2, "--json"))["items"]
    assert answer[:4] == usual[:4]
    assert [item["is_new"] for item in answer[4:]] == [True, True]
    assert {item["item_id"] for item in answer[4:]} <= set(held_out["sku"])
    assert run(*asked, "--new-places", 2).count("(new)") >= 2
    too_many = refused(*asked, "--new-places", 7)
    assert "--new-places 7: the list has 6 places" in too_many
    nothing_new = refused("recommend", old, "--history", known, "--new-places", 2)
    assert "no item was appended to" in nothing_new
