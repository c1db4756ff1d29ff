"""Process reward models in bundles: written, read, and extended to more items."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.bundle.appending import append_items, retire_items
from sidestep.bundle.folder import load, save_bundle
from sidestep.bundle.prefix_rows import with_prefixes
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.trie import NO_CODE, Trie
from sidestep.model.config import ProcessRewardConfig, SasRecConfig, TransformerConfig
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.sasrec import SasRec
from sidestep.model.transformer import Transformer
from sidestep.search.config import GuidanceConfig
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.process_reward import ProcessReward
from sidestep.search.scorer import Guidance
from sidestep.step import HistoryStates

IDS = np.array([[0, 0], [0, 2], [2, 1], [2, 2], [3, 0]], dtype=np.int32)
SIZES = (4, 4)
ITEM_IDS = [f"id-{index}" for index in range(len(IDS))]
GUIDANCE = GuidanceConfig(likelihood_weight=0.5, candidates_per_beam=3)
HISTORIES = [["id-3"], ["id-1", "id-4"], []]


def backbone(ids=IDS, sizes=SIZES):
    torch.manual_seed(0)
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items")
    network = Transformer(shape, torch.from_numpy(ids), sizes)
    torch.nn.init.normal_(network.code_embedding.weight)
    return network


def process_reward(trie, **shape):
    torch.manual_seed(1)
    config = ProcessRewardConfig(dim=6, num_heads=2, **shape)
    network = ProcessRewardModel(config, num_features=trie.num_nodes(), memory_dim=8)
    torch.nn.init.normal_(network.embedding.weight)
    return network


def saved(path, **shape):
    known = Catalog.build(ITEM_IDS, IDS, SIZES)
    save_bundle(path, network=backbone(), catalog=known, max_history=4, seed=0)
    plain = load(path, device="cpu")
    plain.with_process_reward(process_reward(known.trie, **shape), GUIDANCE).save(path)
    return path


def scores(network, trie):
    """Score of every prefix after the same history, by its codes."""
    torch.manual_seed(2)
    history = HistoryStates(states=torch.randn(1, 3, 8), counts=torch.tensor([3]))
    states = torch.arange(trie.num_nodes())
    with torch.no_grad():
        found = network(network.remember(history), states[None, :, None])[0].tolist()
    paths = trie.path(states).tolist()
    return {tuple(c for c in p if c != NO_CODE): s for p, s in zip(paths, found, strict=True)}


def ranked(loaded, **limits):
    """Lists of an exhaustive search by the process reward alone."""
    guidance = Guidance(scorer=ProcessReward(network=loaded.process_reward))
    search = ExhaustiveSearch(num_leaves=10, guidance=guidance)
    return [answer.item_ids for answer in loaded.recommend(HISTORIES, 10, search=search, **limits)]


def test_what_was_saved_is_loaded_and_saved_again(tmp_path):
    first = load(saved(tmp_path / "first"), device="cpu")
    retire_items(first, ["id-0"]).save(tmp_path / "second")
    original = process_reward(first.catalog.trie).eval()
    for loaded in (first, load(tmp_path / "second", device="cpu")):
        assert loaded.guidance == GUIDANCE
        assert not loaded.process_reward.training
        assert not any(weights.requires_grad for weights in loaded.process_reward.parameters())
        trie = loaded.catalog.trie
        assert scores(loaded.process_reward, trie) == scores(original, trie)
    assert ranked(first)[0] != first.recommend(HISTORIES, 10)[0].item_ids


def test_a_bundle_without_one_says_so(tmp_path):
    known = Catalog.build(ITEM_IDS, IDS, SIZES)
    save_bundle(tmp_path / "b", network=backbone(), catalog=known, max_history=4, seed=0)
    loaded = load(tmp_path / "b", device="cpu")
    assert (loaded.process_reward, loaded.guidance) == (None, None)


def test_loading_draws_no_random_number(tmp_path):
    saved(tmp_path / "bundle")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    load(tmp_path / "bundle", device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_damaged_and_foreign_weights_are_refused(tmp_path):
    file = saved(tmp_path / "bundle") / "process_reward.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"process_reward\.safetensors: not the file that"):
        load(tmp_path / "bundle")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"process_reward\.safetensors: missing"):
        load(tmp_path / "bundle")
    file.write_bytes(content)
    manifest = tmp_path / "bundle" / "manifest.json"
    described = json.loads(manifest.read_text())
    described["parts"]["process_reward"]["model"]["dim"] = 12
    manifest.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"process_reward\.safetensors: its weights do not fit"):
        load(tmp_path / "bundle")
    described["parts"]["process_reward"]["guidance"]["likelihood_weight"] = -1
    manifest.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"process_reward\.guidance\.likelihood_weight: .*again"):
        load(tmp_path / "bundle")


def test_one_of_another_catalog_or_without_a_backbone_is_not_saved(tmp_path):
    known, other = (Catalog.build(ITEM_IDS[:n], IDS[:n], SIZES) for n in (5, 4))
    foreign = process_reward(other.trie)
    for name, of, network in (
        ("coded", known, backbone()),
        ("scored", other, SasRec(SasRecConfig(dim=8, num_layers=1, max_items=4), 4)),
    ):
        save_bundle(tmp_path / name, network=network, catalog=of, max_history=4, seed=0)
    coded, scored = (load(tmp_path / name, device="cpu") for name in ("coded", "scored"))
    with pytest.raises(ValueError, match="has rows for 7 prefixes or codes, but the catalog has 9"):
        coded.with_process_reward(foreign).save(tmp_path / "a")
    with pytest.raises(ValueError, match="reads the states of a network of semantic IDs"):
        scored.with_process_reward(foreign).save(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_appending_keeps_the_scores_of_old_prefixes_and_survives_the_folder(tmp_path):
    old = load(saved(tmp_path / "old"), device="cpu")
    # A prefix before all others, one among its siblings, and two with nothing in common.
    codes = np.array([[0, 1], [1, 3], [2, 0]], dtype=np.int32)
    append_items(old, ["a", "b", "c"], codes).save(tmp_path / "new")
    new = load(tmp_path / "new", device="cpu")
    before = scores(old.process_reward, old.catalog.trie)
    after = scores(new.process_reward, new.catalog.trie)
    assert after.keys() - before.keys() == {(0, 1), (1,), (1, 3), (2, 0)}
    assert {path: after[path] for path in before} == pytest.approx(before, abs=1e-6)
    assert ranked(new, available=ITEM_IDS) == ranked(old)
    assert set(ranked(new)[0]) == {*ITEM_IDS, "a", "b", "c"}
    rows = old.process_reward.embedding.weight
    grown = dict(zip(after, new.process_reward.embedding.weight, strict=True))
    # Old states: 0 is the root, 1 to 3 the first codes 0, 2 and 3, 4 to 8 the leaves.
    torch.testing.assert_close(grown[0, 1], rows[4:6].mean(0))
    torch.testing.assert_close(grown[2, 0], rows[6:8].mean(0))
    torch.testing.assert_close(grown[(1,)], rows[1:4].mean(0))
    torch.testing.assert_close(grown[1, 3], rows[4:9].mean(0))


def test_rows_that_prefixes_share_cannot_be_carried_over(tmp_path):
    old = load(saved(tmp_path / "old", hashed_rows=4), device="cpu")
    with pytest.raises(ValueError, match="append to its backbone, and train a process reward"):
        append_items(old, ["a"], np.array([[1, 1]], dtype=np.int32))


def rows_by_path(network, trie):
    return by_path(network.embedding.weight.detach(), trie)


def by_path(rows, trie):
    paths = trie.path(torch.arange(trie.num_nodes())).tolist()
    return {tuple(c for c in p if c != NO_CODE): r for p, r in zip(paths, rows, strict=True)}


codes = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1))


@given(st.lists(codes, min_size=1, max_size=8), st.lists(codes, min_size=1, max_size=8))
@settings(max_examples=50)
def test_rows_follow_their_paths_and_new_ones_the_nearest_of_their_length(first, more):
    sizes = (3, 3, 2)
    old, new = (Trie.build(np.array(ids, dtype=np.int32), sizes) for ids in (first, first + more))
    network = process_reward(old)
    known = rows_by_path(network, old)
    rows = with_prefixes(network, old, new)["embedding.weight"]
    for path, row in by_path(rows, new).items():
        if path in known:
            assert torch.equal(row, known[path])
            continue
        peers = [peer for peer in known if len(peer) == len(path)]
        shared = [
            next(n for n in range(len(path), -1, -1) if peer[:n] == path[:n]) for peer in peers
        ]
        nearest = [known[p] for p, n in zip(peers, shared, strict=True) if n == max(shared)]
        torch.testing.assert_close(row, torch.stack(nearest).mean(0))
