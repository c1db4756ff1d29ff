"""Names of what goes by import path."""

import pytest

from sidestep.evaluation.results import check_method
from sidestep.import_paths import own_name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("GruFour", "own-gru-four"),
        ("SASRec2", "own-sasrec2"),
        ("My_Own", "own-my-own"),
        ("Ü", "own"),
    ],
)
def test_the_name_of_ones_own_class_is_one_that_results_take(name, told):
    assert check_method(own_name(name)) == told
