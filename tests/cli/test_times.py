"""Times as inputs by commands: a network with times is asked with the times of the dataset."""

import json

import pytest

from sidestep.bundle.folder import load
from sidestep.data.dataset import Dataset

from .commands import refused, run


@pytest.fixture(scope="module")
def timed(shop, tmp_path_factory):
    """A run whose network reads times."""
    folder = tmp_path_factory.mktemp("timed")
    settings = ("kind=sasrec", "model.times=true", "model.dim=16", "training.epochs=1")
    given = [word for setting in settings for word in ("--set", setting)]
    run("train", *given, "--dataset", shop / "dataset", "--out", folder / "timed")
    return folder / "timed"


def test_a_user_of_the_dataset_is_asked_with_the_times_of_the_history(shop, timed):
    answer = json.loads(run("recommend", timed, "--user", "user-3", "--json"))
    dataset = Dataset.load(shop / "dataset")
    histories = dataset.histories()
    row = histories.user_ids.index("user-3")
    times = histories.timestamps[histories.offsets[row] : histories.offsets[row + 1]].tolist()
    loaded = load(timed / "bundle", device="cpu")
    [known] = loaded.recommend([answer["history"]], k=10, times=[times])
    [untimed] = loaded.recommend([answer["history"]], k=10)
    scores = [item["score"] for item in answer["items"]]
    assert scores == known.scores
    assert scores != untimed.scores


def scores_of(*arguments):
    return [item["score"] for item in json.loads(run("recommend", *arguments, "--json"))["items"]]


def test_times_and_the_moment_are_asked_with(timed):
    loaded = load(timed / "bundle", device="cpu")
    history, times, moment = ["item-1", "item-2"], [1_700_000_000, 1_700_003_600], 1_709_251_200
    [known] = loaded.recommend([history], k=10, times=[times], moments=[moment])
    asked = (timed, "--history", "item-1,item-2", "--times", "1700000000,1700003600")
    assert scores_of(*asked, "--moment", moment) == known.scores
    assert scores_of(*asked, "--moment", "2024-03-01") == known.scores
    assert scores_of(*asked, "--moment", "2024-03-01T01:00+01:00") == known.scores
    assert scores_of(*asked) != known.scores
    # The shop counts its interactions instead of seconds.
    ours = scores_of(timed, "--user", "user-3", "--moment", 10**7)
    assert ours != scores_of(timed, "--user", "user-3")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--times", "1,2,3"), "--times: 3 times for 2 items of --history"),
        (("--times", "2,1"), "--times must not fall"),
        (("--times", "1,noon"), "--times: 'noon' is no whole number"),
        (("--times", f"1,{10**18}"), "is no whole number of up to 18 digits"),
        (("--times", "1,2", "--moment", 10**30), "has more than 18 digits"),
        (("--moment", "5"), "--moment 5: needs the times of the items of --history"),
        (("--times", "1,9", "--moment", "5"), "--moment 5: is before the last item"),
        (("--times", "1,9", "--moment", "noon"), "--moment: 'noon' is neither a whole number"),
        (("--times", "1,9", "--moment", "2024-03-01"), "--moment: '2024-03-01' is a date, but"),
    ],
)
def test_times_that_cannot_be_are_refused(timed, options, words):
    assert words in refused("recommend", timed, "--history", "item-1,item-2", *options)


def test_times_that_nobody_reads_are_refused(shop, timed):
    asked = ("recommend", shop / "beam", "--history", "item-1")
    assert "--moment: this semantic-id-transformer reads no times" in refused(
        *asked, "--moment", "5"
    )
    assert "--times: this semantic-id-transformer reads no times" in refused(*asked, "--times", "5")
    told = refused("recommend", timed, "--user", "user-3", "--times", "5")
    assert "--times are those of --history" in told
