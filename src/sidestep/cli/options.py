"""Options that many commands have, and how what is typed for them is read."""

import re
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def split_names(text: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def plain_name(name: str) -> str:
    """A name as results files want it: lower case, without blanks."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "dataset"


def num_users(text: str) -> int | None:
    """The number of users an option names; None for all.

    Raises:
        ValueError: for anything else.
    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--users {text!r}: write 'all' or a number from 1.")
    return int(text)
