"""Times as inputs by commands: a network with times is asked with the times of the dataset."""

import json

from sidestep.bundle.folder import load
from sidestep.data.dataset import Dataset

from .commands import run


def test_a_user_of_the_dataset_is_asked_with_the_times_of_the_history(shop, tmp_path):
    settings = ("kind=sasrec", "model.times=true", "model.dim=16", "training.epochs=1")
    given = [word for setting in settings for word in ("--set", setting)]
    run("train", *given, "--dataset", shop / "dataset", "--out", tmp_path / "timed")
    answer = json.loads(run("recommend", tmp_path / "timed", "--user", "user-3", "--json"))
    dataset = Dataset.load(shop / "dataset")
    histories = dataset.histories()
    row = histories.user_ids.index("user-3")
    times = histories.timestamps[histories.offsets[row] : histories.offsets[row + 1]].tolist()
    loaded = load(tmp_path / "timed" / "bundle", device="cpu")
    [timed] = loaded.recommend([answer["history"]], k=10, times=[times])
    [untimed] = loaded.recommend([answer["history"]], k=10)
    scores = [item["score"] for item in answer["items"]]
    assert scores == timed.scores
    assert scores != untimed.scores
