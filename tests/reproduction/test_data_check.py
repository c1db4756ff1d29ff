"""The check of data: content counts, and names and files do not."""

from dataclasses import replace

import polars as pl
import pytest

from sidestep.data.dataset import Dataset
from sidestep.data.importers.lcrec import import_lcrec, lcrec_files
from sidestep.data.importers.p5 import import_p5
from sidestep.reproduction.data_check import differences, fingerprint_of, refuse_other_data
from sidestep.reproduction.declarations import read_kit


def shop(
    users: tuple[str, ...] = ("u", "u", "v"),
    items: tuple[str, ...] = ("a", "b", "a"),
    titles: tuple[str, ...] = ("tent", "stove"),
    name: str = "shop",
) -> Dataset:
    """A dataset of two items."""
    log = pl.DataFrame({"user_id": users, "item_id": items})
    texts = pl.DataFrame({"item_id": ["a", "b"], "title": titles})
    return replace(Dataset.from_frames(log, texts), name=name)


def test_the_same_content_has_the_same_fingerprint_under_any_name():
    assert fingerprint_of(shop(name="other")) == fingerprint_of(shop())


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (shop(), []),
        (shop(users=("u", "u", "u")), ["1 users instead of 2"]),
        (
            shop(users=("u", "u", "v", "v"), items=("a", "b", "a", "b")),
            ["4 interactions instead of 3"],
        ),
        (shop(items=("b", "a", "a")), ["as many interactions, but others, or in another order"]),
        (shop(titles=("tent", "lamp")), ["other texts of items, or items in another order"]),
    ],
)
def test_a_difference_is_said_in_words(other, words):
    assert differences(fingerprint_of(other), fingerprint_of(shop())) == words


def test_other_data_are_refused_with_a_remedy():
    declared = fingerprint_of(shop())
    refuse_other_data(shop(), declared)
    with pytest.raises(ValueError, match=r"1 users instead of 2.*--other-data"):
        refuse_other_data(shop(users=("u", "u", "u")), declared)


@pytest.mark.parametrize("name", ["scientific", "beauty", "sports", "toys"])
def test_the_declared_fingerprints_are_those_of_the_research_data(name, real_data):
    folder = real_data / name
    if (folder / "sequential_data.txt").is_file():
        found = import_p5(folder / "sequential_data.txt", folder / "item_terms.json")
    else:
        found = import_lcrec(*lcrec_files(folder))
    assert fingerprint_of(found) == read_kit().data[name].fingerprint
