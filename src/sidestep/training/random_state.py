"""The state of every random number generator of this process, to put it back later."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

RandomState = dict[str, Any]
"""States of python, numpy, torch and each CUDA device, as numbers, strings, tuples and tensors."""


def random_state() -> RandomState:
    """The states as they are now, in types that `torch.load(weights_only=True)` reads back."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    assert isinstance(numpy_state, dict)
    twister = numpy_state["state"]
    return {
        "python": random.getstate(),
        "numpy": {
            **numpy_state,
            "state": {"key": torch.tensor(twister["key"].tolist()), "pos": int(twister["pos"])},
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: RandomState) -> None:
    """Puts the states back.

    CUDA generators are put back if there are as many as there were, and left alone otherwise: on
    another machine nothing is bit-identical anyway.
    """
    random.setstate(state["python"])
    twister = state["numpy"]["state"]
    keys = twister["key"].numpy().astype(np.uint32)
    np.random.set_state(  # noqa: NPY002
        {**state["numpy"], "state": {"key": keys, "pos": twister["pos"]}}
    )
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([device_state.cpu() for device_state in state["cuda"]])


def seed_everything(seed: int) -> None:
    """Seeds python, numpy, torch and CUDA."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Restores the random generators after a block, whatever the block draws."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
