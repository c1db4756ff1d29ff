"""Times of requests: a network that reads times gets them, and no other network does."""

import numpy as np
import pytest
import torch

from sidestep.bundle.folder import load, save_bundle
from sidestep.catalog.catalog import Catalog
from sidestep.data.histories import Histories
from sidestep.model.config import SasRecConfig, TransformerConfig
from sidestep.model.sasrec import SasRec
from sidestep.model.transformer import Transformer

IDS = np.array([[a, b] for a in range(2) for b in range(3)], dtype=np.int32)
SIZES = (2, 3)
CATALOG = Catalog.build([f"i{item}" for item in range(6)], IDS, SIZES)
USERS = Histories(
    items=np.array([1, 4, 2], dtype=np.int32),
    offsets=np.array([0, 2, 3]),
    user_ids=("ann", "bob"),
    timestamps=np.array([100, 160, 7]),
)


def saved(folder, kind="transformer", times=True):
    torch.manual_seed(0)
    if kind == "sasrec":
        shape = SasRecConfig(dim=8, num_layers=1, max_items=3, times=times)
        network = SasRec(shape, num_items=6)
    else:
        shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items", times=times)
        network = Transformer(shape, torch.from_numpy(IDS).long(), SIZES)
    for weights in network.parameters():
        torch.nn.init.normal_(weights)
    save_bundle(folder, network=network, catalog=CATALOG, max_history=3, seed=0)
    return load(folder, device="cpu").with_users(USERS)


def scores(answers):
    return [dict(zip(answer.item_ids, answer.scores, strict=True)) for answer in answers]


@pytest.mark.parametrize("kind", ["transformer", "sasrec"])
def test_times_and_moments_change_what_is_recommended(kind, tmp_path):
    loaded = saved(tmp_path / "b", kind)
    histories, times = [["i1", "i4"], ["i2"]], [[100, 160], [7]]
    unknown = scores(loaded.recommend(histories, k=6))
    timed = scores(loaded.recommend(histories, k=6, times=times))
    asked = scores(loaded.recommend(histories, k=6, times=times, moments=[200, 90]))
    assert timed[0] != unknown[0]
    assert timed[1] == pytest.approx(unknown[1])  # one item and no moment: there is no gap
    assert asked[0] != timed[0]
    assert asked[1] != timed[1]
    # Only gaps count.
    later = scores(loaded.recommend(histories, k=6, times=[[5, 65], [0]], moments=[105, 83]))
    assert later == asked


def test_the_time_of_an_item_that_the_catalog_lacks_is_left_out(tmp_path):
    loaded = saved(tmp_path / "b")
    whole = loaded.recommend([["i1", "gone", "i4"]], k=6, times=[[100, 130, 160]])
    known = loaded.recommend([["i1", "i4"]], k=6, times=[[100, 160]])
    assert scores(whole) == scores(known)


def test_known_users_are_asked_with_their_times_also_after_saving(tmp_path):
    loaded = saved(tmp_path / "b")
    loaded.save(tmp_path / "again")
    again = load(tmp_path / "again", device="cpu")
    assert again.users.timestamps.tolist() == [100, 160, 7]
    frame = again.recommend_frame(["bob", "ann"], k=6, moment=200)
    expected = loaded.recommend(
        [["i2"], ["i1", "i4"]], k=6, times=[[7], [100, 160]], moments=[200, 200]
    )
    assert frame["score"].to_list() == [score for answer in expected for score in answer.scores]


def test_a_network_without_times_keeps_no_times_of_users_and_refuses_times(tmp_path):
    loaded = saved(tmp_path / "b", times=None)
    assert not loaded.reads_times
    assert loaded.users.timestamps is None
    with pytest.raises(ValueError, match="this network reads none"):
        loaded.recommend([["i1"]], times=[[3]])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"moments": [3]}, ValueError, "moments need the times"),
        ({"times": [[3]]}, ValueError, "one time per item"),
        ({"times": [[3, 4], [1]]}, ValueError, "one time per item"),
        ({"times": [[4, 3]]}, ValueError, "must not fall"),
        ({"times": [[False, 4]]}, TypeError, "whole numbers, got bool False"),
        ({"times": [[3, 4]], "moments": [5, 6]}, ValueError, "moments has 2 entries"),
        ({"times": [[3, 4]], "moments": [3]}, ValueError, "moment is 3, before the last item"),
        ({"times": [[3, 4]], "moments": [True]}, TypeError, "whole numbers, got bool"),
    ],
)
def test_times_that_do_not_fit_are_refused(given, error, message, tmp_path):
    loaded = saved(tmp_path / "b")
    with pytest.raises(error, match=message):
        loaded.recommend([["i1", "i2"]], **given)
