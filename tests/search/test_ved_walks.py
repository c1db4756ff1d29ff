"""The traversals of a round on a tree so small that they can be followed by hand."""

import numpy as np

from sidestep.search.ved_walks import traverse

# The root (0), its children 1 and 2, and 3 below 1; codes of three levels.
TREE = {
    "parents": np.array([[0, 0, 0, 1]]),
    "depths": np.array([[0, 1, 1, 2]]),
    "num_levels": 3,
}


def walk(num_untried, *, wanted, margins=(-1, 0, 0, 0), ranked_by=(0, 0.9, 0.8, 0.5), **changes):
    """Traversals of one user, without earlier visits."""
    arguments = {
        "ranked_by": np.array([ranked_by], dtype=float),
        "margins": np.array([margins], dtype=float),
        "visits": np.zeros((1, 4), dtype=np.int64),
        "num_untried": np.array([num_untried]),
        "traversals": np.array([0]),
        "wanted": np.array([wanted]),
        "exploration": 0.0,
        **TREE,
        **changes,
    }
    walks = traverse(**arguments)
    return walks.parents[walks.is_new].tolist(), walks


def test_a_path_makes_children_from_its_end_up_and_counts_as_a_visit_of_all_its_nodes():
    made, walks = walk((5, 2, 2, 2), wanted=1)
    # Down to node 1, the best, and its only child; the root does not pass its gate.
    assert made == [3, 1]
    assert walks.visits.tolist() == [[1, 1, 0, 1]]
    assert walks.num_untried.tolist() == [[5, 1, 2, 1]]
    assert walks.traversals.tolist() == [1]


def test_what_is_closed_on_the_way_is_not_entered_again():
    made, walks = walk((0, 1, 2, 1), wanted=9)
    # Once 3 and 1 are exhausted, only 2 is left, for two traversals.
    assert made == [3, 1, 2, 2]
    assert walks.num_untried.tolist() == [[0, 0, 0, 0]]
    assert walks.traversals.tolist() == [3]


def test_a_visit_lowers_the_bound_of_those_after_it():
    ranked_by = (0, 0.9, 0.89, 0.5)
    near = walk((0, 9, 9, 0), wanted=3, ranked_by=ranked_by)
    assert near[0] == [1, 1, 1]
    # ln 5 = 1.61: its first visit moves node 1 below node 2, and the next one moves 2 below 1.
    curious = walk(
        (0, 9, 9, 0), wanted=3, ranked_by=ranked_by, exploration=0.5, traversals=np.array([4])
    )
    assert curious[0] == [1, 2, 1]


def test_where_no_gate_is_passed_what_lacks_least_grows():
    assert walk((3, 3, 0, 3), wanted=1, margins=(-0.5, -0.1, 0, -0.2))[0] == [1]


def test_users_walk_side_by_side_and_one_who_is_done_stands_still():
    untried = np.array([[5, 2, 2, 2], [0, 2, 2, 0], [0, 0, 0, 0], [5, 2, 2, 2]])
    users = len(untried)
    walks = traverse(
        ranked_by=np.tile([0, 0.9, 0.8, 0.5], (users, 1)),
        margins=np.tile([-1.0, 0, 0, 0], (users, 1)),
        parents=TREE["parents"].repeat(users, axis=0),
        depths=TREE["depths"].repeat(users, axis=0),
        visits=np.zeros((users, 4), dtype=np.int64),
        num_untried=untried,
        traversals=np.zeros(users, dtype=np.int64),
        wanted=np.array([3, 2, 9, 0]),
        exploration=0.0,
        num_levels=3,
    )
    made = [parents[new].tolist() for parents, new in zip(walks.parents, walks.is_new, strict=True)]
    assert made == [[3, 1, 3, 1], [1, 1], [], []]
    assert walks.visits.tolist() == [[2, 2, 0, 2], [2, 2, 0, 0], [0] * 4, [0] * 4]
    assert walks.num_untried.tolist() == [[5, 0, 2, 0], [0, 0, 2, 0], [0] * 4, [5, 2, 2, 2]]
    assert walks.traversals.tolist() == [2, 2, 0, 0]
