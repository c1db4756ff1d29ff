"""Code spaces chosen by name, by the method, or by an import path; and codes of new items."""

import numpy as np
import pytest

import sidestep
from sidestep.catalog.set_space import SetSpace
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.runs.appending import _free_ids
from sidestep.runs.tokenizing import TokenizerTask, chosen_space, tokenizer_config
from sidestep.search.policy import whole_space
from sidestep.tokenizer.collisions import num_distinct


def test_a_space_goes_by_name_and_the_method_has_one():
    assert chosen_space(None, "opq") is None
    assert chosen_space("trie", "mpq") is None
    assert chosen_space(None, "mpq") == chosen_space("sets", "opq") == "sets"
    assert chosen_space(None) is None
    with pytest.raises(ValueError, match="--space: there is no 'heap'; there are trie, sets"):
        chosen_space("heap", "opq")


def test_mpq_has_eight_codebooks_of_a_size_that_suits_the_vectors():
    vectors = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    assert tokenizer_config("mpq", {}, vectors).codebook_sizes == (64,) * 8
    assert tokenizer_config("opq", {}, vectors).codebook_sizes == (64,) * 3


@pytest.mark.parametrize(
    ("method", "settings"),
    [("mpq", {"epochs": 2, "warmup_epochs": 1, "device": "cpu"}), ("opq", {})],
)
def test_parallel_codes_span_sets_and_new_items_find_free_ones(method, settings):
    config = SyntheticShopConfig(num_users=30, num_departments=2, items_per_kind=4)
    dataset, _ = synthetic_shop(config, 0)
    number = len(dataset.items)
    vectors = np.random.default_rng(0).normal(size=(number, 6)).astype(np.float32)
    vectors[1] = vectors[0]  # a collision
    settings = {**settings, "codebook_sizes": (8, 8, 8)}
    task = TokenizerTask.of(method, settings, vectors, None, space="sets")
    learned = task.learn(dataset, seed=0)
    catalog = learned.catalog
    codes = catalog.semantic_ids.numpy()
    assert isinstance(whole_space(catalog.spanned), SetSpace)
    assert learned.quality.num_distinct < num_distinct(codes) == number
    assert ((codes != learned.kept.tokenizer.encode(vectors)).sum(axis=1) <= 1).all()
    new = vectors[:3]
    nearest = learned.kept.tokenizer.encode(new)
    found = _free_ids(catalog, learned.kept, new, nearest, "refuse")
    assert num_distinct(np.concatenate([codes, found])) == number + 3
    with pytest.raises(ValueError, match=r"the codes of this catalog are sets.*code-sets"):
        sidestep.train(dataset, {"kind": "transformer", "model": {"dim": 8}}, catalog=learned)
    grown = catalog.appended(["x", "y", "z"], found)
    assert grown.semantic_ids[:number].equal(catalog.semantic_ids)
