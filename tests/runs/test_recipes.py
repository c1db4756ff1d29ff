"""Recipes: every recipe is a valid configuration, with the settings that its name promises."""

from typing import get_args

import pytest

from sidestep.evaluation.results import check_method
from sidestep.runs.config import checked_run
from sidestep.runs.kinds.align import AlignRun
from sidestep.runs.kinds.distill import DistillRun
from sidestep.runs.kinds.prefer import PreferRun
from sidestep.runs.recipes import (
    AlignRecipe,
    PreferRecipe,
    align_recipe,
    prefer_recipe,
    settings_of,
)
from sidestep.training.objective_config import TreeDistillationConfig


def aligned(name) -> AlignRun:
    run = checked_run({**align_recipe(name), "backbone": "run"}, name)
    assert isinstance(run, AlignRun)
    return run


REWARDED = tuple(name for name in get_args(AlignRecipe) if name != "tree")
"""Recipes that learn from rewards, and their control."""


@pytest.mark.parametrize("name", REWARDED)
def test_every_recipe_is_a_configuration(name):
    rate = aligned(name).training.learning_rate
    assert rate == (5e-4 if "optimum" in name else 1e-4)  # few and short steps are the default


@pytest.mark.parametrize("name", ["grpo-beam", "optimum", "sdpo"])
@pytest.mark.parametrize("network", ["hugging-face", "language-model"])
def test_a_language_model_learns_at_a_tenth_of_the_rate(name, network):
    usual = settings_of(name, network="semantic-id-transformer")
    assert usual == settings_of(name)
    gentle = settings_of(name, network=network)
    rate = usual["training"]["learning_rate"]
    assert gentle["training"] == {**usual["training"], "learning_rate": rate / 10}
    assert {**gentle, "training": None} == {**usual, "training": None}


@pytest.mark.parametrize("name", get_args(PreferRecipe))
def test_every_preference_recipe_is_a_configuration(name):
    run = checked_run({**prefer_recipe(name), "backbone": "run"}, name)
    assert isinstance(run, PreferRun)
    assert run.objective.num_rejected == {"sdpo": 8, "dpo": 1}[name]


def test_the_tree_recipe_distils_the_head_into_the_codes():
    run = checked_run({**align_recipe("tree"), "backbone": "run"}, "tree")
    assert isinstance(run, DistillRun)
    assert run.objective == TreeDistillationConfig(learned_nodes="rows", rows_rate_factor=20.0)
    assert run.objective.head_weight == 1.0  # which teaches what items choose
    assert run.last_code_head == "items"
    assert run.rows_per_code == 4
    assert run.training.learning_rate == 5e-4


def test_names_are_those_of_results():
    for name in (*get_args(AlignRecipe), *get_args(PreferRecipe)):
        assert check_method(name) == name


def test_what_is_raised_and_what_searches():
    told = {
        name: (
            aligned(name).objective.rollouts.search,
            aligned(name).objective.group_weight,
            aligned(name).objective.sibling_weight,
            aligned(name).objective.value is not None,
        )
        for name in REWARDED
        if name != "sft-continued"
    }
    assert told == {
        "vstar": ("ved", 1.0, 1.0, True),
        "grpo-beam": ("beam", 1.0, None, False),
        "grpo-ved": ("ved", 1.0, None, True),
        "sibling-ved": ("ved", None, 1.0, True),
        "grpo-open": ("beam", 1.0, None, False),
        "optimum": ("beam", 1.0, None, False),
        "vstar-optimum": ("ved", 1.0, None, False),
        "reg4rec": ("sampling", 1.0, None, False),
    }
    assert not aligned("sft-continued").objective.learns_from_rewards


def test_our_update_goes_by_the_settings_that_were_chosen():
    told = {name: aligned(name).objective for name in ("optimum", "vstar-optimum")}
    assert {name: own.optimum_temperature for name, own in told.items()} == {
        "optimum": 0.06,
        "vstar-optimum": 0.12,
    }
    beam, ved = (told[name].rollouts.policy() for name in told)
    assert beam.num_beams == ved.num_leaves == 50
    assert (ved.warm_width, ved.paths_per_round, ved.tokens(3)) == (24, 32, 145)


def test_a_recipe_can_be_changed_without_changing_the_next():
    first = align_recipe("vstar")
    first["objective"]["sibling_weight"] = 9.0
    first["objective"]["rollouts"]["num_leaves"] = 3
    first["objective"]["value"]["gamma"] = 0.5
    first["training"]["epochs"] = 9
    assert align_recipe("vstar")["objective"]["sibling_weight"] == 1.0
    assert align_recipe("vstar")["training"]["epochs"] == 1
    assert align_recipe("vstar")["objective"]["value"] == {}
    assert align_recipe("grpo-ved")["objective"]["rollouts"]["num_leaves"] == 16
