from datetime import datetime

import polars as pl
import pytest
from pydantic import ValidationError

from sidestep.data.importers.table import import_table
from sidestep.data.synthetic import SyntheticShopConfig
from sidestep.data.synthetic_log import LOG, PRODUCTS, ShopLogConfig, shop_log, write_shop_log

SHOP = SyntheticShopConfig(num_users=60, num_departments=2, items_per_kind=6)


@pytest.fixture(scope="module")
def log():
    return shop_log(ShopLogConfig(shop=SHOP, repeat_share=0.5, missing_share=0.02), seed=3)


def test_the_same_seed_gives_the_same_log(log):
    config = ShopLogConfig(shop=SHOP, repeat_share=0.5, missing_share=0.02)
    assert shop_log(config, seed=3).rows.equals(log.rows)
    assert not shop_log(config, seed=4).rows.equals(log.rows)


def test_times_rise_whatever_zone_they_are_written_in(log):
    moments = [datetime.fromisoformat(text) for text in log.rows["time"]]
    assert moments == sorted(moments)
    assert {text[-6:] for text in log.rows["time"]} == {"+00:00", "+02:00", "-05:00"}


def test_shares_are_about_what_was_asked_for(log):
    rows = log.rows
    for name in ("user", "item"):
        assert 0.005 < (rows[name] == "").mean() < 0.04
    known = rows.filter((pl.col("user") != "") & (pl.col("item") != ""))
    bought = known.filter(pl.col("event") == "purchase")
    repeats = 1 - bought.select("user", "item").n_unique() / bought.height
    assert repeats == pytest.approx(0.5, abs=0.06)
    carts = known.filter(pl.col("event") == "cart").height
    assert carts / bought.height == pytest.approx(0.7, abs=0.07)
    views = known.filter(pl.col("event") == "view").height
    assert views / bought.height == pytest.approx(3, abs=0.3)  # the item itself, and two others


def test_every_purchase_is_viewed_before():
    rows = shop_log(ShopLogConfig(shop=SHOP), seed=0).rows
    viewed = set()
    for user, item, event in rows.select("user", "item", "event").iter_rows():
        assert event == "view" or (user, item) in viewed
        viewed.add((user, item))


def test_without_repeats_nobody_buys_an_item_twice_and_nothing_is_missing():
    rows = shop_log(ShopLogConfig(shop=SHOP, repeat_share=0), seed=0).rows
    bought = rows.filter(pl.col("event") == "purchase")
    assert bought.select("user", "item").is_duplicated().sum() == 0
    assert not (rows["user"] == "").any()


def test_the_files_are_imported_with_their_types(tmp_path):
    write_shop_log(tmp_path / "shop", ShopLogConfig(shop=SHOP), seed=0)
    columns = {"user": "user", "item": "item", "time": "time", "event": "event"}
    imported = import_table(
        tmp_path / "shop" / LOG, **columns, items_path=tmp_path / "shop" / PRODUCTS
    )
    dataset = getattr(imported, "dataset", imported)
    assert set(dataset.interactions.frame["event"]) == {"view", "cart", "purchase"}
    assert len(dataset.items) == SHOP.num_items
    assert dataset.interactions.frame["timestamp"].is_sorted()


def test_shares_out_of_range_are_refused():
    with pytest.raises(ValidationError):
        ShopLogConfig(repeat_share=1)
    with pytest.raises(ValidationError):
        ShopLogConfig(hours_from_utc=())
