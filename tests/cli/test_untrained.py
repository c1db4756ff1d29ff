"""Runs without a training, by commands: the transition graph, and popularity in a window."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

import sidestep
from sidestep.bundle.requests import Request
from sidestep.data.dataset import Dataset
from sidestep.data.splits import leave_one_out
from sidestep.evaluation.results import read

from .commands import call, refused, run

DAY = 86_400


def train(dataset, out, *settings):
    given = [word for setting in settings for word in ("--set", setting)]
    run("train", *given, "--dataset", dataset, "--out", out)
    return out


def listed(bundle, *options):
    told = json.loads(run("recommend", bundle, *options, "--k", 5, "--json"))
    return [item["item_id"] for item in told["items"]]


@pytest.fixture(scope="module")
def graph(shop, tmp_path_factory):
    """A run of kind graph with vectors."""
    out = tmp_path_factory.mktemp("graph") / "graph"
    return train(shop / "dataset", out, "kind=graph", f"embeddings={shop / 'vectors.npy'}")


def test_a_graph_is_counted_kept_evaluated_and_asked(graph, shop, tmp_path):
    results = tmp_path / "quality.jsonl"
    told = run("evaluate", graph, "--results", results, "--json")
    assert json.loads(told)["method"] == "graph"
    [line] = read(results)
    loaded = sidestep.load(graph)
    assert (line.method, line.setting.history) == ("graph", f"item-ids@{loaded.max_history}")
    assert loaded.kind == "graph"
    assert len(loaded.manifest.training["embeddings_sha256"]) == 64
    history = ["item-1", "item-2", "item-5"]
    asked = ("--history", ",".join(history))
    best = listed(graph, *asked)
    assert best == loaded.recommend([history], 5)[0].item_ids
    assert set(history).isdisjoint(listed(graph, *asked, "--exclude-seen"))
    assert best[0] not in listed(graph, *asked, "--exclude", best[0])
    in_stock = tmp_path / "in-stock.txt"
    in_stock.write_text("\n".join(best[2:]))
    assert listed(graph, *asked, "--available", in_stock) == best[2:]
    run("retire", graph, "--items", best[0], "--out", tmp_path / "retired")
    assert listed(tmp_path / "retired", *asked)[:4] == best[1:]


def test_new_items_are_appended_to_a_graph_and_to_a_network_beside_it(graph, shop, tmp_path):
    """A new item of the text of an old one is like the old one; the pipeline's default network."""
    run("attach", shop / "beam", "--ranker", graph, "--out", tmp_path / "both")
    catalog = sidestep.load(tmp_path / "both").catalog
    titles = catalog.texts_of(np.arange(catalog.num_items))
    new = pl.DataFrame({"item_id": ["new"], **{name: [titles[name][7]] for name in titles.columns}})
    new.write_csv(tmp_path / "new.csv")
    grown = ("append", tmp_path / "both", "--items", tmp_path / "new.csv")
    assert "seldom show them: keep places" in call(*grown, "--out", tmp_path / "more").stderr
    ranker = sidestep.load(tmp_path / "more").ranker.recommender
    nearest = (ranker.vectors[:-1] @ ranker.vectors[-1]).argmax()
    assert int(nearest) == 7
    vectors = np.load(shop / "vectors.npy")[7:8]
    np.save(tmp_path / "new.npy", vectors)
    words = ("append", graph, "--items", tmp_path / "new.csv", "--out", tmp_path / "alone")
    told = call(*words, "--vectors", tmp_path / "new.npy")
    assert "The graph shows the new items by their vectors." in told.stderr
    assert listed(tmp_path / "alone", "--history", "new")[0] == catalog.ids_of(np.array([7]))[0]


def test_nothing_that_is_held_out_is_in_the_graph(graph, shop):
    dataset = Dataset.load(shop / "dataset")
    train = leave_one_out(dataset.histories()).train.histories
    pairs = set()
    for row in range(len(train)):
        items = train.of(row).tolist()
        for place, item in enumerate(items):
            pairs |= {(item, later) for later in items[place + 1 :]}
    kept = sidestep.load(graph).fitted
    first = np.repeat(np.arange(kept.num_items), np.diff(kept.starts.numpy()))
    assert set(zip(first.tolist(), kept.next_items.tolist(), strict=True)) <= pairs
    np.testing.assert_array_equal(
        kept.counts, np.bincount(train.items, minlength=len(dataset.items))
    )


