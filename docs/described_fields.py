"""An extension of Griffe, which reads docstrings for the reference: fields described in words.

The docstring of a class says of its fields, one after the other, `name: what it is`. A reader of
the code needs no heading for that; a page makes a table of it, if told that these are attributes.
"""

import re
from typing import Any

from griffe import Class, Extension

_FIELD = re.compile(r"(?P<name>[a-z]\w*(?:, [a-z]\w*)*): \S")


class DescribedFields(Extension):
    """Puts `Attributes:` over the paragraphs that describe fields."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Called by Griffe with every class and its members."""
        if cls.docstring is not None:
            cls.docstring.value = with_attributes(cls.docstring.value, set(cls.members))


def with_attributes(docstring: str, fields: set[str]) -> str:
    """The docstring, with each paragraph that begins with one of the fields under `Attributes:`."""
    paragraphs = docstring.split("\n\n")
    for index, paragraph in enumerate(paragraphs):
        match = _FIELD.match(paragraph)
        if match is not None and set(match["name"].split(", ")) <= fields:
            indented = paragraph.replace("\n", "\n    ")
            paragraphs[index] = f"Attributes:\n    {indented}"
    return "\n\n".join(paragraphs)
