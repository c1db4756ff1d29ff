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
    with pytest.raises(ValueError, match=r"recommend.run: there is no 'other' under train, attach"):
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
        ({"both": {"run": "network", "ranker": "graph"}}, "no 'network' under train or align"),
        ({"both": {"run": "sasrec", "ranker": "graphs"}}, "attach.both.ranker: there is no"),
        ({"both": {"run": "sasrec", "ranker": "both"}}, "attach.both.ranker: there is no"),
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


TOGETHER = {"together": {"run": "transformer", "ranker": "graph"}}


def test_a_recipe_improves_a_run_after_all_that_it_needs(tmp_path, config):
    """The order in the file does not matter; each section may start from runs of the other."""
    attach = {"best": {"run": "taught", "ranker": "graph"}, **TOGETHER}
    align = {"taught": {"run": "together", "recipe": "tree", "training": {"epochs": 2}}}
    align["taught"]["objective"] = {"learned_weights": "rows"}
    pipeline = read(tmp_path, {**config, "attach": attach, "align": align}, **TRAINED)
    by_name = {step.name: step for step in pipeline.makers}
    names = [*by_name]
    in_order = ["attach together", "train taught", "attach best"]
    assert sorted(in_order, key=names.index) == in_order
    assert {*by_name["train taught"].made_from["after"]} >= {"attach together"}
    taught = by_name["train taught"].training.run
    assert (taught.kind, taught.backbone) == ("distill", "together")
    assert taught.training.epochs == 2
    assert taught.training.learning_rate == 5e-4, "the recipe's other settings stay"
    assert taught.rows_per_code == 4
    assert taught.objective.learned_weights == "rows"
    assert taught.objective.rows_rate_factor == 20
    assert {*pipeline.samples} == {*TRAINED, "together", "taught", "best"}


def test_runs_that_would_have_one_name_in_results_get_their_own(tmp_path, config):
    align = {"taught": {"run": "transformer", "recipe": "tree"}}
    del config["evaluate"]["search"]
    attach = {**TOGETHER, "best": {"run": "taught", "ranker": "graph"}}
    found = steps(tmp_path, {**config, "attach": attach, "align": align}, **TRAINED)

    def method(name):
        given = found[f"evaluate {name}"]
        return given[given.index("--method") + 1] if "--method" in given else None

    assert method("taught") == "tree-taught"
    assert method("best") == "tree-best"
    for name in ("transformer", "sasrec", "together"):
        assert method(name) is None, "what was measured before keeps its name"


def test_other_runs_teach_and_the_control_knows_the_first_objective(tmp_path, config):
    second = {"kind": "transformer", "objective": {"item_weight": 0.5}}
    align = {
        "taught": {"run": "second", "recipe": "tree", "teachers": ["transformer"]},
        "control": {"run": "taught", "recipe": "sft-continued"},
    }
    found = read(tmp_path, {**config, "align": align}, **TRAINED, second=second)
    runs = {step.name: step.training.run for step in found.makers if step.training}
    assert runs["train taught"].teachers == ("transformer",)
    assert runs["train control"].objective.likelihood.item_weight == 0.5


def test_a_change_of_a_teacher_is_a_change_of_its_student(tmp_path, config):
    align = {"taught": {"run": "transformer", "recipe": "tree", "teachers": ["second"]}}

    def digest(dim):
        second = {"kind": "transformer", "model": {"dim": dim}}
        found = read(tmp_path, {**config, "align": align}, **TRAINED, second=second)
        return {step.name: step.digest for step in found.makers}["train taught"]

    assert digest(64) == digest(64) != digest(128)


@pytest.mark.parametrize(
    ("align", "message"),
    [
        ({"new": {"run": "network", "recipe": "tree"}}, "align.new.run: there is no 'network'"),
        ({"new": {"run": "transformer", "recipe": "trees"}}, "align.new.recipe: "),
        (
            {"new": {"run": "transformer", "recipe": "tree", "teachers": ["tutor"]}},
            "align.new.teachers[0]: there is no 'tutor' under train or attach or align",
        ),
        (
            {"new": {"run": "transformer", "recipe": "tree", "few_itmes": 3}},
            "align.new: unknown key 'few_itmes'; did you mean 'few_items'?",
        ),
        (
            {"one": {"run": "two", "recipe": "tree"}, "two": {"run": "one", "recipe": "tree"}},
            "one and two are made of each other",
        ),
        ({"graph": {"run": "transformer", "recipe": "tree"}}, "'graph' is a run of train"),
        (
            {"new": {"run": "transformer", "recipe": "tree", "backbone": "sasrec"}},
            "run and recipe decide backbone; leave backbone out",
        ),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_before_the_work(
    tmp_path, config, align, message
):
    with pytest.raises(ValueError, match=re.escape(message)):
        steps(tmp_path, {**config, "align": align}, **TRAINED)
