import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.data.names import quoted_name, split_names


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ("a, b,,c ,", ["a", "b", "c"]),
        ('"B,1",C3', ["B,1", "C3"]),
        ('" B 2 " , D 4', [" B 2 ", "D 4"]),
        ('"5"" pipe"', ['5" pipe']),
        ('5" pipe,x', ['5" pipe', "x"]),
        (["a,b", "c"], ["a", "b", "c"]),
        ([], []),
        ("", []),
    ],
)
def test_names_stand_between_commas_as_in_csv_or_in_several_options(values, names):
    assert split_names(values) == names


def test_a_value_that_is_a_known_name_is_one_name():
    known = {"B,1", " B 2 ", "C3", '"x'}.__contains__
    assert split_names(["B,1", " B 2 ", "C3", '"x'], known) == ["B,1", " B 2 ", "C3", '"x']
    assert split_names("B,2,C3", known) == ["B", "2", "C3"]
    both = {"1,2", "1", "2"}.__contains__
    with pytest.raises(ValueError, match=r"'1,2' is a name, and so is each"):
        split_names("1,2", both)
    assert split_names('"1,2"', both) == ["1,2"]


@pytest.mark.parametrize("value", ['"a', '"a"b', 'x,"a,b'])
def test_a_quote_that_does_not_end_is_refused(value):
    with pytest.raises(ValueError, match="a double quote does not end"):
        split_names(value)


@given(st.lists(st.text(min_size=1)))
def test_quoted_names_are_read_back(names):
    assert split_names(",".join(map(quoted_name, names))) == names
