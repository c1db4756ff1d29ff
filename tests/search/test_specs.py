"""Specs of searches against the policies that they describe."""

import dataclasses

import pytest

from sidestep.runs.searches import FIELDS
from sidestep.search.policy import RanksByValues, SpendsBudget
from sidestep.search.specs import SPECS, reading, spec_named

SHARED_SETTINGS = {
    "num_beams": "beams",
    "num_samples": "beams",
    "candidates": "candidates",
    "guidance": "likelihood_weight",
    "likelihood_weight": "likelihood_weight",
    "budget": "budget",
}
NO_RESULT = {"chunk_size"}
each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


@each_spec
def test_options_are_the_fields_that_nothing_else_sets_with_their_defaults(spec):
    of_policy = {
        each.name: each.default
        for each in dataclasses.fields(spec.policy_class())
        if each.name not in FIELDS.keys() | NO_RESULT
    }
    given = {name: value for name, value in spec.options.items() if name != "scorer"}
    assert list(given.items()) == list(of_policy.items())
    assert ("scorer" in spec.options) == (spec.goes_by == "scorer")


@each_spec
def test_a_search_reads_the_settings_that_its_policy_has_fields_for(spec):
    names = {each.name for each in dataclasses.fields(spec.policy_class())}
    reads = {SHARED_SETTINGS[name] for name in names & SHARED_SETTINGS.keys()}
    if spec.goes_by is None:  # without a guide, a policy that can be guided goes by likelihood
        reads -= {"likelihood_weight"}
    if "budget" in reads:
        reads |= {"beams"}
    assert spec.reads == reads
    assert spec.grows is None or spec.grows in spec.reads
    assert set(spec.quick) <= set(spec.options)


@each_spec
def test_a_ceiling_goes_by_what_its_search_goes_by(spec):
    assert callable(spec.policy_class().search)
    if spec.ceiling is not None:
        assert SPECS[spec.ceiling].goes_by == spec.goes_by
        assert SPECS[spec.ceiling].grows is None


@each_spec
def test_what_goes_by_values_ranks_by_them_and_what_spends_a_budget_says_how_much(spec):
    policy = spec.policy_class()
    assert hasattr(policy, "ranked_by") == (spec.goes_by == "values")
    assert hasattr(policy, "tokens") == ("budget" in spec.reads)


def test_capabilities_are_those_of_the_policies():
    assert isinstance(SPECS["value-beam"].policy_class()(), RanksByValues)
    assert isinstance(SPECS["ved"].policy_class()(), SpendsBudget)
    assert not isinstance(SPECS["beam"].policy_class()(), RanksByValues | SpendsBudget)


def test_searches_that_settings_alone_make():
    plain = [spec.name for spec in SPECS.values() if spec.is_plain]
    assert plain == ["beam", "value-beam", "ved", "sampling"]
    assert reading("budget") == ["ved"]


def test_the_warm_start_of_a_larger_budget_is_no_wider_than_its_beam():
    fitted = SPECS["ved"].fitted
    assert fitted(50, 1, 3) == fitted(16, 4, 3) == {}  # the default fits
    assert fitted(3, 4, 3) == {"warm_width": 3}
    assert fitted(3, 1, 3) == {"warm_width": 1}  # 7 tokens: the root, 3 to warm up, 3 to search
    with pytest.raises(ValueError, match="ved needs at least 5 tokens of 3 codes"):
        fitted(1, 1, 3)


@dataclasses.dataclass(frozen=True)
class Own:
    share: float
    num_beams: int = 3
    depth: int = 2
    name: str = "own"

    def search(self, model, histories, scope):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class OwnGuided(Own):
    guidance: object = None
    goes_by = "items"


def test_the_spec_of_a_users_own_search_is_read_off_its_class():
    own = spec_named(f"{__name__}:Own")
    assert (own.is_own, own.is_plain, own.method) == (True, True, "own-own")
    assert (own.reads, own.goes_by) == ({"beams"}, None)
    assert own.options == {"share": None, "depth": 2}
    guided = spec_named(f"{__name__}:OwnGuided")
    assert guided.reads == {"beams", "likelihood_weight"}
    assert (guided.goes_by, guided.is_plain, guided.method) == ("items", False, "own-own-guided")
