"""Examples in words: lists side by side under one heading, with some entries marked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WordedList:
    """A list in words.

    marked: places, from 0, of the entries to find, such as the item that came next.
    is_ranked: whether the order is a ranking; then places are shown.
    """

    heading: str
    items: tuple[str, ...]
    marked: tuple[int, ...] = ()
    is_ranked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Lists that belong together, such as what each method recommended to a user.

    lists: lists that are shown side by side.
    given: lists that are shown above them, such as the user's history.
    note: one sentence that says why the example is shown, or nothing.
    """

    title: str
    lists: tuple[WordedList, ...]
    given: tuple[WordedList, ...] = ()
    note: str = ""
