"""Bundles of a small shop, whose lists are known to be right by the library itself."""

import numpy as np
import polars as pl
import pytest
import torch

from sidestep.bundle.folder import save_bundle
from sidestep.bundle.layout import WEIGHTS
from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer

ITEM_IDS = [f"id-{index}" for index in range(12)]


@pytest.fixture(scope="session")
def shops(tmp_path_factory):
    """A folder with the bundles `shop` and `other`, and one that is damaged."""
    root = tmp_path_factory.mktemp("shops")
    codes = np.array([[index // 3, index % 3] for index in range(12)])
    texts = pl.DataFrame({"title": [f"Thing {index}" for index in range(12)]})
    catalog = Catalog.build(ITEM_IDS, codes, (4, 4), texts=texts, popularity=np.arange(12))
    for seed, name in enumerate(("shop", "other", "damaged")):
        torch.manual_seed(seed)
        config = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items")
        network = Transformer(config, torch.from_numpy(codes), (4, 4)).eval()
        for weight in network.parameters():
            torch.nn.init.normal_(weight)
        save_bundle(root / name, network=network, catalog=catalog, max_history=4, seed=0)
    weights = root / "damaged" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    return root


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """A dataset of two users; the first one has taken an item that the shops do not know."""
    users = {"a": [1, 2, 99, 4, 5], "b": [7, 8, 9]}
    rows = [(user, f"id-{item}") for user, items in users.items() for item in items]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    path = tmp_path_factory.mktemp("data") / "dataset"
    Dataset.from_frames(frame).save(path)
    return path
