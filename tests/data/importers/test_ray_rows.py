"""Shards by Ray: the laws of every engine, with few cases, for each query takes its time."""

from functools import partial

import pytest

from sidestep.data.importers.ray_rows import ByRay
from sidestep.data.importers.shard_rows import collected
from sidestep.ray_cluster import started

from .shards_contract import CASES, ShardEngineContract, log

pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'sidestep[ray]'")


@pytest.fixture(scope="module", autouse=True)
def _ray():
    """One start of Ray for all tests."""
    with started():
        yield


def broken(error, rows):
    raise error


class TestByRay(ShardEngineContract):
    cases = (CASES[3], CASES[6], CASES[8])
    ways_to_name_the_log = 1
    numbers_of_shards = (2,)

    @pytest.fixture
    def engine(self):
        return ByRay()

    def test_a_file_that_a_machine_does_not_see_is_no_damaged_file(self, engine, tmp_path):
        gone = partial(broken, FileNotFoundError("log/part-7.parquet"))
        with (
            pytest.raises(ConnectionError, match=r"does not see a file \(log/part-7\.parquet\)"),
            self.opened(engine, tmp_path, log(100)) as rows,
        ):
            collected(rows.then(gone).kept())

    def test_a_task_that_fails_ends_the_import_with_its_reason(self, engine, tmp_path):
        with (
            pytest.raises(ConnectionError, match="no such luck"),
            self.opened(engine, tmp_path, log(100)) as rows,
        ):
            collected(rows.then(partial(broken, RuntimeError("no such luck"))))
