"""A copy of a bundle is whole or absent, holds only what a bundle holds, and follows no link."""

import json
import shutil

import pytest

from sidestep.bundle import transport
from sidestep.bundle.folder import load
from sidestep.bundle.layout import CARD, LAYOUT
from sidestep.files import file_sha256


def names(folder):
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()}


def refuse(bundle, match, error=ValueError):
    """Checks that no copy is made, and that nothing else is left."""
    before = sorted(bundle.parent.iterdir())
    with pytest.raises(error, match=match):
        transport.copy_bundle(bundle, bundle.parent / "out")
    assert sorted(bundle.parent.iterdir()) == before


def test_a_copy_has_the_same_files_and_loads(bundle, tmp_path):
    transport.copy_bundle(bundle, tmp_path / "out")
    assert names(tmp_path / "out") == names(bundle)
    for name in names(bundle):
        assert (tmp_path / "out" / name).read_bytes() == (bundle / name).read_bytes()
    assert load(tmp_path / "out").catalog.num_items == 12


def test_the_card_that_is_given_goes_with_the_copy(bundle, tmp_path):
    transport.copy_bundle(bundle, tmp_path / "out", card="mine")
    assert (tmp_path / "out" / CARD).read_text() == "mine"


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_copy_of_a_bundle_without_a_readable_card_gets_one(bundle, tmp_path, content):
    before = (bundle / CARD).read_text()
    (bundle / CARD).unlink()
    if content is not None:
        (bundle / CARD).write_bytes(content)
    transport.copy_bundle(bundle, tmp_path / "out")
    assert (tmp_path / "out" / CARD).read_text() == before


def test_files_beside_a_bundle_are_not_copied(bundle, tmp_path):
    (bundle / "notes.pkl").write_bytes(b"x")
    (bundle / "catalog" / "code.py").write_bytes(b"x")
    transport.copy_bundle(bundle, tmp_path / "out")
    assert names(tmp_path / "out") <= LAYOUT


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "catalog/codes.npy"])
def test_a_file_that_is_a_link_is_refused(bundle, name):
    outside = shutil.move(bundle / name, bundle.parent / "outside")
    (bundle / name).symlink_to(outside)
    refuse(bundle, "is a link")


def test_a_folder_that_is_a_link_is_refused(bundle):
    outside = shutil.move(bundle / "catalog", bundle.parent / "outside")
    (bundle / "catalog").symlink_to(outside)
    refuse(bundle, "is a link")


def test_a_card_that_is_a_link_is_not_read(bundle, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (bundle / CARD).unlink()
    (bundle / CARD).symlink_to(tmp_path / "secret")
    transport.copy_bundle(bundle, tmp_path / "out")
    assert "secret" not in (tmp_path / "out" / CARD).read_text()


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "notes.pkl"])
def test_a_manifest_that_leads_outside_is_refused(bundle, name):
    (bundle.parent / "outside").write_text("x")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = file_sha256(bundle.parent / "outside")
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    refuse(bundle, "which no bundle holds")


def test_a_damaged_file_is_refused_and_leaves_nothing(bundle):
    weights = bytearray((bundle / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "model.safetensors").write_bytes(bytes(weights))
    refuse(bundle, "not the file that manifest.json describes")


def test_a_missing_file_is_refused_and_leaves_nothing(bundle):
    (bundle / "catalog" / "codes.npy").unlink()
    refuse(bundle, "missing from the bundle", FileNotFoundError)


def test_a_refused_copy_leaves_the_older_bundle(bundle, tmp_path):
    transport.copy_bundle(bundle, tmp_path / "out", card="older")
    (bundle / "catalog" / "codes.npy").unlink()
    with pytest.raises(FileNotFoundError):
        transport.copy_bundle(bundle, tmp_path / "out")
    assert (tmp_path / "out" / CARD).read_text() == "older"
    assert load(tmp_path / "out").catalog.num_items == 12


def test_a_copy_replaces_nothing_else(bundle, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.md").write_text("x")
    with pytest.raises(ValueError, match="is not a bundle"):
        transport.copy_bundle(bundle, tmp_path / "out")
    assert names(tmp_path / "out") == {"thesis.md"}


@pytest.mark.parametrize("place", [".", "inside", ".."])
def test_a_copy_goes_neither_into_the_bundle_nor_over_it(bundle, place):
    before = names(bundle)
    with pytest.raises(ValueError, match="is, lies in, or holds the bundle"):
        transport.copy_bundle(bundle, bundle / place)
    assert names(bundle) == before


def arrive(bundle, out, change):
    """Lets the files of a bundle arrive at a place, after a change in the temporary folder."""
    with transport.arriving_bundle(out) as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        change(folder)


@pytest.mark.parametrize("strange", ["notes.txt", "catalog/x.py", "deeper/manifest.json"])
def test_what_arrives_and_is_no_part_of_a_bundle_is_refused(bundle, tmp_path, strange):
    def add(folder):
        (folder / strange).parent.mkdir(exist_ok=True)
        (folder / strange).write_text("x")

    with pytest.raises(ValueError, match="is no file that a bundle holds"):
        arrive(bundle, tmp_path / "out", add)
    assert not (tmp_path / "out").exists()


def test_a_link_that_arrives_is_refused(bundle, tmp_path):
    def link(folder):
        (folder / CARD).unlink()
        (folder / CARD).symlink_to("/etc/hostname")

    with pytest.raises(ValueError, match="is a link"):
        arrive(bundle, tmp_path / "out", link)
    assert not (tmp_path / "out").exists()
