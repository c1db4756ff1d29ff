"""Configurations: every content is understood, or refused with file and key."""

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.runs.config import kind_named, kinds, read_config, refuse_missing
from sidestep.runs.kinds.popularity import PopularityRun
from sidestep.runs.plain_yaml import read_yaml, write_yaml
from tests.runs.broken_configs import broken_config, strange_setting

VALUE = "kind: value\nbackbone: r\nembeddings: v\ncandidates: "

EXAMPLES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("configs") / "config.yaml"


def read_or_refused(file, settings, *starts):
    """The configuration that was read; None if it was refused in one line that names the place."""
    try:
        return read_config(file, settings)
    except ValueError as error:
        message = str(error)
    assert message.startswith(starts)
    assert len(message.splitlines()) == 1
    assert len(message) < 2000
    return None


@given(st.sampled_from(EXAMPLES), st.integers(0, 2**32))
@settings(max_examples=400)
def test_a_broken_configuration_is_refused_with_its_name_or_is_valid_after_all(file, example, seed):
    file.write_bytes(broken_config(example.read_text(), random.Random(seed)))
    made = read_or_refused(file, (), str(file))
    if made is not None:
        # An accepted configuration holds plain values: writing and reading does not change it.
        write_yaml(file, made.model_dump(mode="json"))
        assert read_config(file) == made


@given(st.sampled_from(EXAMPLES), st.integers(0, 2**32))
@settings(max_examples=200)
def test_a_strange_setting_is_refused_or_valid_and_then_it_holds(file, example, seed):
    setting = strange_setting(example.read_text(), random.Random(seed))
    made = read_or_refused(example, [setting], "--set", str(example))
    if made is not None:
        write_yaml(file, made.model_dump(mode="json"))
        assert read_config(file) == made
        name, _, text = setting.partition("=")
        held, value = made.model_dump(mode="json"), yaml.safe_load(text)
        for key in name.split("."):
            held = held[key]
        # A key that a part does not set has its default.
        assert value.items() <= held.items() if isinstance(value, dict) else held == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: sasrec\nkind: transformer", "line 2: not valid YAML (the key 'kind' stands twice"),
        ("model: &m {dim: 8}\nkind: *m", "line 2: not valid YAML (aliases are not understood"),
        ("kind: sasrec\n7: 8", "line 2: not valid YAML (a key must be text"),
        ("kind: sasrec\ntraining: {learning_rate: .nan}", "line 2: not valid YAML (.nan is no fin"),
        ("kind: sasrec\ntraining: {learning_rate: inf}", "training.learning_rate: inf is out of"),
        ("kind: sasrec\nmodel: {dim: 8000000000}", "model.dim: 8000000000 is out of all proport"),
        (
            "kind: sasrec\nmodel: " + "[" * 50,
            "line 2: not valid YAML (nested deeper than 20 levels",
        ),
        ("kind: sasrec\nmax_history: " + "9" * 5000, "a number of more than 30 digits"),
        (
            "kind: [sasrec]",
            "one of align, bert4rec, caser, cobra, code-sets, code-sets-t5, diffureason, "
            "diffureason-reward, distill, graph, gru4rec, hstu, language-model, lares, "
            "lares-reward, popularity, prefer, process-reward, rearec, recommender, repeats, rpg, "
            "sasrec, stream-rec, "
            "stream-rec-reward, t5, transformer, value, or your own by import path, such as "
            "my_package.my_module:MyRun, got ['sasrec']",
        ),
        ("kind: sasrec\nmax_history: 2024-02-31", "'2024-02-31' is no value"),
        ("kind: sasrec\nmodel: 7\nobjective: {x: 1}", "model: settings by name are wanted here"),
        (
            "kind: align\nbackbone: r\nobjective: {rewards: exact}",
            "a list is wanted here, [..], got",
        ),
        ("kind: align\nbackbone: r\nobjective: {rewards: [exact]}", "settings by name are wanted"),
        ("kind: sasrec\nmax_history: true", "max_history: a number is wanted here, got True"),
        ("kind: sasrec\nmodel: {dropout: no}", "model.dropout: a number is wanted here, got False"),
        (
            f"{VALUE.replace('candidates: ', 'objective: ')}{{weights: [0.3, yes, 1]}}",
            "objective.weights: a number is wanted here, got True",
        ),
        (f"{VALUE}{{search: ved, seed: true}}", "seed: a number is wanted here, got True"),
        ("kind: process-reward", "backbone: Field required"),
        ("kind: process-reward\nbackbone: r\nmax_history: 5", "unknown key 'max_history'"),
        ("kind: value\nbackbone: r", "embeddings: Field required"),
        ("kind: cobra", "embeddings: Field required"),
        ("kind: cobra\nembeddings: v\nmodel: {history: items}", "model.history: "),
        (
            "kind: cobra\nembeddings: v\nobjective: {item_weight: 1}",
            "item_weight belongs to an item head",
        ),
        (
            f"{VALUE}{{search: ved, temperature: 2}}",
            "candidates: unknown setting 'temperature'; there are budget, num_leaves, warm_width",
        ),
        (
            f"{VALUE}{{search: sampling, temprature: 2}}",
            "candidates: unknown setting 'temprature'; perhaps 'temperature' is meant",
        ),
        (
            f"{VALUE}{{search: sampling, top_k: few}}",
            "candidates: top_k: Input should be a valid integer",
        ),
        (
            f"{VALUE}{{search: beam, num_beams: 0}}",
            "candidates: num_beams must be at least 1, got 0",
        ),
        ("kind: !!python/name:os.system x", "line 1: not valid YAML (could not determine"),
        ("kind: sasrec\x00", "not valid YAML (unacceptable character #x0000"),
        ("", "must hold keys and values"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_or_key(tmp_path, text, expected):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml") as caught:
        read_config(file)
    assert expected in str(caught.value)


def test_many_problems_are_counted_beyond_the_first_ones(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("kind: popularity\n" + "".join(f"k{i}: 1\n" for i in range(30)))
    with pytest.raises(ValueError, match="and 25 more"):
        read_config(file)


def test_data_is_not_taken_for_a_configuration(tmp_path):
    file = tmp_path / "events.csv"
    file.write_text("user,item\n" * 200_000)
    with pytest.raises(ValueError, match="is it data"):
        read_yaml(file)


def test_a_path_that_is_too_long_for_the_disk_is_missing(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"kind: graph\nembeddings: {'x' * 5000}\n")
    with pytest.raises(FileNotFoundError, match="embeddings: there is no xxx"):
        refuse_missing(read_config(config), config)


def test_the_kinds_are_read_as_what_they_are():
    found = {type(read_config(example)) for example in EXAMPLES}
    assert found == {kind_named(name) for name in kinds()}


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbfkind: popularity")
    assert read_config(file) == PopularityRun(kind="popularity")


def test_trackers_are_named_in_the_configuration_or_on_the_command_line():
    made = read_config(EXAMPLES[0], ["training.trackers=[tensorboard, mlflow]"])
    assert made.training.trackers == ("tensorboard", "mlflow")
    with pytest.raises(ValueError, match=r"training\.trackers\.0: .*'tensorboard', 'mlflow'"):
        read_config(EXAMPLES[0], ["training.trackers=[tensorbord]"])
