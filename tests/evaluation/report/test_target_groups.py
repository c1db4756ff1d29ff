"""Repeated, novel and cold targets, each with the metrics of its own rows."""

from dataclasses import replace

import numpy as np

from sidestep.evaluation.report.target_groups import target_kinds_section
from sidestep.metrics.ties import NOT_LISTED
from tests.evaluation.report.small_runs import BEAM

RUN = replace(
    BEAM,
    k=10,
    user_ids=("ann", "bob", "cid"),
    targets=np.array([0, 1, 0]),
    rank_before=np.array([0, NOT_LISTED, 1]),
    num_tied=np.ones(3, dtype=int),
    items=np.tile(np.arange(10), (3, 1)),
)
"""The first target is found at rank 1, the second not at all, the third at rank 2."""


def row_of(is_repeat, popularity):
    """The columns and the texts of the only row; None where the section is left out."""
    section = target_kinds_section({"beam": [RUN]}, is_repeat=is_repeat, popularity=popularity)
    if not section.parts:
        return None
    [table] = section.parts
    return table.columns[1:], [cell.text for cell in table.rows[0][1:]]


def test_repeated_and_novel_targets_stand_apart():
    columns, texts = row_of(np.array([True, False, False]), None)
    assert columns[:2] == ("HR@10, repeated (1)", "HR@10, novel (2)")
    assert texts[:2] == ["1.0000", "0.5000"]
    assert texts[2:] == ["1.0000", "0.3155"]  # 1 / log2(3), halved


def test_cold_targets_stand_apart_from_known_ones():
    columns, texts = row_of(None, np.array([0, 4, 1, 1]))
    assert columns[:2] == ("HR@10, cold (2)", "HR@10, known (1)")
    assert texts[:2] == ["1.0000", "0"]


def test_a_kind_without_rows_is_left_out():
    assert row_of(np.array([False] * 3), np.array([1, 1, 1, 1])) is None
    columns, _ = row_of(np.array([True] * 3), None)
    assert columns[:1] == ("HR@10, repeated (3)",)
