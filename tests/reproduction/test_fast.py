"""Small settings: nothing grows, and every run of the kit stays a valid configuration."""

from sidestep.reproduction.fast import small_catalog, small_run
from sidestep.runs.config import checked_run
from sidestep.runs.recipes import settings_of


def test_large_settings_are_cut_and_small_ones_stay():
    run = checked_run(
        {
            "kind": "transformer",
            "model": {"dim": 8, "num_layers": 4, "num_heads": 4, "history": "items"},
            "training": {"epochs": 12},
            "validation": {"num_users": None, "num_beams": 5},
        },
        "test",
    )
    small = small_run(run)
    assert (small.model.dim, small.model.num_layers, small.model.num_heads) == (8, 1, 2)
    assert (small.training.epochs, small.training.max_seconds) == (1, 5.0)
    assert (small.validation.num_users, small.validation.num_beams) == (20, 5)


def test_a_recipe_searches_with_fewer_candidates_and_prompts():
    run = checked_run({**settings_of("vstar"), "backbone": "b", "embeddings": "v"}, "test")
    small = small_run(run)
    assert small.objective.rollouts.num_leaves == 8
    assert small.objective.num_prompts == 40


def test_a_run_that_learns_nothing_stays_as_it_is():
    run = checked_run({"kind": "popularity"}, "test")
    assert small_run(run) == run


def test_codebooks_fit_any_catalog_and_tokenizers_train_for_an_epoch():
    assert small_catalog({"method": "opq", "codebook-sizes": "256"}) == {"method": "opq"}
    assert small_catalog({"method": "mpq"})["set"] == ["epochs=1", "warmup_epochs=1"]
