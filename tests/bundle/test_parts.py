"""Parts beside a network: the laws of every kind of part, and manifests of older versions."""

import json

import numpy as np
import pytest
import torch

from sidestep.bundle.folder import load, save_bundle
from sidestep.bundle.item_rows import with_items
from sidestep.bundle.manifest import SCHEMA_VERSION
from sidestep.bundle.parts import PARTS, Growth, KeptProcessReward, KeptRanker, KeptValueHead
from sidestep.catalog.catalog import Catalog
from sidestep.model.config import (
    ProcessRewardConfig,
    SasRecConfig,
    TransformerConfig,
    ValueHeadConfig,
)
from sidestep.model.transformer import Transformer
from sidestep.search.config import GuidanceConfig

SIZES = (3, 3)
GUIDANCE = GuidanceConfig(likelihood_weight=0.5)
ENTRIES = {
    "process_reward": KeptProcessReward(
        model=ProcessRewardConfig(dim=8, num_heads=2), guidance=GUIDANCE
    ),
    "value_head": KeptValueHead(model=ValueHeadConfig(num_heads=2), guidance=GUIDANCE, gamma=0.9),
    "ranker": KeptRanker(
        model=SasRecConfig(dim=8, num_layers=1, num_heads=2, max_items=5),
        max_history=5,
        weight=2.0,
        guidance=GUIDANCE,
        trained={"seed": 0},
        data={},
    ),
}
each_part = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)


def catalog_of(num_items):
    codes = np.array([(i // 3, i % 3) for i in range(num_items)], dtype=np.int32)
    return Catalog.build([f"id-{i}" for i in range(num_items)], codes, SIZES)


def network_of(catalog):
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2)
    torch.manual_seed(0)
    return Transformer(shape, catalog.semantic_ids, catalog.codebook_sizes).eval()


def made(part, catalog):
    torch.manual_seed(1)
    return part.make(ENTRIES[part.name].model, network_of(catalog), catalog).eval()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A bundle with a part of each kind."""
    path, catalog = tmp_path_factory.mktemp("whole") / "bundle", catalog_of(6)
    save_bundle(path, network=network_of(catalog), catalog=catalog, max_history=5, seed=0)
    loaded = load(path, device="cpu")
    for name, part in PARTS.items():
        loaded = loaded.with_part(name, made(part, catalog), ENTRIES[name])
    loaded.save(path)
    return path


def test_every_part_is_tried_here():
    assert ENTRIES.keys() == PARTS.keys()
    assert all(type(ENTRIES[name]) is part.entry for name, part in PARTS.items())


@each_part
def test_a_part_is_kept_and_found_again_frozen(part, whole):
    loaded = load(whole, device="cpu")
    assert loaded.manifest.parts[part.name] == ENTRIES[part.name]
    ours, theirs = made(part, loaded.catalog).state_dict(), loaded.parts[part.name].state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not any(each.requires_grad for each in loaded.parts[part.name].parameters())
    assert (whole / part.file).is_file()


@each_part
def test_a_part_fits_its_catalog_and_no_other(part):
    catalog = catalog_of(6)
    module = made(part, catalog)
    part.refuse_misfit(module, network_of(catalog), catalog)
    flat = Catalog.build(["a", "b"], np.array([[0], [1]], dtype=np.int32), (2,))
    with pytest.raises(ValueError, match=f"the {part.words} "):
        part.refuse_misfit(module, network_of(flat), flat)
    with pytest.raises(ValueError, match=f"a {part.words} .* the bundle has none; leave it out"):
        part.refuse_misfit(module, None, catalog)


@each_part
def test_a_part_that_has_grown_fits_the_new_catalog(part):
    old, new = catalog_of(6), catalog_of(8)
    growth = Growth(old=old, new=new, new_rows="siblings")
    grown = part.after_growth(made(part, old), network_of(new), growth)
    part.refuse_misfit(grown, network_of(new), new)


@each_part
def test_a_network_that_moves_loses_what_reads_its_states(part, whole):
    loaded = load(whole, device="cpu")
    moved = loaded.with_moved_network(loaded.network, None)
    assert (part.name in moved.parts) == (part.name in moved.manifest.parts)
    assert (part.name in moved.parts) == (not part.reads_states)


def test_a_value_head_that_learned_with_the_network_stays(whole):
    loaded = load(whole, device="cpu")
    moved = loaded.with_moved_network(loaded.network, loaded.value_head)
    assert set(moved.parts) == set(moved.manifest.parts) == {"value_head", "ranker"}


def rewritten(path, change):
    file = path / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("version", [4, 6])
def test_parts_of_an_older_manifest_are_read(whole, tmp_path, version):
    load(whole, device="cpu").save(tmp_path / "old")

    def older(content):
        content.update(content.pop("parts"), schema_version=version)

    rewritten(tmp_path / "old", older)
    loaded = load(tmp_path / "old", device="cpu")
    assert loaded.manifest.parts == ENTRIES
    loaded.save(tmp_path / "new")
    assert (
        json.loads((tmp_path / "new" / "manifest.json").read_text())["schema_version"]
        == SCHEMA_VERSION
    )
    assert load(tmp_path / "new", device="cpu").manifest.parts == ENTRIES


def test_a_part_that_nobody_knows_is_refused(whole, tmp_path):
    load(whole, device="cpu").save(tmp_path / "odd")
    rewritten(tmp_path / "odd", lambda content: content["parts"].update(halo={}))
    with pytest.raises(ValueError, match="there is no part 'halo'; there are process_reward"):
        load(tmp_path / "odd")


def test_new_rows_are_means_of_siblings_or_zeros():
    old, new = catalog_of(4), catalog_of(5)  # the new item shares the first code with item 3
    weights = {"item_embedding.weight": torch.arange(8.0).view(4, 2)}
    means = with_items(weights, old, new, "siblings")["item_embedding.weight"]
    assert means[4].tolist() == [6, 7]
    assert with_items(weights, old, new, "zeros")["item_embedding.weight"][4].tolist() == [0, 0]
