"""A bundle follows its schema: a changed file does not load, whatever the manifest lists."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sidestep.bundle.folder import load
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.stored import CATALOG_FILES
from sidestep.files import file_sha256
from sidestep.model.value_head import ValueHead, ValueHeadConfig
from tests.bundle.test_bundle import KINDS, saved


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A bundle of each kind. A test copies a bundle before it changes files."""
    folder = tmp_path_factory.mktemp("bundles")
    for kind in KINDS:
        saved(folder / kind, kind)
    loaded = load(folder / "semantic-id-transformer", device="cpu")
    head = ValueHead(ValueHeadConfig(num_heads=2), dim=8, num_levels=2)
    loaded.with_value_head(head).save(folder / "valued")
    return folder


@pytest.fixture
def bundle(bundles, tmp_path):
    return shutil.copytree(bundles / "valued", tmp_path / "bundle")


def change(file, **fields):
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def mend(folder):
    """Updates the manifests of a bundle and its catalog to the files, whatever the files hold."""
    catalog = json.loads((folder / "catalog/manifest.json").read_text())
    for part in ("files", "companions"):
        for name in catalog[part]:
            file = folder / "catalog" / name
            catalog[part][name] = {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
    (folder / "catalog/manifest.json").write_text(json.dumps(catalog))
    files = json.loads((folder / "manifest.json").read_text())["files"]
    change(folder / "manifest.json", files={name: file_sha256(folder / name) for name in files})


def test_a_manifest_that_lists_no_files_is_refused(bundle):
    weights = bytearray((bundle / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "model.safetensors").write_bytes(bytes(weights))
    change(bundle / "manifest.json", files={})
    for verify in (True, False):
        with pytest.raises(ValueError, match=r"manifest\.json: does not list catalog/"):
            load(bundle, verify=verify)


def test_every_file_that_is_read_must_be_listed(bundle):
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    assert {"model.safetensors", "value_head.safetensors", "catalog/codes.npy"} <= files.keys()
    for name in files:
        change(bundle / "manifest.json", files={k: v for k, v in files.items() if k != name})
        with pytest.raises(ValueError, match=f"does not list {name}, which belongs to the bundle"):
            load(bundle)


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/hostname", "notes.txt", "catalog/x.npy"])
def test_a_file_that_no_bundle_holds_is_not_read(bundle, name):
    for place in (bundle.parent / "outside.bin", bundle / "notes.txt", bundle / "catalog/x.npy"):
        place.write_bytes(b"")
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    change(bundle / "manifest.json", files={**files, name: file_sha256(bundle / "notes.txt")})
    with pytest.raises(ValueError, match=f"lists '{name}', which no bundle holds"):
        load(bundle)


@pytest.mark.parametrize("name", ["model.safetensors", "catalog/codes.npy"])
def test_a_link_that_leads_outside_is_not_followed(bundle, name):
    outside = shutil.move(bundle / name, bundle.parent / "outside")
    (bundle / name).symlink_to(outside)
    with pytest.raises(ValueError, match="is a link that leads out of"):
        load(bundle)
    (bundle.parent / "link").symlink_to(bundle)
    (bundle / name).unlink()
    shutil.move(outside, bundle / name)
    assert load(bundle.parent / "link").kind == "semantic-id-transformer"


@pytest.mark.parametrize(
    ("kind", "key", "number"),
    [
        ("semantic-id-transformer", "num_layers", 10**6),
        ("semantic-id-transformer", "ffn_dim", 10**6),
        ("semantic-id-t5", "num_decoder_layers", 10**6),
        ("semantic-id-t5", "num_buckets", 4 * 10**9),
        ("sasrec", "num_layers", 10**6),
        ("sasrec", "max_items", 10**9),
        ("hugging-face", "num_hidden_layers", 10**6),
        ("hugging-face", "vocab_size", 10**9),
    ],
)
def test_sizes_that_the_weights_do_not_have_take_neither_time_nor_memory(
    bundles, tmp_path, kind, key, number
):
    folder = shutil.copytree(bundles / kind, tmp_path / kind)
    model = json.loads((folder / "manifest.json").read_text())["model"]
    part = model.get("config", model)
    part[key] = number
    change(folder / "manifest.json", model=model)
    with pytest.raises(ValueError, match=r"model\.safetensors: its weights do not fit manifest"):
        load(folder)


def test_so_it_is_with_what_stands_beside_the_network(bundle):
    kept = json.loads((bundle / "manifest.json").read_text())["parts"]
    larger = {"value_head": {**kept["value_head"], "model": {"ffn_dim": 10**9}}}
    change(bundle / "manifest.json", parts={**kept, **larger})
    with pytest.raises(ValueError, match=r"value_head\.safetensors: its weights do not fit"):
        load(bundle)


def test_weights_of_other_shapes_are_told_by_name(bundle):
    weights = load_file(bundle / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: torch.zeros(3, 5)}, bundle / "model.safetensors")
    mend(bundle)
    with pytest.raises(ValueError, match=rf"{name} is of shape \[3, 5\] in the file and of shape"):
        load(bundle)


def test_popularity_needs_a_count_per_item(bundles, tmp_path):
    folder = shutil.copytree(bundles / "popularity", tmp_path / "popularity")
    for counts in ({"counts": torch.ones(3)}, {"others": torch.arange(12)}):
        save_file(counts, folder / "model.safetensors")
        mend(folder)
        with pytest.raises(ValueError, match="there are no counts of 12 items in the file"):
            load(folder)


ARRAYS = [name for name in CATALOG_FILES if name.endswith(".npy") and name != "popularity.npy"]


@pytest.mark.parametrize("how", ["one more", "one less", "far off", "cut", "other numbers"])
@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "is_retired.npy"])
def test_an_array_of_the_catalog_that_does_not_fit_is_refused(bundle, name, how):
    file = bundle / "catalog" / name
    array = np.load(file)
    steps = {"one more": 1, "one less": -1, "far off": 10**9}
    if how in steps:
        changed = array.astype(np.int64)
        changed[len(changed) // 2] += steps[how]
    else:
        changed = array[:-1] if how == "cut" else array + 0.5
    np.save(file, changed)
    mend(bundle)
    with pytest.raises(ValueError, match=r"catalog.*; tokenize again"):
        load(bundle)
    with pytest.raises(ValueError, match=r"catalog.*; tokenize again"):
        Catalog.load(bundle / "catalog", verify=True)


@pytest.mark.parametrize("name", ["child_start", "bucket_start", "depth_starts"])
def test_bounds_are_checked_even_where_nothing_is_verified(bundle, name):
    file = bundle / f"catalog/{name}.npy"
    array = np.load(file)
    array[len(array) // 2] += 100
    np.save(file, array)
    mend(bundle)
    with pytest.raises(ValueError, match="damaged"):
        load(bundle, verify=False)
