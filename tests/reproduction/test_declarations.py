"""Declarations of the kit: tables hold together, and their runs are those of configs/."""

from pathlib import Path
from typing import Any

import pytest

from sidestep.reproduction.declarations import Table, read_kit, read_table, table_names
from sidestep.runs.config import checked_run
from sidestep.runs.plain_yaml import read_yaml

CONFIGS = Path(__file__).parents[2] / "configs"


def table(**changed: Any) -> Table:
    """A table of two methods on one data set."""
    content = {
        "title": "A table",
        "about": "A line.",
        "source": "A paper",
        "metrics": ["HR@10"],
        "data": {"beauty": "Beauty"},
        "rows": [
            {"method": "A", "run": "sasrec", "published": {"beauty": [0.1]}},
            {"method": "B", "published": {"beauty": [0.2]}},
        ],
    }
    return Table.model_validate({**content, **changed})


@pytest.mark.parametrize("name", table_names())
def test_a_table_names_what_is_declared(name):
    kit, found = read_kit(), read_table(name)
    assert {*found.data} <= {*kit.data}
    assert {row.run for row in found.rows if row.run is not None} <= {*kit.runs}


def test_runs_name_what_is_declared():
    kit = read_kit()
    for run in kit.runs.values():
        assert run.catalog is None or run.catalog in kit.catalogs
        assert {*run.per_data} <= {*kit.data}
        assert {run.backbone, run.extends} - {None} <= {*kit.runs}


@pytest.mark.parametrize(
    ("run", "file"),
    [
        *((name, f"scientific-{name}") for name in ("sasrec", "sasrec-tuned", "gru4rec", "caser")),
        *((name, f"scientific-{name}") for name in ("bert4rec", "hstu", "esasrec", "gsasrec")),
        *((name, f"scientific-{name}") for name in ("rearec", "rearec-ensemble", "rpg")),
        *((name, f"scientific-{name}") for name in ("lares", "lares-reward")),
        *((name, f"scientific-{name}") for name in ("diffureason", "diffureason-reward")),
        *((name, name) for name in ("tiger", "cobra", "stream-rec", "stream-rec-reward")),
    ],
)
def test_the_runs_are_those_of_the_configs(run, file):
    declared = read_kit().run(run)
    content = {**declared.config}
    for key, value in declared.settings.items():
        part, _, name = key.partition(".")
        content[part] = {**content[part], name: value}
    given = read_yaml(CONFIGS / f"{file}.yaml")
    if declared.backbone is None:
        model = {
            key: 20 if value == "$history" else value for key, value in content["model"].items()
        }
        content |= {"max_history": 20, "model": model}
    else:
        content["backbone"] = f"runs/scientific/{declared.backbone}-0"
    if "embeddings" in content:
        content["embeddings"] = given["embeddings"]
    assert checked_run(content, run) == checked_run(given, file)


def test_numbers_are_those_of_the_papers():
    [promise] = [row for row in read_table("promise-1").rows if row.method == "PROMISE"]
    assert promise.published["sports"]["kept"] == (0.0450, 0.0296, 0.0689, 0.0373)
    [reg4rec] = [row for row in read_table("reg4rec-2").rows if row.method == "REG4Rec"]
    assert reg4rec.published["toys"]["kept"] == (0.0676, 0.0493, 0.0862, 0.0574)
    last = read_table("vstar-1").rows[10]
    assert last.method == "V-STAR"
    assert last.published["scientific"]["kept"] == (0.1361, 0.1641, 0.1128, 0.1217)


def test_an_extending_run_lays_its_settings_over():
    kit = read_kit()
    codes = kit.run("sasrec-codes")
    assert codes.catalog == "product"
    assert codes.config["kind"] == "sasrec"
    assert codes.settings["model.dropout"] == 0.2
    assert codes.settings["model.code_embedding"] is True


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": [{"method": "A"}, {"method": "A"}]}, "two rows have the same method"),
        ({"reference": "C"}, "reference 'C' is no row"),
        ({"same_data": False}, "set reference"),
        ({"rows": [{"method": "A", "data": ["toys"]}]}, "has no data"),
        ({"metrics": ["HR@5", "HR@10"]}, "1 numbers for 2 metrics"),
    ],
)
def test_a_table_that_does_not_hold_together_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        table(**changed)


def test_a_mere_list_of_numbers_has_seen_items_kept():
    assert table().rows[0].published == {"beauty": {"kept": (0.1,)}}


def test_an_unknown_table_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no table 'promise-9'; there are ours-main, promise-1"):
        read_table("promise-9")
