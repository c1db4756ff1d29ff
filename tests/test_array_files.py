"""Files of arrays: reading gives what was written; other files are refused with a remedy."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from sidestep.array_files import ArrayFormat, Stored

FORMAT = ArrayFormat(name="a sample", version=2, remedy="make it again")
SAMPLE = Stored(arrays={"a": np.arange(6).reshape(2, 3)[:, ::-1]}, settings={"b": [1, None]})


def test_what_goes_in_comes_out(tmp_path):
    FORMAT.write(tmp_path / "x", SAMPLE)
    read = FORMAT.read(tmp_path / "x")
    assert read.settings == SAMPLE.settings
    assert np.array_equal(read.arrays["a"], SAMPLE.arrays["a"])


@pytest.mark.parametrize(
    ("written_by", "words"),
    [
        (ArrayFormat(name="a poem", version=2, remedy=""), r"x: a poem, not a sample; make it ag"),
        (ArrayFormat(name="a sample", version=3, remedy=""), r"schema version 3, .* reads 2; make"),
    ],
)
def test_other_formats_are_refused(tmp_path, written_by, words):
    written_by.write(tmp_path / "x", SAMPLE)
    with pytest.raises(ValueError, match=words):
        FORMAT.read(tmp_path / "x")


@pytest.mark.parametrize("header", [None, {"sidestep": "null"}, {"sidestep": '{"format": "x"}'}])
def test_files_of_others_are_refused(tmp_path, header):
    save_file({"a": np.zeros(3)}, tmp_path / "x", metadata=header)
    with pytest.raises(ValueError, match="x: not a sample; make it again"):
        FORMAT.read(tmp_path / "x")


def test_damaged_files_are_refused(tmp_path):
    FORMAT.write(tmp_path / "x", SAMPLE)
    whole = (tmp_path / "x").read_bytes()
    for content in (whole[:-1], whole.replace(b"format", b"f\\rmat"), b"", b"{}"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ValueError, match=r"x: damaged .*; make it again|x: not a sample"):
            FORMAT.read(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        FORMAT.read(tmp_path / "y")
