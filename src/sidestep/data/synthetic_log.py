"""A synthetic log like that of a real shop: views, carts, purchases, repeats, gaps, time zones.

The log has the purchases of the synthetic shop, in which nobody buys an item twice, and repeated
purchases between them. With the probability `repeat_share`, a purchase is one of an item that the
user has bought before. The item is drawn uniformly from all past purchases of the user, so an item
that was bought often is repeated more often. Before each purchase, the user views some items of the
same kind and then the item itself, and may put the item into the cart.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from sidestep.data.histories import Histories
from sidestep.data.synthetic import (
    FIRST_DAY,
    NUM_DAYS,
    SECONDS_PER_DAY,
    GroundTruth,
    SyntheticShopConfig,
    synthetic_shop,
)
from sidestep.files import whole_file

LOG, PRODUCTS = "log.csv", "products.csv"
"""Files of a folder that `write_shop_log` writes."""


class ShopLogConfig(BaseModel):
    """Configuration of a log: the shop, and the events of its users besides new purchases."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shop: SyntheticShopConfig = SyntheticShopConfig()

    repeat_share: float = Field(0.4, ge=0, lt=1)
    """Mean share of the purchases whose item the user has bought before."""

    views_per_purchase: float = Field(2.0, ge=0)
    """Mean number of other items that are viewed before each purchase."""

    cart_share: float = Field(0.7, ge=0, le=1)
    """Share of the purchases before which the item is put into the cart."""

    missing_share: float = Field(0.0, ge=0, lt=0.5)
    """Share of the rows without a user, and also share of the rows without an item."""

    hours_from_utc: tuple[int, ...] = Field((0, 2, -5), min_length=1)
    """Time zones, in hours from UTC. The time of each row is written in a random one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopLog:
    """The log of a shop, as a shop would export it.

    rows: `time` as text with its zone, `user`, `item` and `event`, in the order of time; "" if a
        user or an item is missing.
    products: `item` and the texts of each item.
    """

    rows: pl.DataFrame
    products: pl.DataFrame


def shop_log(config: ShopLogConfig, seed: int) -> ShopLog:
    """Makes a log. Equal arguments give equal logs.

    Raises:
        ValueError: if the seed is negative.
    """
    dataset, truth = synthetic_shop(config.shop, seed)
    generator = np.random.default_rng([seed, 1])
    histories = dataset.histories()
    user_ids, item_ids = np.array(histories.user_ids), np.array(dataset.items.item_ids)
    users: list[int] = []
    items: list[int] = []
    events: list[str] = []
    seconds: list[int] = []
    for user in range(len(histories)):
        at = int(FIRST_DAY + generator.integers(NUM_DAYS)) * SECONDS_PER_DAY
        for item in _purchases(histories, user, config, generator):
            at += int(generator.integers(1, 10) * SECONDS_PER_DAY)
            for seen, event in _steps(item, truth, config, generator):
                at += int(generator.integers(5, 300))
                users.append(user)
                items.append(seen)
                events.append(event)
                seconds.append(at)
    order = np.argsort(seconds, kind="stable")
    hours = generator.choice(config.hours_from_utc, len(order))
    is_user, is_item = generator.random((2, len(order))) >= config.missing_share
    rows = pl.DataFrame(
        {
            "time": [_text(seconds[row], int(hours[row])) for row in order],
            "user": np.where(is_user, user_ids[users], "")[order],
            "item": np.where(is_item, item_ids[items], "")[order],
            "event": np.array(events)[order],
        }
    )
    return ShopLog(rows=rows, products=dataset.items.frame.rename({"item_id": "item"}))


def write_shop_log(folder: Path, config: ShopLogConfig, seed: int) -> None:
    """Writes log.csv and products.csv into a folder. Creates the folder if it is missing."""
    log = shop_log(config, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in ((LOG, log.rows), (PRODUCTS, log.products)):
        with whole_file(folder / name) as temporary:
            frame.write_csv(temporary)


def _purchases(
    histories: Histories, user: int, config: ShopLogConfig, generator: np.random.Generator
) -> list[int]:
    """The items that a user buys, in order: new items, with repeats after each."""
    bought: list[int] = []
    for item in histories.of(user).tolist():
        bought.append(item)
        while generator.random() < config.repeat_share:
            bought.append(bought[generator.integers(len(bought))])
    return bought


def _steps(
    item: int, truth: GroundTruth, config: ShopLogConfig, generator: np.random.Generator
) -> list[tuple[int, str]]:
    """Events of one purchase: the steps that lead to it, and the purchase itself."""
    alike = np.flatnonzero(truth.kind_of == truth.kind_of[item])
    viewed = generator.choice(alike, generator.poisson(config.views_per_purchase)).tolist()
    steps = [(seen, "view") for seen in (*viewed, item)]
    if generator.random() < config.cart_share:
        steps.append((item, "cart"))
    return [*steps, (item, "purchase")]


def _text(seconds: int, hours: int) -> str:
    """Writes a moment in the local time of a time zone."""
    zone = UTC if hours == 0 else timezone(timedelta(hours=hours))
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).isoformat()
