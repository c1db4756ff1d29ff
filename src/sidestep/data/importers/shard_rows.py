"""Rows of a log in shards, wherever they are: the joint between the k-core and its engines.

The k-core (`shards`) says which steps the rows go through, and puts the answers of pieces of the
log together. An engine does the steps: `streamed` by streaming queries of Polars in this process,
`ray_rows` by tasks of Ray. `tests/data/importers/shards_contract.py` holds the laws of an engine.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Protocol, runtime_checkable

import polars as pl

Step = Callable[[pl.LazyFrame], pl.LazyFrame]
"""Rows to rows, or rows to counts. An engine may send a step to other processes."""


@runtime_checkable
class Rows(Protocol):
    """The rows of a log after some steps. A piece is a run of rows; one piece may be all rows."""

    def then(self, step: Step) -> "Rows":
        """The rows after one more step, which works on one piece at a time. Does nothing yet."""

    def kept(self) -> "Rows":
        """Does the steps, and keeps what they give until the engine ends.

        Later work on these rows does not do the steps again.
        """

    def pieces(self) -> Iterator[pl.DataFrame]:
        """Does the steps. Gives what each piece becomes, in the order of the log.

        At least one frame comes, and all frames have the same columns.
        """


RowsEngine = Callable[[Sequence[Path], Sequence[pl.Expr]], AbstractContextManager[Rows]]
"""Opens the rows of Parquet files, for the time of a block. The arguments are the files, in the
order of the log, and expressions of columns. An expression looks at one row at a time. All files
have the same types. The engine gives these columns and, before them, `row`: the number of each row
of the log, from 0, as UInt32. When the block ends, the engine deletes what it kept and ends what it
started."""


@contextmanager
def streamed(parts: Sequence[Path], columns: Sequence[pl.Expr]) -> Iterator[Rows]:
    """Rows by streaming queries of Polars, in this process; a `RowsEngine`.

    All rows are one piece. What is kept is in temporary files, see `tempfile.gettempdir`.
    """
    log = pl.scan_parquet(list(parts), glob=False).select(*columns).with_row_index("row")
    with TemporaryDirectory(prefix="sidestep-") as folder:
        yield _StreamedRows(frame=log, folder=Path(folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class _StreamedRows:
    frame: pl.LazyFrame
    folder: Path

    def then(self, step: Step) -> Rows:
        """See `Rows`."""
        return replace(self, frame=step(self.frame))

    def kept(self) -> Rows:
        """See `Rows`."""
        file = Path(mkdtemp(dir=self.folder)) / "rows.parquet"
        self.frame.sink_parquet(file)
        return replace(self, frame=pl.scan_parquet(file))

    def pieces(self) -> Iterator[pl.DataFrame]:
        """See `Rows`."""
        yield self.frame.collect(engine="streaming")


def collected(rows: Rows) -> pl.DataFrame:
    """All rows in memory, in the order of the log."""
    return pl.concat(rows.pieces())


def merged(rows: Rows, together: Step) -> pl.DataFrame:
    """The counts of all rows, from the counts of each piece.

    The memory grows with the counts, and not with the pieces. New pieces wait until they have more
    rows than the merged counts. Then the pieces are merged, too.

    Args:
        rows: after a step that counts.
        together: counts of two pieces below each other to counts of both.
    """
    pieces = rows.pieces()
    whole, waiting, num_waiting = next(pieces), list[pl.DataFrame](), 0
    for piece in pieces:
        waiting.append(piece)
        num_waiting += piece.height
        if num_waiting > whole.height:
            whole = _put_together([whole, *waiting], together)
            waiting, num_waiting = [], 0
    return _put_together([whole, *waiting], together) if waiting else whole


def _put_together(frames: Sequence[pl.DataFrame], together: Step) -> pl.DataFrame:
    return together(pl.concat(frames).lazy()).collect(engine="streaming")
