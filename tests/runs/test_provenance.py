"""Results that were learned from another training part are refused by all commands."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.data.global_time import global_time, periods_by_share
from sidestep.data.own_split import fingerprint, split_of
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.embedding.collaborative import CollaborativeConfig
from sidestep.embedding.tfidf import TfidfConfig
from sidestep.runs.catalogs import popularity_of
from sidestep.runs.item_vectors import Sources, item_vectors
from sidestep.runs.provenance import (
    TRAINING_PART,
    counted_catalog,
    load_item_vectors,
    refuse_other_training_of,
)
from sidestep.runs.reward_sources import embeddings_of
from sidestep.runs.tokenizing import learned_catalog
from sidestep.tokenizer.opq import OpqConfig
from tests.cli.commands import refused, run

OTHER = r"another training part than shop has now.*sidestep embed"
BEHAVIOUR = Sources(collaborative=CollaborativeConfig(dim=4))


@pytest.fixture(scope="module")
def dataset():
    """A shop, which is split by leave-one-out."""
    size = SyntheticShopConfig(num_users=80, num_departments=2, items_per_kind=6)
    invented, _ = synthetic_shop(size, 0)
    log = invented.interactions.frame.select(
        "user_id", "item_id", timestamp=pl.int_range(pl.len(), dtype=pl.Int64)
    )
    return replace(Dataset.from_frames(log, invented.items.frame), name="shop")


@pytest.fixture(scope="module")
def timed(dataset):
    """The shop, split by time."""
    return split_by_time(dataset)


@pytest.fixture(scope="module")
def folder(dataset, timed, tmp_path_factory):
    """Vectors and catalogs of leave-one-out, of texts and of behaviour; and both datasets."""
    made = tmp_path_factory.mktemp("provenance")
    texts = Sources(columns=dataset.items.text_columns, text=TfidfConfig(dim=8))
    for name, sources in (("texts", texts), ("behaviour", BEHAVIOUR)):
        vectors = item_vectors(dataset, sources, seed=0)
        vectors.save(made / f"{name}.npy", dataset.items.item_ids)
        learned_catalog(
            dataset,
            vectors.vectors,
            "opq",
            OpqConfig(codebook_sizes=(4, 8)),
            collisions="none",
            seed=0,
            made_of=vectors.made_of,
        ).save(made / name)
    dataset.save(made / "dataset")
    timed.save(made / "timed")
    return made


def split_by_time(dataset, targets="last"):
    histories = dataset.histories()
    periods = periods_by_share(histories.timestamps, validation=0.2, test=0.2)
    return replace(dataset, split=global_time(histories, periods, targets=targets, min_context=0))


def test_vectors_of_behaviour_are_refused_under_another_split(folder, dataset, timed):
    load_item_vectors(folder / "behaviour.npy", dataset)
    with pytest.raises(ValueError, match=rf"behaviour.npy: .* \(collaborative\) in {OTHER}"):
        load_item_vectors(folder / "behaviour.npy", timed)


def test_vectors_of_texts_serve_every_split(folder, dataset, timed):
    of_texts = load_item_vectors(folder / "texts.npy", timed)
    np.testing.assert_array_equal(of_texts, load_item_vectors(folder / "texts.npy", dataset))
    assert TRAINING_PART not in json.loads((folder / "texts.json").read_text())["made_of"]


def test_the_rows_that_judge_are_no_training_part(dataset, timed):
    every = split_by_time(dataset, targets="every")
    assert fingerprint(every) != fingerprint(timed)
    assert every.split.train.fingerprint() == timed.split.train.fingerprint()
    assert split_of(timed, min_context=3).train.fingerprint() == timed.split.train.fingerprint()
    assert split_of(dataset).train.fingerprint() != timed.split.train.fingerprint()


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("tokenize", ("--vectors", "behaviour.npy", "--out", "new")),
        ("tokenize", ("--vectors", "behaviour.npy", "--out", "new", "--dry-run")),
        ("embed", ("--given", "behaviour.npy", "--out", "given.npy")),
        ("embed", ("--given", "behaviour.npy", "--text", "--out", "given.npy", "--dry-run")),
    ],
)
def test_commands_that_read_vectors_refuse_those_of_another_split(folder, command, options):
    paths = [folder / option if not option.startswith("--") else option for option in options]
    message = refused(command, folder / "timed", *paths)
    assert "in another training part than shop has now" in message
    assert not (folder / "new").exists()
    assert not (folder / "given.npy").exists()


def test_commands_that_read_catalogs_refuse_those_of_another_split(folder, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("{kind: transformer, model: {dim: 16, num_layers: 1, num_heads: 2}}")
    train = ("train", "--config", config, "--dataset", folder / "timed")
    inspect = ("inspect", folder / "texts", "--dataset", folder / "timed")
    for arguments in (
        (*train, "--catalog", folder / "behaviour", "--out", tmp_path / "run", "--dry-run"),
        (*inspect, "--against", folder / "behaviour"),
        (*inspect, "--vectors", folder / "behaviour.npy"),
    ):
        message = refused(*arguments)
        assert "in another training part than shop has now" in message
    run(*train, "--catalog", folder / "texts", "--out", tmp_path / "run", "--dry-run")


def test_vectors_that_rewards_and_values_compare_items_by_are_refused(folder, dataset, timed):
    assert embeddings_of(str(folder / "behaviour.npy"), dataset).shape[1] == 4
    with pytest.raises(ValueError, match=OTHER):
        embeddings_of(str(folder / "behaviour.npy"), timed)


def test_a_catalog_of_texts_counts_the_new_training_part(folder, timed):
    catalog = Catalog.load(folder / "texts")
    counts = popularity_of(timed.split, len(timed.items))
    assert not np.array_equal(catalog.popularity, counts)
    counted = counted_catalog(catalog, timed, timed.split)
    np.testing.assert_array_equal(counted.popularity, counts)
    assert counted.version == catalog.version
    leaves = counted.trie.leaf_of(torch.arange(counted.num_items))
    buckets = counted.trie.items(leaves[None])[0].numpy()
    shares = [counts[bucket[bucket >= 0]] for bucket in buckets]
    assert max(map(len, shares)) > 1  # several items share a semantic ID
    assert all((np.diff(share) <= 0).all() for share in shares)


def test_given_vectors_keep_what_they_say_of_themselves(folder, dataset, timed, tmp_path):
    sources = replace(BEHAVIOUR, collaborative=None, given=folder / "behaviour.npy")
    given = item_vectors(dataset, sources, seed=0)
    assert given.made_of[TRAINING_PART] == split_of(dataset).train.fingerprint()
    given.save(tmp_path / "given.npy", dataset.items.item_ids)
    with pytest.raises(ValueError, match=rf"\(collaborative\) in {OTHER}"):
        load_item_vectors(tmp_path / "given.npy", timed)
    np.save(tmp_path / "unknown.npy", given.vectors)
    unknown = item_vectors(timed, replace(sources, given=tmp_path / "unknown.npy"), seed=0)
    assert TRAINING_PART not in unknown.made_of


def test_given_vectors_that_say_to_be_of_other_items_are_refused(folder, dataset):
    turned = replace(dataset, items=type(dataset.items)(dataset.items.frame.reverse()))
    sources = replace(BEHAVIOUR, collaborative=None, given=folder / "texts.npy")
    with pytest.raises(ValueError, match=r"texts.json says .* of other items"):
        item_vectors(turned, sources, seed=0)


def test_older_descriptions_are_judged_by_interactions_and_split(folder, dataset, timed, tmp_path):
    for suffix in (".npy", ".json"):
        content = (folder / f"behaviour{suffix}").read_bytes()
        (tmp_path / f"old{suffix}").write_bytes(content)
    info = json.loads((tmp_path / "old.json").read_text())
    del info["made_of"][TRAINING_PART]
    (tmp_path / "old.json").write_text(json.dumps(info))
    load_item_vectors(tmp_path / "old.npy", dataset)
    with pytest.raises(ValueError, match=OTHER):
        load_item_vectors(tmp_path / "old.npy", timed)


def test_a_catalog_that_says_nothing_of_itself_is_told_by_its_counts(folder, timed):
    silent = replace(Catalog.load(folder / "behaviour"), companions=())
    refuse_other_training_of(silent, timed, "the catalog")
    with pytest.warns(UserWarning, match="does not say what its semantic IDs were learned from"):
        counted_catalog(silent, timed, timed.split)
