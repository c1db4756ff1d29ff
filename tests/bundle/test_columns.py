"""Columns of items in bundles: items are read by the texts of the catalog that is there."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from sidestep.bundle.appending import append_items
from sidestep.bundle.attaching import attach_ranker
from sidestep.bundle.columns import read_item_columns, with_values
from sidestep.bundle.folder import load, save_bundle
from sidestep.catalog.catalog import Catalog
from sidestep.model.config import ColumnConfig, SasRecConfig, TransformerConfig
from sidestep.model.sasrec import SasRec
from sidestep.model.transformer import Transformer

IDS = np.array([[a, b] for a in range(2) for b in range(3)], dtype=np.int32)
SIZES = (2, 4)
TEXTS = pl.DataFrame(
    {
        "title": [f"Item {item}" for item in range(6)],
        "genre": ["a|b", "b", "c", None, "a", "c|a"],
        "brand": ["x", "y", "x", "y", "", "z"],
    }
)
CATALOG = Catalog.build([f"i{item}" for item in range(6)], IDS, SIZES, texts=TEXTS)
COLUMNS = with_values(
    {"genre": ColumnConfig(separator="|"), "brand": ColumnConfig()}, TEXTS, setting="item_columns"
)


def saved(folder, kind="transformer", columns=COLUMNS, catalog=CATALOG):
    torch.manual_seed(0)
    if kind == "sasrec":
        shape = SasRecConfig(dim=8, num_layers=1, max_items=3, item_columns=columns)
        network = SasRec(shape, num_items=6)
    else:
        shape = TransformerConfig(
            dim=8, num_layers=1, num_heads=2, history="items", item_columns=columns
        )
        network = Transformer(shape, torch.from_numpy(IDS).long(), SIZES)
    for weights in network.parameters():
        torch.nn.init.normal_(weights)
    read_item_columns(network, catalog)
    save_bundle(folder, network=network, catalog=catalog, max_history=3, seed=0)
    return network


def answers(loaded, histories=(["i1", "i4"], ["i5"])):
    return [(found.item_ids, found.scores) for found in loaded.recommend(list(histories), k=6)]


@pytest.mark.parametrize("kind", ["transformer", "sasrec"])
def test_a_loaded_bundle_reads_items_as_the_trained_network_did(kind, tmp_path):
    network = saved(tmp_path / "b", kind)
    loaded = load(tmp_path / "b", device="cpu")
    torch.testing.assert_close(loaded.network.catalog_vectors(), network.catalog_vectors())
    loaded.save(tmp_path / "again")
    assert answers(load(tmp_path / "again", device="cpu")) == answers(loaded)


@pytest.mark.parametrize("kind", ["transformer", "sasrec"])
def test_other_texts_are_read_by_the_same_vectors(kind, tmp_path):
    saved(tmp_path / "b", kind)
    loaded = load(tmp_path / "b", device="cpu")
    swapped = TEXTS.with_columns(genre=pl.Series(["b", "b", "c", "new", "a", "c|a"]))
    replace(loaded, catalog=replace(CATALOG, texts=swapped.lazy())).save(tmp_path / "other")
    other = load(tmp_path / "other", device="cpu").network
    table, columns = loaded.network.item_columns.table.weight, loaded.network.catalog_vectors()
    a, b = table[0], table[1]
    torch.testing.assert_close(other.catalog_vectors()[0], columns[0] - (a + b) / 2 + b)
    torch.testing.assert_close(other.catalog_vectors()[1:], columns[1:])


@pytest.mark.parametrize("kind", ["transformer", "sasrec"])
def test_appended_items_are_read_by_their_own_texts(kind, tmp_path):
    saved(tmp_path / "b", kind)
    loaded = load(tmp_path / "b", device="cpu")
    new = pl.DataFrame(
        {"title": ["new", "newer"], "genre": ["b|unseen", None], "brand": ["z", "z"]}
    )
    codes = np.array([[0, 3], [1, 3]], dtype=np.int32)
    grown = append_items(loaded, ["n0", "n1"], codes, texts=new, new_rows="zeros")
    before, after = loaded.network.catalog_vectors(), grown.network.catalog_vectors()
    torch.testing.assert_close(after[:6], before)
    table = loaded.network.item_columns.table.weight
    b, z = table[1], table[5]
    plain = after[6:]
    if kind == "transformer":
        plain = plain - grown.network.code_embedding(
            grown.network.flat_codes(torch.tensor([6, 7]))
        ).sum(1)
    torch.testing.assert_close(plain, torch.stack([b + z, z]))
    grown.save(tmp_path / "grown")
    again = load(tmp_path / "grown", device="cpu")
    histories = (["i1", "n0"], ["n1"])
    assert answers(again, histories) == answers(grown, histories)


def test_a_ranker_with_columns_reads_the_texts_of_the_catalog_that_it_stands_beside(tmp_path):
    saved(tmp_path / "plain", columns=None)
    network = saved(tmp_path / "ranker", "sasrec")
    ranker = load(tmp_path / "ranker", device="cpu")
    made = attach_ranker(load(tmp_path / "plain", device="cpu"), ranker, weight=1.0)
    made.save(tmp_path / "both")
    again = load(tmp_path / "both", device="cpu")
    torch.testing.assert_close(again.ranker.catalog_vectors(), network.catalog_vectors())


@pytest.mark.parametrize("texts", [None, TEXTS.drop("genre").lazy()])
def test_a_catalog_without_the_columns_is_refused(texts, tmp_path):
    saved(tmp_path / "b")
    loaded = load(tmp_path / "b", device="cpu")
    bare = replace(CATALOG, texts=texts)
    with pytest.raises(ValueError, match=r"reads the item columns genre, brand, .* lack genre"):
        replace(loaded, catalog=bare).save(tmp_path / "bare")
    bare.save(tmp_path / "catalog")
    with pytest.raises(ValueError, match="lack genre"):
        read_item_columns(loaded.network, Catalog.load(tmp_path / "catalog"))


def test_a_column_that_the_data_lack_is_refused():
    with pytest.raises(ValueError, match="'color'; there are: title, genre, brand"):
        with_values({"color": ColumnConfig()}, TEXTS, setting="model.item_columns")
    with pytest.raises(ValueError, match=r"model.item_columns: column 'brand' holds no value"):
        with_values({"brand": ColumnConfig(min_count=3)}, TEXTS, setting="model.item_columns")


def test_given_values_stay():
    given = {"genre": ColumnConfig(separator="|", values=("c", "a"))}
    assert with_values(given, TEXTS, setting="item_columns") == given
