"""Paths in a file are relative to the file, and lead to the same place."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sidestep.runs.kept_paths import kept, seen

PATHS = st.lists(st.sampled_from(["..", "shop", "a b", "été"]), min_size=1, max_size=4).map(
    lambda parts: Path(*parts)
)


@given(path=PATHS, folder=PATHS)
def test_what_a_file_names_is_where_it_was(path, folder):
    name = kept(str(path), folder)
    assert os.path.abspath(seen(name, folder)) == os.path.abspath(path)
    assert os.path.isabs(seen(name, folder.absolute()))


def test_worked_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert kept("shop/dataset", Path("shop/beam")) == "../dataset"
    assert seen("../dataset", Path("elsewhere/beam")) == "elsewhere/dataset"
    assert seen("/data/shop", Path("beam")) == os.path.relpath("/data/shop")
    assert kept(str(tmp_path / "dataset"), Path("beam")) == "../dataset"


def test_a_link_beside_a_run_is_named_as_the_link(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk/dataset").mkdir(parents=True)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/dataset").symlink_to(tmp_path / "disk/dataset")
    (tmp_path / "link").symlink_to(tmp_path / "shop")
    assert kept("shop/dataset", Path("shop/beam")) == "../dataset"
    assert kept("link/dataset", Path("shop/beam")) == "../dataset"
