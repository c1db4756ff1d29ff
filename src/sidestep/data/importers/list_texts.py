"""Lists in texts: reads the elements that databases, languages and people write into one cell.

This module reads one text. `list_columns` decides which separator a whole column has, and whether
its elements fit each other.
"""

import ast
import json
import re
import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import orjson

Kind = Literal["text", "number", "value", "word"]
"""Kind of an element. "text": in quotes. Without quotes: "number", a whole number; "value", another
value such as 1.5 or True; "word", a word."""


class ListError(ValueError):
    """Error that says why a text is no list. The caller adds the place of the text."""


class Element(NamedTuple):
    """An element as text; None if the list says that the element is missing."""

    text: str | None
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class ListText:
    """A list that was read from a text.

    between: separator of the elements: ",", ";", " "; "" if there are fewer than two elements.
    is_set: whether the list is written like a set, so that its order has no meaning.
    is_typed: whether quotes tell texts from numbers. PostgreSQL writes quotes only if it must.
    """

    elements: list[Element]
    between: str = ""
    is_set: bool = False
    is_typed: bool = True


MISSING = frozenset(
    ("nan", "none", "null", "na", "n/a", "nat", "nil", "undefined", "<na>", "<null>", "\\n")
)
"""Words, in lower case, by which tables say that a value is missing."""

_CLOSING = {"[": "]", "(": ")", "{": "}"}
_SETS = frozenset(("set", "frozenset", "hashset", "setof", "hashsetof", "mutablesetof"))
_WRAPPERS = _SETS | frozenset(
    (
        *("array", "asarray", "list", "tuple", "vector", "c", "seq", "deque", "queue", "tensor"),
        *("wrappedarray", "arrayseq", "arraybuffer", "listbuffer", "indexedseq", "buffer"),
        *("lazylist", "stream", "listset", "linkedhashset", "orderedset", "listof", "arrayof"),
        *("aslist", "index", "int64index", "dict_keys", "dict_values", "odict_keys", "any"),
        *("string", "int64", "int32", "int", "str", "object", "text", "immutablelist"),
    )
)
_NAMED = re.compile(
    r"(?:new\s+)?((?:[A-Za-z_]\w*(?:\.|::))*)([A-Za-z_]\w*)((?:\[\]|<\w+>)*)\s*(?=[\[({])"
)
_PANDAS = re.compile(r"<\w+Array>\s*(.*?)\s*Length: \d+, dtype: \S+", re.DOTALL)
_BOUNDS = re.compile(r"\[-?\d+:-?\d+\]=(?=\{)")
_ARRAY_ELEMENT = r""""(?:[^"\\]|\\.)*"|[^{}",\\\s'][^{}",\\\s]*"""
_ARRAY = re.compile(rf"\{{(?:(?:{_ARRAY_ELEMENT})(?:,(?:{_ARRAY_ELEMENT}))*)?\}}", re.DOTALL)
_EMPTY_VECTOR = re.compile(r"(?:character|integer|numeric|double|logical|factor)\(0\)")
_KEYWORDS = re.compile(r"(?:\s*,\s*\w+\s*=[^,]*)*\s*,?\s*")
_SCALARS = re.compile(r"(?:np|numpy|pd|pandas)\.\w+|(?:str_|int_|u?int\d+|UUID|ObjectId|Timestamp)")
_TOKEN = re.compile(
    r"""(?P<quoted>[bu]?"(?:[^"\\]|\\.)*"|[bu]?'(?:[^'\\]|\\.)*')|(?P<separator>[,;])"""
    r"""|(?P<bracket>[\[\](){}])|(?P<blank>\s+)|(?P<bare>[^\s,;"'\[\](){}]+)|(?P<stray>.)""",
    re.DOTALL,
)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)", re.ASCII)
_VALUE = re.compile(
    r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf(?:inity)?|true|false",
    re.ASCII | re.IGNORECASE,
)
_PAIR = re.compile(r"[^=]+=.*|.*->.*|.*:\s.*|[^:]+:[-+]?\d+(?:\.\d+)?")


def is_bracketed(text: str) -> bool:
    """Tells whether a text starts like the list of some system, whatever follows."""
    if text[:1] in _CLOSING or _opening(text) or _EMPTY_VECTOR.fullmatch(text):
        return True
    return text.startswith("<") and _PANDAS.match(text) is not None


