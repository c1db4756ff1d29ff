"""Histories of users in a bundle: read back, and refused if they are damaged."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.bundle.folder import load, save_bundle
from sidestep.bundle.users import histories_of, read_users, write_users
from sidestep.catalog.catalog import Catalog
from sidestep.data.histories import Histories


def histories(lists, timestamps=None):
    return Histories(
        items=np.array([item for items in lists for item in items], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, lists)]).astype(np.int64),
        user_ids=tuple(f"u{row}" for row in range(len(lists))),
        timestamps=timestamps,
    )


@given(lists=st.lists(st.lists(st.integers(0, 6), max_size=4), max_size=5))
def test_histories_are_read_back(lists, tmp_path_factory):
    file = tmp_path_factory.mktemp("users") / "users.parquet"
    written = histories(lists)
    write_users(file, written)
    read = read_users(file, 7)
    assert read.items.tolist() == written.items.tolist()
    assert read.offsets.tolist() == written.offsets.tolist()
    assert read.user_ids == written.user_ids


def test_times_are_read_back(tmp_path):
    written = histories([[3], [], [1, 2]], np.array([7, 1, 2**60 + 1]))
    write_users(tmp_path / "users.parquet", written)
    read = read_users(tmp_path / "users.parquet", 7)
    assert read.timestamps.tolist() == [7, 1, 2**60 + 1]
    assert read.offsets.tolist() == written.offsets.tolist()


def test_times_that_are_not_one_per_item_are_refused(tmp_path):
    file = tmp_path / "users.parquet"
    write_users(file, histories([[3, 4]], np.array([7, 8])))
    times = pl.Series([[7]], dtype=pl.List(pl.Int64))
    pl.read_parquet(file).with_columns(timestamps=times).write_parquet(file)
    with pytest.raises(ValueError, match="has not one time per item"):
        read_users(file, 7)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"user_id": ["u"], "items": [[7]]}), "does not hold histories"),  # 64 bits
        (pl.DataFrame({"user_id": ["u"]}), "does not hold histories"),
        (
            pl.DataFrame(
                {"user_id": ["u"], "items": [[7]]}, schema_overrides={"items": pl.List(pl.Int32)}
            ),
            "names items that the catalog of 7 items lacks",
        ),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, frame, message):
    frame.write_parquet(tmp_path / "users.parquet")
    with pytest.raises(ValueError, match=message) as caught:
        read_users(tmp_path / "users.parquet", 7)
    assert "users.parquet" in str(caught.value)


@pytest.mark.parametrize("nobody", [[], {}, pl.Series(dtype=pl.String)])
def test_who_asks_for_no_user_learns_which_argument_is_empty(nobody):
    items = np.arange(2, dtype=np.int32)
    catalog = Catalog.build(["i0", "i1"], items[:, None], (2,))
    with pytest.raises(ValueError, match="users is empty, so that no user is asked for"):
        histories_of(nobody, histories([[0]]), catalog)


def test_a_changed_file_of_users_is_noticed(tmp_path):
    items = np.arange(4, dtype=np.int32)
    catalog = Catalog.build([f"i{item}" for item in items], items[:, None], (4,))
    counts = np.ones(4, dtype=np.int64)
    save_bundle(tmp_path / "a", network=None, counts=counts, catalog=catalog, max_history=3, seed=0)
    load(tmp_path / "a").with_users(histories([[0, 1], [2]])).save(tmp_path / "b")
    assert load(tmp_path / "b").recommend_frame(k=1)["user_id"].to_list() == ["u0", "u1"]
    write_users(tmp_path / "b" / "users.parquet", histories([[3], [2]]))
    with pytest.raises(ValueError, match=r"users\.parquet: not the file that manifest\.json"):
        load(tmp_path / "b")
