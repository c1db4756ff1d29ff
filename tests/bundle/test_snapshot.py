"""Snapshots: every answer is whole from one of them, whatever takes its place meanwhile."""

import inspect
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from threading import Event

import numpy as np
import polars as pl
import pytest
import torch

from sidestep.bundle.appending import append_items, retire_items
from sidestep.bundle.folder import load, save_bundle
from sidestep.bundle.requests import Request
from sidestep.bundle.snapshot import CurrentSnapshot, Snapshot
from sidestep.catalog.catalog import Catalog
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.search.beam import BeamSearch

ITEM_IDS = [f"id-{index}" for index in range(12)]
CODES = np.array([[index // 3, index % 3] for index in range(12)])
ASKED = [
    Request(history=["id-1", "id-2"], k=14),
    Request(history=["id-1"], k=14, exclude_seen=True, search=BeamSearch(num_beams=20)),
    Request(history=["new", "id-3"], k=14, where={"title": ["id-3", "id-4", "new"]}),
]


def catalog(popularity=None, title=None):
    texts = pl.DataFrame({"title": [title or item_id for item_id in ITEM_IDS]})
    return Catalog.build(ITEM_IDS, CODES, (4, 4), texts=texts, popularity=popularity)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "bundle"
    save_bundle(folder, network=network(0), catalog=catalog(), max_history=4, seed=0)
    return load(folder, device="cpu")


def network(seed):
    torch.manual_seed(seed)
    config = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items")
    made = Transformer(config, torch.from_numpy(CODES), (4, 4))
    for weights in made.parameters():
        torch.nn.init.normal_(weights)
    return made.eval().requires_grad_(requires_grad=False)


def grown(shop):
    texts = pl.DataFrame({"title": ["new"]})
    return append_items(shop, ["new"], np.array([[1, 3]], dtype=np.int32), texts=texts)


def test_an_answer_is_that_of_the_recommender_and_names_the_snapshot(shop):
    snapshot = Snapshot.of(shop)
    answers = snapshot.answer(ASKED)
    assert {answer.snapshot for answer in answers} == {str(snapshot.id)}
    assert [replace(answer, snapshot=None) for answer in answers] == shop.answer(ASKED)
    with pytest.raises(KeyError, match="no column 'genre'"):
        snapshot.check(Request(history=[], where={"genre": "x"}))


def test_a_name_changes_with_everything_that_lists_follow_from(shop, tmp_path):
    shop.save(tmp_path / "copy")
    ours = Snapshot.of(shop).id
    assert Snapshot.of(load(tmp_path / "copy", device="cpu")).id == ours
    others = [
        grown(shop),
        retire_items(shop, ["id-3"]),
        retire_items(shop, ["id-4"]),
        replace(shop, network=network(1)),
        replace(shop, catalog=catalog(np.arange(12))),
        replace(shop, catalog=catalog(title="other")),  # a filter finds other items
        replace(shop, manifest=shop.manifest.model_copy(update={"max_history": 3})),
    ]
    names = [ours, *(Snapshot.of(other).id for other in others)]
    assert len({*names}) == len({*map(str, names)}) == len(names)
    retired = names[2]
    assert (retired.catalog, retired.weights) == (ours.catalog, ours.weights)
    assert names[4].catalog == ours.catalog


def test_a_snapshot_does_not_change(shop):
    snapshot = Snapshot.of(shop)
    with pytest.raises(FrozenInstanceError):
        snapshot.recommender = grown(shop)


def test_threads_get_answers_whole_from_one_snapshot_while_it_is_swapped(shop):
    snapshots = [
        Snapshot.of(shop),
        Snapshot.of(retire_items(grown(shop), ["id-1", "id-4"])),
        Snapshot.of(replace(shop, network=network(1))),
    ]
    expected = {str(each.id): each.answer(ASKED) for each in snapshots}
    assert len({str(answers) for answers in expected.values()}) == 3
    current, is_over, seen = CurrentSnapshot(snapshots[0]), Event(), set()

    def ask():
        answered = []
        while not is_over.is_set():
            answered.append(current.answer(ASKED))
            seen.add(answered[-1][0].snapshot)
        return answered

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        try:
            before = snapshots[0]
            for number in range(1000):
                after = snapshots[(number + 1) % 3]
                assert current.swap(after) is before
                assert current.snapshot is after
                assert current.answer(ASKED) == expected[str(after.id)]
                before = after
                if number >= 12 and len(seen) == 3:
                    break
        finally:
            is_over.set()
        batches = [answers for thread in asking for answers in thread.result()]
    assert len(seen) == 3
    for answers in batches:
        [name] = {answer.snapshot for answer in answers}
        assert answers == expected[name]


def test_only_snapshots_are_swapped_in(shop):
    current = CurrentSnapshot(Snapshot.of(shop))
    with pytest.raises(TypeError, match=r"no snapshot; pass Snapshot\.of\(recommender\)"):
        inspect.unwrap(CurrentSnapshot.swap)(current, shop)
