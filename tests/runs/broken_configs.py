"""Broken configurations, drawn from a seed: wrong bytes, values, keys or shapes."""

import random
from collections.abc import Callable
from typing import Any

import yaml

STRANGE: list[Any] = [
    *(None, True, -1, 0, 2, 10**9 + 1, 10**40, -(10**18), 1.5, -0.1),
    *(float("nan"), float("inf"), "inf", "nan", "1e999", "", "auto", "wörter", "\x00", "x" * 9999),
    *([], [1], [[[]]], {}, {"a": {"b": 1}}, {1: 2}, ["nan"], [1, 2, 3]),
]

TEXTS = [
    *("{", "]", "\t- a", "a: b: c", "? [1]\n: 2", "!!python/object/apply:os.system [ls]", "%TAG"),
    *("&a [*a]", "*b", "<<: {kind: sasrec}", "1: 2", "null: 3", "[1]: 2", "2024-02-31", "0x_"),
    *("---\n---", "--- 1", "!!binary x", "!!set {a}", "9" * 5000, "[" * 500, "{a: " * 300, "\x07"),
    "&a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]",
]


def broken_config(valid: str, draw: random.Random) -> bytes:
    """A valid configuration with one to three changes; most of the results are invalid."""
    text = valid.encode()
    for _ in range(draw.randint(1, 3)):
        text = draw.choice(_WAYS)(text, draw)
    return text


def strange_setting(valid: str, draw: random.Random) -> str:
    """A text that might follow --set."""
    keys = list(_places(yaml.safe_load(valid)))
    name = ".".join(map(str, draw.choice(keys)))
    if draw.random() < 0.3:
        name = draw.choice(
            ["", ".", "a..b", f"{name}.x", name.upper(), "kind.kind", "ü", "x" * 999]
        )
    if draw.random() < 0.5:
        return f"{name}={draw.choice(TEXTS)}"
    return f"{name}{draw.choice(['=', '=', ''])}{draw.choice(STRANGE)}"


def _other_bytes(text: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(text))
    junk = bytes(draw.randrange(256) for _ in range(draw.randint(1, 5)))
    return text[:at] + junk + text[at + draw.randint(0, 5) :]


def _cut_off(text: bytes, draw: random.Random) -> bytes:
    return text[: draw.randint(0, len(text))]


def _other_text(text: bytes, draw: random.Random) -> bytes:
    lines = text.split(b"\n")
    lines.insert(draw.randint(0, len(lines)), draw.choice(TEXTS).encode())
    return b"\n".join(lines)


def _line_twice(text: bytes, draw: random.Random) -> bytes:
    lines = text.split(b"\n")
    lines.insert(draw.randint(0, len(lines)), draw.choice(lines))
    return b"\n".join(lines)


def _other_value(text: bytes, draw: random.Random) -> bytes:
    return _edited(text, draw, lambda part, key: part.__setitem__(key, draw.choice(STRANGE)))


def _other_key(text: bytes, draw: random.Random) -> bytes:
    def rename(part: Any, key: Any) -> None:
        if isinstance(part, dict):
            part[draw.choice([f"{key}s", "", 7, None, "x" * 999, "é"])] = part.pop(key)

    return _edited(text, draw, rename)


def _missing(text: bytes, draw: random.Random) -> bytes:
    return _edited(text, draw, lambda part, key: part.__delitem__(key))


_WAYS = [
    *(_other_bytes, _cut_off, _other_text, _line_twice),
    *(_other_value, _other_value, _other_value, _other_key, _missing),
]


def _edited(text: bytes, draw: random.Random, change: Callable[[Any, Any], object]) -> bytes:
    """The text with one of its values changed, if it can still be read."""
    try:
        content = yaml.safe_load(text)
        *parents, key = draw.choice(list(_places(content)))
        part = content
        for parent in parents:
            part = part[parent]
        change(part, key)
        return yaml.safe_dump(content, allow_unicode=True).encode()
    except (yaml.YAMLError, ValueError, LookupError, RecursionError, TypeError, AttributeError):
        return text


def _places(content: Any, above: tuple[Any, ...] = ()) -> Any:
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        yield (*above, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*above, key))
