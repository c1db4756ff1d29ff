"""A tiny shop as a user's files, taken once through import, embed, tokenize and train."""

from pathlib import Path

import polars as pl
import pytest

from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from tests.cli.commands import run

CONFIG = """\
kind: transformer
max_history: 10
model: {dim: 16, num_layers: 1, num_heads: 2, history: items}
training: {epochs: 1, batch_size: 64}
validation: {num_users: 30, num_beams: 10}
"""


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with events.csv, products.csv and config.yaml."""
    folder = tmp_path_factory.mktemp("files")
    dataset, _ = synthetic_shop(
        SyntheticShopConfig(num_users=80, num_departments=2, items_per_kind=6), 0
    )
    events = dataset.interactions.frame.select(
        user="user_id", sku="item_id", at=pl.int_range(pl.len())
    )
    events.write_csv(folder / "events.csv")
    dataset.items.frame.rename({"item_id": "sku"}).write_csv(folder / "products.csv")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="session")
def shop(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dataset, vectors.npy, catalog and the run `beam`, made by the commands."""
    folder = tmp_path_factory.mktemp("shop")
    dataset, catalog = folder / "dataset", folder / "catalog"
    run(
        *("import", "table", files / "events.csv", "--user", "user", "--item", "sku"),
        *("--time", "at", "--items", files / "products.csv", "--name", "shop", "--out", dataset),
    )
    run("embed", dataset, "--dim", 8, "--out", folder / "vectors.npy")
    run(
        *("tokenize", dataset, "--vectors", folder / "vectors.npy"),
        *("--codebook-sizes", "4,4,16", "--out", catalog),
    )
    train = ("train", "--config", files / "config.yaml", "--dataset", dataset)
    run(*train, "--catalog", catalog, "--out", folder / "beam")
    run("evaluate", folder / "beam", "--split", "test")
    return folder
