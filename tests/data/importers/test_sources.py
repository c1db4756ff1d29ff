import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.importers.sources import read_json_object, read_text, sha256_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


def written(tmp_path, text):
    path = tmp_path / "source.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=4), JSON, min_size=1, max_size=5), st.booleans())
def test_json_reads_as_itself_and_every_key_has_its_line(tmp_path_factory, value, is_indented):
    text = json.dumps(value, indent=1 if is_indented else None)
    source = read_json_object(written(tmp_path_factory.mktemp("json"), text))
    assert source.value == value
    for name in value:
        line = 1
        if is_indented:
            prefix = f" {json.dumps(name)}: "
            line = 1 + next(i for i, part in enumerate(text.split("\n")) if part.startswith(prefix))
        assert source.place(name).endswith(f"source.json, line {line}, entry {name!r}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "source.json: the file is empty"),
        (" \n ", "source.json: the file is empty"),
        ("{}", "source.json: the object in it is empty"),
        ("[1]", "source.json: must hold a JSON object, not a list"),
        ('{"a": 1,\n"b": [1, 2', "source.json, line 2, .*cut off"),
        ('{"a": 1,\n"b": "tex', "source.json, line 2, .*cut off"),
        ('{"a": 1,\n"b": 2,,\n"c": 3}', "source.json, line 2, .*correct that line"),
        ('{"a": NaN}', "source.json, from line 1: .*NaN is not JSON"),
        ('{"a": 1,\n"b": 2,\n"a": 3}', "source.json, line 3: the key 'a' stands twice .*in line 1"),
        ('{"a": {"x": 1},\n"b": {"x": 1, "y": "{\\"y\\":",\n"y": 3}}', "line 3: the key 'y'"),
        ('{"a": 1,\n"\\u0061": 2}', "line 2: the key 'a' stands twice"),
        ('{"a": "\\ud800"}', "source.json, from line 1: a text holds half of a character"),
        ("[" * 100_000, "source.json, from line 1: not valid JSON"),
        (b'{"a": 1,\n"b": "caf\xe9"}', "source.json, line 2: not UTF-8.*iconv"),
        ('{"a": 1}'.encode("utf-16"), "source.json: this is UTF-16 text; convert it"),
    ],
)  # fmt: skip
def test_what_is_no_object_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_json_object(written(tmp_path, text))


def test_a_byte_order_mark_is_passed_over(tmp_path):
    assert read_text(written(tmp_path, b"\xef\xbb\xbfabc")) == "abc"


def test_sources_are_known_by_their_hash(tmp_path):
    path = written(tmp_path, "abc")
    assert sha256_of(path, None) == {"source.json": hashlib.sha256(b"abc").hexdigest()}
