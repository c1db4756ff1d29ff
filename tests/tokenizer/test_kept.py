import json

import numpy as np
import pytest

from sidestep.tokenizer.codebooks import ResidualCodebooks
from sidestep.tokenizer.kept import TOKENIZER_FILES, KeptTokenizer
from sidestep.tokenizer.residual_kmeans import ResidualKMeans, ResidualKMeansConfig
from tests.tokenizer.contract import scattered


class MyCodebooks(ResidualCodebooks):
    """A user's own kind of fitted tokenizer."""


def kept(vectors, wrapped=None):
    config = ResidualKMeansConfig(codebook_sizes=(8, 8))
    fitted = ResidualKMeans(config).fit(vectors, seed=3).tokenizer
    return KeptTokenizer.of(
        fitted if wrapped is None else wrapped(fitted.levels),
        vectors,
        method="residual-kmeans",
        config=config,
        seed=3,
        collisions="extra",
        made_of={"text": {"dim": 6}},
    )


def test_what_is_kept_comes_back_and_encodes_items_that_come_later(tmp_path):
    before = kept(scattered())
    before.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(TOKENIZER_FILES)
    after = KeptTokenizer.load(tmp_path)
    assert after.record == before.record
    assert (after.record.collisions, after.record.seed) == ("extra", 3)
    assert after.record.made_of == {"text": {"dim": 6}}
    assert after.record.config["codebook_sizes"] == [8, 8]
    new = scattered(200)
    assert np.array_equal(after.tokenizer.encode(new), before.tokenizer.encode(new))


def test_a_users_own_kind_comes_back_as_what_it_was(tmp_path):
    kept(scattered(), MyCodebooks).save(tmp_path)
    assert type(KeptTokenizer.load(tmp_path).tokenizer).__name__ == "MyCodebooks"


def test_vectors_of_old_items_before_new_ones_are_recognised():
    tokenizer = kept(scattered())
    tokenizer.check_same_embedding(scattered(200))  # the first 60 vectors are the same
    tokenizer.check_same_embedding(scattered(60).astype(np.float64))
    for other in (scattered(59), scattered(200)[1:], 2 * scattered(200), scattered(60, 7)):
        with pytest.raises(ValueError, match="first 60 of"):
            tokenizer.check_same_embedding(other)


def test_catalogs_without_a_tokenizer_say_how_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"keeps no tokenizer.*sidestep tokenize"):
        KeptTokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 9}, "schema version 9, this version of sidestep reads 1"),
        ({"kind": "mystery"}, "no fitted tokenizer of the kind 'mystery'"),
        ({"kind": "nowhere.at_all:Thing"}, "'nowhere.at_all:Thing' cannot be imported"),
        ({"seed": None}, r"not the record of a tokenizer \(seed"),
        ({"kind": "product"}, "a residual tokenizer, not a product tokenizer"),
    ],
)
def test_records_that_do_not_fit_are_refused(tmp_path, change, words):
    kept(scattered()).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=words):
        KeptTokenizer.load(tmp_path)
