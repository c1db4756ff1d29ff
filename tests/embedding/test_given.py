import numpy as np
import polars as pl
import pytest

from sidestep.embedding.given import read_given

ITEMS = ["b", "a", "7"]
ROWS = {"a": [1.0, 2.0], "b": [3.0, 4.0], "7": [5.0, 6.0], "extra": [7.0, 8.0]}
EXPECTED = [[3, 4], [1, 2], [5, 6]]


def write(path, ids, vectors):
    """Writes IDs and vectors in the form that the suffix of `path` names."""
    if path.suffix == ".npz":
        np.savez(path, item_id=np.array(ids), vector=np.array(vectors))
    else:
        pl.DataFrame({"item_id": ids, "vector": vectors}).write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["v.npz", "v.parquet"])
def test_named_vectors_come_in_the_order_of_the_items(tmp_path, name):
    path = write(tmp_path / name, list(ROWS), list(ROWS.values()))
    vectors = read_given(path, ITEMS, dim=2)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == EXPECTED


def test_fixed_width_columns_and_numeric_ids_are_read_too(tmp_path):
    path = tmp_path / "v.parquet"
    column = pl.Series("vector", [[1.0, 2.0], [3.0, 4.0]], dtype=pl.Array(pl.Float32, 2))
    pl.DataFrame({"item_id": [5, 7]}).with_columns(column).write_parquet(path)
    assert read_given(path, ["7", "5"]).tolist() == [[3, 4], [1, 2]]


def test_a_bare_array_is_taken_row_by_row(tmp_path):
    np.save(tmp_path / "v.npy", np.array(EXPECTED))
    assert read_given(tmp_path / "v.npy", ITEMS).tolist() == EXPECTED
    with pytest.raises(ValueError, match="3 rows for 2 items"):
        read_given(tmp_path / "v.npy", ITEMS[:2])


@pytest.mark.parametrize("name", ["v.npz", "v.parquet"])
@pytest.mark.parametrize(
    ("ids", "vectors", "error", "words"),
    [
        (["a", "b"], [[1.0], [2.0]], KeyError, "no vector for 1 of 3 items, the first is '7'"),
        (["a", "b", "7", "a"], [[1.0]] * 4, ValueError, "'a' has two vectors, in rows 0 and 3"),
        (
            ["a", "b", "7"],
            [[1.0, 2.0], [np.nan, 0.0], [0.0, np.inf]],
            ValueError,
            "2 items hold NaN.*item 'b'",
        ),
        (["a", "b", "7"], [[1.0]] * 3, ValueError, "width 1, expected 2"),
    ],
)
def test_vectors_that_do_not_fit_the_items_are_refused(tmp_path, name, ids, vectors, error, words):
    path = write(tmp_path / name, ids, vectors)
    with pytest.raises(error, match=words) as caught:
        read_given(path, ITEMS, dim=2)
    assert str(path) in str(caught.value)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_given(tmp_path / "v.npy", ITEMS)
    for name in ("v.npy", "v.npz", "v.parquet", "v.csv"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(ValueError, match=name):
            read_given(tmp_path / name, ITEMS)
    np.savez(tmp_path / "v.npz", vector=np.zeros((3, 1)))
    (tmp_path / "v.npz").rename(tmp_path / "renamed.npy")
    with pytest.raises(ValueError, match="rename it"):
        read_given(tmp_path / "renamed.npy", ITEMS)
    np.save(tmp_path / "words.npy", np.array([["x"]]))
    with pytest.raises(ValueError, match="not one row of numbers"):
        read_given(tmp_path / "words.npy", ITEMS)
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        read_given(tmp_path / "objects.npy", ITEMS)


def test_archives_and_tables_without_the_columns_are_refused(tmp_path):
    np.savez(tmp_path / "v.npz", vectors=np.zeros((1, 1)))
    with pytest.raises(KeyError, match="no array 'item_id' among"):
        read_given(tmp_path / "v.npz", ITEMS)
    np.savez(tmp_path / "o.npz", item_id=np.array(["a", 1], dtype=object), vector=np.zeros((2, 1)))
    with pytest.raises(ValueError, match="'item_id' holds Python objects"):
        read_given(tmp_path / "o.npz", ITEMS)
    pl.DataFrame({"item_id": ["a"]}).write_parquet(tmp_path / "v.parquet")
    with pytest.raises(KeyError, match="no column 'vector' among"):
        read_given(tmp_path / "v.parquet", ITEMS)


def test_ragged_and_scalar_columns_are_refused(tmp_path):
    path = write(tmp_path / "v.parquet", ["a", "b"], [[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match=r"item 'b' \(row 1\) has a vector of 2 numbers"):
        read_given(path, ["a"])
    pl.DataFrame({"item_id": ["a"], "vector": [1.0]}).write_parquet(path)
    with pytest.raises(ValueError, match="not a list of numbers"):
        read_given(path, ["a"])
