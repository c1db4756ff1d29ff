"""Sidestep never unpickles: a file from a stranger may be wrong, but cannot run code."""

import ast
import pickle
from pathlib import Path

import numpy as np

from sidestep.bundle.folder import load, save_bundle
from sidestep.catalog.catalog import Catalog

SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))
UNPICKLERS = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}


def calls(path):
    """Calls such as `torch.load(...)`: owner, name and keyword arguments."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            words = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            yield node.func.value.id, node.func.attr, words


def unpickles(path):
    """Tells whether a source file makes such a call."""
    return any(
        (owner in UNPICKLERS and name in {"load", "loads", "Unpickler", "open"})
        or (owner == "torch" and name == "load" and words.get("weights_only") is not True)
        or (owner == "np" and name == "load" and words.get("allow_pickle") is not False)
        for owner, name, words in calls(path)
    )


def test_no_source_file_unpickles():
    assert SOURCES
    assert not [path.name for path in SOURCES if unpickles(path)]


def test_what_would_unpickle_is_noticed(tmp_path):
    for line in ("torch.load(path)", "np.load(path)", "pickle.loads(data)"):
        (tmp_path / "source.py").write_text(line)
        assert unpickles(tmp_path / "source.py"), line


def test_loading_a_bundle_unpickles_nothing(tmp_path, monkeypatch):
    catalog = Catalog.build(["a", "b"], np.array([[0], [1]]), (2,), popularity=np.array([2, 1]))
    save_bundle(
        tmp_path / "bundle",
        network=None,
        counts=np.array([2, 1]),
        catalog=catalog,
        max_history=1,
        seed=0,
    )

    def refuse(*arguments, **settings):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert load(tmp_path / "bundle").recommend([["a"]])[0].item_ids == ["a", "b"]
