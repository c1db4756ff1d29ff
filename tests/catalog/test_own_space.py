"""A code space that a catalog names: the catalog keeps it, and nobody takes it for a trie."""

import json

import numpy as np
import pytest
import torch

from sidestep.catalog.catalog import Catalog
from sidestep.catalog.own_space import OwnSpace
from sidestep.search.policy import Scope, whole_space
from tests.catalog.space_contract import CodeSpaceContract
from tests.own_parts.spaces import AnyOrder, EndedTitles

HERE = "tests.own_parts.spaces"
CODES = np.array([[0, 1], [1, 0], [1, 2], [2, 2], [1, 2]], dtype=np.int32)
SIZES = (3, 4)


def catalog(space=f"{HERE}:EndedTitles", **more):
    return Catalog.build([f"i{item}" for item in range(5)], CODES, SIZES, space=space, **more)


class TestOwnSpaces(CodeSpaceContract):
    @staticmethod
    def cases():
        codes = torch.from_numpy(CODES)
        return [
            (made_of.of_codes(codes, SIZES, popularity=None), [set(range(5))])
            for made_of in (EndedTitles, AnyOrder)
        ]


def test_a_catalog_keeps_its_space_and_no_trie(tmp_path):
    made = catalog(popularity=np.arange(5))
    made.save(tmp_path / "ids")
    loaded = Catalog.load(tmp_path / "ids", verify=True)
    assert (loaded.space, loaded.version) == (f"{HERE}:EndedTitles", made.version)
    assert not (tmp_path / "ids" / "child_start.npy").exists()
    assert whole_space(loaded.spanned).titles == ((0,), (1, 0), (1, 2), (2, 2), (1, 2))
    assert (loaded.codebook_sizes, loaded.num_levels) == (SIZES, 2)
    assert loaded.retired(["i1"]).space == loaded.space
    assert loaded.recounted(np.ones(5, dtype=np.int64)).space == loaded.space


def test_the_same_codes_in_another_space_are_another_catalog():
    versions = {catalog(space).version for space in (None, f"{HERE}:AnyOrder", catalog().space)}
    assert len(versions) == 3
    assert isinstance(whole_space(catalog(None).spanned), Scope)
    assert catalog(None).space is None


def test_a_catalog_moves_its_space_with_its_codes():
    made = catalog(f"{HERE}:Anywhere")
    assert made.to("cpu").spanned is made.spanned
    moved = made.to("meta")
    assert moved.semantic_ids.device == whole_space(moved.spanned).device == torch.device("meta")


def test_who_needs_the_trie_learns_which_space_there_is():
    with pytest.raises(
        ValueError, match=rf"this call needs the trie .* the space {HERE}:EndedTitles"
    ):
        _ = catalog().trie
    with pytest.raises(ValueError, match="appending items needs the trie"):
        catalog().appended(["new"], np.array([[0, 0]]))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nothing", "cannot be imported"),
        ("Shape", "makes no code space"),
        ("NoSpace", "of_codes gives a Tensor, which is no code space"),
        ("FewerItems", r"the space has 4 items and codebooks \(3, 4\), but the codes are of 5"),
        ("TooLong", "the space takes 9 steps, but an item has 2 codes"),
    ],
)
def test_what_is_no_space_of_the_codes_is_refused(name, words):
    with pytest.raises(ValueError, match=words):
        OwnSpace.of(f"{HERE}:{name}", torch.from_numpy(CODES), SIZES, None)


def test_a_catalog_whose_space_is_gone_says_where_it_was_named(tmp_path):
    catalog().save(tmp_path / "ids")
    file = tmp_path / "ids" / "manifest.json"
    content = json.loads(file.read_text())
    assert content["space"] == f"{HERE}:EndedTitles"
    file.write_text(json.dumps({**content, "space": "gone.away:Space"}))
    with pytest.raises(ValueError, match=r"manifest\.json: the code space: 'gone\.away:Space'"):
        Catalog.load(tmp_path / "ids")
    file.write_text(json.dumps({**content, "space": f"{HERE}:AnyOrder"}))
    with pytest.raises(ValueError, match="does not describe its files"):
        Catalog.load(tmp_path / "ids", verify=True)
