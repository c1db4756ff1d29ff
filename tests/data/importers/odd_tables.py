"""Tables as odd programs write them, drawn from a seed, with known content.

The users, the items and the order of the events of a drawn table are known. So an import must give
exactly these, or refuse the file by name; anything else is a silent misreading.
"""

import csv
import gzip
import io
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl

from sidestep.data.importers.guessing import guess_columns, sample_of
from sidestep.data.importers.imported import Imported, thinned
from sidestep.data.importers.log import Thinning
from sidestep.data.importers.table import import_table
from sidestep.data.importers.table_rows import Gaps
from sidestep.pipelines.contents import contents_of

START = datetime(2024, 1, 1, tzinfo=UTC)
DROP = Gaps(users="drop", items="drop", times="drop")


class MisreadingError(AssertionError):
    """Error of an import that read a file without a message, but not its true content."""


@dataclass(frozen=True)
class Odd:
    """One odd file or folder, and its true content.

    name: name of the file or folder.
    files: files by name; a folder holds several.
    histories: items of each user in the order of events; None if the file must be refused.
    left_out: number of rows without a user, an item or a time.
    may_be_refused: whether a refusal is allowed, such as for dates whose month is ambiguous.
    """

    name: str
    files: dict[str, bytes]
    histories: dict[str, list[str]] | None
    left_out: int
    may_be_refused: bool

    def write(self, folder: Path) -> Path:
        """Writes the files."""
        for name, data in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        return folder / self.name


@dataclass
class _Drawn:
    """Drawn rows, and how they are written. Written times are beside the true order of the rows."""

    users: list[object]
    items: list[object]
    times: list[object]
    order: list[int]
    extra: dict[str, list[object]] = field(default_factory=dict)
    must_be_refused: bool = False
    is_ambiguous: bool = False

    @property
    def columns(self) -> dict[str, list[object]]:
        """Columns by name."""
        return {"user_id": self.users, "item_id": self.items, "timestamp": self.times, **self.extra}


def check_odd(folder: Path, seed: int) -> str | None:
    """Draws a table, imports it, and checks the findings of `sidestep new` on it.

    Returns:
        The message of the refusal; None if it was imported.

    Raises:
        MisreadingError: the imported content is not the written content.
        AssertionError: the refusal does not name the file, or the file is valid.
        Exception: anything but the `ValueError` of a refusal.
    """
    draw = random.Random(seed)
    odd = odd_table(draw)
    path = odd.write(folder)
    is_asked = draw.random() < 0.5
    try:
        done = thinned(import_table(path, time="timestamp", gaps=DROP), Thinning())
    except ValueError as error:
        message = str(error)
        assert str(path) in message, message
        assert odd.may_be_refused, message
        assert len(message) < 2000, message[:300]
        if is_asked:
            _compare_refusals(path, message)
        return message
    _compare(odd, done)
    if is_asked:
        _compare_with_new(path, done)
    return None


def _compare(odd: Odd, done: Imported) -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for user, item in done.dataset.interactions.frame.select("user_id", "item_id").rows():
        found[user].append(item)
    if odd.histories is None:
        raise MisreadingError(f"{odd.name}: had to be refused, and gave {dict(found)}")
    if dict(found) != odd.histories or sum(done.left_out.values()) != odd.left_out:
        raise MisreadingError(
            f"{odd.name}: holds {odd.histories} and {odd.left_out} rows with gaps, and gave "
            f"{dict(found)} and {dict(done.left_out)}"
        )


def _columns_of(path: Path) -> object:
    return guess_columns(
        sample_of(path).frame, None, user="user_id", item="item_id", time="timestamp"
    )


def _compare_with_new(path: Path, done: Imported) -> None:
    found = contents_of(path, None, _columns_of(path))  # type: ignore[arg-type]
    words = sum(found.words.values())
    num_rows = found.profile.interactions + sum(found.left_out.values())
    if num_rows != len(done.dataset.interactions) + sum(done.left_out.values()):
        raise MisreadingError(f"{path.name}: new counts {num_rows} rows, {words} of nobody")


def _compare_refusals(path: Path, message: str) -> None:
    try:
        contents_of(path, None, _columns_of(path))  # type: ignore[arg-type]
    except (ValueError, KeyError):
        return
    raise MisreadingError(f"{path.name}: new takes it, the import says {message}")


def odd_table(draw: random.Random) -> Odd:
    """A table in one of the forms that programs write."""
    drawn = _rows(draw)
    histories, left_out = _truth(drawn)
    name, files = draw.choice(_FORMS)(drawn, draw)
    must_be_refused = drawn.must_be_refused or not histories
    return Odd(
        name=name,
        files=files,
        histories=None if must_be_refused else histories,
        left_out=left_out,
        may_be_refused=must_be_refused or drawn.is_ambiguous,
    )