def test_vectors_that_are_missing_or_know_the_targets_are_refused(shop, tmp_path):
    settings = ("train", "--dataset", shop / "dataset", "--out", tmp_path / "run", "--set")
    none = refused(*settings, "kind=graph", "--set", f"embeddings={tmp_path / 'v.npy'}")
    assert "embeddings: there is no" in none
    other = shutil.copytree(shop / "dataset", tmp_path / "other")
    run("data", "split", other, "--strategy", "global-time", "--validation-share", 0.2)
    vectors = tmp_path / "vectors.npy"
    run("embed", other, "--collaborative", "--collaborative-dim", 4, "--out", vectors)
    told = refused(*settings, "kind=graph", "--set", f"embeddings={vectors}")
    assert "in another training part" in told


def test_a_damaged_graph_is_refused(graph, tmp_path):
    loaded = sidestep.load(graph)
    loaded.save(tmp_path / "bundle")
    file = tmp_path / "bundle" / "model.safetensors"
    arrays = load_file(file)
    save_file({**arrays, "starts": arrays["starts"][:-1]}, file)
    asked = ("recommend", tmp_path / "bundle", "--history", "item-1")
    assert "not the file that manifest.json describes" in refused(*asked)
    with pytest.raises(ValueError, match="starts has the shape"):
        sidestep.load(tmp_path / "bundle", verify=False)


@pytest.fixture(scope="module")
def daily(tmp_path_factory):
    """A dataset with one event per day: old favourites first, then other items."""
    folder = tmp_path_factory.mktemp("daily")
    days = np.arange(60)
    items = (days + days // 6) % 3 + np.where(days < 40, 0, 3)
    pl.DataFrame(
        {
            "user": [f"user-{day % 6}" for day in days],
            "item": [f"item-{item}" for item in items],
            "at": [1_600_000_000 + int(day) * DAY for day in days],
        }
    ).write_csv(folder / "events.csv")
    run(
        *("import", "table", folder / "events.csv", "--user", "user", "--item", "item"),
        *("--time", "at", "--name", "daily", "--out", folder / "dataset"),
    )
    return folder / "dataset"


def test_popularity_in_a_window_goes_by_the_moment(daily, tmp_path):
    bundle = train(daily, tmp_path / "week", "kind=popularity", "window_days=7")
    loaded = sidestep.load(bundle)
    assert (loaded.kind, loaded.reads_times) == ("popularity-window", True)
    results = tmp_path / "quality.jsonl"
    run("evaluate", bundle, "--results", results)
    [line] = read(results)
    assert (line.method, line.setting.history) == ("popularity-7d", None)

    train_part = leave_one_out(Dataset.load(daily).histories()).train.histories
    moment = 1_600_000_000 + 30 * DAY
    is_counted = (train_part.timestamps < moment) & (train_part.timestamps >= moment - 7 * DAY)
    counts = np.bincount(train_part.items[is_counted], minlength=6)
    asked = ("--history", "item-1", "--times", 1_600_000_000, "--moment")
    ids = loaded.catalog.ids_of(np.arange(6))
    best = [counts[ids.index(item)] for item in listed(bundle, *asked, moment)]
    assert best == sorted(counts.tolist(), reverse=True)[:5]
    assert listed(bundle, *asked, "2020-10-13") == listed(bundle, *asked, moment)
    # Without a moment, the last days of the training part count: the other items.
    latest = {"item-3", "item-4", "item-5"}
    assert set(listed(bundle, "--history", "item-1")[:3]) == latest
    assert set(listed(bundle, "--user", "user-1")[:3]) == latest
    assert set(listed(bundle, *asked, moment)[:3]) == {"item-0", "item-1", "item-2"}
    whole = train(daily, tmp_path / "whole", "kind=popularity")
    assert set(listed(whole, "--history", "item-1")[:3]) != latest


def test_requests_with_and_without_a_moment_share_a_batch(daily, tmp_path):
    loaded = sidestep.load(train(daily, tmp_path / "week", "kind=popularity", "window_days=7"))
    early, late = 1_600_000_000 + 20 * DAY, 1_600_000_000 + 90 * DAY
    time = 1_600_000_000
    answers = loaded.answer(
        [
            Request(history=["item-1"], times=[time], moment=early, k=3),
            Request(history=["item-1"], k=3),
            Request(history=["item-1"], times=[time], k=3),
            Request(history=[], times=[], moment=late, k=3),
        ]
    )
    latest = answers[1].item_ids
    assert [answer.item_ids == latest for answer in answers] == [False, True, True, True]


def test_a_window_without_times_in_seconds_is_refused_before_the_work(shop, tmp_path):
    settings = ("--set", "kind=popularity", "--set", "window_days=30")
    out = ("--out", tmp_path / "run", "--dry-run")
    told = refused("train", *settings, "--dataset", shop / "dataset", *out)
    assert "nobody knows how long a day is" in told
