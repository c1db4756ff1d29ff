"""Every importer on broken files: a message that names the file, or a dataset.

`benchmarks/robustness.py --inputs 10000` does the same with more files.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.dataset import Dataset

from .broken_files import check_broken
from .formats import FORMATS, dataset_of
from .odd_tables import check_odd

each_format = pytest.mark.parametrize("source", FORMATS, ids=[source.name for source in FORMATS])


@each_format
def test_what_is_whole_is_imported(tmp_path, source):
    imported = dataset_of(source.import_from(source.write(tmp_path)))
    imported.save(tmp_path / "dataset")
    assert Dataset.load(tmp_path / "dataset").interactions.frame.equals(imported.interactions.frame)
    assert {name.split("/")[-1] for name in imported.sources} == {
        name.split("/")[-1] for name in source.files
    }


@each_format
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_what_is_broken_is_refused_by_name_or_legal_after_all(tmp_path_factory, source, seed):
    check_broken(source, tmp_path_factory.mktemp("broken"), seed)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_what_an_odd_table_holds_is_what_is_imported(tmp_path_factory, seed):
    check_odd(tmp_path_factory.mktemp("odd"), seed)
