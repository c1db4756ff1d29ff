"""Budgets in units of a beam."""

import pytest

from sidestep.search.budget import Budget


def test_a_budget_of_one_beam_is_the_smallest():
    assert Budget(times=1, num_beams=1).tokens(3) == 3
    assert Budget(times=2, num_beams=5).tokens(4) == 31


@pytest.mark.parametrize("sizes", [{"times": 0}, {"num_beams": 0}, {"times": -1, "num_beams": 2}])
def test_nothing_to_spend_is_refused(sizes):
    with pytest.raises(ValueError, match="times and num_beams must be at least 1"):
        Budget(**sizes)
