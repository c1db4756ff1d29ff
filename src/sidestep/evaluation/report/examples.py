"""Examples in words: lists of things side by side under one heading, some of them marked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WordedList:
    """A list in words.

    marked: places, from 0, of what is to be found, such as the item that came next.
    is_ranked: whether the order is a ranking, and places are shown.
    """

    heading: str
    items: tuple[str, ...]
    marked: tuple[int, ...] = ()
    is_ranked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Lists that belong together, such as what each method recommended to a user.

    lists: side by side.
    given: above them, such as the user's past.
    note: one sentence on why it is shown, or nothing.
    """

    title: str
    lists: tuple[WordedList, ...]
    given: tuple[WordedList, ...] = ()
    note: str = ""
