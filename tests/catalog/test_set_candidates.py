import numpy as np
import torch

from sidestep.catalog.posting_lists import PostingLists
from sidestep.catalog.set_candidates import Candidates, LatestCandidates, narrowest, spread


def table(*states):
    number = torch.arange(len(states))
    return Candidates(
        states=torch.tensor(states), starts=number, stops=number + 1, items=number.int()
    )


def test_ranges_are_spread_one_behind_the_other():
    positions, rows = spread(torch.tensor([5, 0, 9]), torch.tensor([7, 0, 12]))
    assert positions.tolist() == [5, 6, 9, 10, 11]
    assert rows.tolist() == [0, 0, 2, 2, 2]


def test_states_are_found_where_they_stand():
    assert table(3, 8, 20).positions(torch.tensor([8, 21, 0, 3])).tolist() == [1, -1, -1, 0]


def test_the_latest_four_tables_are_kept_and_no_empty_one():
    latest = LatestCandidates()
    tables = [table(state) for state in range(6)]
    for made in tables:
        latest.keep(made)
    latest.keep(
        Candidates(
            **{name: torch.zeros(0).long() for name in ("states", "starts", "stops")},
            items=torch.zeros(0).int(),
        )
    )
    assert latest.tables() == tuple(tables[:1:-1])


def test_the_narrowest_list_is_the_shortest_that_holds_all_items_of_a_set():
    # Action 0 has three items, action 2 has two, both together one; nobody has actions 1 and 3.
    codes = np.array([[0, 0], [0, 1], [0, 1], [1, 0]], dtype=np.int32)
    lists = PostingLists.build(codes, (2, 2))
    asked = torch.tensor([[0, -1], [-1, 2], [0, 2], [1, 3]])
    starts, stops = narrowest(lists, asked)
    found = [lists.items[a:b].tolist() for a, b in zip(starts, stops, strict=True)]
    assert found == [[0, 1, 2], [0, 3], [0], []]
    sparse = PostingLists.build(codes, (9, 9))  # without lists of pairs
    starts, stops = narrowest(sparse, torch.tensor([[0, 9]]))
    assert sparse.items[starts[0] : stops[0]].tolist() == [0, 3]
