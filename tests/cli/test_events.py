"""A shop's log of views, carts and purchases, from the import to lists."""

import json
import shutil

import numpy as np
import pytest
import torch

import sidestep
from sidestep.data.batches import history_batch
from sidestep.data.dataset import Dataset
from sidestep.data.splits import leave_one_out
from sidestep.data.synthetic import SyntheticShopConfig
from sidestep.data.synthetic_log import LOG, PRODUCTS, ShopLogConfig, write_shop_log
from sidestep.data.windows import training_windows
from tests.cli.commands import refused, run

SHOP = ShopLogConfig(
    shop=SyntheticShopConfig(num_users=50, num_departments=2, items_per_kind=5), repeat_share=0.4
)
SASREC = """\
kind: sasrec
max_history: 8
model: {dim: 8, num_layers: 1, max_items: 8, dropout: 0.0}
training: {epochs: 2, batch_size: 32}
validation: {num_users: 20}
"""
TRANSFORMER = """\
kind: transformer
max_history: 8
model: {dim: 16, num_layers: 1, num_heads: 2, history: HISTORY}
training: {epochs: 1, batch_size: 64}
validation: {num_users: 20, num_beams: 10}
"""
WEIGHTS = ("--target-events", "purchase=1,cart=0.3", "--input-events", "purchase,cart,view=0.2")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    write_shop_log(folder, SHOP, seed=0)
    (folder / "sasrec.yaml").write_text(SASREC)
    for history in ("items", "codes"):
        (folder / f"{history}.yaml").write_text(TRANSFORMER.replace("HISTORY", history))
    for kind in ("popularity", "repeats"):
        (folder / f"{kind}.yaml").write_text(f"kind: {kind}\n")
    return folder


def imported(files, out, *options):
    run(
        *("import", "table", files / LOG, "--items", files / PRODUCTS, "--time", "time"),
        *("--user", "user", "--item", "item", "--event", "event", "--name", "log"),
        *(*options, "--out", out),
    )
    return out


@pytest.fixture(scope="module")
def weighted(files, tmp_path_factory):
    return imported(files, tmp_path_factory.mktemp("weighted") / "dataset", *WEIGHTS)


def trained(files, dataset, name, *options):
    out = dataset.parent / name
    config = files / f"{name}.yaml"
    run("train", "--config", config, "--dataset", dataset, "--out", out, *options)
    return out


def test_only_purchases_and_carts_are_asked_for(weighted):
    dataset = Dataset.load(weighted)
    split = leave_one_out(dataset.histories())
    events = dataset.histories()
    by_user = dict(zip(events.user_ids, range(len(events)), strict=True))
    for row, user in enumerate(split.test.histories.user_ids):
        begin, end = events.offsets[by_user[user] : by_user[user] + 2]
        targets = np.flatnonzero(events.events[begin:end] != "view")
        assert split.test.targets[row] == events.items[begin + targets[-1]]
        assert len(split.test.histories.of(row)) == targets[-1]
    assert split.strategy == "leave-one-out of cart+purchase"


def test_statistics_tell_types_weights_and_repeats(weighted):
    told = json.loads(run("data", "stats", weighted, "--json"))
    assert set(told["events"]) == {"view", "cart", "purchase"}
    assert told["event_weights"]["targets"] == {"cart": 0.3, "purchase": 1.0}
    # Before each purchase its item was viewed.
    assert told["repeat_target_share"] == 1.0
    shown = run("data", "stats", weighted)
    assert "test targets that repeat an item" in shown
    assert "target events" in shown


def test_a_split_by_time_asks_for_target_events_and_counts_all_others(files, tmp_path):
    options = ("--target-events", "purchase", "--input-events", "purchase,cart")
    dataset = imported(files, tmp_path / "dataset", *options)
    told = json.loads(run("data", "split", dataset, "--strategy", "global-time", "--json"))
    assert told["strategy"].endswith(",last of purchase")
    parts = ("training_interactions", "validation_targets", "test_targets")
    rest = ("held_out_as_context_only", "no_target_and_no_input")
    assert sum(told[name] for name in (*parts, *rest)) == told["interactions"]
    assert (
        told["no_target_and_no_input"] == (Dataset.load(dataset).histories().events == "view").sum()
    )
    run("data", "stats", dataset, "--out", tmp_path / "stats")  # marks the moments in a figure


