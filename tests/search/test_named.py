"""Searches by name: settings become settings of the policy, or are refused by their names."""

import pytest

from sidestep.search.beam import BeamSearch
from sidestep.search.budget import Budget
from sidestep.search.config import NamedSearch
from sidestep.search.named import settings_of
from sidestep.search.sampling import Sampling
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.search.ved import ValueGuidedDecoding


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"search": "beam"}, BeamSearch()),
        ({"search": "sampling", "temperature": 2, "top_k": None}, Sampling(temperature=2.0)),
        ({"search": "value-beam", "num_beams": "4"}, ValueBeamSearch(num_beams=4)),
        (
            {"search": "ved", "budget": {"times": 3}, "root_gate": "never"},
            ValueGuidedDecoding(budget=Budget(times=3), root_gate="never"),
        ),
        ({"search": "ved", "budget": 99}, ValueGuidedDecoding(budget=99)),
    ],
)
def test_what_is_said_is_meant_and_survives_being_written(said, meant):
    named = NamedSearch.model_validate(said)
    assert named.policy() == meant
    assert NamedSearch.model_validate(named.model_dump(mode="json")).policy() == meant


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"search": "beem"}, "'beem' is no search that settings alone make"),
        ({"search": "beam", "beams": 3}, "unknown setting 'beams'; perhaps 'num_beams' is meant"),
        ({"search": "beam", "xyz": 3}, "unknown setting 'xyz'; there are num_beams, normaliser"),
        ({"search": "beam", "name": "mine"}, "unknown setting 'name'"),
        ({"search": "sampling", "seed": 1.5}, "seed: Input should be a valid integer"),
        ({"search": "ved", "root_gate": "open"}, "root_gate: Input should be 'priority'"),
        ({"search": "sampling", "temperature": "nan"}, "temperature: 'nan' is no finite number"),
        ({"search": "ved", "exploration": "inf"}, "exploration: 'inf' is no finite number"),
        ({"search": "ved", "seed": True}, "seed: a number is wanted here, got True"),
        ({"search": "sampling", "temperature": True}, "temperature: a number is wanted here, got"),
        ({"search": "ved", "exploration": -1}, "exploration must be 0 or more, got -1"),
        ({"search": "ved", "budget": {"time": 3}}, "budget: Unexpected keyword argument"),
        (
            {"search": "ved", "budget": {"times": 0}},
            "budget: times and num_beams must be at least 1, got 0 and 16.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(said, words):
    with pytest.raises(ValueError, match=r"validation error") as caught:
        NamedSearch.model_validate(said)
    assert words in str(caught.value)


def test_defaults_are_those_of_the_policy():
    assert settings_of(Sampling)["temperature"] == Sampling().temperature
    assert "name" not in settings_of(Sampling)
    assert "reads_values" not in settings_of(Sampling)
