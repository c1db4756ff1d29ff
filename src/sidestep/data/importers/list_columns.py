"""Columns of lists: reads each cell of a column as a list.

All cells of a column are written in one way. Together they tell the separator of elements in cells
without brackets, and whether the elements are texts or whole numbers.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from sidestep.data.importers.columns import Table
from sidestep.data.importers.list_texts import (
    MISSING,
    Element,
    ListError,
    ListText,
    is_bracketed,
    read_bracketed,
    read_plain,
    unquoted,
)

SEPARATORS = ",;|，；、"
"""Possible separators of lists without brackets, if one of the lists holds them."""
_AS_JSON = 'write the lists as JSON, such as ["a", "b"]'
_RANGE = re.compile(r"(\d{1,9}):(\d{1,9})")
_LONGEST_RANGE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """The lists of a column.

    cells: the elements of each row, as texts; None if a list says that an element is missing.
    remarks: sentences on the lists that a user should know.
    """

    cells: list[list[str | None]]
    remarks: list[str] = field(default_factory=list)


def read_lists(table: Table, name: str, *, of_ids: bool = True) -> Lists:
    """Reads a column of lists, whose cells are lists or texts.

    Args:
        table: table from `read_table`, which keeps the lists of JSON lines if it is asked to.
        name: name of the column.
        of_ids: whether the elements are IDs; otherwise they may be any numbers and dates.

    Raises:
        ValueError: a cell is no list, or its elements do not fit those of other cells; the message
            names the line.
    """
    column = table.column(name)
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if isinstance(column.dtype, pl.List):
        return Lists(cells=_native(table, name, column))
    if column.dtype.is_integer():  # lists of one number each
        return Lists(cells=[[] if number is None else [str(number)] for number in column])
    if isinstance(column.dtype, pl.Categorical | pl.Enum) or column.dtype == pl.Null:
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        raise ValueError(
            f"{table.path}: column {name!r} is {column.dtype}; it must hold lists of texts or of "
            "whole numbers."
        )
    texts = _Texts(table=table, name=name, texts=[(text or "").strip() for text in column])
    lists = texts.lists()
    if of_ids:
        texts.refuse_mixed(lists)
    cells = [[element.text for element in each.elements] for each in lists]
    texts.refuse_broken(cells)
    return Lists(cells=cells, remarks=texts.remarks(lists))


def looks_like_lists(column: pl.Series) -> bool:
    """Tells whether the cells of a column are lists of IDs rather than single IDs.

    Cells in brackets are lists. Cells with commas, semicolons, bars or (for whole numbers) blanks
    are lists too, if most cells have parts without blanks and the number of parts differs between
    cells. A composite ID has equally many parts in every row, and a title has blanks.
    """
    if isinstance(column.dtype, pl.List | pl.Array):
        return True
    if column.dtype != pl.String:
        return False
    texts = column.drop_nulls().str.strip_chars()
    filled = [text for text in texts if text and text.lower() not in MISSING]
    if not filled:
        return False
    bracketed = [text for text in filled if is_bracketed(text)]
    if len(bracketed) > len(filled) / 2:
        lists = [read for read in map(_read, bracketed) if read is not None]
        return len(lists) > len(filled) / 2 and any(map(_is_evident, lists))
    between = _separator(filled)
    if between is None and not all(re.fullmatch(r"[\d\s]+", text) for text in filled):
        return False
    parts = [text.split(between) for text in filled]
    if any(re.search(r"\s", part.strip()) for split in parts for part in split):
        return False
    lengths = Counter(map(len, parts))
    return len(lengths) > 1 and sum(map(len, parts)) > len(parts) + lengths.total() / 2


def are_bracketed_lists(texts: pl.Series) -> bool:
    """Tells whether all texts are lists in brackets. Nulls are ignored.

    A text in brackets need not be a list: {550e8400-e29b-11d4-a716-446655440000} is one ID.
    """
    filled = texts.drop_nulls()
    if not all(map(is_bracketed, filled)):
        return False
    lists = [read for read in map(_read, filled) if read is not None]
    return len(lists) == len(filled) and any(map(_is_evident, lists))


def is_list_of_times(column: pl.Series) -> bool:
    """Tells whether texts are lists of times: numbers or dates with blanks or commas between."""
    if column.dtype != pl.String:
        return False
    texts = column.drop_nulls().str.strip_chars()
    is_plain = texts.str.contains(r"[,;|]") | texts.str.contains(r"^-?[0-9.]+\s+-?[0-9.]+")
    return bool(is_plain.any()) or any(map(is_bracketed, texts))


def _read(text: str) -> ListText | None:
    """Reads a list in brackets; None if the text is no such list."""
    try:
        return read_bracketed(text)
    except ListError:
        return None


def _is_evident(read: ListText) -> bool:
    """Tells whether a list in brackets cannot be an ID: it has quotes, or not just one element."""
    return len(read.elements) != 1 or read.elements[0].kind == "text"


def _native(table: Table, name: str, column: pl.Series) -> list[list[str | None]]:
    assert isinstance(column.dtype, pl.List)
    inner = column.dtype.inner
    is_name = inner in (pl.String, pl.Null) or isinstance(inner, pl.Categorical | pl.Enum)
    if not (is_name or inner.is_integer()):
        raise ValueError(
            f"{table.path}: column {name!r} is {column.dtype}; it must hold lists of texts or of "
            "whole numbers."
        )
    return [cell or [] for cell in column.cast(pl.List(pl.String)).to_list()]


def _separator(plain: Sequence[str]) -> str | None:
    """Separator of elements in cells without brackets; None for blanks."""
    bare = [unquoted(text) for text in plain]
    return next((each for each in SEPARATORS if any(each in text for text in bare)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """The cells of a column of texts, stripped. An empty cell holds no list."""

    table: Table
    name: str
    texts: list[str]

    def lists(self) -> list[ListText]:
        """Reads every cell as a list, in the one way in which the column is written."""
        bracketed = [is_bracketed(text) for text in self.texts]
        has_vectors = any(text.startswith("c(") for text in self.texts)
        plain = [
            text
            for text, is_list in zip(self.texts, bracketed, strict=True)
            if text and not is_list
        ]
        between = _separator(plain)
        lists = []
        for row, (text, is_list) in enumerate(zip(self.texts, bracketed, strict=True)):
            try:
                if not text or text.lower() in MISSING:
                    lists.append(ListText(elements=[]))
                elif is_list:
                    lists.append(read_bracketed(text))
                elif has_vectors and (numbers := _vector(text)):
                    lists.append(numbers)
                else:
                    elements = read_plain(text, between)
                    lists.append(ListText(elements=elements, between=between or " "))
            except ListError as error:
                raise self._unreadable(row, str(error)) from None
        self._refuse_other_separators(lists, bracketed, between)
        return self._with_blanks_in_words(lists, bracketed)

    def refuse_mixed(self, lists: list[ListText]) -> None:
        """Refuses decimals, and whole numbers beside texts, as 7 and "7" would become one item.

        If the column has a word without quotes, quotes do not tell numbers from texts.
        """
        if any(
            element.kind == "word" and element.text for each in lists for element in each.elements
        ):
            return
        typed = [
            (row, element)
            for row, each in enumerate(lists)
            for element in each.elements
            if element.text and (each.is_typed or element.kind == "value")
        ]
        first = next((element.kind for _, element in typed), "text")
        for row, element in typed:
            if element.kind == "value":
                raise self._wrong(
                    row, f"holds {element.text:.50}, which is neither a text nor a whole number"
                )
            if element.kind != first:
                kinds = {"text": "texts", "number": "whole numbers"}
                raise self._wrong(
                    row,
                    f"holds {kinds[element.kind]} such as {element.text!r:.50} beside "
                    f"{kinds[first]}; all elements must be texts, or all whole numbers",
                )

    def refuse_broken(self, cells: list[list[str | None]]) -> None:
        """Refuses half characters, which no file can hold."""
        for row, cell in enumerate(cells):
            try:
                "".join(element or "" for element in cell).encode()
            except UnicodeEncodeError as error:
                raise self._wrong(row, f"holds half of a character ({error.reason})") from None

    def remarks(self, lists: list[ListText]) -> list[str]:
        """Remarks on cells that may mean something else than was read."""
        said = Counter(text for text in self.texts if text.lower() in MISSING)
        remarks = [
            f"The column {self.name!r} says {word!r} in {number:,} rows, which was read as an "
            "empty list."
            for word, number in said.items()
        ]
        num_sets = sum(each.is_set for each in lists)
        if num_sets:
            remarks.append(
                f"The column {self.name!r} has a set in {num_sets:,} rows, in braces. A set has no "
                "order, so nothing is known of which item came first; export lists if there are "
                "any."
            )
        filled = [(text, each) for text, each in zip(self.texts, lists, strict=True) if text]
        is_single = [len(each.elements) < 2 and not is_bracketed(text) for text, each in filled]
        if len(filled) > 1 and all(is_single):
            remarks.append(
                f"The column {self.name!r} has no list of more than one element; the first is "
                f"{filled[0][0]!r:.40}. If that is several, {_AS_JSON}."
            )
        return remarks

    def _refuse_other_separators(
        self, lists: list[ListText], bracketed: list[bool], between: str | None
    ) -> None:
        """Refuses cells without brackets that hold another separator than the rest of the column.

        A separator that is in every element is part of the IDs.
        """
        elements = [
            (row, element.text)
            for row, (each, is_list) in enumerate(zip(lists, bracketed, strict=True))
            for element in each.elements
            if not is_list and element.text is not None and element.kind != "text"
        ]
        for other in SEPARATORS:
            holding = [(row, text) for row, text in elements if other in text]
            if holding and len(holding) < len(elements):
                row, text = holding[0]
                raise self._wrong(
                    row,
                    f"holds {text!r:.50} with {other!r}, while other elements have none and "
                    f"{between!r} stands between them; use one separator, or {_AS_JSON}",
                )
        if between is not None:
            known = {text for _, text in elements}
            for row, text in elements:
                parts = text.split()
                if len(parts) > 1 and known.issuperset(parts):
                    raise self._wrong(
                        row,
                        f"holds {text!r:.50}, whose parts are elements elsewhere, where "
                        f"{between!r} stands between them; use one separator, or {_AS_JSON}",
                    )

    def _with_blanks_in_words(self, lists: list[ListText], bracketed: list[bool]) -> list[ListText]:
        """Joins words with blanks: `[New York]` is one element if other cells have commas."""
        kinds = {
            each.between for each, is_list in zip(lists, bracketed, strict=True) if is_list
        } - {""}
        if not {" ", ","} <= kinds:
            return lists
        joined = list(lists)
        for row, each in enumerate(lists):
            if bracketed[row] and each.between == " " and _are_bare(each.elements):
                if all(element.kind == "number" for element in each.elements):
                    raise self._wrong(
                        row, "has blanks between its elements, where other cells have commas"
                    )
                text = self.texts[row].rpartition("(")[2].strip("[]{}() \t\n")
                joined[row] = ListText(elements=[Element(text, "word")])
        return joined

    def _unreadable(self, row: int, why: str) -> ValueError:
        return ValueError(
            f"{self.table.place(row)}: {self.name} {self.texts[row]!r:.50} is no list that can be "
            f"read: {why}. Correct the cell, or {_AS_JSON}."
        )

    def _wrong(self, row: int, why: str) -> ValueError:
        return ValueError(f"{self.table.place(row)}: {self.name} {why}.")


def _are_bare(elements: list[Element]) -> bool:
    return all(element.kind != "text" and element.text is not None for element in elements)


def _vector(text: str) -> ListText | None:
    """Reads a vector that R writes without c(): a single number 7L, or 3, 4, 5 as 3:5."""
    if text.endswith("L") and text[:-1].isdecimal():
        return ListText(elements=[Element(text[:-1], "number")])
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    if abs(last - first) > _LONGEST_RANGE:
        raise ListError("as a range of R it would hold millions of elements")
    step = 1 if last >= first else -1
    numbers = range(first, last + step, step)
    return ListText(elements=[Element(str(number), "number") for number in numbers])
