"""`sidestep tokenize`: methods, their settings, collisions, and the kept tokenizer."""

import json
import shutil

import numpy as np
import pytest

from sidestep.catalog.catalog import Catalog
from sidestep.embedding.vectors import load_vectors, save_vectors
from sidestep.runs.inputs import load_dataset
from sidestep.tokenizer.kept import KeptTokenizer
from tests.cli.commands import call, refused, run

OWN = """
from sidestep.tokenizer.residual_kmeans import ResidualKMeans

class Mine(ResidualKMeans):
    pass
"""


def learned(shop, out, *options, vectors=None):
    vectors = ("--vectors", vectors or shop / "vectors.npy")
    return ("tokenize", shop / "dataset", *vectors, "--out", out, *options)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("residual-kmeans", ()),
        ("balanced", ("--set", "iterations=3")),
        ("rq-vae", ("--set", "epochs=5", "--set", "latent_dim=4", "--set", "hidden_sizes=[8]")),
        ("opq", ("--set", "rotation_iterations=2")),
    ],
)
def test_every_method_makes_a_catalog_that_can_encode_new_items(shop, tmp_path, method, settings):
    sizes = ("--codebook-sizes", "4,60")
    out = tmp_path / "catalog"
    printed = run(*learned(shop, out, "--method", method, *settings, *sizes, "--json"))
    answer = json.loads(printed)
    assert answer["items"] == answer["distinct"] >= answer["distinct_before"]
    assert len(answer["utilisation"]) == 2
    catalog, kept = Catalog.load(out, verify=True), KeptTokenizer.load(out)
    vectors = load_vectors(shop / "vectors.npy", item_ids=catalog.item_ids.to_pylist())
    kept.check_same_embedding(vectors)
    assert kept.record.made_of
    codes = kept.tokenizer.encode(vectors)
    assert kept.record.collisions == "reassign"
    # Codes that reassignment and equal sizes do not change are those of the kept tokenizer.
    assert (codes[:, 0] == catalog.semantic_ids[:, 0].numpy()).mean() > 0.4
    # The command may replace its own folder, if it is told to.
    run(*learned(shop, out, "--method", method, *settings, *sizes, "--overwrite"))


def test_collisions_can_stay_or_get_a_level_of_their_own(shop, tmp_path):
    answers = {}
    for policy in ("none", "extra"):
        options = ("--codebook-sizes", "2,2", "--collisions", policy, "--json")
        answers[policy] = json.loads(run(*learned(shop, tmp_path / policy, *options)))
    assert answers["none"]["distinct"] == answers["none"]["distinct_before"] == 4
    assert answers["extra"]["distinct"] == 60
    assert answers["extra"]["codebook_sizes"][:2] == [2, 2]
    assert 15 <= answers["extra"]["codebook_sizes"][2] <= 57
    assert "hold only 4" in refused(*learned(shop, tmp_path / "x", "--codebook-sizes", "2,2"))


def test_items_that_are_too_much_alike_for_the_default_codebooks_are_numbered(shop, tmp_path):
    loaded = load_dataset(shop / "dataset")
    alike = np.eye(4, dtype=np.float32)[np.arange(len(loaded.items)) % 4]
    save_vectors(tmp_path / "vectors.npy", alike, item_ids=loaded.items.item_ids, made_of={})
    tokenize = ("tokenize", shop / "dataset", "--vectors", tmp_path / "vectors.npy")
    done = call(*tokenize, "--out", tmp_path / "catalog", "--json")
    answer = json.loads(done.stdout)
    assert answer["items"] == answer["distinct"] > answer["distinct_before"]
    assert "another level numbers them" in " ".join(done.stderr.split())
    assert KeptTokenizer.load(tmp_path / "catalog").record.collisions == "extra"
    refusal = refused(*tokenize, "--collisions", "reassign", "--out", tmp_path / "other")
    assert "hold only 8 semantic IDs" in refusal


def test_settings_come_from_a_file_and_from_options(shop, tmp_path):
    (tmp_path / "kmeans.yaml").write_text("codebook_sizes: [2, 3, 20]\nnum_starts: 2\n")
    file = ("--config", tmp_path / "kmeans.yaml")
    run(*learned(shop, tmp_path / "c", *file, "--set", "num_starts=3"))
    config = KeptTokenizer.load(tmp_path / "c").record.config
    assert (config["codebook_sizes"], config["num_starts"]) == ([2, 3, 20], 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "kmeans"), "no tokenizer 'kmeans'; there are residual-kmeans"),
        (("--method", "rq-vae", "--set", "latentdim=3"), "did you mean 'latent_dim'?"),
        (("--method", "rq-vae", "--set", "latent_dim=0"), "rq-vae: latent_dim"),
        (("--set", "latent_dim=3"), "opq: unknown key 'latent_dim'; valid keys"),
        (("--set", "num_starts"), "write it as key=value"),
        (("--config", "nowhere.yaml"), "nowhere.yaml: there is no such"),
        (
            ("--published", "x.index.json"),
            "--vectors FILE, --published FILE or --titles",
        ),
    ],
)
def test_settings_that_mean_nothing_are_refused(shop, tmp_path, options, words):
    assert words in refused(*learned(shop, tmp_path / "c", *options))
    assert not (tmp_path / "c").exists()


def test_a_tokenizer_of_ones_own_lies_where_the_command_is_called(shop, tmp_path, monkeypatch):
    (tmp_path / "shop_codes.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    run(*learned(shop, tmp_path / "c", "--method", "shop_codes:Mine", "--set", "num_starts=2"))
    record = KeptTokenizer.load(tmp_path / "c").record
    assert (record.method, record.config["num_starts"]) == ("shop_codes:Mine", 2)


def test_a_catalog_is_written_with_all_that_appending_needs_or_not_at_all(shop, tmp_path):
    for file in shop.glob("vectors.*"):
        shutil.copy(file, tmp_path)
    # The tokenizer is the last file that is put beside the semantic IDs.
    (tmp_path / "vectors.tfidf.safetensors").write_bytes(b"cut off")
    out = tmp_path / "catalog"
    assert "damaged" in refused(*learned(shop, out, vectors=tmp_path / "vectors.npy"))
    assert not out.exists()


def test_published_semantic_ids_may_get_an_extra_code(shop, tmp_path):
    ids = Catalog.load(shop / "catalog").item_ids.to_pylist()
    index = {item: [f"<a_{row % 4}>", "<b_0>"] for row, item in enumerate(ids)}
    (tmp_path / "shop.index.json").write_text(json.dumps(index))
    published = ("tokenize", shop / "dataset", "--published", tmp_path / "shop.index.json")
    for policy, sizes in ((None, [4, 1]), ("none", [4, 1]), ("extra", [4, 1, 15])):
        options = () if policy is None else ("--collisions", policy)
        answer = json.loads(run(*published, *options, "--out", tmp_path / f"{policy}", "--json"))
        assert answer["codebook_sizes"] == sizes
    out = ("--out", tmp_path / "d")
    assert "needs the vectors" in refused(*published, "--collisions", "reassign", *out)
    assert "--method, --config and --set" in refused(*published, "--set", "a=1", *out)
