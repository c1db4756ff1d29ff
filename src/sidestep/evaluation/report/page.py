"""A page: a title, facts, and sections of tables, charts and examples, as one HTML file.

It draws and words what it is given. The file needs no network, no script and no other file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sidestep.evaluation.report.chart import Chart
from sidestep.evaluation.report.drawing import Drawing
from sidestep.evaluation.report.examples import Example
from sidestep.evaluation.report.table import Cell, Table, number
from sidestep.files import whole_file
from sidestep.lazy_imports import imported_when_used

with imported_when_used():  # needs matplotlib, and what is printed needs no drawing
    from sidestep.evaluation.report import chart_drawing

Part = Table | Chart | Drawing | Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Parts under one heading, in this order; neighbouring charts stand side by side.

    lead: what to know before reading the parts, as one paragraph.
    """

    title: str
    parts: Sequence[Part]
    lead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything a page shows; sections without parts are left out.

    summary: the result in a sentence or two, or nothing.
    facts: name and value, such as the dataset, the commit and the machine; shown last.
    """

    title: str
    summary: str = ""
    sections: Sequence[Section] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def write_page(path: Path, page: Page) -> None:
    """Writes a page as one HTML file, whole or not at all; the same page is the same file."""
    sections = [section for section in page.sections if section.parts]
    text = (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            sections=[
                (_name(section.title, index), section, _groups(section.parts))
                for index, section in enumerate(sections)
            ],
        )
    )
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["drawn"] = chart_drawing.drawn
    environment.tests["cell"] = lambda entry: isinstance(entry, Cell)
    return environment


def _groups(parts: Sequence[Part]) -> list[tuple[str, list[Part]]]:
    """Neighbours of one kind together, by the kind's name."""
    groups: list[tuple[str, list[Part]]] = []
    for part in parts:
        kind = type(part).__name__.lower()
        if not groups or groups[-1][0] != kind:
            groups.append((kind, []))
        groups[-1][1].append(part)
    return groups


def _name(title: str, index: int) -> str:
    """What links call a section, also where its title has no letter of ours."""
    return f"{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}-{index}".strip("-")