def read_bracketed(text: str) -> ListText:
    """Reads a list that has brackets around it.

    JSON, Python and R, NumPy with and without commas, PostgreSQL, ClickHouse, DuckDB, Spark, Hive,
    Presto, Scala, Java, Julia and MATLAB write such lists. Elements in quotes may hold anything.
    Elements without quotes end at the next separator.

    Raises:
        ListError: the list is cut off, holds lists or an object, or its elements cannot be told
            apart.
    """
    text = text.strip()
    quick = _read_json(text)
    if quick is not None:
        return quick
    pandas = _PANDAS.fullmatch(text)
    text = pandas[1] if pandas else _BOUNDS.sub("", text, count=1)
    if _EMPTY_VECTOR.fullmatch(text):
        return ListText(elements=[])
    if _ARRAY.fullmatch(text):
        return _read_array(text)
    opening = _opening(text)
    name = opening[2].lower() if opening else ""
    text = text[opening.end() :] if opening else text
    bracket = text[:1]
    if len(text) < 2 or text[-1] != _CLOSING[bracket]:
        raise ListError(f"no {_CLOSING[bracket]!r} ends it; it may be cut off")
    if opening and (inner := _argument(text[1:-1])) is not None:
        bracket, text = inner[:1], inner
    body = _elements(text[1:-1], is_r=name == "c")
    if bracket == "{":
        _refuse_pairs(body)
    return ListText(
        elements=body.elements,
        between=body.between,
        is_set=len(body.elements) > 1 and (name in _SETS or (bracket == "{" and body.is_set)),
    )


def read_plain(text: str, between: str | None) -> list[Element]:
    """Reads a list without brackets. An element in quotes may hold the separator.

    Args:
        text: text of the list, not empty.
        between: separator, one character; None for blanks. A separator at the end is ignored.

    Raises:
        ListError: an element is empty, or is a piece of something else.
    """
    text = text.strip()
    if between is None:
        parts = re.findall(r'"[^"]*"(?=\s|$)|\S+', text)
    elif '"' not in text and "'" not in text:
        parts = [part.strip() for part in text.removesuffix(between).split(between)]
    else:
        text = text.removesuffix(between)
        part = rf'\s*("(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|[^{re.escape(between)}]*?)\s*'
        parts = [found[1] for found in re.finditer(rf"{part}(?:{re.escape(between)}|$)", text)]
        # The expression also matches the empty text after the last element.
        parts = parts[: len(parts) - (bool(text) and not text.endswith(between))]
    return [_plain_element(part) for part in parts]


def unquoted(text: str) -> str:
    """A text without its parts in double quotes."""
    return re.sub(r'"[^"]*"', '""', text) if '"' in text else text


def _plain_element(part: str) -> Element:
    quote = part[:1]
    is_quoted = quote in ('"', "'") and len(part) > 1 and part[-1] == quote
    # Single quotes around commas may be meant for the whole list.
    if is_quoted and (quote == '"' or not re.search("[,;|]", part)):
        return Element(part[1:-1].replace(quote * 2, quote), "text")
    if part.lower() in MISSING:
        return Element(None, "word")
    if quote in ('"', "'") or part[:1] in ("[", "{") or not _is_balanced(part):
        raise ListError(f"{part!r:.40} is a piece of something else")
    if part and not any(map(str.isalnum, part)):
        raise ListError(f"{part!r:.40} holds neither a letter nor a digit")
    return Element(part, _kind(part))


def _is_balanced(text: str) -> bool:
    open_brackets: list[str] = []
    for letter in text:
        if letter in _CLOSING:
            open_brackets.append(_CLOSING[letter])
        elif letter in "])}" and (not open_brackets or open_brackets.pop() != letter):
            return False
    return not open_brackets


def _read_json(text: str) -> ListText | None:
    """Reads a JSON list of texts or whole numbers, the most common form; None for other texts."""
    if not text.startswith("["):
        return None
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not {type(value) for value in values} <= {str, int, type(None)}:
        return None
    return ListText(
        elements=[
            Element(value, "text")
            if isinstance(value, str | None)
            else Element(str(value), "number")
            for value in values
        ],
        between="," if len(values) > 1 else "",
    )


def _opening(text: str) -> re.Match[str] | None:
    """Matches a name of a list before the bracket, such as `np.array` of `np.array([1])`."""
    named = _NAMED.match(text)
    return named if named and named[2].lower() in _WRAPPERS else None


def _argument(inside: str) -> str | None:
    """The list within `array([1, 2], dtype=int64)`; None if the text holds only the elements."""
    inside = inside.strip()
    if inside[:1] not in _CLOSING:
        return None
    depth = 0
    for token in _TOKEN.finditer(inside):
        if token.lastgroup == "bracket":
            depth += 1 if token[0] in _CLOSING else -1
            if depth == 0:
                end = token.end()
                is_whole = (
                    _KEYWORDS.fullmatch(inside, end) and inside[end - 1] == _CLOSING[inside[0]]
                )
                return inside[:end] if is_whole else None
    return None


@dataclass(slots=True)
class _Body:
    """The content of brackets.

    is_set: whether Python would write a set like this: with single quotes, or with a blank after a
        comma.
    """

    elements: list[Element]
    between: str
    is_set: bool


def _read_array(text: str) -> ListText:
    """Reads an array of PostgreSQL: quotes only if needed, and a backslash as escape in them."""
    elements = []
    for part in re.findall(_ARRAY_ELEMENT, text[1:-1]):
        if part.startswith('"'):
            elements.append(Element(_bared(part), "text"))
        else:
            missing = part.lower() in MISSING
            elements.append(Element(None, "word") if missing else Element(part, _kind(part)))
    between = "," if len(elements) > 1 else ""
    array = _Body(elements=elements, between=between, is_set=False)
    _refuse_pairs(array)
    return ListText(elements=elements, between=between, is_typed=False)


