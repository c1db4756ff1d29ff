"""Two methods and two users, so small that results can be computed by hand."""

import numpy as np

from sidestep.data.histories import Histories
from sidestep.evaluation.results import PerUser, Setting
from sidestep.metrics.ties import NOT_LISTED
from sidestep.padding import NO_ITEM

WORDS = ("tea", "cups", "a <b>kettle</b>", "biscuits")


def titles(items):
    return [WORDS[item] for item in items]


def per_user(method: str, items: list[list[int]], ranks: list[int], seed: int = 0) -> PerUser:
    fields = dict.fromkeys(Setting.model_fields) | {"exclude_seen": False, "users": "all"}
    return PerUser(
        dataset="shop",
        method=method,
        split="test",
        seed=seed,
        setting=Setting(**fields),
        k=3,
        user_ids=("ann", "bob"),
        targets=np.array([1, 2]),
        rank_before=np.array(ranks),
        num_tied=np.ones(2, dtype=int),
        items=np.array(items),
    )


BEAM = per_user("beam", [[3, 1, 0], [0, 1, NO_ITEM]], [1, NOT_LISTED])
SASREC = per_user("sasrec", [[1, 0, 2], [2, 0, 1]], [0, 0])
HISTORIES = Histories(
    items=np.array([0, 3, 0]), offsets=np.array([0, 3, 3]), user_ids=("ann", "bob")
)
