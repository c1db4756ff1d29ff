"""Names in a text: IDs of items, columns, types of events; with commas between them as in CSV."""

import re
from collections.abc import Callable, Sequence

_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*|([^",][^,]*)?)(?:,|$)')


def split_names(
    values: str | Sequence[str], is_known: Callable[[str], bool] = lambda name: False
) -> list[str]:
    """The names in a text with commas between them, or in several texts.

    A name that holds a comma or has blanks around it stands in double quotes, as in CSV:
    `"B,1",C3`. Where names are known, a value that is one needs none. Blanks around other names,
    and nothing between two commas, are passed over.

    Args:
        values: a text, or several, such as those behind an option that is given several times.
        is_known: whether something is called so.

    Raises:
        ValueError: a quote does not end; or a value with commas is a name, and so are its parts.
    """
    names: list[str] = []
    for value in [values] if isinstance(values, str) else values:
        parts = [value] if is_known(value) else _parts(value)
        if parts == [value] and "," in value and all(map(is_known, value.split(","))):
            raise ValueError(
                f"{value!r} is a name, and so is each of its parts; put names with commas into "
                f"double quotes: {quoted_name(value)}."
            )
        names += parts
    return names


def quoted_name(name: str) -> str:
    """A name as `split_names` reads it back, in double quotes where it needs them."""
    is_plain = name == name.strip() and not any(sign in name for sign in ',"') and name
    return name if is_plain else '"' + name.replace('"', '""') + '"'


def unquoted_name(text: str) -> str:
    """A single name without the double quotes that `quoted_name` puts around some."""
    found = re.fullmatch(r'"((?:[^"]|"")*)"', text)
    return text if found is None else found[1].replace('""', '"')


def _parts(value: str) -> list[str]:
    names = []
    place = 0
    while place < len(value):
        found = _NAME.match(value, place)
        if found is None:
            raise ValueError(
                f"{value!r}: a double quote does not end, or not before a comma; write a quote "
                'within a name twice, as in "5"" pipe",C3.'
            )
        quoted, bare = found.groups()
        name = (bare or "").strip() if quoted is None else quoted.replace('""', '"')
        names += [name] if name else []
        place = found.end()
    return names


def plain_name(name: str) -> str:
    """A name as results files want it: lower case, without blanks."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "dataset"
