"""Search spaces: what users write, what kinds declare, and what is drawn."""

import re
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.runs.config import checked_run, kind_named, kinds, read_config
from sidestep.runs.run_config import LearnedRun
from sidestep.runs.search_space import (
    Choice,
    NumberRange,
    WholeRange,
    read_space,
    read_values,
    space_of,
    start_of,
    tunable,
    with_drawn,
)

CONFIGS = Path(__file__).parents[2] / "configs"

SASREC = tunable(checked_run({"kind": "sasrec", "model": {"dim": 64, "dropout": 0.3}}, "test"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("log:1e-4..1e-2", NumberRange(low=1e-4, high=1e-2, is_log=True)),
        ("0.1..0.5", NumberRange(low=0.1, high=0.5, is_log=False)),
        (".1...5", NumberRange(low=0.1, high=0.5, is_log=False)),
        (" -1.5..2 ", NumberRange(low=-1.5, high=2.0, is_log=False)),
        ("1..4", WholeRange(low=1, high=4, is_log=False)),
        ("log:16..256", WholeRange(low=16, high=256, is_log=True)),
        ("64,128,256", Choice(values=(64, 128, 256))),
        ("1e-4,1e-3", Choice(values=(1e-4, 1e-3))),
        ("true,false", Choice(values=(True, False))),
        ("null, 0.1", Choice(values=(None, 0.1))),
        ("codes,items", Choice(values=("codes", "items"))),
        ("[0.9, 0.98],[0.9, 0.999]", Choice(values=([0.9, 0.98], [0.9, 0.999]))),
    ],
)
def test_each_form_is_read_and_written_back(text, expected):
    values = read_values(text, "test")
    assert values == expected
    assert read_values(str(values), "test") == values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.5..0.1", "0.5 is not below 0.1; write the smaller first"),
        ("log:0..1", "a range with log: begins above 0; raise 0, or leave log: out"),
        ("0.1..many", "is no range; write log:1e-4..1e-2 or 0.1..0.5 for a range of numbers"),
        ("log:0.1", "is no range"),
        ("1e400..1e500", "must be finite numbers"),
        ("64", "one value leaves nothing to choose"),
        ("[64, 128]", "write the choices without brackets"),
        ("64,64", "a value stands twice"),
        ("64,{", "not valid YAML"),
    ],
)
def test_what_is_no_values_is_refused(text, words):
    with pytest.raises(ValueError, match="test") as error:
        read_values(text, "test")
    assert words in str(error.value)


@given(
    st.floats(1e-6, 1e3), st.floats(1.01, 1e3), st.booleans(), st.integers(0, 10_000), st.booleans()
)
def test_what_is_drawn_is_in_the_range_and_drawn_again(low, factor, is_log, seed, is_whole):
    high = low * factor
    values = (
        WholeRange(low=int(low) + 1, high=int(high) + 2, is_log=is_log)
        if is_whole
        else NumberRange(low=low, high=high, is_log=is_log)
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn = values.drawn(study.ask(), "x")
    assert values.low <= drawn <= values.high
    if not is_whole and low < drawn < high:
        assert drawn == float(f"{drawn:.3g}")
    answer = values.as_drawn(drawn)
    assert answer is not None
    assert values.drawn(optuna.trial.FixedTrial({"x": answer}), "x") == drawn


@pytest.mark.parametrize("value", [True, None, 0.12345, 0.05, "0.2"])
def test_what_no_trial_can_draw_has_no_answer(value):
    assert NumberRange(low=0.1, high=0.5, is_log=False).as_drawn(value) is None


def test_a_choice_tells_true_from_one_and_lists_from_texts():
    values = Choice(values=(True, 1, None, [1, 2]))
    answers = [values.as_drawn(value) for value in (True, 1, None, (1, 2), "true")]
    assert answers == ["true", "1", "null", "[1, 2]", None]


@pytest.mark.parametrize(
    "name", [kind for kind in kinds() if issubclass(kind_named(kind), LearnedRun)]
)
def test_every_kind_that_learns_declares_a_space_that_its_example_takes(name):
    files = [path for path in CONFIGS.glob("*.yaml") if f"kind: {name}\n" in path.read_text()]
    assert files
    for file in files:
        config = tunable(read_config(file))
        space = space_of(config)
        assert "training.learning_rate" in space
        answers, outside = start_of(config, space)
        assert not outside, f"{file.name}: outside of the space: {outside}"
        drawn = {
            setting: values.drawn(optuna.trial.FixedTrial(answers), setting)
            for setting, values in space.items()
        }
        assert with_drawn(config, drawn, "test") == config


@pytest.mark.parametrize("name", ["popularity", "repeats"])
def test_a_kind_without_settings_to_choose_is_refused(name):
    with pytest.raises(ValueError, match=f"a run of kind {name} has no settings for validation"):
        tunable(checked_run({"kind": name}, "test"))


def test_a_users_values_replace_those_of_the_kind_and_stand_beside_them():
    space = space_of(SASREC, {"model.dim": "8,16", "model.num_layers": "1..2"}, fixed=["objective"])
    assert str(space["model.dim"]) == "8,16"
    assert str(space["model.num_layers"]) == "1..2"
    assert set(space) == {
        *("training.learning_rate", "model.dropout", "model.repeat_bias"),
        *("model.dim", "model.num_layers"),
    }


def test_values_may_be_a_list_of_python():
    assert space_of(SASREC, {"model.dim": [8, 16]}, only=True) == {
        "model.dim": Choice(values=(8, 16))
    }


@pytest.mark.parametrize(
    ("given", "others", "words"),
    [
        ({"model.dropot": "0.1..0.5"}, {}, "unknown key 'model.dropot'; did you mean 'dropout'?"),
        ({"model.dropout": "0.1..1.5"}, {}, "--space model.dropout=0.1..1.5: model.dropout: "),
        ({"model.dim": "8,9"}, {}, "dim 9 must be a multiple of num_heads"),
        ({"model.dim.x": "8,9"}, {}, "'dim' holds a value and no further keys"),
        ({"model.dim": "8,16"}, {"fixed": ["model"]}, "--set fixes model.dim"),
        ({"validation.num_users": "8,16"}, {}, "validation.num_users cannot be tuned"),
        ({"kind": "sasrec,transformer"}, {}, "kind cannot be tuned"),
        ({}, {"only": True}, "--only: no --space names a setting"),
        ({}, {"fixed": ["model", "training", "objective"]}, "--set fixes every setting"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(given, others, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        space_of(SASREC, given, **others)


class Spaceless(LearnedRun):
    """A run of a user's own that declares no space."""

    def prepare(self, given):
        raise NotImplementedError


def test_a_kind_without_a_space_asks_for_one():
    own = Spaceless(kind=f"{Spaceless.__module__}:Spaceless")
    with pytest.raises(ValueError, match="declares no search space; name the settings to try"):
        space_of(own)


def test_arguments_are_read_by_name():
    assert read_space(["a.b=1..2", "c = x,y"]) == {"a.b": "1..2", "c": " x,y"}
    for argument in ("a.b", "a..b=1..2", "=1..2", "a="):
        with pytest.raises(ValueError, match="write it as key=values"):
            read_space([argument])
    with pytest.raises(ValueError, match="a stands twice"):
        read_space(["a=1..2", "a=1..3"])


def test_settings_that_files_leave_out_are_found_at_the_start():
    answers, outside = start_of(SASREC, space_of(SASREC))
    assert answers["model.repeat_bias"] == "false"
    assert outside == []
    _, outside = start_of(SASREC, space_of(SASREC, {"model.dropout": "0.5..0.6"}))
    assert "model.dropout" in outside