def _truth(drawn: _Drawn) -> tuple[dict[str, list[str]], int]:
    rows = list(zip(drawn.users, drawn.items, drawn.times, drawn.order, strict=True))
    full = [row for row in rows if all(value is not None for value in row[:3])]
    histories: dict[str, list[str]] = defaultdict(list)
    for user, item, _, _ in sorted(full, key=lambda row: row[3]):
        histories[_plain(user)].append(_plain(item))
    return dict(histories), len(rows) - len(full)


def _plain(value: object) -> str:
    return str(int(value)) if isinstance(value, float) else str(value)


_IDS: list[Callable[[int], object]] = [
    lambda n: f"u{n}",
    lambda n: n,
    lambda n: f"{n:05}",
    lambda n: 2**60 + n,
    lambda n: 2**64 + n,
    lambda n: f"{{550e8400-e29b-11d4-a716-4466554400{n:02}}}",
    lambda n: f"größe {n}",
    lambda n: f'a "{n}", b',
    lambda n: f"x;{n}",
    lambda n: f"x\t{n}",
    lambda n: f"東{n}",
    lambda n: f"v{n}.0",
    lambda n: f"{n}e5",
    lambda n: f"'{n}'",
]
_EXTRAS: list[Callable[[random.Random], object]] = [
    lambda draw: draw.choice(["", "a, b", 'say "yes"', "two\nlines", "semi;colon", "tab\there"]),
    lambda draw: draw.choice([None, 1, 2.5, 10**19]),
    lambda draw: draw.choice(["view", "cart", "purchase"]),
    lambda draw: draw.choice([None, True, False]),
]


def _rows(draw: random.Random) -> _Drawn:
    num = draw.randint(1, 12)
    user, item = draw.choice(_IDS), draw.choice(_IDS)
    order = draw.sample(range(100), num)
    users = [user(draw.randrange(4)) for _ in range(num)]
    items = [item(draw.randrange(6)) for _ in range(num)]
    for column in (users, items):
        if (
            all(isinstance(value, int) and value < 2**50 for value in column)
            and draw.random() < 0.3
        ):
            column[:] = [float(value) for value in column]  # type: ignore[arg-type]
    extra = {f"more {n}": draw.choice(_EXTRAS) for n in range(draw.randint(0, 2))}
    drawn = _Drawn(
        users=users,
        items=items,
        times=draw.choice(_TIMES)(order, draw),
        order=order,
        extra={name: [one(draw) for _ in range(num)] for name, one in extra.items()},
    )
    if draw.random() < 0.2:
        for column in (drawn.users, drawn.items, drawn.times):
            column[draw.randrange(num)] = None
    if draw.random() < 0.05 and num > 3 and all(type(time) is int for time in drawn.times):
        times = [1_700_000_000 + number for number in order]
        drawn.times = [t * 1000 if row % 2 else t for row, t in enumerate(times)]
        drawn.must_be_refused = True
    drawn.is_ambiguous = any(str(time).count("/") == 2 for time in drawn.times)
    return drawn


def _epochs(order: Sequence[int], draw: random.Random) -> list[object]:
    unit = draw.choice([1, 10**3, 10**6, 10**9])
    return [int(START.timestamp()) * unit + number for number in order]


def _seconds(order: Sequence[int], draw: random.Random) -> list[object]:
    places = draw.choice([2, 3, 6, 7])
    return [f"{int(START.timestamp())}.{number:0{places}}" for number in order]


def _floats(order: Sequence[int], draw: random.Random) -> list[object]:
    return [START.timestamp() + number / 128 for number in order]


def _dates(order: Sequence[int], draw: random.Random) -> list[object]:
    places = draw.choice([0, 2, 3, 6, 9])
    between, zone = draw.choice(" T"), draw.choice(["", "Z", " UTC", "+00:00", "+02:00", "-0530"])
    made: list[object] = []
    for number in order:
        at = START + timedelta(seconds=number if not places else 0)
        if zone[-2:] in ("00", "30"):
            sign = -1 if zone[0] == "-" else 1
            hours, minutes = int(zone[1:3]), int(zone[-2:])
            at = at.astimezone(timezone(sign * timedelta(hours=hours, minutes=minutes)))
        fraction = f".{number:0{places}}" if places else ""
        made.append(at.strftime(f"%Y-%m-%d{between}%H:%M:%S") + fraction + zone)
    return made


def _days(order: Sequence[int], draw: random.Random) -> list[object]:
    form = draw.choice(["%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d %H:%M", "%Y%m%dT%H%M%SZ", "%d/%m/%Y"])
    # From 1 January to 9 April: some days are above 12; otherwise all dates would be refused.
    return [(START + timedelta(days=number)).strftime(form) for number in order]


def _counters(order: Sequence[int], draw: random.Random) -> list[object]:
    return [number - 50 for number in order]


