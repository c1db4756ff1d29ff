"""Notebooks run from their first cell to their last."""

import json
from pathlib import Path

import matplotlib
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_and_is_kept_without_outputs(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    names = {"__name__": notebook.stem}
    for number, cell in enumerate(json.loads(notebook.read_text())["cells"]):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            text = "".join(cell["source"])
            exec(compile(text, f"{notebook.name}, cell {number}", "exec"), names)
    assert (
        names["again"]
        .recommend_frame(names["users"], k=5)
        .equals(names["shop"].recommend_frame(names["users"], k=5))
    )
    assert len(names["losses"]) > 5
    assert names["table"]["method"].n_unique() == 3


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS] == ["quickstart.ipynb"]
