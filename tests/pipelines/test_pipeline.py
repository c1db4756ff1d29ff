"""Pipelines as they are read from a file, before any step runs."""

import pytest

from sidestep.cli.pipeline_commands import find_command
from sidestep.pipelines.pipeline import read_pipeline
from sidestep.runs.plain_yaml import write_yaml


@pytest.fixture
def config(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\n")
    return {
        "import": {"path": "log.csv", "user": "user", "item": "item"},
        "embed": {"text": True},
        "tokenize": {},
        "evaluate": {"search": "beam", "beams": 7},
    }


def steps(folder, config, **train):
    """The arguments of each step by its name, and of the step that recommends."""
    write_yaml(folder / "sidestep.yaml", {**config, "train": train})
    pipeline = read_pipeline(folder, find=find_command)
    return {step.name: list(step.arguments) for step in (*pipeline.makers, pipeline.sample)}


def test_a_sasrec_that_reads_codes_gets_the_catalog_and_searches_nothing(tmp_path, config):
    coded = {"kind": "sasrec", "model": {"code_embedding": True}}
    found = steps(tmp_path, config, coded=coded, plain={"kind": "sasrec"})
    assert "tokenize" in found
    assert "--catalog" in found["train coded"]
    assert "--catalog" not in found["train plain"]
    assert "--search" not in found["evaluate coded"]
    assert "tokenize" not in steps(tmp_path, config, plain={"kind": "sasrec"})


def test_the_run_that_searches_recommends(tmp_path, config):
    coded = {"kind": "sasrec", "model": {"code_embedding": True}}
    found = steps(tmp_path, config, coded=coded, transformer={"kind": "transformer"})
    assert "--search" in found["evaluate transformer"]
    assert found["recommend"][0].endswith("transformer")
