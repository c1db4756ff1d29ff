import json

import pytest

from sidestep.tokenizer.published import read_published


def written(tmp_path, value):
    path = tmp_path / "shop.index.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_semantic_ids_come_in_the_order_of_the_items_asked_for(tmp_path):
    path = written(
        tmp_path, {"7": ["<a_0>", "<b_9>"], "x": ["<a_3>", "<b_1>"], "8": ["<a_1>", "<b_0>"]}
    )
    published = read_published(path, ["x", "7"])
    assert published.semantic_ids.tolist() == [[3, 1], [0, 9]]
    assert published.codebook_sizes == (4, 10)
    assert read_published(path, ["x"], codebook_sizes=(256, 16)).codebook_sizes == (256, 16)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("{", ValueError, "line 1, column 2"),
        (
            '{"1": ["<a_0>"],\n"2": ["<a_1>"],\n"1": ["<a_2>"]}',
            ValueError,
            "line 3: the key '1' stands twice in one object, first in line 1",
        ),
        ("[]", ValueError, "expected a JSON object .* got list"),
        ("{}", ValueError, "an empty one"),
        ({"1": ["<a_0>", "<b_x>"]}, ValueError, "item '1', level 2: .*'<b_12>', got '<b_x>'"),
        ({"1": ["<b_0>", "<a_0>"]}, ValueError, "item '1', level 1"),
        ({"1": [5]}, ValueError, "level 1.*got 5"),
        ({"1": "<a_0>"}, ValueError, "needs a list of tokens"),
        ({"1": []}, ValueError, "needs a list of tokens"),
        ({"1": ["<a_0>"], "2": ["<a_0>", "<b_0>"]}, ValueError, "item '2' has 2 codes, but .* 1;"),
        ({"2": ["<a_0>"]}, KeyError, "no semantic ID for 1 of 1 items, the first is '1'"),
    ],
)
def test_malformed_files_are_refused_with_the_item(tmp_path, value, error, words):
    path = written(tmp_path, value)
    with pytest.raises(error, match=words) as caught:
        read_published(path, ["1"])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "words"), [((4,), "has 2 levels"), ((4, 4), "level 2 uses code 9")]
)
def test_codebook_sizes_that_do_not_hold_the_codes_are_refused(tmp_path, sizes, words):
    path = written(tmp_path, {"1": ["<a_0>", "<b_9>"]})
    with pytest.raises(ValueError, match=words):
        read_published(path, ["1"], codebook_sizes=sizes)
