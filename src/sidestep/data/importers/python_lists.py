"""Lists as Python prints them into the cells of a table."""

import ast
import re
import warnings
from typing import Any

_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")
_ADJACENT = re.compile(r"q\s*q")
_NUMPY_PART = re.compile(r"""'([^'\\]*)'(?=\s|$)|"([^"\\]*)"(?=\s|$)|([^\s'"\[\]]+)(?=\s|$)""")


def python_list(text: str) -> list[Any] | None:
    """The elements of a list or tuple as Python writes it, or of an array as numpy does.

    numpy writes no commas, and its elements come as texts. None for anything else, such as what
    is cut off or shortened by an ellipsis.
    """
    without_texts = _QUOTED.sub("q", text)
    has_commas = "," in without_texts
    if not _ADJACENT.search(without_texts):  # Python would join two texts that stand side by side
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd backslashes
                value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            pass
        else:
            return list(value) if isinstance(value, list | tuple) else None
    is_array = text.startswith("[") and text.endswith("]")
    if has_commas or not is_array or "..." in without_texts:
        return None
    is_whole = not _NUMPY_PART.sub("", text[1:-1]).strip()
    parts = _NUMPY_PART.findall(text[1:-1])
    return [single or double or bare for single, double, bare in parts] if is_whole else None
