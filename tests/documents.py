"""A document as its reader uses it: the files it shows, its commands and its Python, in order."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

NOT_RUN = "Not run by the tests:"
"""Stands, with the reason, in a section over blocks that only have to be understood."""

_FENCE = re.compile(r'```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?$')


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block.

    line: of the document, from 1.
    language: the word behind the fence; empty if there is none.
    title: the file whose content it is, if it is one.
    is_run: nothing over it in its section says that it is not.
    """

    line: int
    language: str
    title: str | None
    text: str
    is_run: bool

    @property
    def commands(self) -> list[list[str]]:
        """What is said to `sidestep`, split as a shell does."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines if line[:9] == "sidestep "]
        return [line[1:] for line in words]


def blocks_of(document: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    blocks: list[Block] = []
    lines = iter(enumerate(document.read_text(encoding="utf-8").splitlines(), start=1))
    is_run = True
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            is_run = line.startswith("#") or (is_run and NOT_RUN not in line)
            continue
        inside: list[str] = []
        for _, text in lines:
            if text == "```":
                break
            inside.append(text)
        blocks.append(
            Block(
                line=number,
                language=fence["language"],
                title=fence["title"],
                text="\n".join(inside) + "\n",
                is_run=is_run,
            )
        )
    return blocks
