import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.embedding.vectors import (
    concatenated,
    items_sha256,
    load_vectors,
    save_vectors,
    unit_length,
    vectors_info,
)

IDS = ["a", "b", "c", "d"]


def save(path, vectors, **made_of):
    save_vectors(path, vectors, item_ids=IDS[: len(vectors)], made_of=made_of)


def test_rows_get_length_one_and_zeros_stay():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(unit_length(vectors), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_concatenation_weighs_parts_of_any_scale():
    text = np.array([[0.0, 5.0], [5.0, 0.0]])
    shared = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    both = concatenated([text, shared], weights=[1.0, 0.5])
    assert both.dtype == np.float32
    assert both.tolist() == [[0, 1, 0, 0, 0.5], [1, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("parts", "weights", "words"),
    [
        ([], [], "at least one"),
        ([np.zeros((2, 2))], [1.0, 1.0], "as many weights"),
        ([np.zeros((2, 2))], [0.0], "above 0"),
        ([np.zeros((2, 2)), np.zeros((3, 2))], [1.0, 1.0], r"got \[2, 3\] rows"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, weights, words):
    with pytest.raises(ValueError, match=words):
        concatenated(parts, weights=weights)


def test_saved_vectors_are_loaded_the_same(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    save(tmp_path / "vectors.npy", vectors, sources=["text"], seed=7)
    assert np.array_equal(load_vectors(tmp_path / "vectors.npy", item_ids=IDS), vectors)
    assert {file.name for file in tmp_path.iterdir()} == {"vectors.npy", "vectors.json"}
    info = vectors_info(tmp_path / "vectors.npy")
    assert (info.num_items, info.dim) == (4, 3)
    assert info.made_of == {"sources": ["text"], "seed": 7}


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_files_that_hold_no_vectors_are_refused(tmp_path, content):
    path = tmp_path / "vectors.npy"
    if content is None:
        np.save(path, np.arange(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"vectors\.npy: not .* embed again"):
        load_vectors(path, item_ids=IDS)


IDS_OF_ANY_KIND = st.lists(st.text('ab\n",é', max_size=3), unique=True, max_size=4)


@given(IDS_OF_ANY_KIND, IDS_OF_ANY_KIND)
def test_only_the_same_items_in_the_same_order_have_the_same_hash(first, second):
    assert (items_sha256(first) == items_sha256(second)) == (first == second)


@pytest.mark.parametrize(
    ("item_ids", "words"),
    [
        (["a", "c", "b"], "3 other items, or of these in another order"),
        (["a", "b", "x"], "3 other items"),
        (["a", "b"], "vectors of 3 items, but there are 2"),
    ],
)
def test_vectors_of_other_items_are_refused(tmp_path, item_ids, words):
    save(tmp_path / "v.npy", np.ones((3, 2)))
    with pytest.raises(ValueError, match=words):
        load_vectors(tmp_path / "v.npy", item_ids=item_ids)


def test_vectors_without_their_own_description_are_refused(tmp_path):
    path = tmp_path / "v.npy"
    save(path, np.ones((2, 2)))
    beside = path.with_suffix(".json")
    content = json.loads(beside.read_text())
    np.save(path, np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(ValueError, match=r"not the vectors that v\.json describes; embed again"):
        load_vectors(path, item_ids=IDS[:2])
    beside.write_text(json.dumps({**content, "schema_version": 2}))
    with pytest.raises(ValueError, match=r"v\.json: schema_version"):
        load_vectors(path, item_ids=IDS[:2])
    beside.unlink()
    with pytest.raises(FileNotFoundError, match=r"v\.json is missing .* --given"):
        load_vectors(path, item_ids=IDS[:2])


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(ValueError, match="finite and above 0"):
        concatenated([np.ones((2, 1)), np.ones((2, 1))], weights=[1.0, weight])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_float32_cannot_hold_are_not_saved(tmp_path, value):
    with pytest.raises(ValueError, match="1 items hold NaN or infinity, the first is in row 1"):
        save(tmp_path / "v.npy", np.array([[1.0], [value]]))
    assert not list(tmp_path.iterdir())


def test_vectors_replace_vectors_and_nothing_else(tmp_path):
    save(tmp_path / "v.npy", np.ones((2, 1)))
    save(tmp_path / "v.npy", np.zeros((3, 1)))
    assert len(load_vectors(tmp_path / "v.npy", item_ids=IDS[:3])) == 3
    notes = tmp_path / "notes.npy"
    notes.write_text("dear diary")
    with pytest.raises(ValueError, match="not overwritten"):
        save(notes, np.ones((2, 1)))
    assert notes.read_text() == "dear diary"
    with pytest.raises(ValueError, match=r"a \.npy file"):
        save(tmp_path / "thesis.txt", np.ones((2, 1)))


def test_a_description_replaces_no_other_json(tmp_path):
    (tmp_path / "config.json").write_text('{"format": "mine"}')
    with pytest.raises(ValueError, match=r"config\.json: is there and describes no vectors"):
        save(tmp_path / "config.npy", np.ones((2, 1)))
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_any_other_file_is_refused_without_a_word_of_unpickling_it(tmp_path):
    (tmp_path / "vectors.npy").write_text("item,price\nB0,3\n")
    with pytest.raises(ValueError, match=r"not a whole \.npy file of vectors") as refusal:
        load_vectors(tmp_path / "vectors.npy", item_ids=["B0"])
    assert "pickle" not in str(refusal.value)
