"""A document as its reader uses it: its files, commands and Python code, in order."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

NOT_RUN = "Not run by the tests:"
"""Mark of a section whose following blocks the tests do not run. The reason follows the mark."""

_FENCE = re.compile(r'```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?$')


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block.

    line: line of the document, from 1.
    language: the word after the fence; empty if there is none.
    title: name of the file whose content the block is, if it is a file.
    is_run: whether the tests run the block; False after the mark `NOT_RUN` in its section.
    """

    line: int
    language: str
    title: str | None
    text: str
    is_run: bool

    @property
    def commands(self) -> list[list[str]]:
        """Arguments of each `sidestep` command in the block, split as a shell does."""
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
