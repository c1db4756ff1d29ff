"""The page of a comparison, with long words in all places, in a real browser."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sidestep.evaluation.compare import compare
from sidestep.evaluation.report.cost import Cost
from sidestep.evaluation.report.evaluation import EvaluatedRun, Shop, evaluation_page
from sidestep.evaluation.report.page import Page, Section, write_page
from sidestep.evaluation.report.table import Table
from tests.browser import SCHEMES, WIDTHS, problems
from tests.evaluation.report.small_runs import HISTORIES, SASREC

LONG = (
    "An unreasonably long title for Donaudampfschifffahrtsgesellschaftskapitänsmützenhalter, 中文"
)
METHODS = ("beam", "exhaustive", "sasrec", "grpo-ved-with-a-suffix-as-long-as-they-come+sasrec")


def runs(folder):
    generator = np.random.default_rng(0)
    found = []
    for number, method in enumerate(METHODS):
        log = folder / f"{number}.jsonl"
        lines = [
            {"kind": "epoch", "epoch": n, "loss": 9 / n, "validation": n / 10, "parts": {"item": 1}}
            for n in (1, 2, 3)
        ]
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        items = np.stack([generator.permutation(12) for _ in range(2)])
        lists = replace(
            SASREC,
            method=method,
            k=12,
            items=items,
            rank_before=(items == SASREC.targets[:, None]).argmax(axis=1),
        )
        found.append(
            EvaluatedRun(
                per_user=lists,
                metrics={"HRecall@1@50": 0.5, "HRecall@2@50": 0.4, "diversity": 0.5},
                cost=Cost(train_s=100.0 + number, ms_per_user=3.0**number, tokens_per_user=7.0),
                log=log,
                settings={"model.a_very_long_name_of_a_setting_that_is_true": "x" * 80},
            )
        )
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    compared = runs(folder)
    methods = compare([run.per_user for run in compared], reference="sasrec", num_resamples=99)
    shop = Shop(
        popularity=np.arange(12), histories=HISTORIES, titles=lambda items: [LONG] * len(items)
    )
    page = evaluation_page(
        compared,
        methods,
        reference="sasrec",
        metric="NDCG@10",
        validation_metric="NDCG@10",
        shop=shop,
        facts={"SHA-256 of interactions": "0123456789abcdef" * 4},
    )
    write_page(folder / "page.html", page)
    return folder / "page.html"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_can_be_read(browser, path, width, scheme):
    assert problems(browser, path, width=width, scheme=scheme) == []


def test_what_is_wrong_with_a_page_is_seen(browser, path, tmp_path):
    good = path.read_text(encoding="utf-8")
    inserted = {
        "the page is": '<div style="width: 2000px">wide</div>',
        "missing picture": '<img src="missing.png" alt="">',
        "contrast": '<p style="color: #999">faint</p>',
        "cut off": '<p style="width: 3em; overflow: hidden; white-space: nowrap">cut off here</p>',
        "console": "<script>console.log('hm')</script>",
        "asked for": '<img src="http://localhost:9/picture.png" alt="">',
        "without a description": "<svg><text y='20'>what?</text></svg>",
        "cut off in a drawing": "<svg aria-label='one'><text x='9999' y='20'>lost</text></svg>",
    }
    spoilt = {
        expected: good.replace("<main>", f"<main>{html}", 1) for expected, html in inserted.items()
    }
    for expected, text in spoilt.items():
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        found = problems(browser, tmp_path / "page.html", width=1280, scheme="light")
        assert any(expected in problem for problem in found), expected


def test_an_empty_page_is_well(browser, tmp_path):
    table = Table(caption="c", columns=("method", "HR@10"), rows=())
    page = Page(title="nothing yet", sections=[Section(title="s", parts=[table])])
    write_page(tmp_path / "page.html", page)
    assert problems(browser, tmp_path / "page.html", width=400, scheme="dark") == []
