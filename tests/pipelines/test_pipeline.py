"""Pipelines as they are read from a file, before any step runs."""

import re

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
    """The arguments of each step by its name."""
    return {step.name: list(step.arguments) for step in read(folder, config, **train).makers}


def read(folder, config, **train):
    """The pipeline of a file with these runs."""
    write_yaml(folder / "sidestep.yaml", {**config, "train": train})
    return read_pipeline(folder, find=find_command)


def test_a_sasrec_that_reads_codes_gets_the_catalog_and_searches_nothing(tmp_path, config):
    coded = {"kind": "sasrec", "model": {"code_embedding": True}}
    found = steps(tmp_path, config, coded=coded, plain={"kind": "sasrec"})
    assert "tokenize" in found
    assert "--catalog" in found["train coded"]
    assert "--catalog" not in found["train plain"]
    assert "--search" not in found["evaluate coded"]
    assert "tokenize" not in steps(tmp_path, config, plain={"kind": "sasrec"})


def test_the_run_that_searches_recommends_where_the_test_judges(tmp_path, config):
    coded = {"kind": "sasrec", "model": {"code_embedding": True}}
    config["evaluate"]["split"] = "test"
    found = read(tmp_path, config, coded=coded, transformer={"kind": "transformer"})
    [evaluated] = [step for step in found.makers if step.name == "evaluate transformer"]
    assert "--search" in evaluated.arguments
    assert found.answering == "transformer"
    attach = {"attach": {"together": {"run": "transformer", "ranker": "graph"}}}
    assert read(tmp_path, {**config, **attach}, **TRAINED).answering == "together"


def test_validation_chooses_the_run_that_recommends_unless_the_file_names_it(tmp_path, config):
    assert read(tmp_path, config, **TRAINED).answering is None
    named = {**config, "recommend": {"run": "graph"}}
    found = read(tmp_path, named, **TRAINED)
    assert found.answering == "graph"
    assert "run" not in found.samples["graph"].arguments, "it is no option of the command"
    with pytest.raises(ValueError, match=r"there are users, run, .*Did you mean 'users'\?"):
        read(tmp_path, {**config, "recommend": {"usres": 3}}, **TRAINED)
    with pytest.raises(ValueError, match=r"recommend.run: there is no 'other' under train or"):
        read(tmp_path, {**config, "recommend": {"run": "other"}}, **TRAINED)


def test_a_graph_that_compares_by_the_vectors_of_the_pipeline_is_fitted_after_them(
    tmp_path, config
):
    graph = {"kind": "graph", "embeddings": "vectors.npy"}
    found = [*steps(tmp_path, config, graph=graph)]
    assert found.index("embed") < found.index("train graph")
    assert "tokenize" not in found, "no run reads codes"
    assert "embed" not in steps(tmp_path, config, graph={"kind": "graph"})
    other = {"kind": "graph", "embeddings": "elsewhere/vectors.npy"}
    assert "embed" not in steps(tmp_path, config, graph=other)


def test_new_vectors_fit_the_graph_again(tmp_path, config):
    write_yaml(
        tmp_path / "sidestep.yaml",
        {**config, "train": {"graph": {"kind": "graph", "embeddings": "vectors.npy"}}},
    )
    read = [read_pipeline(tmp_path, find=find_command).makers]
    write_yaml(
        tmp_path / "sidestep.yaml",
        {
            **config,
            "embed": {"collaborative": True},
            "train": {"graph": {"kind": "graph", "embeddings": "vectors.npy"}},
        },
    )
    read.append(read_pipeline(tmp_path, find=find_command).makers)
    digests = [{step.name: step.digest for step in makers} for makers in read]
    assert digests[0]["train graph"] != digests[1]["train graph"]


def test_vectors_of_a_pipeline_with_published_ids_are_refused(tmp_path, config):
    (tmp_path / "ids.json").write_text("{}")
    published = {**config, "tokenize": {"published": "ids.json"}}
    with pytest.raises(ValueError, match=r"graph\.embeddings: the pipeline makes no vectors"):
        steps(tmp_path, published, graph={"kind": "graph", "embeddings": "vectors.npy"})


TRAINED = {
    "graph": {"kind": "graph"},
    "sasrec": {"kind": "sasrec"},
    "transformer": {"kind": "transformer"},
}


def test_a_run_with_a_ranker_beside_it_comes_after_both(tmp_path, config):
    attach = {"together": {"run": "transformer", "ranker": "graph", "weight": 60}}
    found = steps(tmp_path, {**config, "attach": attach}, **TRAINED)
    names = [*found]
    made = names.index("attach together")
    assert max(names.index("train transformer"), names.index("train graph")) < made
    assert made < names.index("evaluate together")
    assert found["attach together"][-2:] == ["--weight", "60"]
    assert "--method" not in found["evaluate together"], "the ranker is a part of the method"


def test_two_runs_with_like_rankers_get_methods_of_their_own(tmp_path, config):
    attach = {
        name: {"run": "transformer", "ranker": "graph", "weight": weight}
        for name, weight in (("light", 40), ("heavy", 200))
    }
    found = steps(tmp_path, {**config, "attach": attach}, **TRAINED)
    for name in attach:
        given = found[f"evaluate {name}"]
        assert given[given.index("--method") + 1] == f"beam-{name}"


@pytest.mark.parametrize(
    ("attach", "message"),
    [
        ({"both": {"run": "network", "ranker": "graph"}}, "no 'network' under train; there are"),
        ({"both": {"run": "sasrec", "ranker": "graphs"}}, "attach.both.ranker: there is no"),
        ({"sasrec": {"run": "sasrec", "ranker": "graph"}}, "'sasrec' is a run of train"),
        ({"catalog": {"run": "sasrec", "ranker": "graph"}}, "'catalog' is no name for a run"),
        ({"both": {"run": "sasrec"}}, "attach.both.ranker"),
        ({"both": {"run": "sasrec", "ranker": "graph", "heavy": 1}}, "there is no 'heavy'"),
    ],
)
def test_an_attachment_that_cannot_be_made_is_refused_before_the_work(
    tmp_path, config, attach, message
):
    with pytest.raises(ValueError, match=re.escape(message)):
        steps(tmp_path, {**config, "attach": attach}, **TRAINED)
