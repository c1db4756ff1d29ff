"""The search that a new bundle keeps is the better one on validation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.bundle.kept_searches import policy_of
from sidestep.bundle.manifest import KeptSearch
from sidestep.data.batches import row_batch
from sidestep.data.splits import Rows
from sidestep.model.cobra import Cobra
from sidestep.model.config import CobraConfig, TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.runs.chosen_search import choose_search
from sidestep.runs.plan import Material
from sidestep.search.beam_fusion import BeamFusion
from sidestep.training.config import ValidationConfig

from .test_learning import SIZES, a_catalog, a_split

GUIDED = KeptSearch(name="item-beam", likelihood_weight=0.0)
BOTH = (GUIDED, KeptSearch())
WIDE = ValidationConfig(num_users=None, num_beams=12)


@pytest.fixture
def material():
    return Material(a_split(), a_catalog(), 4)


@pytest.fixture
def network(material):
    """An untrained network with an item head."""
    torch.manual_seed(0)
    config = TransformerConfig(dim=16, num_layers=1, num_heads=2, history="items", item_head=True)
    return Transformer(config, material.catalog.semantic_ids, SIZES).eval()


def knowing(network, targets, number):
    """The network with a head that puts the targets first, and codes that put them last."""
    with torch.no_grad():
        network.norm.weight.zero_()  # the state says nothing, so that rows of zeros tie
        network.norm.weight[0] = 1
        network.item_head.weight.zero_()
        network.item_head.weight[targets] = number
        network.head.weight.zero_()


def rows_of_one_target(material, target):
    """The validation rows whose target is one item."""
    rows = material.split.validation
    return rows.select(np.flatnonzero(rows.targets == target))


def with_rows(material, rows: Rows) -> Material:
    return replace(material, split=replace(material.split, validation=rows))


@pytest.mark.parametrize(("sign", "best"), [(1, "item-beam"), (-1, "beam")])
def test_the_better_search_is_kept(network, material, sign, best):
    target = int(material.split.validation.targets[0])
    asked = with_rows(material, rows_of_one_target(material, target))
    _, context = network.encode(asked_histories(asked), capacity=0)
    state = context.history_states.states[0, -1, 0].detach()
    knowing(network, [target], float(sign * state.sign()))
    chosen = choose_search(network, asked, BOTH, WIDE)
    assert chosen.search.name == best
    assert chosen.scores[best] > chosen.scores[{"beam": "item-beam", "item-beam": "beam"}[best]]
    assert chosen.summary == {"searches": chosen.scores}


def test_fewer_beams_than_ten_are_judged_by_ten_places(network, material):
    narrow = ValidationConfig(num_users=None, num_beams=3)
    chosen = choose_search(network, material, BOTH, narrow)
    assert chosen.scores.keys() == {"item-beam", "beam"}


def asked_histories(material):
    return row_batch(material.split.validation, np.array([0]))


def test_the_first_of_equal_searches_is_kept(network, material):
    knowing(network, [], 0.0)
    with torch.no_grad():
        network.item_head.weight.zero_()
    for order in (BOTH, BOTH[::-1]):
        chosen = choose_search(network, material, order, WIDE)
        assert len(set(chosen.scores.values())) == 1
        assert chosen.search == order[0]


def test_without_rows_or_without_a_choice_nothing_is_measured(network, material):
    nobody = with_rows(material, material.split.validation.select(np.array([], dtype=np.int64)))
    for asked, candidates in ((nobody, BOTH), (material, BOTH[1:])):
        chosen = choose_search(network, asked, candidates, WIDE)
        assert chosen.search == candidates[0]
        assert chosen.summary == {}


def test_searches_of_one_name_are_told_apart_by_their_options(material):
    """The evidence has a line for each weight. Of equal scores, the first one stays."""
    torch.manual_seed(0)
    shape = CobraConfig(dim=16, num_layers=1, num_heads=2, vector_dim=3)
    network = Cobra(shape, material.catalog.semantic_ids, SIZES).eval()
    network.set_item_vectors(torch.randn(material.catalog.num_items, 3).numpy())
    fused = [KeptSearch(name="beam-fusion", psi=psi) for psi in (0.01, 0.010001, 50.0)]
    chosen = choose_search(network, material, [*fused, KeptSearch()], WIDE)
    assert [*chosen.scores] == [
        *("beam-fusion psi=0.01", "beam-fusion psi=0.010001", "beam-fusion psi=50.0"),
        "beam",
    ]
    assert chosen.scores[chosen.search.in_words] == max(chosen.scores.values())
    assert chosen.scores["beam-fusion psi=0.01"] == chosen.scores["beam-fusion psi=0.010001"]
    assert chosen.search.psi != 0.010001


def test_a_kept_beam_fusion_makes_the_search_with_its_weights():
    kept = KeptSearch(name="beam-fusion", tau=0.5, psi=2.0, among="prefix")
    expected = BeamFusion(num_beams=7, tau=0.5, psi=2.0, among="prefix")
    assert policy_of(kept, None, num_beams=7) == expected
    assert kept.in_words == "beam-fusion tau=0.5 psi=2.0 among=prefix"
    assert KeptSearch.model_validate(kept.model_dump()) == kept
    assert "psi" not in KeptSearch().model_dump()  # older versions read bundles of a beam
