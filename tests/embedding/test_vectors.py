import numpy as np
import pytest

from sidestep.embedding.vectors import concatenated, load_vectors, save_vectors, unit_length


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
    save_vectors(tmp_path / "vectors.npy", vectors)
    assert np.array_equal(load_vectors(tmp_path / "vectors.npy"), vectors)
    assert [file.name for file in tmp_path.iterdir()] == ["vectors.npy"]


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_files_that_hold_no_vectors_are_refused(tmp_path, content):
    path = tmp_path / "vectors.npy"
    if content is None:
        np.save(path, np.arange(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"vectors\.npy: not .* embed again"):
        load_vectors(path)


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(ValueError, match="finite and above 0"):
        concatenated([np.ones((2, 1)), np.ones((2, 1))], weights=[1.0, weight])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_float32_cannot_hold_are_not_saved(tmp_path, value):
    with pytest.raises(ValueError, match="1 items hold NaN or infinity, the first is in row 1"):
        save_vectors(tmp_path / "v.npy", np.array([[1.0], [value]]))
    assert not list(tmp_path.iterdir())


def test_vectors_replace_vectors_and_nothing_else(tmp_path):
    save_vectors(tmp_path / "v.npy", np.ones((2, 1)))
    save_vectors(tmp_path / "v.npy", np.zeros((3, 1)))
    assert len(load_vectors(tmp_path / "v.npy")) == 3
    notes = tmp_path / "notes.npy"
    notes.write_text("dear diary")
    with pytest.raises(ValueError, match="not overwritten"):
        save_vectors(notes, np.ones((2, 1)))
    assert notes.read_text() == "dear diary"
    with pytest.raises(ValueError, match=r"a \.npy file"):
        save_vectors(tmp_path / "thesis.txt", np.ones((2, 1)))
