import polars as pl
import pytest

from sidestep.data.items import ItemTable

ITEMS = ItemTable(
    pl.DataFrame(
        {
            "item_id": ["b", "a", "c"],
            "title": ["Kettle", "", None],
            "brand": ["Norvik", "Belfel", None],
        }
    )
)


def test_an_item_is_its_row():
    assert len(ITEMS) == 3
    assert ITEMS.item_ids == ("b", "a", "c")
    assert ITEMS.index_of == {"b": 0, "a": 1, "c": 2}


def test_texts_join_what_is_known_in_the_given_order():
    assert ITEMS.texts(["title", "brand"]) == ["Kettle\nNorvik", "Belfel", ""]
    assert ITEMS.texts(["brand", "title"])[0] == "Norvik\nKettle"
    assert ITEMS.texts([]) == ["", "", ""]


def test_an_unknown_text_column_is_refused_with_those_there_are():
    with pytest.raises(KeyError, match=r"colour.*title.*brand"):
        ITEMS.texts(["colour"])
    with pytest.raises(KeyError, match="item_id"):
        ITEMS.texts(["item_id"])


def test_a_restricted_table_keeps_its_order():
    assert ITEMS.restricted_to(["c", "b", "unknown"]).item_ids == ("b", "c")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"title": ["a"]}, "lack the column 'item_id'"),
        ({"item_id": ["a"], "price": [3.5]}, "'price'.*must be text"),
        ({"item_id": ["a", "b", "a"]}, "'a' stands twice.*row 2"),
        ({"item_id": ["a", None]}, "missing in row 1"),
        ({"item_id": [""]}, "missing in row 0"),
    ],
)
def test_items_that_cannot_be_told_apart_or_read_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        ItemTable(pl.DataFrame(columns))