_TIMES = [_epochs, _seconds, _floats, _dates, _dates, _days, _counters]


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _separated(drawn: _Drawn, draw: random.Random) -> tuple[str, dict[str, bytes]]:
    suffix = draw.choice(["csv", "csv", "tsv"])
    separator = draw.choice([",", ",", ";", "\t", "|"]) if suffix == "csv" else "\t"
    end = draw.choice(["\n", "\n", "\r\n", "\r"])
    rows = [[*drawn.columns], *map(list, zip(*drawn.columns.values(), strict=True))]
    if draw.random() < 0.15:
        rows = [[("" if n == 0 else n - 1), *row] for n, row in enumerate(rows)]  # row numbers
    if draw.random() < 0.1:
        rows = [[*row, ""] for row in rows]
    buffer = io.StringIO()
    quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    if end == "\r":
        quoting = csv.QUOTE_ALL  # otherwise the writer would write a line feed without quotes
    if draw.random() < 0.1:
        rows[0] = [f" {name} " for name in rows[0]]
    writer = csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=quoting)
    for row in rows:
        writer.writerow([_as_text(value) for value in row])
        if draw.random() < 0.03:
            buffer.write(draw.choice(["", " ", "   "]) + end)
    text = buffer.getvalue()
    if draw.random() < 0.2:
        text = text.rstrip("\r\n") if draw.random() < 0.5 else text + end
    if draw.random() < 0.1 and separator == ";":
        text = f"sep=;{end}" + text
    if draw.random() < 0.05:
        text, is_refused = _with_stray_quotes(text, end, separator, draw)
        drawn.must_be_refused |= is_refused
    return _packed(
        f"log.{suffix}", text.encode("utf-8-sig" if draw.random() < 0.2 else "utf-8"), draw
    )


def _with_stray_quotes(
    text: str, end: str, separator: str, draw: random.Random
) -> tuple[str, bool]:
    """Puts a quote before the first field of two lines, so that the lines between are swallowed."""
    lines = text.split(end)
    if '"' in text or "sep=" in text or len(lines) < 6:
        return text, False
    first, last = sorted(draw.sample(range(1, len(lines) - 1), 2))
    if last - first < 2:
        return text, False
    for row in (first, last):
        before, mark, after = lines[row].partition(separator)
        lines[row] = f'{before}{mark}"{after}'
    return end.join(lines), True


def _json(drawn: _Drawn, draw: random.Random) -> tuple[str, dict[str, bytes]]:
    rows = [
        dict(zip(drawn.columns, values, strict=True))
        for values in zip(*drawn.columns.values(), strict=True)
    ]
    if draw.random() < 0.5:
        rows = [{name: v for name, v in row.items() if v is not None} for row in rows]
    is_escaped = draw.random() < 0.5
    if draw.random() < 0.2:
        return _packed("log.json", json.dumps(rows, ensure_ascii=is_escaped).encode(), draw)
    end = draw.choice(["\n", "\r\n", "\r", "\n\n"])
    text = "".join(json.dumps(row, ensure_ascii=is_escaped) + end for row in rows)
    return _packed(draw.choice(["log.jsonl", "log.ndjson", "log.json"]), text.encode(), draw)


def _packed(name: str, data: bytes, draw: random.Random) -> tuple[str, dict[str, bytes]]:
    if draw.random() < 0.2:
        return f"{name}.gz", {f"{name}.gz": gzip.compress(data, mtime=0)}
    return name, {name: data}


def _parquet(drawn: _Drawn, draw: random.Random) -> tuple[str, dict[str, bytes]]:
    series = [_typed(name, values, draw) for name, values in drawn.columns.items()]
    frame = pl.DataFrame(series)
    if draw.random() < 0.5 and frame.height > 1:
        cut = draw.randint(1, frame.height - 1)
        parts = [frame[:cut], frame[cut:]]
        files = {
            f"log.parquet/part-{number:05}.snappy.parquet": _bytes_of(part)
            for number, part in enumerate(parts)
        }
        return "log.parquet", {**files, "log.parquet/_SUCCESS": b""}
    return "log.parquet", {"log.parquet": _bytes_of(frame)}


def _typed(name: str, values: list[object], draw: random.Random) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    if len(kinds) > 1 or any(type(v) is int and not -(2**63) <= v < 2**63 for v in values):
        texts = [None if value is None else str(value) for value in values]
        return pl.Series(name, texts, dtype=pl.String)
    column = pl.Series(name, values, strict=True)
    if name == "timestamp" and kinds == {str} and draw.random() < 0.5:
        moments = column.str.to_datetime("%Y-%m-%d", strict=False)
        return moments if moments.null_count() == column.null_count() else column
    is_id = name in ("user_id", "item_id")
    return (
        column.cast(pl.Categorical) if is_id and kinds == {str} and draw.random() < 0.3 else column
    )


def _bytes_of(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


_FORMS = [_separated, _separated, _separated, _json, _json, _parquet]
