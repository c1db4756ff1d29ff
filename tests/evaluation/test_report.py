"""The report shows what it is given, reaches nowhere, and says nothing else."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from sidestep.data.histories import Histories
from sidestep.evaluation.compare import compare
from sidestep.evaluation.report import (
    Chart,
    Curve,
    Report,
    hit_rate_chart,
    prefix_recall_chart,
    training_chart,
    worded_users,
    write_report,
)
from sidestep.evaluation.results import PerUser, Setting
from sidestep.metrics.ranking import NOT_LISTED
from sidestep.step import NO_ITEM

WORDS = ("tea", "cups", "a <b>kettle</b>", "biscuits")


def run(method: str, items: list[list[int]], ranks: list[int]) -> PerUser:
    fields = dict.fromkeys(Setting.model_fields) | {"exclude_seen": False, "users": "all"}
    return PerUser(
        dataset="shop",
        method=method,
        split="test",
        seed=0,
        setting=Setting(**fields),
        k=3,
        user_ids=("ann", "bob"),
        targets=torch.tensor([1, 2]),
        rank_before=torch.tensor(ranks),
        bucket_size=torch.ones(2, dtype=torch.long),
        items=torch.tensor(items),
    )


RUNS = {
    "beam": run("beam", [[3, 1, 0], [0, 1, NO_ITEM]], [1, NOT_LISTED]),
    "sasrec": run("sasrec", [[1, 0, 2], [2, 0, 1]], [0, 0]),
}
HISTORIES = Histories(
    items=np.array([0, 3, 0]), offsets=np.array([0, 3, 3]), user_ids=("ann", "bob")
)


class Page(HTMLParser):
    """Collects what stands in a page, and checks that every tag is closed where it was opened."""

    VOID = ("meta", "br", "path", "use", "rect", "line", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
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


@pytest.fixture
def page(tmp_path: Path) -> str:
    methods = compare(list(RUNS.values()), reference="sasrec", num_resamples=99)
    recall = prefix_recall_chart({"beam": {"HRecall@1@3": 0.75, "HRecall@2@3": 0.5}})
    assert recall is not None
    path = tmp_path / "report.html"
    write_report(
        path,
        Report(
            title="A shop & its codes",
            facts={"users": "2"},
            methods=methods,
            reference="sasrec",
            beyond={"beam": {"coverage": 0.75, "ms_per_user": 4.125}, "sasrec": {"coverage": 1.0}},
            charts=[hit_rate_chart(RUNS), recall],
            users=worded_users(RUNS, HISTORIES, WORDS, np.array([0, 1]), num_past=2),
        ),
    )
    return path.read_text(encoding="utf-8")


def test_the_page_is_whole_and_reaches_nowhere(page):
    parsed = Page(page)
    assert all(address.startswith("#") for address in parsed.addresses)
    assert len(set(parsed.ids)) == len(parsed.ids)
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert "http" not in without_names
    assert "url(#chart0-" in without_names
    assert "<script" not in page


def test_the_page_says_what_it_was_given(page):
    words = Page(page).words
    for expected in ("A shop & its codes", "0.7500", "4.12", "Against sasrec", "2 users", "K"):
        assert any(expected in word for word in words), expected
    # The MRR of beam: the target stands second for one of two users.
    assert "0.2500" in words


def test_words_of_items_are_text_and_no_markup(page):
    assert "a &lt;b&gt;kettle&lt;/b&gt;" in page
    assert "<b>" not in page


def test_a_hit_is_marked_where_it_stands():
    ann, bob = worded_users(RUNS, HISTORIES, WORDS, np.array([0, 1]), num_items=2, num_past=2)
    assert ann.history == ("biscuits", "tea")
    assert ann.target == "cups"
    assert [(one.label, one.items, one.hit) for one in ann.lists] == [
        ("beam", ("biscuits", "cups"), 1),
        ("sasrec", ("cups", "tea"), 0),
    ]
    assert bob.history == ()
    assert bob.lists[0].hit is None


def test_the_same_report_is_the_same_file(tmp_path: Path):
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, Report(title="t", charts=[hit_rate_chart(RUNS)]))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_empty_parts_are_left_out(tmp_path: Path):
    write_report(tmp_path / "r.html", Report(title="nothing yet"))
    parsed = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert [word for word in parsed.words if word][-1] == "nothing yet"


def test_hit_rates_by_length_of_the_list():
    chart = hit_rate_chart(RUNS)
    assert [(curve.label, curve.y) for curve in chart.curves] == [
        ("beam", (0.0, 0.5, 0.5)),
        ("sasrec", (1.0, 1.0, 1.0)),
    ]


def test_prefix_recall_by_depth_and_kind():
    chart = prefix_recall_chart(
        {
            "beam": {
                "HRecall@2@50": 0.2,
                "HRecall@1@50": 0.4,
                "HRecall@1@evaluated": 0.6,
                "HR@1": 0.1,
            },
            "popularity": {"HR@1": 0.1},
        }
    )
    assert chart is not None
    assert chart.curves == (
        Curve(label="beam", x=(1.0, 2.0), y=(0.4, 0.2)),
        Curve(label="beam, all evaluated", x=(1.0,), y=(0.6,)),
    )
    assert prefix_recall_chart({"popularity": {"HR@1": 0.1}}) is None


def test_training_curves_come_from_the_lines_that_have_them(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    lines = [
        {"kind": "step", "epoch": 1, "loss": 9.0},
        {"kind": "epoch", "epoch": 1, "loss": 5.0, "validation": None},
        {"kind": "epoch", "epoch": 2, "loss": 4.0, "validation": 0.25},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chart = training_chart({"beam": path}, y="loss", title="Loss", caption="Falls.")
    assert chart == Chart(
        title="Loss",
        caption="Falls.",
        x_label="epoch",
        y_label="loss",
        curves=(Curve(label="beam", x=(1.0, 2.0), y=(5.0, 4.0)),),
    )
    assert training_chart({"beam": path}, y="accuracy", title="", caption="") is None
    path.write_text('{"kind": "epoch"}\n[1]\n')
    with pytest.raises(ValueError, match=r"log\.jsonl, line 2: not a JSON object"):
        training_chart({"beam": path}, y="loss", title="", caption="")
