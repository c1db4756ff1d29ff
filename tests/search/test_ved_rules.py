"""The rules of value-guided decoding on a tree so small that results can be checked by hand."""

import math

import numpy as np
import pytest

from sidestep.search.ved_rules import (
    best_child,
    depth_means,
    expanding,
    gate_margins,
    num_open_below,
    upper_bounds,
)

# A tree by hand: the root (0), its children 1 and 2, and 3 below 1.
PARENTS = np.array([[0, 0, 0, 1]])
DEPTHS = np.array([[0, 1, 1, 2]])
G = np.array([[0.5, 0.2, 0.6, 0.9]])
IS_NODE = np.ones((1, 4), dtype=bool)


def test_upper_bounds_by_hand():
    visits = np.array([[7, 3, 0, 1]])
    bounds = upper_bounds(G, visits, np.array([7]), 0.5)[0].tolist()
    log = math.log(8)  # 2.0794
    assert bounds == pytest.approx(
        [0.5 + 0.5 * math.sqrt(log / 8), 0.5605, 1.3210, 0.9 + 0.5 * math.sqrt(log / 2)], abs=1e-4
    )
    assert (upper_bounds(G, visits * 0, np.array([0]), 0.5) == G).all()  # ln 1 = 0


def test_gates_by_hand():
    assert depth_means(G, DEPTHS, IS_NODE, 3)[0].tolist() == pytest.approx([0.5, 0.4, 0.9, 0.0])
    margins = gate_margins(G, DEPTHS, IS_NODE, 3, "priority")[0].tolist()
    assert margins == pytest.approx([0.1, -0.2, 0.2, 0.0])
    assert float(gate_margins(G, DEPTHS, IS_NODE, 3, "always")[0, 0]) > 1e9
    assert -math.inf < float(gate_margins(G, DEPTHS, IS_NODE, 3, "never")[0, 0]) < -1e9
    without = np.array([[True, True, False, True]])
    assert depth_means(G, DEPTHS, without, 3)[0, 1] == pytest.approx(0.2)


def test_what_leads_to_an_open_node_by_hand():
    is_open = np.array([[False, False, False, True]])
    assert num_open_below(is_open, PARENTS, DEPTHS, 3).tolist() == [[1, 1, 0, 1]]


def test_the_best_child_by_hand():
    bounds = np.array([[-math.inf, 0.2, 0.6, 0.9], [-math.inf, 0.4, 0.4, -math.inf]])
    parents = np.repeat(PARENTS, 2, axis=0)
    best, has_child = best_child(bounds, parents, np.array([0, 0]))
    assert (best.tolist(), has_child.tolist()) == ([2, 1], [True, True])  # of equal ones the first
    best, has_child = best_child(bounds, parents, np.array([1, 1]))
    # The child of node 1 leads to no open node in the second tree.
    assert (best[0], has_child.tolist()) == (3, [True, False])


def test_expansions_by_hand():
    margins = np.array([[0.1, -0.2, 0.3]]).repeat(3, axis=0)
    is_open = np.array([[1, 1, 1], [0, 1, 0], [0, 0, 0]], dtype=bool)
    assert expanding(margins, is_open).tolist() == [
        [True, False, True],
        [False, True, False],  # none passes: the node that is nearest to passing is taken
        [False, False, False],
    ]
    equal = np.array([[-0.2, -0.2]])
    assert expanding(equal, np.ones((1, 2), dtype=bool)).tolist() == [[True, False]]
