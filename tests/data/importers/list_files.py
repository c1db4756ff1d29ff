"""Files of lists and of rows as many systems write them, drawn from a seed, with known content.

Sequences are drawn first, then a file of them is written. The import must give these sequences. If
a system writes them in an ambiguous way, the import must refuse the file with the line, or give
these sequences.
"""

import csv
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from sidestep.data.importers.imported import Imported
from sidestep.data.importers.lists import import_lists
from sidestep.data.importers.rows import Part, import_rows

Sequences = dict[str, list[str]]

PLAIN = ("B01", "B02", "x7", "a-b", "C_3", "spotify:track:9", "é1", "007", "z")
NUMBERS = ("1", "22", "307", "41999", "5", "0")
ODD = ("It's", 'a"b', "c, d", "e;f", "{g", "[h]", "back\\slash", "New York", "1.5", "k|l")


def _quoted(items: Sequence[str], quote: str, escape: str) -> list[str]:
    doubled = {quote: escape + quote, "\\": "\\\\"} if escape == "\\" else {quote: quote * 2}
    return [
        quote + "".join(doubled.get(letter, letter) for letter in item) + quote for item in items
    ]


def _postgres(items: Sequence[str]) -> str:
    def is_plain(item: str) -> bool:
        return item.lower() != "null" and not any(sign in item for sign in '{}," \\\t\n')

    quoted = _quoted(items, '"', "\\")
    return "{" + ",".join(
        item if is_plain(item) else text for item, text in zip(items, quoted, strict=True)
    ) + "}"  # fmt: skip


def _numpy(items: Sequence[str]) -> str:
    return str(np.array(items, dtype=object))


ANY: dict[str, Callable[[Sequence[str]], str]] = {
    "json": lambda items: json.dumps(list(items)),
    "json-lines": lambda items: json.dumps(list(items), indent=1),
    "python": lambda items: repr(list(items)),
    "tuple": lambda items: repr(tuple(items)),
    "array": lambda items: f"array({list(items)!r}, dtype=object)",
    "numpy-2": lambda items: f"[{', '.join(f'np.str_({item!r})' for item in items)}]",
    "postgres": _postgres,
    "clickhouse": lambda items: f"[{','.join(_quoted(items, chr(39), chr(92)))}]",
    "r": lambda items: f"c({', '.join(_quoted(items, chr(34), chr(92)))})",
    "matlab": lambda items: f"{{{';'.join(_quoted(items, chr(34), chr(92)))}}}",
    "quoted": lambda items: ";".join(_quoted(items, '"', '"')),
}
"""Ways to write items of any name."""

SIMPLE: dict[str, Callable[[Sequence[str]], str]] = {
    "commas": ", ".join,
    "semicolons": ";".join,
    "bars": "|".join,
    "blanks": " ".join,
    "spark": lambda items: f"[{', '.join(items)}]",
    "scala": lambda items: f"List({', '.join(items)})",
    "wrapped": lambda items: f"WrappedArray({', '.join(items)})",
    "set-like": lambda items: f"{{{','.join(items)}}}",
    "numpy": _numpy,
    "multi-line": lambda items: _numpy(items).replace("' '", "'\n '"),
}
"""Ways to write items with a separator that no item may hold."""

UNTOLD: dict[str, Callable[[Sequence[str]], str]] = {
    "nested": lambda items: json.dumps([list(items)]),
    "objects": lambda items: json.dumps([{"id": item} for item in items]),
    "map": lambda items: json.dumps(dict.fromkeys(items, 1)),
    "java-map": lambda items: f"{{{', '.join(f'{item}=1' for item in items)}}}",
    "pairs": lambda items: repr([(item, 1) for item in items]),
    "cut": lambda items: repr(list(items))[:-2],
    "shortened": lambda items: f"['{items[0]}' ... '{items[-1]}']",
    "php": lambda items: f'a:1:{{i:0;s:{len(items[0])}:"{items[0]}";}}',
    "two-separators": lambda items: f"{items[0]};{items[0]}1",
}
"""Texts that hold the names of items, but are no lists of items."""


def check_lists(folder: Path, seed: int) -> str | None:
    """Checks that a column of lists in one way of writing is read as it was meant."""
    draw = random.Random(seed)
    way = draw.choice([*ANY, *SIMPLE])
    names = draw.choice([PLAIN, NUMBERS, ODD] if way in ANY else [PLAIN, NUMBERS])
    sequences = _drawn(draw, names)
    cells = {user: (ANY | SIMPLE)[way](items) for user, items in sequences.items()}
    path = _written(folder, draw, list(cells.items()))
    _assert_same(import_lists(path), sequences, f"{way}: {cells}")
    return None