def _elements(body: str, *, is_r: bool) -> _Body:
    """Reads the elements between brackets. `is_r` tells whether 7L is a whole number."""
    tokens = [(token.lastgroup or "", token[0]) for token in _TOKEN.finditer(body)]
    separators = {text for group, text in tokens if group == "separator"}
    if len(separators) > 1:
        raise ListError("both ',' and ';' stand between its elements")
    between = separators.pop() if separators else " "
    pieces: list[list[tuple[str, str]]] = [[]]
    for group, text in _scalars_joined(tokens):
        if group == "separator":
            pieces.append([])
        elif between != " ":
            pieces[-1].append((group, text))
        elif group == "blank":
            pieces.append([])
        else:
            pieces[-1].append((group, text))
    pieces = [_stripped(piece) for piece in pieces]
    if between == " ":
        pieces = [piece for piece in pieces if piece]
    elif not pieces[-1]:
        pieces.pop()  # as in ('a',)
    elements = [_element(piece, is_r=is_r) for piece in pieces]
    has_single = any(text.startswith("'") for group, text in tokens if group == "quoted")
    is_spaced = any((one[1], other[1]) == (",", " ") for one, other in pairwise(tokens))
    return _Body(
        elements=elements,
        between=between if len(elements) > 1 else "",
        is_set=has_single or is_spaced,
    )


def _scalars_joined(tokens: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Replaces scalars such as `np.str_('a')` by the element in their brackets."""
    if not any(group == "bare" and _SCALARS.fullmatch(text) for group, text in tokens):
        return tokens
    joined: list[tuple[str, str]] = []
    at = 0
    while at < len(tokens):
        ahead = tokens[at : at + 4]
        is_scalar = (
            len(ahead) == 4
            and ahead[0][0] == "bare"
            and _SCALARS.fullmatch(ahead[0][1])
            and (ahead[1][1], ahead[3][1]) == ("(", ")")
            and ahead[2][0] in ("quoted", "bare")
        )
        joined.append(ahead[2] if is_scalar else ahead[0])
        at += 4 if is_scalar else 1
    return joined


def _stripped(piece: list[tuple[str, str]]) -> list[tuple[str, str]]:
    start = 1 if piece and piece[0][0] == "blank" else 0
    stop = len(piece) - (1 if len(piece) > start and piece[-1][0] == "blank" else 0)
    return piece[start:stop]


def _element(piece: list[tuple[str, str]], *, is_r: bool) -> Element:
    groups = {group for group, _ in piece}
    whole = "".join(text for _, text in piece)
    if "bracket" in groups:
        raise ListError(f"{whole!r:.40} is no item: a list must hold neither lists nor objects")
    if not piece:
        raise ListError("an element is missing between two separators")
    if groups == {"quoted"} and len(piece) == 1:
        return Element(_unescaped(whole), "text")
    if groups <= {"bare", "blank"}:
        return _bare(whole, is_r=is_r)
    if piece[0][0] == "quoted" and piece[1:2] and piece[-1][0] != "quoted":
        raise ListError(f"{whole!r:.40} is no item; if this is an object, write a list of its keys")
    raise ListError(f"{whole!r:.40} cannot be told to be one element or several")


def _bare(text: str, *, is_r: bool) -> Element:
    if text.lower() in MISSING:
        return Element(None, "word")
    if text in ("...", "…"):
        raise ListError("it was shortened where it was printed; export the whole list")
    if not any(map(str.isalnum, text)):
        raise ListError(f"{text!r:.40} holds neither a letter nor a digit")
    if is_r and text.endswith("L") and _NUMBER.fullmatch(text[:-1]):
        text = text[:-1]
    return Element(text, _kind(text))


def _kind(bare: str) -> Kind:
    if _NUMBER.fullmatch(bare):
        return "number"
    return "value" if _VALUE.fullmatch(bare) and not _is_padded(bare) else "word"


def _is_padded(bare: str) -> bool:
    """Tells whether an element is a number with leading zeros. Such a number must be a name."""
    return bare.isdecimal() and bare.isascii()


def _unescaped(quoted: str) -> str:
    """A quoted text without its quotes and escapes."""
    if quoted[0] in "bu":
        quoted = quoted[1:]
    if "\\" not in quoted:
        return quoted[1:-1]
    try:
        if quoted[0] == '"':
            return str(json.loads(quoted))
    except ValueError:
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of odd backslashes
            return str(ast.literal_eval(quoted))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return _bared(quoted)


def _bared(quoted: str) -> str:
    """A quoted text without quotes, in which a backslash escapes any one character."""
    return re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL)


def _refuse_pairs(body: _Body) -> None:
    """Refuses maps from items to values, which some systems write in braces as well."""
    bare = [element.text or "" for element in body.elements if element.kind != "text"]
    if bare and len(bare) == len(body.elements) and all(map(_PAIR.fullmatch, bare)):
        raise ListError(f"{bare[0]!r:.40} looks like a name and its value; write a list of names")
