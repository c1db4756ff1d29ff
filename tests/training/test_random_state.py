import io
import random

import numpy as np
import torch

from sidestep.training.random_state import (
    random_state,
    seed_everything,
    set_random_state,
    unchanged_random_state,
)


def draws():
    return (
        random.random(),
        random.gauss(0, 1),
        np.random.random(),  # noqa: NPY002
        np.random.standard_normal(),  # noqa: NPY002
        torch.rand(3).tolist(),
    )


def test_a_state_survives_the_disk_unpickled_by_nobody():
    with unchanged_random_state():
        seed_everything(5)
        draws()  # leaves half a pair of Gaussians behind in python and numpy
        file = io.BytesIO()
        torch.save(random_state(), file)
        expected = draws()
        seed_everything(6)
        assert draws() != expected
        file.seek(0)
        set_random_state(torch.load(file, weights_only=True))
        assert draws() == expected


def test_a_block_leaves_the_streams_where_they_were():
    state = random_state()
    with unchanged_random_state():
        expected = draws()
    assert draws() == expected
    set_random_state(state)
