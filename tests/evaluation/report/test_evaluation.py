import json

import numpy as np
import pytest

from sidestep.evaluation.compare import compare
from sidestep.evaluation.report.chart import Chart
from sidestep.evaluation.report.cost import Cost
from sidestep.evaluation.report.evaluation import EvaluatedRun, Shop, evaluation_page
from tests.evaluation.report.small_runs import BEAM, HISTORIES, SASREC, per_user, titles

SHOP = Shop(popularity=np.array([1, 6, 4, 1]), histories=HISTORIES, titles=titles)


def page_of(runs, reference=None, **options):
    methods = compare([run.per_user for run in runs], reference=reference, num_resamples=99)
    return evaluation_page(
        runs,
        methods,
        reference=reference,
        metric="MRR",
        validation_metric="NDCG@10",
        facts={"Commit": "abc1234"},
        **options,
    )


@pytest.fixture
def full(tmp_path):
    """A run whose metrics, cost, log and settings are all known."""
    log = tmp_path / "log.jsonl"
    lines = [
        {"kind": "epoch", "epoch": epoch, "loss": 5.0 / epoch, "validation": 0.1 * epoch,
         "parts": {"code_1": 3.0 / epoch, "code_2": 2.0 / epoch}}
        for epoch in (1, 2)
    ]  # fmt: skip
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return EvaluatedRun(
        per_user=BEAM,
        metrics={"HRecall@1@3": 0.75, "HRecall@1@evaluated": 0.9, "diversity": 0.5},
        cost=Cost(train_s=10.0, ms_per_user=2.0, tokens_per_user=7.0),
        log=log,
        settings={"model.dim": 16, "training.epochs": 2, "model.dropout": 0.5},
    )


def test_a_comparison_has_every_section_that_something_is_known_of(full):
    page = page_of([full, EvaluatedRun(per_user=SASREC)], reference="sasrec", shop=SHOP)
    shown = [section.title for section in page.sections if section.parts]
    assert shown == [
        "Quality",
        "Length of the list",
        "Search",
        "Popular and rare items",
        "Cost",
        "Training",
        "Users in words",
        "Settings",
    ]
    assert page.title == "beam and sasrec on shop, test"
    assert page.summary.startswith("sasrec has the highest MRR: 1.0000 (95% interval ")
    assert "beam − sasrec: −0.7500, not significant (p = " in page.summary
    assert page.facts["Commit"] == "abc1234"


def test_what_is_not_known_is_left_out():
    page = page_of([EvaluatedRun(per_user=BEAM)])
    shown = [section.title for section in page.sections if section.parts]
    assert shown == ["Quality", "Length of the list", "Settings"]
    assert page.title == "beam on shop, test"
    assert page.summary.startswith("MRR: 0.2500 (95% interval ")


def test_a_method_has_one_colour_in_all_charts(full):
    # Popularity is drawn last everywhere; it has no training curve that shifts the colours.
    runs = [EvaluatedRun(per_user=SASREC, cost=Cost(ms_per_user=1.0)), full]
    page = page_of(runs)
    charts = [
        part for section in page.sections for part in section.parts if isinstance(part, Chart)
    ]
    colours = {
        (curve.label.removesuffix(", all evaluated"), curve.colour)
        for chart in charts
        for curve in chart.curves
        if curve.label.startswith(("beam", "sasrec"))
    }
    assert colours == {("sasrec", 0), ("beam", 1)}


def test_terms_of_the_loss_stand_beside_it(full):
    [training] = [section for section in page_of([full]).sections if section.title == "Training"]
    validation, loss = training.parts
    assert validation.curves[0].y == (0.1, 0.2)
    assert [(curve.label, curve.y) for curve in loss.curves] == [
        ("whole loss", (5.0, 2.5)),
        ("code 1", (3.0, 1.5)),
        ("code 2", (2.0, 1.0)),
    ]


def test_two_searches_of_one_network_share_its_training_curve(full):
    other = EvaluatedRun(per_user=per_user("exhaustive", [[1, 0, 2]] * 2, [0, 0]), log=full.log)
    page = page_of([full, other])
    [training] = [section for section in page.sections if section.title == "Training"]
    assert [curve.label for curve in training.parts[0].curves] == ["beam"]
    assert len(training.parts) == 2


def test_settings_stand_by_part_and_name_what_differs_between_seeds(full):
    second = EvaluatedRun(
        per_user=per_user("beam", [[1, 0, 3], [2, 0, 1]], [0, 0], seed=1),
        settings={"model.dim": 16, "training.epochs": 3, "model.dropout": 0.5},
    )
    [table] = page_of([full, second]).sections[-1].parts
    assert table.rows == (
        ("seed", "0, 1"),
        ("model.dim", "16"),
        ("model.dropout", "0.5"),
        ("training.epochs", "2, 3"),
    )
