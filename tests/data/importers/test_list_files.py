"""Lists and rows as many systems write them are read as they were meant.

`benchmarks/robustness.py --inputs 10000` does the same with more files.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .list_files import LIST_CHECKS


@pytest.mark.parametrize("name", LIST_CHECKS)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_what_was_written_is_read_or_refused_with_its_line(tmp_path_factory, name, seed):
    LIST_CHECKS[name](tmp_path_factory.mktemp("lists"), seed)
