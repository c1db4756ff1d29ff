import errno
import json
import os
import re

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from sidestep.files import (
    UnwritableError,
    check_replaceable,
    file_sha256,
    read_json,
    whole_file,
    whole_folder,
    write_json,
)
from tests.small_disk import files_up_to


def interrupted(whole, path, name: str = "") -> None:
    """Writes half of a file and fails."""
    with whole(path) as temporary:
        (temporary / name if name else temporary).write_text("ne")
        raise RuntimeError("half way")


def test_a_file_that_fails_half_way_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half"):
        interrupted(whole_file, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_appears_under_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "new.txt"
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_fails_half_way_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "a").write_text("old")
    with pytest.raises(RuntimeError, match="half"):
        interrupted(whole_folder, path, "a")
    assert (path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_an_older_one_whole(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "gone").write_text("old")
    with whole_folder(path) as temporary:
        (temporary / "here").write_text("new")
    assert [file.name for file in path.iterdir()] == ["here"]
    assert list(tmp_path.iterdir()) == [path]


def test_json_goes_round_and_its_errors_name_file_line_and_column(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"ü": [1, None]})
    assert read_json(path) == {"ü": [1, None]} == json.loads(path.read_text(encoding="utf-8"))
    path.write_text('{\n  "a": 1,\n  b\n}')
    with pytest.raises(ValueError, match=r"value\.json, line 3, column 3"):
        read_json(path)
    path.write_bytes(b'"\xff"')
    with pytest.raises(ValueError, match="not UTF-8"):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "name", "lines"),
    [
        ('{"a": 1,\n"b": 2,\n"a": 3}', "a", (3, 1)),
        ('{"x": {"a": 1},\n"y": {"a": ":{",\n"\\u0061": 2}}', "a", (3, 2)),
        ('[{"a": 1}, {"b": 1, "b": 2}]', "b", (1, 1)),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path, text, name, lines):
    path = tmp_path / "value.json"
    path.write_text(text)
    last, first = lines
    message = rf"value\.json, line {last}: the key '{name}' stands twice .* first in line {first};"
    with pytest.raises(ValueError, match=message):
        read_json(path)


def test_a_folder_is_replaced_only_if_nothing_of_the_user_lies_in_it(tmp_path):
    path = tmp_path / "kept"

    def check() -> None:
        check_replaceable(
            path, "a thing", lambda folder: (folder / "mark").is_file(), ("mark", "*.x")
        )

    check()
    path.mkdir()
    check()
    (path / "a.x").write_text("")
    with pytest.raises(ValueError, match="is not a thing"):
        check()
    (path / "mark").write_text("")
    check()
    (path / "photos").mkdir()
    with pytest.raises(ValueError, match="holds photos, which is no part of a thing"):
        check()
    with pytest.raises(ValueError, match="is a file"):
        check_replaceable(path / "mark", "a thing", lambda _: True, ())


def test_the_hash_of_a_file_is_that_of_the_standard(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-4, the example of one block.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "file") == expected


BIG = 100_000

WRITERS = {
    "text": lambda file: file.write_text("x" * BIG),
    "numpy": lambda file: write_open(file, lambda opened: np.save(opened, np.zeros(BIG))),
    "torch": lambda file: torch.save(torch.randn(BIG), file),
    "safetensors": lambda file: save_file({"a": torch.randn(BIG)}, file),
    "polars": lambda file: pl.DataFrame({"a": np.random.default_rng(0).random(BIG)}).write_parquet(
        file
    ),
    "arrow": lambda file: pq.write_table(
        pa.table({"a": np.random.default_rng(0).random(BIG)}), file
    ),
}


def write_open(file, write):
    with file.open("wb") as opened:
        write(opened)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_what_the_disk_does_not_take_is_told_with_its_path_and_leaves_the_old(
    tmp_path, whole, writer
):
    path = tmp_path / "kept"
    with whole(path) as temporary:
        (temporary if whole is whole_file else temporary / "a").write_text("old")
    before = sorted(tmp_path.rglob("*"))
    with (
        files_up_to(1000),
        pytest.raises(UnwritableError) as caught,
        whole(path) as temporary,
    ):
        WRITERS[writer](temporary if whole is whole_file else temporary / "a")
    assert str(caught.value).startswith(f"{path}: the ")
    assert re.search("free some space|write to another place", str(caught.value))
    assert sorted(tmp_path.rglob("*")) == before
    assert (path if whole is whole_file else path / "a").read_text() == "old"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full; free some space, and the same command continues"),
        (errno.EDQUOT, "the quota of disk space is used up; free some space, and the same"),
        (errno.EROFS, "the disk can only be read; write to another place"),
        (errno.EFBIG, "the file is larger than its disk or the limit 'ulimit -f' allows"),
        (errno.EACCES, "writing is not permitted here; change the permissions, or write to"),
    ],
)
def test_every_reason_has_its_cure(tmp_path, number, words):
    folder = tmp_path / "folder"

    def write():
        with whole_folder(folder) as temporary:
            write_json(temporary / "first", {})
            with whole_file(temporary / "file"):  # nobody uses this name
                raise OSError(number, os.strerror(number))

    with pytest.raises(UnwritableError, match=f"^{folder}: {words}"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_not_told_as_what_cannot_be_written(tmp_path):
    with pytest.raises(PermissionError, match="secret"), whole_file(tmp_path / "inner/file"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/elsewhere/secret")
    with pytest.raises(RuntimeError, match="os error 2"), whole_file(tmp_path / "file"):
        raise RuntimeError("No such file (os error 2)")