def check_untold(folder: Path, seed: int) -> str | None:
    """Checks that one cell that is no list, among lists, is refused with its line."""
    draw = random.Random(seed)
    way = draw.choice(list(UNTOLD))
    sequences = _drawn(draw, PLAIN)
    rows = [(user, ", ".join([*items, "x1", "x2"])) for user, items in sequences.items()]
    at = draw.randrange(len(rows))
    rows[at] = (rows[at][0], UNTOLD[way](list(sequences[rows[at][0]])))
    path = _written(folder, draw, rows, suffix="csv")
    message = None
    try:
        import_lists(path)
    except ValueError as error:
        message = str(error)
    assert message is not None, f"{way} was read: {rows}"
    assert f"{path}, line {at + 2}" in message, (way, message)
    return message


def check_windows(folder: Path, seed: int) -> str | None:
    """Checks that windows over one history are noticed, and read as that history if asked to."""
    draw = random.Random(seed)
    sequences = _distinct(draw)
    length = draw.choice([3, 5, 99])
    rows = [
        (user, json.dumps(items[max(0, stop - length) : stop]))
        for user, items in sequences.items()
        for stop in range(1, len(items) + 1)
    ]
    path = _written(folder, draw, rows)
    told = any("--rows windows" in remark for remark in import_lists(path).remarks)
    assert told == any(len(items) > 1 for items in sequences.values()), rows
    _assert_same(import_lists(path, rows="windows"), sequences, str(rows))
    return None


def check_rows(folder: Path, seed: int) -> str | None:
    """Checks that published rows give the sequences they were made of, if any file is missing."""
    draw = random.Random(seed)
    sequences = _distinct(draw)
    length = draw.choice([2, 4, 99])
    parts: dict[Part, list[tuple[str, str, str]]] = {"train": [], "valid": [], "test": []}
    write = draw.choice([json.dumps, repr, _postgres])
    for user, items in sequences.items():
        for at in range(1, len(items)):
            part: Part = ("test", "valid", "train")[min(2, len(items) - 1 - at)]  # type: ignore[assignment]
            parts[part].append((user, write(items[max(0, at - length) : at]), items[at]))
    missing = draw.choice(["valid", None])
    paths: dict[Part, Path] = {}
    for part, rows in parts.items():
        if part != missing and rows:
            paths[part] = folder / f"{part}.csv"
            frame = pl.DataFrame(rows, schema=["user_id", "history", "target"], orient="row")
            frame.write_csv(paths[part])
    if "train" not in paths or ("valid" not in paths and len(parts["train"]) < 2):
        return None
    done = import_rows(paths)
    # A user whose only row is in the missing file is unknown.
    known = {row[0] for part in paths for row in parts[part]}
    expected = {user: items for user, items in sequences.items() if user in known}
    if "test" not in paths:
        return None  # only training rows were published
    _assert_same(done, expected, str(parts))
    split = done.dataset.split
    assert split is not None
    assert split.train.num_targets + len(split.validation) + len(split.test) == sum(
        len(parts[part]) for part in paths
    )
    return None


LIST_CHECKS: dict[str, Callable[[Path, int], str | None]] = {
    "lists of other systems": check_lists,
    "lists that are none": check_untold,
    "windows": check_windows,
    "published rows": check_rows,
}


def _drawn(draw: random.Random, names: Sequence[str]) -> Sequences:
    """Some users with some items each; at least one has several, so that separators are seen."""
    users = {f"u{user}": draw.choices(names, k=draw.randint(1, 5)) for user in range(4)}
    return {**users, "last": draw.sample(list(names), 3)}


def _distinct(draw: random.Random) -> Sequences:
    return {
        f"u{user}": [f"i{item}" for item in draw.sample(range(30), draw.randint(1, 9))]
        for user in range(draw.randint(1, 5))
    }


def _written(
    folder: Path, draw: random.Random, rows: list[tuple[str, str]], *, suffix: str | None = None
) -> Path:
    suffix = suffix or draw.choice(["csv", "tsv", "parquet", "jsonl"])
    path = folder / f"lists.{suffix}"
    if suffix == "parquet":
        pl.DataFrame(rows, schema=["user_id", "item_ids"], orient="row").write_parquet(path)
    elif suffix == "jsonl":
        lines = [json.dumps({"user_id": user, "item_ids": cell}) for user, cell in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if suffix == "tsv" else ",")
            writer.writerows([("user_id", "item_ids"), *rows])
    return path


def _assert_same(done: Imported, sequences: Sequences, shown: str) -> None:
    frame = done.dataset.interactions.frame
    found: Sequences = {}
    for user, item in frame.select("user_id", "item_id").iter_rows():
        found.setdefault(user, []).append(item)
    assert found == sequences, (found, sequences, shown)
