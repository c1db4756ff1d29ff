"""Doubts about odd interactions whose rows can all be read."""

import polars as pl
import pytest

from sidestep.data.dataset import Dataset
from sidestep.data.importers.amazon import import_amazon
from sidestep.data.importers.doubts import doubts_about, is_missing_time, is_nobody
from sidestep.data.importers.recbole import import_recbole
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable
from sidestep.data.users import UserTable

from .formats import json_lines

NOW = 1_600_000_000


def doubts(users, *, items=None, times=None):
    items = [f"i{row}" for row in range(len(users))] if items is None else items
    interactions = Interactions.from_columns(user_ids=users, item_ids=items, timestamps=times)
    known = ItemTable.from_ids([*dict.fromkeys(items)])
    return doubts_about(Dataset(interactions=interactions, items=known, name="shop").interactions)


def spread(num_users, each=3):
    return [f"u{user}" for user in range(num_users) for _ in range(each)]


def test_what_is_usual_raises_no_doubt():
    times = [NOW + row for row in range(30)]
    assert doubts(spread(10), times=times) == []
    assert doubts(spread(10)) == []
    assert doubts([]) == []


@pytest.mark.parametrize(
    "word", ["NA", "null", "None", "unknown", "-1", "(not set)", "\\N", "nan", "N/A", "<null>", "?"]
)
def test_words_for_nobody_are_told_of(word):
    assert is_nobody(word)
    (doubt,) = doubts([*spread(4), word, word])
    assert doubt.startswith(f"2 of 14 (14.3%) interactions have the user {word!r}")
    assert "--missing-users drop" in doubt
    (doubt,) = doubts(spread(2), items=["a", "b", word, "c", "d", word])
    assert "have the item" in doubt
    assert "--missing-items drop" in doubt


@pytest.mark.parametrize("name", ["Nana", "7", "user-1", "nullsoft", "--x", "A?"])
def test_names_are_no_words_for_nobody(name):
    assert not is_nobody(name)


def test_one_user_with_much_of_all_is_told_of():
    (doubt,) = doubts([*spread(20), *["0"] * 40])
    assert doubt.startswith("40 of 100 (40.0%) interactions have the user '0'")
    assert doubts([*spread(20), *["0"] * 19]) == []  # too few to be a crowd
    assert doubts([*spread(5, each=20), *["0"] * 40]) == []  # others have as many


def test_times_that_stand_for_none_are_told_of():
    times = [NOW, NOW + 1, 0, NOW + 2, -1, NOW + 3]
    (doubt,) = doubts(spread(2), times=times)
    assert doubt.startswith("2 of 6 (33.3%) interactions have the time 0 or -1")
    assert is_missing_time(pl.Series(times)).to_list() == [False, False, True, False, True, False]
    assert doubts(spread(2), times=[0, 1, 2, 0, 1, 2]) == []


def test_times_far_from_the_others_are_told_of():
    (doubt,) = doubts(spread(2), times=[NOW * 1000] * 5 + [253_402_214_400_000])
    assert "1 of 6 (16.7%) interactions lie before 1990 or after 2100, such as 9999-12-31" in doubt
    (doubt,) = doubts(spread(2), times=[5] * 6)
    assert "All interactions have the same time" in doubt


def test_other_importers_have_the_same_doubts(tmp_path):
    reviews = [
        {"reviewerID": user, "asin": f"B{row}", "overall": 5.0, "unixReviewTime": time}
        for row, (user, time) in enumerate([("unknown", NOW), ("unknown", 0), ("a", NOW)])
    ]
    path = tmp_path / "Toys.json"
    path.write_bytes(json_lines(reviews))
    found = import_amazon(path).doubts
    assert ["'unknown'" in found[0], "time 0 or -1" in found[1]] == [True, True]


def recbole(tmp_path, rows):
    path = tmp_path / "shop.inter"
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    path.write_text(header + "".join("\t".join(row) + "\n" for row in rows))
    return path


def test_other_importers_keep_the_order_of_fine_times(tmp_path):
    times = ["1577836800.000900", "1577836800.000600", "1577836800.0001"]
    path = recbole(tmp_path, [("u", name, time) for name, time in zip("cba", times, strict=True)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sidestep.data.importers.lines.BLOCK_SIZE", 30)
        frame = import_recbole(path).dataset.interactions.frame
    assert frame["item_id"].to_list() == ["a", "b", "c"]
    assert frame["timestamp"][0] == 1_577_836_800_000_100


def test_other_importers_refuse_several_units_and_read_decimal_ids(tmp_path):
    path = recbole(tmp_path, [("1.0", "41.0", "1600000000"), ("1", "42.0", "1600000001000")])
    with pytest.raises(ValueError, match=r"shop\.inter: the time .* is in .*seconds, but"):
        import_recbole(path)
    path = recbole(tmp_path, [("1.0", "41.0", "1600000000"), ("1", "42.0", "1600000001")])
    frame = import_recbole(path).dataset.interactions.frame
    assert frame.select("user_id", "item_id").rows() == [("1", "41"), ("1", "42")]


def test_a_log_that_was_read_twice_is_told_of():
    users, times = spread(10), [NOW + row for row in range(30)]
    items = [f"i{row}" for row in range(30)]
    (doubt,) = doubts(users * 2, items=items * 2, times=times * 2)
    assert doubt.startswith("30 of 60 (50.0%) interactions are copies of an earlier row")
    later = [*times, *(time + 100 for time in times)]
    assert doubts(users * 2, items=items * 2, times=later) == []  # taken again, at another time
    assert doubts(users * 2, items=items * 2) == []  # without times nothing tells the rows apart
    assert doubts([*users, *users[:9]], items=items + items[:9], times=times + times[:9]) == []


def test_a_table_of_other_users_is_told_of():
    interactions = Interactions.from_columns(user_ids=["a", "b", "a"], item_ids=["x", "y", "z"])
    others, one = (UserTable(pl.DataFrame({"user_id": ids})) for ids in (["7", "8"], ["b", "8"]))
    (doubt,) = doubts_about(interactions, others)
    assert doubt.startswith("none of the 2 users of the interactions is in the table of users")
    assert "for example not 'a'" in doubt
    assert doubts_about(interactions, one) == []
