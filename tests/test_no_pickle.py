"""Nothing is ever unpickled: a file from a stranger can be wrong, but runs no code."""

import ast
import pickle
from pathlib import Path

import numpy as np

from sidestep.bundle.folder import load, save_bundle
from sidestep.catalog.catalog import Catalog

SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))
UNPICKLERS = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}


def calls(tree, owner, names):
    """Calls such as `torch.load(...)`, with their keyword arguments."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in names
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == owner
        ):
            yield {word.arg: getattr(word.value, "value", None) for word in node.keywords}


def unpickles(path):
    """Whether a source file asks for any of that."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (
        any(
            list(calls(tree, module, {"load", "loads", "Unpickler", "open"}))
            for module in UNPICKLERS
        )
        or any(words.get("weights_only") is not True for words in calls(tree, "torch", {"load"}))
        or any(words.get("allow_pickle") is not False for words in calls(tree, "np", {"load"}))
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
