"""A page shows its content and nothing else, and needs no network."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sidestep.evaluation.report.chart import Chart, Curve
from sidestep.evaluation.report.examples import Example, WordedList
from sidestep.evaluation.report.page import Page, Section, write_page
from sidestep.evaluation.report.table import Cell, Table

CHART = Chart(
    title="Up & down",
    caption="It <i>rises</i>.",
    x_label="K",
    y_label="HR@K",
    curves=(
        Curve(label="one", x=(1.0, 2.0), y=(0.25, 0.5)),
        Curve(label="two", x=(1.0, 2.0), y=(0.25, 0.75), low=(0.2, 0.7), high=(0.3, 0.8)),
    ),
)
TABLE = Table(
    caption="How much of each",
    columns=("method", "HR@10", "items", "words"),
    rows=(
        (Cell(text="beam", notes=("2 seeds",)), 0.75, 12345, "tea, cups"),
        ("sasrec", Cell(text=".5000", notes=("0.4–0.6",), is_best=True), None, ""),
    ),
)
EXAMPLE = Example(
    title="User ann",
    note="Drawn at random.",
    lists=(
        WordedList(heading="Past", items=("tea",)),
        WordedList(heading="beam", items=("a <b>kettle</b>", "cups"), marked=(1,), is_ranked=True),
        WordedList(heading="sasrec", items=()),
    ),
)
PAGE = Page(
    title="A shop & its codes",
    summary="All is well.",
    sections=[
        Section(title="Quality", lead="Two methods.", parts=[TABLE, CHART, CHART]),
        Section(title="Nothing to see", lead="nobody reads this", parts=[]),
        Section(title="Ünïcode: 中文", parts=[EXAMPLE]),
    ],
    facts={"Commit": "abc1234"},
)


class Parsed(HTMLParser):
    """Parser that collects the content of a page, and checks that every tag is properly closed."""

    VOID = ("meta", "br", "path", "use", "rect", "line", "link", "img")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.addresses += [values[name] for name in ("href", "src", "xlink:href") if name in values]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data.strip())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, PAGE)
    return path


def test_the_page_is_whole_and_reaches_nowhere(path):
    parsed = Parsed(path)
    text = path.read_text(encoding="utf-8")
    assert all(address.startswith("#") or address == "data:," for address in parsed.addresses)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {address[1:] for address in parsed.addresses if address != "data:,"} <= set(parsed.ids)
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "url(#chart-1-2-1-" in text
    assert "<script" not in text


def test_the_page_says_what_it_was_given(path):
    words = Parsed(path).words
    for expected in (
        *("A shop & its codes", "All is well.", "Two methods.", "abc1234", "Drawn at random."),
        *("How much of each", "2 seeds", "0.7500", "12,345", ".5000", "0.4–0.6", "–"),
        *("one", "two", "HR@K", "cups", "nothing"),
    ):
        assert expected in words, expected


def test_sections_without_parts_and_empty_pages_leave_no_frame(path, tmp_path):
    assert "Nothing to see" not in path.read_text(encoding="utf-8")
    write_page(tmp_path / "empty.html", Page(title="nothing yet"))
    words = [word for word in Parsed(tmp_path / "empty.html").words if word]
    assert words[-1] == "nothing yet"


def test_words_of_items_are_text_and_no_markup(path):
    text = path.read_text(encoding="utf-8")
    assert "a &lt;b&gt;kettle&lt;/b&gt;" in text
    assert 'aria-label="Up &amp; down. It &lt;i&gt;rises&lt;/i&gt;."' in text
    assert "<b>" not in text
    assert "<i>" not in text


def test_the_same_page_is_the_same_file(path, tmp_path):
    write_page(tmp_path / "again.html", PAGE)
    assert (tmp_path / "again.html").read_bytes() == path.read_bytes()


def test_a_table_refuses_a_row_of_another_width():
    with pytest.raises(ValueError, match="2 columns and a row of 1"):
        Table(caption="c", columns=("a", "b"), rows=(("x",),))
