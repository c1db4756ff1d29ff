"""A page: a title, facts, and sections of tables, charts and examples, as one HTML file.

The file needs no network, no script and no other file.
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

with imported_when_used():  # needs matplotlib; printed output needs no drawing
    from sidestep.evaluation.report import chart_drawing

Part = Table | Chart | Drawing | Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Parts under one heading, in this order. Neighbouring charts are shown side by side.

    lead: one paragraph to read before the parts.
    """

    title: str
    parts: Sequence[Part]
    lead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The content of a page. Sections without parts are left out.

    summary: the result in a sentence or two, or nothing.
    facts: name and value, such as the dataset, the commit and the machine; shown last.
    """

    title: str
    summary: str = ""
    sections: Sequence[Section] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def write_page(path: Path, page: Page) -> None:
    """Writes a page as one HTML file, whole or not at all. Equal pages give equal files."""
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
    """Groups neighbouring parts of one kind, with the name of the kind."""
    groups: list[tuple[str, list[Part]]] = []
    for part in parts:
        kind = type(part).__name__.lower()
        if not groups or groups[-1][0] != kind:
            groups.append((kind, []))
        groups[-1][1].append(part)
    return groups


def _name(title: str, index: int) -> str:
    """Name of a section in links. It works for titles without Latin letters too."""
    return f"{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}-{index}".strip("-")
