"""Rows of a log by Ray Data: each Parquet file is a task, on one machine or on a cluster."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from sidestep.data.importers.shard_rows import Rows, Step
from sidestep.ray_cluster import started

_ONE_THREAD = {"env_vars": {"POLARS_MAX_THREADS": "1"}}
"""The environment of a task, which has one core: Polars would take all cores for each task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByRay:
    """An engine of shards, see `sidestep.data.importers.shard_rows.RowsEngine`.

    A task reads one file, so the memory of a task grows with the largest file. What is kept is in
    the object store of Ray, which moves to the disk what does not fit. On a cluster, the files lie
    on a disk that all machines share, under the same path.

    address: of a cluster, such as "auto"; None starts Ray on this machine, and ends it again.
    """

    address: str | None = None

    @contextmanager
    def __call__(self, parts: Sequence[Path], columns: Sequence[pl.Expr]) -> Iterator[Rows]:
        """See `RowsEngine`.

        Raises:
            ImportError: Ray is not installed.
            ConnectionError: a task or the cluster has ended, or a machine does not see a file.
        """
        lengths = [
            pl.scan_parquet(part, glob=False).select(pl.len()).collect().item() for part in parts
        ]
        firsts = [*accumulate(lengths, initial=0)][:-1]
        files = [
            {"file": str(part.absolute()), "first": first}
            for part, first in zip(parts, firsts, strict=True)
        ]
        with started(self.address) as ray:
            ray.data.DataContext.get_current().execution_options.preserve_order = True
            try:
                pieces = ray.data.from_items(files, override_num_blocks=len(files))
                yield _RayRows(ray=ray, given=pieces, work=_Work(columns=tuple(columns)))
            except ray.exceptions.RayError as error:
                raise ConnectionError(
                    f"Ray could not finish: {error}. If a machine has ended, start the command "
                    "again."
                ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """The work of a task on its pieces: it opens each of them and does the steps.

    A piece is a file with the number of its first row, or a frame in bytes. The answer is a frame
    in bytes, or says why there is none.

    columns: what is read of a file.
    """

    columns: tuple[pl.Expr, ...]
    steps: tuple[Step, ...] = ()

    def __call__(self, pieces: pa.Table) -> pa.Table:
        answers = [self._answer(piece) for piece in pieces.to_pylist()]
        return pa.Table.from_pylist(answers, schema=_ANSWER)

    def _answer(self, piece: Mapping[str, Any]) -> Mapping[str, Any]:
        if piece.get("failure"):
            return piece
        try:
            rows = self._opened(piece)
            for step in self.steps:
                rows = step(rows)
            frame = rows.collect(engine="streaming")
        except FileNotFoundError as error:
            return {"failure": f"{error}", "is_missing": True}
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            return {"failure": f"{error}" or type(error).__name__, "is_missing": False}
        content = io.BytesIO()
        frame.write_ipc(content, compression="lz4")
        return {"frame": content.getvalue(), "failure": "", "is_missing": False}

    def _opened(self, piece: Mapping[str, Any]) -> pl.LazyFrame:
        if "file" not in piece:
            return pl.read_ipc(io.BytesIO(piece["frame"])).lazy()
        rows = pl.scan_parquet(piece["file"], glob=False).select(*self.columns)
        return rows.with_row_index("row", offset=piece["first"])


_ANSWER = pa.schema(
    [("frame", pa.large_binary()), ("failure", pa.string()), ("is_missing", pa.bool_())]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RayRows:
    """Pieces in a dataset of Ray, one per row, and the work on them that is not done yet."""

    ray: Any
    given: Any
    work: _Work

    def then(self, step: Step) -> Rows:
        """See `Rows`."""
        return replace(self, work=replace(self.work, steps=(*self.work.steps, step)))

    def kept(self) -> Rows:
        """See `Rows`."""
        return replace(self, given=self._done().materialize(), work=replace(self.work, steps=()))

    def pieces(self) -> Iterator[pl.DataFrame]:
        """See `Rows`."""
        for answer in self._done().iter_rows():
            if answer["is_missing"]:
                raise ConnectionError(
                    f"a machine of Ray does not see a file ({answer['failure']}); put the files "
                    "where all machines see them under the same path."
                )
            if answer["failure"]:
                raise pl.exceptions.ComputeError(answer["failure"])
            yield pl.read_ipc(io.BytesIO(answer["frame"]))

    def _done(self) -> Any:
        # Tasks take the work from the store: Ray would copy an argument into each task.
        return self.given.map_batches(
            _do,
            batch_size=None,
            batch_format="pyarrow",
            fn_kwargs={"work": self.ray.put(self.work)},
            runtime_env=_ONE_THREAD,
        )


def _do(pieces: pa.Table, work: Any) -> pa.Table:
    """Runs in a task."""
    import ray

    answers: pa.Table = ray.get(work)(pieces)
    return answers
