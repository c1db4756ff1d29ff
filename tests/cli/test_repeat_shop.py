"""A shop with repeated purchases: two commands lead from its CSVs to a report.

The log has all difficulties of real logs at once: views, carts and purchases, times in several
zones, rows without a user or an item, words that mean no user, items that are bought again, and
columns with usual names that differ from Sidestep's. Plain Python computes the expected results a
second time here, from the rows as they were written.
"""

import csv
import json
import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidestep.data.dataset import Dataset
from sidestep.data.synthetic import SyntheticShopConfig
from sidestep.data.synthetic_log import ShopLog, ShopLogConfig, shop_log
from tests.cli.commands import run

SHOP = ShopLogConfig(
    shop=SyntheticShopConfig(num_users=40, num_departments=2, items_per_kind=6),
    repeat_share=0.5,
    missing_share=0.02,
)
NAMES = {"time": "Date/Time", "user": "Shopper No.", "item": "Stock Code", "event": "Action Type"}
NO_USER = "null"
"""Word in every second row without a user; other such rows are empty."""
SMALL = (
    *("train.sasrec.model.dim=8", "train.sasrec.training.epochs=1"),
    *("train.transformer.model.dim=16", "train.transformer.model.num_layers=1"),
    *("train.transformer.training.epochs=1", "tokenize.codebook-sizes=4,4,16"),
    *("recommend.users=1", "evaluate.split=test"),
)
"""Settings that replace those written by `new`, which would train for minutes."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Expected content of the rows, counted without Sidestep.

    steps: items and events of each user in order, from the rows that are kept.
    no_user, no_item: number of rows that lack one; rows that lack both count as no_user.
    items: all items of the shop.
    """

    steps: dict[str, list[tuple[str, str]]]
    events: Counter[str]
    no_user: int
    no_item: int
    items: list[str]

    @classmethod
    def of(cls, log: ShopLog) -> "Truth":
        steps = defaultdict(list)
        rows = log.rows.rows(named=True)  # in the order of time
        kept = [row for row in rows if row["user"] and row["item"]]
        for row in kept:
            steps[row["user"]].append((row["item"], row["event"]))
        no_user = sum(not row["user"] for row in rows)
        return cls(
            steps=dict(steps),
            events=Counter(row["event"] for row in kept),
            no_user=no_user,
            no_item=len(rows) - len(kept) - no_user,
            items=log.products["item"].to_list(),
        )

    @property
    def purchases(self) -> list[list[str]]:
        """The items of each user's purchases, in their order."""
        return [
            [item for item, event in steps if event == "purchase"] for steps in self.steps.values()
        ]

    @property
    def judged_rows(self) -> list[tuple[list[str], str]]:
        """Histories and targets: the last purchase of each user who has three."""
        return [(bought[:-1], bought[-1]) for bought in self.purchases if len(bought) >= 3]

    def repeats_metrics(self) -> tuple[float, float]:
        """HR@10 and NDCG@10 of lists of own frequent items, then popular items, on test targets."""
        counts = Counter[str]()
        for bought in self.purchases:
            counts.update(bought[:-2] if len(bought) >= 3 else bought)
        hits, gains = [], []
        for history, target in self.judged_rows:
            own = Counter(history)
            last = {item: place for place, item in enumerate(history)}
            keys = {
                item: (own[item], last.get(item, -1), 0 if item in own else counts[item])
                for item in self.items
            }
            num_before = sum(key > keys[target] for key in keys.values())
            num_alike = sum(key == keys[target] for key in keys.values())
            # Equal items may be in any order: the metric is the mean over all orders.
            places = [p for p in range(num_before, num_before + num_alike) if p < 10]
            hits.append(len(places) / num_alike)
            gains.append(sum(1 / math.log2(place + 2) for place in places) / num_alike)
        return sum(hits) / len(hits), sum(gains) / len(gains)


@pytest.fixture(scope="module")
def log():
    return shop_log(SHOP, seed=1)


@pytest.fixture(scope="module")
def truth(log):
    return Truth.of(log)


def write_tables(folder: Path, log: ShopLog) -> tuple[Path, Path]:
    """Writes the log like Excel in much of Europe, and a catalog with another name of the IDs."""
    tables = folder / "orders 2024.csv", folder / "catalogue.csv"
    with tables[0].open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["", *NAMES.values(), "Unit Price"])
        for number, row in enumerate(log.rows.rows(named=True)):
            user = row["user"] or (NO_USER if number % 2 else "")
            values = {**row, "user": user}
            writer.writerow([number, *(values[name] for name in NAMES), f"{number % 7}.99"])
    products = log.products.rename({"item": "Art. Code"})
    products.write_csv(tables[1])
    return tables


@pytest.fixture(scope="module")
def shop(log, tmp_path_factory):
    """The folder of the pipeline after its run, and the findings of `new`."""
    home = tmp_path_factory.mktemp("repeats")
    events, items = write_tables(home, log)
    told = json.loads(
        run("new", home / "shop", "--interactions", events, "--items", items, "--json")
    )
    run("run", home / "shop", *[word for setting in SMALL for word in ("--set", setting)])
    return home / "shop", told


def test_new_finds_every_column_and_counts_what_it_leaves_out(shop, truth):
    _, told = shop
    columns, found = told["columns"], told["found"]
    taken = {name: columns[name]["column"] for name in NAMES}
    assert taken == NAMES
    assert columns["items_id"]["column"] == "Art. Code"
    assert found["import"] == {
        **{"missing-words": [NO_USER], "missing-users": "drop", "missing-items": "drop"}
    }
    assert sum(found["left_out"].values()) == truth.no_user + truth.no_item
    assert found["events"] == dict(truth.events)
    assert found["event_weights"] == {"targets": {"purchase": 1.0}, "inputs": {"purchase": 1.0}}


def test_the_dataset_holds_the_steps_of_each_user_in_the_order_of_time(shop, truth):
    frame = Dataset.load(shop[0] / "dataset").interactions.frame
    steps = defaultdict(list)
    for user, item, event in frame.select("user_id", "item_id", "event").iter_rows():
        steps[user].append((item, event))
    assert dict(steps) == truth.steps


def test_the_share_of_repeats_is_that_of_the_rows(shop, truth):
    again = [target in history for history, target in truth.judged_rows]
    assert shop[1]["found"]["repeat_target_share"] == pytest.approx(sum(again) / len(again))


def test_the_report_says_of_repeats_what_a_second_count_says(shop, truth):
    folder, _ = shop
    hit_rate, ndcg = truth.repeats_metrics()
    told = json.loads(run("evaluate", folder / "repeats", "--split", "test", "--json"))["metrics"]
    assert told["HR@10"] == pytest.approx(hit_rate, abs=1e-9)
    assert told["NDCG@10"] == pytest.approx(ndcg, abs=1e-9)
    page = (folder / "report.html").read_text(encoding="utf-8")
    row = next(row for row in page.split("<tr>") if row.startswith('<th scope="row">repeats<'))
    shown = re.findall(r"<td[^>]*>([0-9.]+)<", row)
    columns = re.findall(r'<th scope="col">([^<]+)<', page[: page.index(row)])
    told = dict(zip(columns, shown, strict=True))
    assert (told["HR@10"], told["NDCG@10"]) == (f"{hit_rate:.4f}", f"{ndcg:.4f}")
