"""Plain YAML: keys and values; an error names the line of the mistake.

YAML as such allows more than a configuration needs, and some of it is a trap: the second of two
equal keys wins in silence, and aliases make a page of text a terabyte of values. Both are refused.
"""

import math
from pathlib import Path
from typing import Any

import yaml

from sidestep.files import read_utf8, whole_file

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_DIGITS = 30


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a file of keys and values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else; names the file, the line where there is one, and what is
            wrong.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such configuration file.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path}: {size:,} bytes are too many for a configuration; is it data?")
    text = read_utf8(path)
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold keys and values, such as 'kind: transformer'.")
    return content


def parse_yaml(text: str, source: str) -> Any:
    """The value that a YAML text stands for.

    Raises:
        ValueError: it is no YAML, or more than plain; `source` says where the text comes from.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"{source}{line}: not valid YAML ({error.problem}).") from error
    except yaml.YAMLError as error:
        # Of the reader, which knows no line but the character.
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{source}: not valid YAML ({reason}).") from error


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Writes plain values as YAML, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(yaml_text(content), encoding="utf-8")


def yaml_text(content: dict[str, Any]) -> str:
    """Plain values as YAML."""
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return text


class _Loader(yaml.SafeLoader):
    """Refuses aliases, repeated keys, keys that are no text, and numbers that are none."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise _problem("aliases are not understood here; write the values out", event)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _problem(f"nested deeper than {MAX_DEPTH} levels", event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise _problem("a key must be text; put it in quotes", key)
            if key.value in seen:
                raise _problem(f"the key {key.value!r} stands twice; remove one of the two", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        is_number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if is_number and len(node.value) > MAX_DIGITS:
            raise _problem(f"a number of more than {MAX_DIGITS} digits", node)
        try:
            value = super().construct_object(node, deep=deep)
        except (ValueError, OverflowError) as error:  # 0x_, or the 31st of February
            raise _problem(f"{node.value!r} is no value ({error})", node) from error
        if isinstance(value, float) and not math.isfinite(value):
            raise _problem(f"{node.value} is no finite number", node)
        return value


def _problem(what: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, what, where.start_mark)
