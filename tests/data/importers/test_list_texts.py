"""Lists as other systems write them, each with the elements that the system means."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.data.importers.list_texts import (
    ListError,
    is_bracketed,
    read_bracketed,
    read_plain,
)


def elements(text):
    return [element.text for element in read_bracketed(text).elements]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # PostgreSQL
        ("{B01,B02}", ["B01", "B02"]),
        ('{"a,b","c\\"d","e\\\\f",NULL,"NULL",g h}', ["a,b", 'c"d', "e\\f", None, "NULL", "g h"]),
        ("{It's,[x],(500)}", ["It's", "[x]", "(500)"]),
        ("{spotify:track:1,spotify:track:2}", ["spotify:track:1", "spotify:track:2"]),
        ("[0:1]={a,b}", ["a", "b"]),
        # Python
        ("{'a', 'b'}", ["a", "b"]),
        ("['it\\'s', \"a'b\", 'c, d']", ["it's", "a'b", "c, d"]),
        ("('a',)", ["a"]),
        ("frozenset({'a', 'b'})", ["a", "b"]),
        ("deque(['a'], maxlen=5)", ["a"]),
        ("dict_keys(['a', 'b'])", ["a", "b"]),
        ("[np.str_('a'), np.str_('b, c')]", ["a", "b, c"]),
        ("[np.int64(1), np.int64(2)]", ["1", "2"]),
        ("[UUID('1b-4e')]", ["1b-4e"]),
        # NumPy, pandas and PyTorch
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("array(['a',\n       'b'], dtype='<U1')", ["a", "b"]),
        ("['a' 'b c'\n 'd']", ["a", "b c", "d"]),
        ("[ 1 22  3 ]", ["1", "22", "3"]),
        ("Index(['a', 'b'], dtype='object', name='x')", ["a", "b"]),
        ("<StringArray>\n['a', 'b']\nLength: 2, dtype: string", ["a", "b"]),
        ("tensor([1, 2])", ["1", "2"]),
        # Spark, Hive, Presto, Java, Scala
        ("[B01, B02]", ["B01", "B02"]),
        ("[007, 1e5, B2]", ["007", "1e5", "B2"]),
        ("List(a, b)", ["a", "b"]),
        ("WrappedArray(a, b)", ["a", "b"]),
        ("mutable.ArraySeq(a, b)", ["a", "b"]),
        ('new String[]{"a", "b"}', ["a", "b"]),
        # ClickHouse, DuckDB, BigQuery, SQL
        ("['a','b']", ["a", "b"]),
        ("['a, b', c]", ["a, b", "c"]),
        ('["a", "b\\u00e9"]', ["a", "bé"]),
        ("ARRAY['a','b']", ["a", "b"]),
        # R, MATLAB, Julia
        ('c("a","b")', ["a", "b"]),
        ("c(1L, 2L)", ["1", "2"]),
        ('list("a", "b")', ["a", "b"]),
        ("{'a';'b'}", ["a", "b"]),
        ('Any["a", "b"]', ["a", "b"]),
    ],
)
def test_what_other_systems_write_is_read(text, expected):
    assert is_bracketed(text)
    assert elements(text) == expected


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "()", "[ ]", "set()", "array([], dtype=object)", "List()", "c()", "character(0)"],
)
def test_empty_lists_are_empty(text):
    assert is_bracketed(text)
    assert elements(text) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *(("[1, 2", "cut off"), ("(1 2]", "cut off"), ("{B01,B02", "cut off")),
        *(("[['a']]", "neither lists"), ("{{a,b},{c,d}}", "neither lists")),
        *(("List(List(a), List(b))", "neither lists"), ("array([[1, 2]])", "neither lists")),
        *(("[('a', 1)]", "neither lists"), ('[{"id": "a"}]', "neither lists nor objects")),
        *(('{"a": 1}', "object"), ("{'a': 1}", "object"), ("{a=1, b=2}", "a name and its value")),
        *(("{a -> 1, b -> 2}", "a name and its value"), ("{a:1,b:2}", "a name and its value")),
        *(("['a' ... 'z']", "shortened"), ("[a, b, ...]", "shortened")),
        *(("['b' 'c', 'd']", "one element or several"), ("[it's, b]", "one element or several")),
        *(("[1,2;3,4]", "both"), ("[a,,b]", "missing between"), ("[,]", "missing between")),
        *(("[a, ->, b]", "neither a letter nor a digit"), ("[f(), a]", "neither lists")),
    ],
)
def test_what_is_no_list_is_refused_with_the_reason(text, why):
    with pytest.raises(ListError, match=why):
        read_bracketed(text)


@pytest.mark.parametrize(
    ("text", "is_set"),
    [
        *(("{'a', 'b'}", True), ("{1, 2}", True), ("set(['a', 'b'])", True)),
        *(("{B01,B02}", False), ('{"a, b",c}', False), ("{'a'}", False), ("['a', 'b']", False)),
    ],
)
def test_a_set_of_several_has_no_order(text, is_set):
    assert read_bracketed(text).is_set == is_set


@pytest.mark.parametrize(
    ("text", "between", "expected"),
    [
        ("a, b ,c", ",", ["a", "b", "c"]),
        ("a b\tc", None, ["a", "b", "c"]),
        ('"a";"b;c"', ";", ["a", "b;c"]),
        ('"a" ; "b""c"', ";", ["a", 'b"c']),
        ("'a','b'", ",", ["a", "b"]),
        ('"a b" c', None, ["a b", "c"]),
        ("a,b,", ",", ["a", "b"]),
        ("a,,b", ",", ["a", "", "b"]),
        ("Alien (1979), Rock 'n' Roll", ",", ["Alien (1979)", "Rock 'n' Roll"]),
        ("a,None", ",", ["a", None]),
    ],
)
def test_lists_without_brackets_may_have_quotes(text, between, expected):
    assert [element.text for element in read_plain(text, between)] == expected


@pytest.mark.parametrize(
    ("text", "between"),
    [
        *(("Foo(a, b)", ","), ("a, [b]", ","), ("'a, b", ","), ("'a, b'", ","), ("a > b", None)),
        *(("a:2:{i:0;s:3", ";"), ('"a, b', ",")),
    ],
)
def test_pieces_of_something_else_are_no_elements(text, between):
    with pytest.raises(ListError):
        read_plain(text, between)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(st.lists(texts))
def test_json_and_python_come_back_whole(items):
    assert elements(json.dumps(items)) == items
    assert elements(json.dumps(items, ensure_ascii=False, indent=1)) == items
    assert elements(repr(items)) == items


@given(st.lists(texts, min_size=1))
def test_postgres_comes_back_whole(items):
    def quoted(item):
        escaped = item.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    assert elements("{" + ",".join(map(quoted, items)) + "}") == items


@given(st.text(max_size=20), st.sampled_from(["", "[", "{", "(", "array(", "c(", "{'"]))
def test_any_text_is_read_or_refused(text, start):
    text = (start + text).strip()
    with suppress(ListError):
        if is_bracketed(text):
            read_bracketed(text)
        elif text:
            read_plain(text, ",")
