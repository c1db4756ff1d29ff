"""Value heads in bundles: written, read, used only if values are needed, kept by appending."""

import copy

import numpy as np
import pytest
import torch

from sidestep.bundle.appending import append_items, retire_items
from sidestep.bundle.folder import load, save_bundle
from sidestep.bundle.parts import ValueUse
from sidestep.catalog.catalog import Catalog
from sidestep.model.config import SasRecConfig, TransformerConfig, ValueHeadConfig
from sidestep.model.sasrec import SasRec
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.search.beam import BeamSearch
from sidestep.search.config import GuidanceConfig
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.policy import reads_values
from sidestep.search.sampling import Sampling
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.search.ved import ValueGuidedDecoding

IDS = np.array([[0, 0], [0, 2], [2, 1], [2, 2], [3, 0]], dtype=np.int32)
SIZES = (4, 4)
ITEM_IDS = [f"id-{index}" for index in range(len(IDS))]
USE = ValueUse(guidance=GuidanceConfig(likelihood_weight=0.5), gamma=0.9)
HISTORIES = [["id-3"], ["id-1", "id-4"], []]
BY_VALUES = ValueBeamSearch(num_beams=10, candidates=10)


def a_head(num_levels=2):
    torch.manual_seed(1)
    return ValueHead(ValueHeadConfig(num_heads=2), dim=8, num_levels=num_levels)


def saved(path):
    torch.manual_seed(0)
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items")
    network = Transformer(shape, torch.from_numpy(IDS), SIZES)
    torch.nn.init.normal_(network.code_embedding.weight)
    catalog = Catalog.build(ITEM_IDS, IDS, SIZES)
    save_bundle(path, network=network, catalog=catalog, max_history=4, seed=0)
    load(path, device="cpu").with_value_head(a_head(), USE).save(path)
    return path


def worth(loaded, **limits):
    """Value of every item after every history."""
    answers = loaded.recommend(HISTORIES, 10, search=BY_VALUES, **limits)
    return [dict(zip(answer.item_ids, answer.scores, strict=True)) for answer in answers]


def test_what_was_saved_is_loaded_and_saved_again(tmp_path):
    first = load(saved(tmp_path / "first"), device="cpu")
    retire_items(first, ["id-0"]).save(tmp_path / "second")
    second = load(tmp_path / "second", device="cpu")
    original = a_head().state_dict()
    for loaded in (first, second):
        kept = loaded.value_head.state_dict()
        assert all(torch.equal(kept[name], original[name]) for name in original)
        assert (loaded.value_use.guidance, loaded.value_use.gamma) == (USE.guidance, USE.gamma)
        assert not any(weights.requires_grad for weights in loaded.value_head.parameters())
        assert not loaded.value_head.training
    assert worth(second) == [
        pytest.approx({item: value for item, value in values.items() if item != "id-0"})
        for values in worth(first)
    ]
    (tmp_path / "second" / "value_head.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"value_head\.safetensors: missing"):
        load(tmp_path / "second")


def test_values_are_computed_for_who_asks_and_for_who_does_not_say(tmp_path, monkeypatch):
    loaded = load(saved(tmp_path / "bundle"), device="cpu")

    class Whatever:
        name = "a user's own"
        search = BeamSearch().search

    known = (BeamSearch(), Sampling(), ExhaustiveSearch(), BY_VALUES, ValueGuidedDecoding())
    assert [reads_values(policy) for policy in known] == [False, False, False, True, True]
    assert reads_values(Whatever())
    calls = []
    monkeypatch.setattr(loaded.value_head, "_values", lambda *states: calls.append(states))
    assert loaded.recommend(HISTORIES, 3)[0].score_kind == "log_prob"
    assert not calls


def test_appending_leaves_old_items_their_values_and_gives_new_ones_some(tmp_path):
    old = load(saved(tmp_path / "old"), device="cpu")
    codes = np.array([[0, 1], [1, 3]], dtype=np.int32)
    append_items(old, ["a", "b"], codes).save(tmp_path / "new")
    new = load(tmp_path / "new", device="cpu")
    for before, after in zip(worth(old), worth(new), strict=True):
        assert after.keys() - before.keys() == {"a", "b"}
        assert {item: after[item] for item in before} == pytest.approx(before, abs=1e-6)


def test_one_of_other_semantic_ids_or_without_a_network_of_them_is_not_saved(tmp_path):
    loaded = load(saved(tmp_path / "good"), device="cpu")
    with pytest.raises(ValueError, match="of semantic IDs of 3 codes, but those of the catalog"):
        loaded.with_value_head(a_head(3)).save(tmp_path / "bad")
    sasrec = SasRec(SasRecConfig(dim=8, num_layers=1, max_items=4), 5)
    save_bundle(tmp_path / "sasrec", network=sasrec, catalog=loaded.catalog, max_history=4, seed=0)
    scored = load(tmp_path / "sasrec", device="cpu")
    with pytest.raises(ValueError, match="a value head reads the states of a network of semantic"):
        scored.with_value_head(a_head()).save(tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_a_network_that_was_trained_further_leaves_behind_what_was_learned_beside_it(tmp_path):
    loaded = load(saved(tmp_path / "first"), device="cpu")
    network = copy.deepcopy(loaded.network)
    with torch.no_grad():
        network.head.weight.add_(1.0)
    alone = loaded.with_moved_network(network, None)
    assert alone.value_head is None
    assert alone.value_use is None
    head = a_head()
    with torch.no_grad():
        head.mlp[0].weight.mul_(2)
    both = loaded.with_moved_network(network, head)
    both.save(tmp_path / "second")
    again = load(tmp_path / "second", device="cpu")
    assert torch.equal(again.network.head.weight, network.head.weight)
    assert torch.equal(again.value_head.mlp[0].weight, head.mlp[0].weight)
    assert again.value_use.gamma == USE.gamma