def test_popularity_and_repeats_go_by_the_weights_of_targets(files, weighted):
    split = leave_one_out(Dataset.load(weighted).histories())
    train = split.train.histories
    expected = np.zeros(len(Dataset.load(weighted).items))
    np.add.at(expected, train.items, train.target_weights)
    counts = sidestep.load(trained(files, weighted, "popularity")).counts
    np.testing.assert_allclose(counts, expected)
    run("evaluate", weighted.parent / "popularity", "--split", "test")
    repeats = trained(files, weighted, "repeats")
    told = json.loads(run("evaluate", repeats, "--split", "test", "--json"))
    assert told["method"] == "repeats"
    assert told["setting"]["strategy"] == "leave-one-out of cart+purchase"
    loaded = sidestep.load(repeats)
    assert loaded.kind == "repeats"
    own = ["item-3", "item-7", "item-3"]
    assert loaded.recommend([own], 2)[0].item_ids == ["item-3", "item-7"]
    shown = run("compare", repeats, weighted.parent / "popularity", "--split", "test")
    assert "repeats" in shown


def test_networks_that_read_items_are_trained_with_weights_and_those_of_codes_refuse(
    files, weighted, tmp_path
):
    trained(files, weighted, "sasrec")
    run("evaluate", weighted.parent / "sasrec", "--split", "test")
    run("recommend", weighted.parent / "sasrec", "--user", "user-0")
    run("embed", weighted, "--dim", 8, "--out", tmp_path / "vectors.npy")
    made = ("--vectors", tmp_path / "vectors.npy", "--codebook-sizes", "4,4,16")
    run("tokenize", weighted, *made, "--out", tmp_path / "catalog")
    trained(files, weighted, "items", "--catalog", tmp_path / "catalog")
    run("evaluate", weighted.parent / "items", "--split", "test")
    codes = (
        "train",
        "--config",
        files / "codes.yaml",
        "--dataset",
        weighted,
        "--out",
        tmp_path / "c",
    )
    for dry in ((), ("--dry-run",)):
        message = refused(*codes, "--catalog", tmp_path / "catalog", *dry)
        assert "this network reads items as codes; give input events the weight 0 or 1" in message


def test_codes_read_inputs_of_the_weight_zero_and_one(files, tmp_path):
    options = ("--target-events", "purchase=1,cart=0.3", "--input-events", "purchase,cart")
    dataset = imported(files, tmp_path / "dataset", *options)
    run("embed", dataset, "--dim", 8, "--out", tmp_path / "vectors.npy")
    made = ("--vectors", tmp_path / "vectors.npy", "--codebook-sizes", "4,4,16")
    run("tokenize", dataset, *made, "--out", tmp_path / "catalog")
    trained(files, dataset, "codes", "--catalog", tmp_path / "catalog")
    told = json.loads(run("evaluate", tmp_path / "codes", "--split", "test", "--json"))
    assert told["setting"]["history"].startswith("codes@")
    assert 0 <= told["metrics"]["HR@10"] <= 1


def test_another_weighting_is_another_dataset(files, weighted, tmp_path):
    run_folder = trained(files, weighted, "sasrec")
    other = imported(files, tmp_path / "dataset", *WEIGHTS[:2])
    message = refused("evaluate", run_folder, "--dataset", other)
    assert "different events" in message
    # A training that is resumed must have the event weights with which it began.
    copy = tmp_path / "sasrec"
    shutil.copytree(run_folder, copy)
    resumed = ("--config", files / "sasrec.yaml", "--dataset", other, "--out", copy)
    assert "windows" in refused("train", *resumed)


def test_weights_of_one_change_nothing(files, tmp_path):
    """Windows, splits and lists equal those of a log without a column of types."""
    ones = ("--target-events", "view,cart,purchase", "--input-events", "view,cart,purchase")
    one = Dataset.load(imported(files, tmp_path / "ones" / "dataset", *ones))
    plain_path = tmp_path / "plain" / "dataset"
    run(
        *("import", "table", files / LOG, "--items", files / PRODUCTS, "--time", "time"),
        *("--user", "user", "--item", "item", "--name", "log", "--out", plain_path),
    )
    plain = Dataset.load(plain_path)
    splits = [leave_one_out(dataset.histories(), min_context=0) for dataset in (one, plain)]
    first, second = (training_windows(split.train, 8) for split in splits)
    assert first.fingerprint() == second.fingerprint()
    assert first.target_weights is None
    lists = []
    for dataset in (tmp_path / "ones" / "dataset", plain_path):
        loaded = sidestep.load(trained(files, dataset, "sasrec"), device="cpu")
        recommender = loaded.recommender()
        answer = recommender.recommend(history_batch(splits[0].test.histories), 10)
        lists.append((answer.items, answer.scores))
    assert torch.equal(lists[0][0], lists[1][0])
    assert torch.equal(lists[0][1], lists[1][1])
    assert splits[0].strategy == splits[1].strategy == "leave-one-out"
