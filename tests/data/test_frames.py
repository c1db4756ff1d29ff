"""Reading damaged parquet files."""

from base64 import b64decode, b64encode

import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from sidestep.data.frames import read_parquet


def test_metadata_that_is_no_text_does_not_matter(tmp_path):
    field = pa.field("user_id", pa.string(), metadata={b"\xff": b"\xff"})
    table = pa.Table.from_arrays([pa.array(["a"])], schema=pa.schema([field]))
    pyarrow.parquet.write_table(table, tmp_path / "log.parquet")
    assert read_parquet(tmp_path / "log.parquet").equals(pl.DataFrame({"user_id": ["a"]}))


def test_a_type_that_is_no_text_is_refused(tmp_path):
    times = pa.array([0], pa.timestamp("us", tz="Europe/Paris"))
    pyarrow.parquet.write_table(pa.table({"t": times}), tmp_path / "log.parquet")
    data = (tmp_path / "log.parquet").read_bytes()
    schema = pyarrow.parquet.read_metadata(tmp_path / "log.parquet").metadata[b"ARROW:schema"]
    broken = b64encode(b64decode(schema).replace(b"Europe/Paris", b"Europe/P\xffris"))
    (tmp_path / "log.parquet").write_bytes(data.replace(schema, broken))
    with pytest.raises(ValueError, match=r"log.parquet: not a readable parquet file"):
        read_parquet(tmp_path / "log.parquet")
