"""The demo: an invented shop from its texts to a page."""

import json

from sidestep.runs.demo import QUICK, run_demo
from tests.cli.commands import run


def test_the_demo_ends_with_a_table_and_a_report(tmp_path):
    outcome = run_demo(QUICK, tmp_path)
    assert outcome is not None
    means = {method.label: method.estimates["NDCG@10"].mean for method in outcome.methods}
    searched = {f"transformer ({name})" for name in ("beam", "item-beam", "item-head")}
    assert set(means) == {"popularity", "graph", "sasrec", "best possible", *searched}
    assert max(means, key=lambda label: means[label]) == "best possible"
    page = outcome.report.read_text()
    assert "best possible" in page
    assert "<svg" in page
    # Its bundles carry the tokenizer and the embedding along, so that items can be appended.
    (tmp_path / "new.csv").write_text("item_id,title,description,brand,categories\nn,tent,a,b,c\n")
    new = ("--items", tmp_path / "new.csv", "--out", tmp_path / "grown", "--json")
    assert json.loads(run("append", tmp_path / "transformer", *new))["appended"] == 1
