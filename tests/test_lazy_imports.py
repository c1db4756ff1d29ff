import importlib
import sys
from contextlib import contextmanager, nullcontext

import pytest

from sidestep.lazy_imports import import_within, imported_when_used

HEAVY = "lazy_example.inner.heavy"


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """Packages to import from, with one module in the inner package; removed afterwards."""
    inner = tmp_path / "lazy_example" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner):
        (folder / "__init__.py").touch()
    (inner / "heavy.py").write_text("NUMBER = 3\n\ndef twice(number):\n    return 2 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "lazy_example"]:
        del sys.modules[name]


def test_a_module_is_imported_when_something_of_it_is_used():
    with imported_when_used():
        from lazy_example.inner import heavy
    assert HEAVY not in sys.modules
    assert heavy.twice(heavy.NUMBER) == 6
    assert HEAVY in sys.modules


def test_who_looks_at_a_module_without_using_it_does_not_import_it():
    with imported_when_used():
        from lazy_example.inner import heavy
    assert not hasattr(heavy, "__wrapped__")
    assert repr(heavy)
    assert HEAVY not in sys.modules


def test_the_module_itself_can_be_imported_meanwhile_and_is_the_one_that_is_used():
    with imported_when_used():
        from lazy_example.inner import heavy
    itself = importlib.import_module(HEAVY)
    itself.NUMBER = 4
    assert heavy.NUMBER == 4
    with imported_when_used():
        from lazy_example.inner import heavy as again
    assert again is itself


def test_an_import_happens_within_what_was_asked_for():
    entered = []

    @contextmanager
    def around():
        entered.append(HEAVY in sys.modules)
        yield
        entered.append(HEAVY in sys.modules)

    with imported_when_used():
        from lazy_example.inner import heavy
    import_within(around)
    try:
        assert entered == []
        assert heavy.NUMBER == 3
        assert entered == [False, True]
    finally:
        import_within(nullcontext)


def test_a_module_that_does_not_exist_is_an_error_at_once():
    with pytest.raises(ImportError, match="nothing"), imported_when_used():
        from lazy_example.inner import nothing  # noqa: F401


def test_a_name_within_a_module_cannot_be_put_off():
    with pytest.raises(ImportError, match="as a whole"), imported_when_used():
        from lazy_example.inner.heavy import twice
    from lazy_example.inner.heavy import twice

    assert twice(1) == 2
