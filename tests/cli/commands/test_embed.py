"""`sidestep embed` and its sources; `sidestep tokenize` refuses vectors of another dataset."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from sidestep.data.dataset import Dataset
from sidestep.data.interactions import Interactions
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.embedding.config import CollaborativeConfig
from sidestep.runs.item_vectors import Sources, item_vectors
from tests.cli.commands import call, refused, run

SASREC = """\
kind: sasrec
max_history: 10
model: {dim: 8, num_layers: 1, num_heads: 1, max_items: 10}
training: {epochs: 1, batch_size: 64}
validation: {num_users: 30}
"""


@pytest.fixture(scope="module")
def sasrec(shop, tmp_path_factory):
    """A trained SASRec of the shop."""
    folder = tmp_path_factory.mktemp("sasrec")
    (folder / "config.yaml").write_text(SASREC)
    train = ("train", "--config", folder / "config.yaml", "--dataset", shop / "dataset")
    run(*train, "--out", folder / "run")
    return folder / "run"


def embedded(shop, out, *options):
    """The vectors and the description of an embedding of the shop."""
    run("embed", shop / "dataset", "--out", out, *options)
    return np.load(out), json.loads(out.with_suffix(".json").read_text())


def with_targets(dataset, seed):
    """The dataset with other items as the validation and test targets of every user."""
    frame = dataset.interactions.frame
    from_end = pl.int_range(pl.len()).reverse().over("user_id")
    drawn = pl.Series(np.random.default_rng(seed).choice(dataset.items.item_ids, frame.height))
    changed = frame.with_columns(
        item_id=pl.when(from_end < 2).then(drawn).otherwise(pl.col("item_id"))
    )
    return replace(dataset, interactions=Interactions(changed))


def test_nothing_named_is_text_as_wide_as_the_texts_allow(shop, tmp_path):
    done = call("embed", shop / "dataset", "--out", tmp_path / "v.npy", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["dim"] < 128
    assert [source["source"] for source in said["sources"]] == ["text"]
    assert f"Note: the texts allow {said['dim']} dimensions" in done.stderr


def test_sources_stand_side_by_side_in_one_order_times_their_weights(shop, sasrec, tmp_path):
    own = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    np.save(tmp_path / "own.npy", own)
    options = ("--sasrec", sasrec, "--collaborative", "--given", tmp_path / "own.npy", "--text")
    narrow = ("--dim", 4, "--collaborative-dim", 3)
    weights = ("--weights", "sasrec=0.5,text=2")
    vectors, info = embedded(shop, tmp_path / "v.npy", *options, *narrow, *weights)
    made_of = info["made_of"]
    described = [(part["source"], part["dim"], part["weight"]) for part in made_of["sources"]]
    assert described == [
        ("text", 4, 2),
        ("given", 5, 1),
        ("collaborative", 3, 1),
        ("sasrec", 8, 0.5),
    ]
    lengths = [np.linalg.norm(part, axis=1).max() for part in np.split(vectors, [4, 9, 12], axis=1)]
    np.testing.assert_allclose(lengths, [2, 1, 1, 0.5], rtol=1e-5)
    assert made_of["seed"] == 0
    assert made_of["dataset"]["name"] == "shop"
    assert list(made_of["sources"][1]["sha256"]) == ["own.npy"]


def test_a_sentence_encoder_reads_the_columns_in_their_order(shop, minilm, tmp_path):
    sentence = ("--sentence", minilm, "--columns", "title")
    vectors, info = embedded(shop, tmp_path / "v.npy", *sentence)
    assert vectors.shape == (60, 384)
    (source,) = info["made_of"]["sources"]
    assert source["columns"] == ["title"]
    assert source["config"]["model"] == str(minilm)
    assert not list(tmp_path.glob("*.unfinished"))
    # The chunks of an interrupted run are used, and deleted when the vectors are written.
    (tmp_path / "w.npy.unfinished").mkdir()
    again, _ = embedded(shop, tmp_path / "w.npy", *sentence)
    assert again.tobytes() == vectors.tobytes()
    assert {path.name for path in tmp_path.iterdir()} == {"v.npy", "v.json", "w.npy", "w.json"}


def test_the_item_table_is_that_of_the_dataset_in_its_order(shop, sasrec, tmp_path):
    vectors, _ = embedded(shop, tmp_path / "v.npy", "--sasrec", sasrec)
    from_bundle, _ = embedded(shop, tmp_path / "w.npy", "--sasrec", sasrec / "bundle")
    assert np.array_equal(vectors, from_bundle)
    assert vectors.shape == (60, 8)
    seen = Dataset.load(shop / "dataset").histories()
    in_training = {item for row in range(len(seen)) for item in training_items(seen, row)}
    assert set(np.flatnonzero(vectors.any(axis=1)).tolist()) == in_training


def training_items(histories, row):
    return histories.items[histories.offsets[row] : histories.offsets[row + 1] - 2].tolist()


def test_the_item_table_of_another_dataset_or_recommender_is_refused(shop, sasrec, tmp_path):
    with_targets(Dataset.load(shop / "dataset"), seed=0).save(tmp_path / "other")
    message = refused("embed", tmp_path / "other", "--sasrec", sasrec, "--out", tmp_path / "v.npy")
    assert "another dataset or split" in message
    dataset = ("embed", shop / "dataset", "--out", tmp_path / "v.npy")
    assert "not a SASRec" in refused(*dataset, "--sasrec", shop / "beam")
    assert "no bundle here" in refused(*dataset, "--sasrec", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_the_item_table_of_another_split_is_refused(shop, sasrec, tmp_path):
    shutil.copytree(shop / "dataset", tmp_path / "dataset")
    run("data", "split", tmp_path / "dataset", "--strategy", "global-time")
    embed = ("embed", tmp_path / "dataset", "--out", tmp_path / "v.npy")
    assert "another dataset or split" in refused(*embed, "--sasrec", sasrec)


def test_collaborative_vectors_do_not_change_with_the_targets():
    dataset, _ = synthetic_shop(
        SyntheticShopConfig(num_users=60, num_departments=2, items_per_kind=5), 0
    )
    sources = Sources(collaborative=CollaborativeConfig(dim=8))

    def vectors(changed):
        return item_vectors(changed, sources, seed=0).vectors

    before = vectors(dataset)
    for seed in range(3):
        changed = with_targets(dataset, seed)
        assert not changed.interactions.frame.equals(dataset.interactions.frame)
        assert vectors(changed).tobytes() == before.tobytes()
    # The vectors do depend on the training part: a change of a first item changes them.
    frame = dataset.interactions.frame
    first = pl.int_range(pl.len()).over("user_id") == 0
    other = pl.when(first).then(pl.lit(dataset.items.item_ids[0])).otherwise(pl.col("item_id"))
    changed = replace(dataset, interactions=Interactions(frame.with_columns(item_id=other)))
    assert vectors(changed).tobytes() != before.tobytes()


def test_the_item_table_does_not_change_with_the_targets(shop, tmp_path):
    (tmp_path / "config.yaml").write_text(SASREC)
    tables = []
    for seed in range(2):
        folder = tmp_path / str(seed)
        with_targets(Dataset.load(shop / "dataset"), seed).save(folder / "dataset")
        train = ("train", "--config", tmp_path / "config.yaml", "--dataset", folder / "dataset")
        run(*train, "--out", folder / "run")
        embed = ("embed", folder / "dataset", "--sasrec", folder / "run")
        run(*embed, "--out", folder / "v.npy")
        tables.append((folder / "v.npy").read_bytes())
    assert tables[0] == tables[1]


def test_texts_of_blanks_alone_are_refused_and_may_be_left_out(tmp_path):
    events = tmp_path / "events.csv"
    events.write_text("user_id,item_id\n" + "".join(f"u{i // 4},i{i % 4}\n" for i in range(16)))
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"i{i},\n" for i in range(4)))
    dataset = tmp_path / "dataset"
    run("import", "table", events, "--items", tmp_path / "items.csv", "--out", dataset)
    embed = ("embed", dataset, "--out", tmp_path / "v.npy")
    assert "only 4 items" in refused(*embed, "--collaborative", "--collaborative-dim", 5)
    assert "no item has any text" in refused(*embed, "--text", "--collaborative")
    run(*embed, "--collaborative")


def test_tokenize_refuses_vectors_of_other_items(shop, tmp_path):
    dataset = Dataset.load(shop / "dataset")
    turned = replace(dataset, items=replace(dataset.items, frame=dataset.items.frame.reverse()))
    turned.save(tmp_path / "turned")
    vectors = ("--vectors", shop / "vectors.npy")
    tokenize = ("tokenize", tmp_path / "turned", *vectors, "--out", tmp_path / "c")
    assert "in another order" in refused(*tokenize)
    shutil.copy(shop / "vectors.npy", tmp_path / "v.npy")
    tokenize = ("tokenize", shop / "dataset", "--vectors", tmp_path / "v.npy")
    message = refused(*tokenize, "--out", tmp_path / "c")
    assert "v.json is missing" in message
    assert "--given" in message
    assert not (tmp_path / "c").exists()


def test_given_vectors_of_another_number_of_items_are_refused(shop, tmp_path):
    np.save(tmp_path / "v.npy", np.ones((3, 4), dtype=np.float32))
    given = ("embed", shop / "dataset", "--given", tmp_path / "v.npy", "--out", tmp_path / "w.npy")
    assert "3 rows for 60 items" in refused(*given)


def test_embed_overwrites_nothing_but_vectors(shop, tmp_path):
    notes = tmp_path / "notes.npy"
    notes.write_text("dear diary")
    assert "not overwritten" in refused("embed", shop / "dataset", "--out", notes)
    assert "vectors.npy" in refused("embed", shop / "dataset", "--out", tmp_path / "thesis.tex")
    assert notes.read_text() == "dear diary"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--columns", "titel"), "no text columns ['titel']; there are ['title'"),
        (("--columns", ""), "no text column to read"),
        (("--dim", 5000), "--dim"),
        (("--collaborative", "--dim", 8), "--dim says nothing here"),
        (("--collaborative", "--columns", "title"), "--columns says nothing here"),
        (("--collaborative-dim", 8), "--collaborative-dim says nothing here"),
        (("--weights", "text=2"), "text, which stands alone"),
        (("--weights", "sasrec=2"), "a weight for sasrec, but the vectors are made of text"),
        (("--weights", "text=nan"), "'text=nan' is no weight"),
        (("--weights", "text=0"), "is no weight"),
        (("--weights", "text"), "is no weight"),
        (("--weights", "txt=1"), "Sources: text, sentence, given, collaborative, sasrec"),
        (("--weights", "text=1,text=2"), "write each source once"),
        (("--sentence", "./nowhere"), "no folder here"),
    ],
)
def test_what_cannot_be_embedded_is_refused(shop, tmp_path, options, expected):
    assert expected in refused("embed", shop / "dataset", "--out", tmp_path / "v.npy", *options)
    assert not list(tmp_path.iterdir())
