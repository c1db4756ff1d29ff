import gzip
import json

import pytest

from sidestep.data.importers.item_texts import are_item_texts, read_item_texts


def read(tmp_path, value):
    path = tmp_path / "x.item.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1))
    return read_item_texts(path)


def test_fields_become_columns_and_numbered_items_stand_by_number(tmp_path):
    items = read(
        tmp_path,
        {
            "10": {"title": "Ten", "categories": ["A", "B"]},
            "2": {"title": None, "brand": "Two", "price": 3.5},
        },
    )
    assert items.item_ids == ("2", "10")
    assert items.text_columns == ("title", "brand", "price", "categories")
    assert items.texts(["title", "brand", "price"])[0] == "Two\n3.5"
    assert items.texts(["categories"])[1] == "A, B"


def test_terms_become_one_column_and_named_items_stay_in_order(tmp_path):
    items = read(tmp_path, {"b": ["nail", "shiny"], "a": []})
    assert items.item_ids == ("b", "a")
    assert items.texts(["terms"]) == ["nail, shiny", ""]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"0": 7}, "line 2, entry '0': must be an object of texts or a list of terms, got int"),
        ({"0": ["a"], "1": {"title": "b"}}, "entry '1': a dict, where.* each a list"),
        ({"0": {"title": "a"}, "1": {"title": {"en": "b"}}}, "entry '1': 'title' must be text"),
        ({"0": {"title": "a"}, "1": {"title": True}}, "entry '1': 'title' must be text"),
        ({"0": {"item_id": "a"}}, "entry '0': rename the field 'item_id'"),
        ({"": {"title": "a"}}, "the item ID is empty"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(tmp_path, value, message):
    with pytest.raises(ValueError, match=message) as refusal:
        read(tmp_path, value)
    assert "x.item.json, line" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.item.json", '{"a": {"title": "A"}}', True),
        ("x.terms.json.gz", '{"a": ["cup", "red"]}', True),
        ("x.json", '[{"item_id": "a", "title": "A"}]', False),
        ("x.json", '{"item_id": "a", "title": "A"}\n{"item_id": "b", "title": "B"}', False),
        ("x.json", '{"item_id": "a", "title": "A"}', False),
        ("x.json", '{"a": {"title"', True),
        ("x.json", "{}", True),
        ("x.jsonl", '{"a": {"title": "A"}}', False),
    ],
)
def test_texts_by_item_are_told_from_tables(tmp_path, name, text, expected):
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert are_item_texts(tmp_path / name) == expected
