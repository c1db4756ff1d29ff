"""Columns of items in bundles: items are read by the texts of the catalog that is there."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from sidestep.bundle.appending import append_items
from sidestep.bundle.attaching import attach_ranker
from sidestep.bundle.columns import (
    categories_of,
    read_item_columns,
    with_categories,
    with_values,
)
from sidestep.bundle.folder import load, save_bundle
from sidestep.bundle.requests import Request, checked_user_info
from sidestep.catalog.catalog import Catalog
from sidestep.data.histories import Histories
from sidestep.data.users import UserTable
from sidestep.model.config import CategoryHeadConfig, ColumnConfig, SasRecConfig, TransformerConfig
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


PEOPLE = UserTable(
    pl.DataFrame(
        {
            "user_id": ["bob", "ann", "cat"],
            "age": ["25", "56", None],
            "town": ["Kiel", "Bonn", "Kiel"],
            "name": ["Bob", "Ann", "Cat"],
        }
    )
)
READ = with_values(
    {"age": ColumnConfig(), "town": ColumnConfig()}, PEOPLE.frame, setting="user_columns"
)
USERS = Histories(
    items=np.array([1, 4, 2, 3], dtype=np.int32),
    offsets=np.array([0, 2, 3, 4]),
    user_ids=("ann", "bob", "dan"),
)


def for_users(folder, kind="transformer", columns=READ):
    torch.manual_seed(0)
    if kind == "sasrec":
        shape = SasRecConfig(dim=8, num_layers=1, max_items=3, user_columns=columns)
        network = SasRec(shape, num_items=6)
    else:
        shape = TransformerConfig(
            dim=8, num_layers=1, num_heads=2, history="items", user_columns=columns
        )
        network = Transformer(shape, torch.from_numpy(IDS).long(), SIZES)
    for weights in network.parameters():
        torch.nn.init.normal_(weights)
    save_bundle(folder, network=network, catalog=CATALOG, max_history=3, seed=0)
    return load(folder, device="cpu")


def scores(answers):
    return [dict(zip(answer.item_ids, answer.scores, strict=True)) for answer in answers]


@pytest.mark.parametrize("kind", ["transformer", "sasrec"])
def test_what_describes_a_user_changes_what_is_recommended(kind, tmp_path):
    loaded = for_users(tmp_path / "b", kind)
    histories = [["i1"], ["i1"], ["i1"]]
    infos = [{"age": 25, "town": "Kiel"}, {"town": "Bonn"}, {"age": "99", "town": None}]
    unknown, described = (
        scores(loaded.recommend(histories, k=6)),
        scores(loaded.recommend(histories, k=6, user_info=infos)),
    )
    assert described[0] != described[1] != unknown[1]
    assert described[2] == pytest.approx(unknown[2])  # a value that nobody had
    frame = pl.DataFrame({"town": ["Kiel", "Bonn", ""], "age": [25, None, 99], "more": [1, 2, 3]})
    assert scores(loaded.recommend(histories, k=6, user_info=frame)) == described
    # Beside a user of whom something is known, another stays unknown.
    both = [
        Request(history=histories[0], k=6, user_info=infos[0]),
        *(Request(history=history, k=6) for history in histories),
    ]
    mixed = scores(loaded.answer(both))
    for ours, theirs in zip(mixed, [described[0], *unknown], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("kind", ["transformer", "sasrec"])
def test_known_users_are_asked_with_what_describes_them_also_after_saving(kind, tmp_path):
    loaded = for_users(tmp_path / "b", kind).with_users(USERS, PEOPLE)
    assert loaded.user_info.columns == ("age", "town")
    loaded.save(tmp_path / "again")
    again = load(tmp_path / "again", device="cpu")
    frame = again.recommend_frame(["dan", "bob", "ann"], k=6)
    infos = [{}, {"age": "25", "town": "Kiel"}, {"age": "56", "town": "Bonn"}]
    expected = loaded.recommend([["i3"], ["i2"], ["i1", "i4"]], k=6, user_info=infos)
    assert frame["score"].to_list() == [score for answer in expected for score in answer.scores]
    assert (
        again.recommend_frame({"x": ["i2"]}, k=6)["score"].to_list()
        != (frame["score"].to_list()[6:12])
    )


def test_a_network_that_reads_no_users_keeps_nothing_of_them(tmp_path):
    loaded = for_users(tmp_path / "b", columns=None).with_users(USERS, PEOPLE)
    assert loaded.user_columns is None
    assert loaded.user_info is None
    with pytest.raises(ValueError, match="this network reads no columns of users"):
        loaded.recommend([["i1"]], user_info=[{"age": "25"}])


@pytest.mark.parametrize(
    ("info", "error", "message"),
    [
        ([{"city": "Kiel"}], ValueError, "user_info names the column 'city'.* reads age, town"),
        (pl.DataFrame({"age": ["25"]}), ValueError, "user_info lacks town.* there are: age"),
        ([{}, {}], ValueError, "user_info has 2 rows for 1 histories"),
        ([{"age": 25.5}], TypeError, "age is a text or a whole number, got float 25.5"),
        ([{"age": True}], TypeError, "got bool True"),
        ({"age": "25"}, TypeError, "user_info is a frame with one row per user, or a list"),
    ],
)
def test_user_info_that_does_not_fit_is_refused(info, error, message):
    with pytest.raises(error, match=message):
        checked_user_info(info, [["i1"]], READ)


def test_a_table_of_users_without_a_column_is_refused(tmp_path):
    loaded = for_users(tmp_path / "b")
    with pytest.raises(ValueError, match=r"lacks town; there are: age, name"):
        loaded.with_users(USERS, UserTable(PEOPLE.frame.drop("town")))


def test_network_and_ranker_read_the_same_columns_of_users(tmp_path):
    ours, same = for_users(tmp_path / "a"), for_users(tmp_path / "b", "sasrec")
    assert attach_ranker(ours, same, weight=1.0).user_columns == READ
    other = for_users(tmp_path / "c", "sasrec", {"age": READ["age"]})
    with pytest.raises(ValueError, match=r"reads the columns age of users and the network age, to"):
        attach_ranker(ours, other, weight=1.0)
    plain = for_users(tmp_path / "d", columns=None)
    assert attach_ranker(plain, other, weight=1.0).user_columns == other.user_columns


def test_a_category_head_takes_the_categories_of_the_data_and_reads_those_of_a_catalog():
    head = with_categories(CategoryHeadConfig(column="genre", separator="|"), TEXTS)
    assert head.values == ("a", "b", "c")
    assert categories_of(head, CATALOG).tolist() == [0, 1, 2, -1, 0, 2]
    assert with_categories(head, TEXTS.head(1)) == head
    rare = with_categories(CategoryHeadConfig(column="brand", min_count=2), TEXTS)
    assert categories_of(rare, CATALOG).tolist() == [0, 1, 0, 1, -1, -1]


def test_a_category_head_without_categories_says_what_to_change():
    colour = CategoryHeadConfig(column="colour")
    with pytest.raises(ValueError, match=r"no column 'colour'; there are: title, genre, brand"):
        with_categories(colour, TEXTS)
    with pytest.raises(ValueError, match="no category that 9 items have"):
        with_categories(CategoryHeadConfig(column="brand", min_count=9), TEXTS)
    with pytest.raises(ValueError, match=r"no column 'colour'; there are: none"):
        categories_of(colour, Catalog.build(list("abcdef"), IDS, SIZES))
