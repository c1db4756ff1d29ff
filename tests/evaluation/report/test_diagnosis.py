"""The page of a diagnosis of models whose answers are known, shown in a real browser."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.catalog.trie import Trie
from sidestep.evaluation.diagnosis import Diagnosis
from sidestep.evaluation.prefix_judge import PrefixSettings
from sidestep.evaluation.prefix_quality import prefix_quality
from sidestep.evaluation.report.chart import Chart
from sidestep.evaluation.report.diagnosis import diagnosis_page
from sidestep.evaluation.report.loss_bars import loss_bars
from sidestep.evaluation.report.page import write_page
from sidestep.evaluation.report.tree import tree_drawing
from sidestep.evaluation.search_quality import search_quality
from sidestep.evaluation.search_tree import search_tree
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import Scope
from sidestep.search.proposals import plain_beam
from sidestep.search.scorer import Guidance
from tests.browser import SCHEMES, WIDTHS, problems
from tests.evaluation.rows import rows_of
from tests.search.fakes import ItemTable, ValueTable, histories_of

LONG = (
    "An unreasonably long title for Donaudampfschifffahrtsgesellschaftskapitänsmützenhalter, 中文"
)
IDS = np.array(list(itertools.product(range(6), repeat=4)))
SIZES = (6, 6, 6, 6)
SCOPE = Scope(trie=Trie.build(IDS, SIZES))
MODEL = ValueTable(SIZES)
GUIDANCE = Guidance(scorer=ItemSupport(head=ItemTable(len(IDS))), likelihood_weight=1.0)
SEARCHES = (
    plain_beam(num_beams=8, candidates=24),
    GuidedBeamSearch(guidance=GUIDANCE, num_beams=8, candidates=24, name="item-beam"),
)
ROWS = rows_of(*((past, 37 * past) for past in range(12)))


def diagnosis(name):
    embeddings = torch.randn(len(IDS), 4, generator=torch.Generator().manual_seed(0))
    settings = PrefixSettings(num_prefixes=None, num_beams=8, candidates=24, pool_size=16)
    guidances = {"item-support + log_prob": GUIDANCE}
    searches = search_quality(MODEL, ROWS, SCOPE, SEARCHES, embeddings=embeddings)
    return Diagnosis(
        run=name,
        dataset="shop",
        split="validation",
        likelihood_weight=None,
        prefixes=prefix_quality(
            *(MODEL, ROWS, SCOPE),
            guidances=guidances,
            settings=settings,
            embeddings=embeddings,
        ),
        searches=searches,
        candidate_sets=searches,
    )


def trees(target):
    found = [
        search_tree(policy, MODEL, histories_of(4), SCOPE, target=target) for policy in SEARCHES
    ]
    return [tree_drawing(tree, lambda leaf: LONG, title=tree.name) for tree in found]


@pytest.fixture(scope="module")
def found():
    return diagnosis("run")


@pytest.fixture(scope="module")
def path(found, tmp_path_factory):
    runs = {"run": found, "a-run-with-a-name-as-long-as-they-come": found}
    page = diagnosis_page(runs, trees(148), tree_lead=LONG, facts={"Runs": "one; two"})
    file = tmp_path_factory.mktemp("diagnosis") / "page.html"
    write_page(file, page)
    return file


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_can_be_read(browser, path, width, scheme):
    assert problems(browser, path, width=width, scheme=scheme) == []


def test_every_user_has_a_part_of_the_bar(found):
    beam = found.searches[0]
    drawing = loss_bars([beam], title="lost")
    bar = [
        float(width)
        for y, width in re.findall(r"<rect x='[\d.]+' y='([\d.]+)' width='([\d.]+)'", drawing.svg)
        if float(y) == 17
    ]
    assert sum(bar) == pytest.approx(360, abs=0.1)
    kept = beam.depths[-1].kept
    assert f"{kept.mean:.1%} kept to the end" in drawing.svg
    sure = replace(beam, depths=tuple(replace(at, dropped=kept) for at in beam.depths))
    assert loss_bars([sure], title="lost").numbers.rows[0][2] == kept.mean


def test_without_an_oracle_the_page_says_how_to_get_one(found):
    inexact = replace(found, prefixes=replace(found.prefixes, is_exact=False))
    sections = diagnosis_page({"run": inexact}, []).sections
    charts = [part for section in sections for part in section.parts if isinstance(part, Chart)]
    [recall] = [chart for chart in charts if chart.title == "Targets recalled by depth"][:1]
    assert "--prefixes all" in recall.caption


def test_titles_are_written_as_words_and_not_as_marks():
    tree = search_tree(SEARCHES[0], MODEL, histories_of(4), SCOPE, target=148)
    drawing = tree_drawing(tree, lambda leaf: "a <b>kettle</b>", title="one & all")
    assert "a &lt;b&gt;kettle&lt;/b&gt;" in drawing.svg
    assert "<b>" not in drawing.svg
    assert "✓" in drawing.svg
