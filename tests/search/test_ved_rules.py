"""The rules of value-guided decoding on a tree small enough to work out by hand."""

import math

import pytest
import torch

from sidestep.search.ved_rules import (
    best_path,
    depth_means,
    expanding,
    gate_margins,
    num_open_below,
    upper_bounds,
)

# A tree by hand: the root (0), its children 1 and 2, and 3 below 1.
PARENTS = torch.tensor([[0, 0, 0, 1]])
DEPTHS = torch.tensor([[0, 1, 1, 2]])
G = torch.tensor([[0.5, 0.2, 0.6, 0.9]], dtype=torch.float64)
IS_NODE = torch.ones(1, 4, dtype=torch.bool)


def test_upper_bounds_by_hand():
    visits = torch.tensor([[7, 3, 0, 1]])
    bounds = upper_bounds(G, visits, torch.tensor([7]), 0.5)[0].tolist()
    log = math.log(8)  # 2.0794
    assert bounds == pytest.approx(
        [0.5 + 0.5 * math.sqrt(log / 8), 0.5605, 1.3210, 0.9 + 0.5 * math.sqrt(log / 2)], abs=1e-4
    )
    assert upper_bounds(G, visits * 0, torch.tensor([0]), 0.5).equal(G)  # ln 1 = 0


def test_gates_by_hand():
    assert depth_means(G, DEPTHS, IS_NODE, 3)[0].tolist() == pytest.approx([0.5, 0.4, 0.9, 0.0])
    margins = gate_margins(G, DEPTHS, IS_NODE, 3, "priority")[0].tolist()
    assert margins == pytest.approx([0.1, -0.2, 0.2, 0.0])
    assert float(gate_margins(G, DEPTHS, IS_NODE, 3, "always")[0, 0]) > 1e9
    assert -math.inf < float(gate_margins(G, DEPTHS, IS_NODE, 3, "never")[0, 0]) < -1e9
    without = torch.tensor([[True, True, False, True]])
    assert depth_means(G, DEPTHS, without, 3)[0, 1] == pytest.approx(0.2)


def test_paths_by_hand():
    is_open = torch.tensor([[False, False, False, True]])
    num_open = num_open_below(is_open, PARENTS, DEPTHS, 3)
    assert num_open.tolist() == [[1, 1, 0, 1]]
    leads = num_open > 0
    # Node 2 has the larger bound, and nothing to expand at it or below.
    assert best_path(G, leads, PARENTS, 3).tolist() == [[0, 1, 3]]
    assert best_path(G, IS_NODE, PARENTS, 3).tolist() == [[0, 2, -1]]
    assert best_path(G, ~IS_NODE, PARENTS, 3).tolist() == [[-1, -1, -1]]


def test_expansions_by_hand():
    margins = torch.tensor([[0.1, -0.2, 0.3]]).expand(5, -1)
    is_open = torch.tensor(
        [[True, True, True], [True, True, True], [True, True, True], [0, 1, 0], [0, 0, 0]]
    ).bool()
    left = torch.tensor([5, 1, 0, 5, 5])
    assert expanding(margins, is_open, left).tolist() == [
        [True, False, True],
        [False, False, True],  # the deepest first
        [False, False, False],
        [False, True, False],  # none passes: the one that lacks least
        [False, False, False],
    ]
