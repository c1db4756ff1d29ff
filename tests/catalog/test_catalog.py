import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidestep.catalog.catalog import Catalog

IDS = ["B07", "a", "Ω", "10", "9"]
CODES = np.array([[0, 1], [2, 0], [0, 1], [1, 1], [0, 0]], dtype=np.int32)
SIZES = (3, 2)


def small(**changes):
    parts = {
        "item_ids": IDS,
        "semantic_ids": CODES,
        "codebook_sizes": SIZES,
        "popularity": np.array([1, 0, 5, 0, 0]),
        "texts": pl.DataFrame({"title": ["drill", "saw", "glue", "tape", "file"]}),
    }
    return Catalog.build(**{**parts, **changes})


@st.composite
def parts(draw):
    """Parts from which a catalog is built."""
    ids = draw(st.lists(st.text(max_size=4), min_size=1, max_size=12, unique=True))
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    rows = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    codes = draw(st.lists(rows, min_size=len(ids), max_size=len(ids)))
    counts = st.lists(st.integers(0, 9), min_size=len(ids), max_size=len(ids)).map(np.array)
    return {
        "item_ids": ids,
        "semantic_ids": np.array(codes, dtype=np.int64),
        "codebook_sizes": sizes,
        "popularity": draw(st.none() | counts),
        "texts": draw(st.none() | st.just(pl.DataFrame({"title": ids}))),
    }


@given(parts())
@settings(max_examples=30)
def test_an_item_is_found_by_its_id_and_leads_through_its_leaf_back_to_itself(parts):
    catalog = Catalog.build(**parts)
    for index, item_id in enumerate(catalog.ids_of(np.arange(catalog.num_items))):
        assert catalog.index_of(item_id) == index
        leaf = catalog.trie.leaf_of(torch.tensor([[index]]))
        assert torch.equal(catalog.trie.path(leaf)[0, 0], catalog.semantic_ids[index].long())
        assert index in catalog.trie.items(leaf)[0, 0]


@given(parts())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_saved_catalog_is_loaded_the_same(tmp_path, parts):
    catalog = Catalog.build(**parts)
    catalog.save(tmp_path / "catalog")
    loaded = Catalog.load(tmp_path / "catalog", verify=True)
    assert loaded.version == catalog.version
    assert loaded.item_ids == catalog.item_ids
    assert loaded.codebook_sizes == catalog.codebook_sizes
    assert torch.equal(loaded.semantic_ids, catalog.semantic_ids)
    assert loaded.trie.depth_starts == catalog.trie.depth_starts
    for name in ("codes", "child_start", "bucket_start", "bucket_items", "item_leaves"):
        assert torch.equal(getattr(loaded.trie, name), getattr(catalog.trie, name)), name
    assert torch.equal(loaded.trie.dense.ranks, catalog.trie.dense.ranks)
    if catalog.popularity is None:
        assert loaded.popularity is None
    else:
        assert np.array_equal(loaded.popularity, catalog.popularity)
    if catalog.texts is None:
        assert loaded.texts is None
    else:
        assert loaded.texts.collect().equals(catalog.texts.collect())


def test_the_version_changes_with_ids_codes_and_sizes_alone():
    version = small().version
    assert small(popularity=None, texts=None).version == version
    assert small(item_ids=pa.array(["x", *IDS])[1:]).version == version
    assert small(semantic_ids=torch.from_numpy(CODES)).version == version
    assert small(item_ids=["B07a", "", "Ω", "10", "9"]).version != version
    assert small(semantic_ids=CODES[::-1]).version != version
    assert small(codebook_sizes=(3, 3)).version != version


def test_buckets_are_ordered_by_training_popularity():
    catalog = small()
    assert catalog.trie.items(catalog.trie.leaf_of(torch.tensor([[0]])))[0, 0].tolist() == [2, 0]


def test_texts_are_shown_in_the_order_asked_for():
    assert small().texts_of(np.array([3, 0, 3]))["title"].to_list() == ["tape", "drill", "tape"]
    with pytest.raises(ValueError, match="no item texts"):
        small(texts=None).texts_of(np.array([0]))


def test_an_unknown_id_is_refused_by_name():
    with pytest.raises(KeyError, match="no item 'b' among the 5 items"):
        small().index_of("b")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"item_ids": ["a", "b", "a", "c", "a"]}, ValueError, "'a' stands in rows 0 and 2, 2 ids"),
        ({"item_ids": pa.array([1, 2, 3, 4, 5])}, TypeError, "must be strings"),
        ({"item_ids": pa.array(["a", None, "b", "c", "d"])}, TypeError, "nulls"),
        ({"item_ids": IDS[:4]}, ValueError, "semantic_ids has 5 rows for 4 items"),
        ({"popularity": np.array([1])}, ValueError, "popularity has 1 rows for 5 items"),
        ({"texts": pl.DataFrame({"title": ["x"]})}, ValueError, "texts has 1 rows"),
        ({"codebook_sizes": (2, 2)}, ValueError, r"item 'a' \(row 1\) has code 2 at level 1"),
        ({"codebook_sizes": (3, 2, 2)}, ValueError, "2 levels"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, error, words):
    with pytest.raises(error, match=words):
        small(**{"popularity": None, "texts": None, **changes})


def test_an_empty_catalog_is_refused():
    with pytest.raises(ValueError, match="at least one item"):
        Catalog.build([], np.zeros((0, 2), dtype=np.int32), (2, 2))


def test_any_changed_byte_is_found_by_verification(tmp_path):
    path = tmp_path / "catalog"
    small().save(path)
    for file in sorted(path.iterdir()):
        original = file.read_bytes()
        damaged = bytearray(original)
        damaged[len(damaged) // 2] ^= 1
        if file.name == "manifest.json":
            text = original.decode()
            damaged = text.replace('"num_items": 5', '"num_items": 6').encode()
        file.write_bytes(bytes(damaged))
        with pytest.raises(ValueError, match=file.name):
            Catalog.load(path, verify=True)
        file.write_bytes(original)
    assert Catalog.load(path, verify=True).num_items == 5


def test_a_file_cut_short_or_gone_is_found_without_verification(tmp_path):
    path = tmp_path / "catalog"
    small().save(path)
    file = path / "bucket_items.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"bucket_items\.npy: \d+ bytes instead of"):
        Catalog.load(path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="bucket_items"):
        Catalog.load(path)
    with pytest.raises(FileNotFoundError, match="no catalog here"):
        Catalog.load(tmp_path)


def test_a_catalog_of_another_schema_is_refused(tmp_path):
    path = tmp_path / "catalog"
    small().save(path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(ValueError, match="schema version 99"):
        Catalog.load(path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"files": None}, "files: Input should be"),
        ({"version": 7}, "version: "),
        ({"files": {"codes.npy": {"bytes": 9}}}, r"files\.codes\.npy\.sha256: Field required"),
    ],
)
def test_a_damaged_manifest_is_told_by_file_and_field(tmp_path, changes, named):
    path = tmp_path / "catalog"
    small().save(path)
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(ValueError, match=rf"manifest\.json: {named}.*; tokenize again"):
        Catalog.load(path)


def test_saving_replaces_a_catalog_but_nothing_else(tmp_path):
    path = tmp_path / "catalog"
    small().save(path)
    small(semantic_ids=CODES[::-1]).save(path)
    assert Catalog.load(path).version == small(semantic_ids=CODES[::-1]).version
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is not a catalog"):
        small().save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["catalog", "thesis"]


def test_a_loaded_catalog_may_be_saved_over_itself(tmp_path):
    path = tmp_path / "catalog"
    small().save(path)
    Catalog.load(path).save(path)
    assert Catalog.load(path, verify=True).version == small().version


def test_an_older_schema_is_read_and_a_newer_one_refused_with_a_remedy(tmp_path):
    path = tmp_path / "catalog"
    small().save(path)
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["parent_version"]
    file.write_text(json.dumps({**manifest, "schema_version": 1}))
    old = Catalog.load(path, verify=True)
    assert old.version == small().version
    assert old.parent_version is None
    file.write_text(json.dumps({**manifest, "schema_version": 4}))
    with pytest.raises(ValueError, match=r"reads 1 to 3\. Install a newer Sidestep"):
        Catalog.load(path)


NEW = np.array([[2, 1], [0, 1]], dtype=np.int32)


@given(parts(), st.integers(0, 11))
@settings(max_examples=20)
def test_appending_moves_no_item_and_gives_the_catalog_built_at_once(parts, num_old):
    whole = Catalog.build(**parts)
    num_old = min(num_old, whole.num_items)
    if num_old in (0, whole.num_items):
        return
    old, new = slice(num_old), slice(num_old, None)
    first = Catalog.build(
        parts["item_ids"][old],
        parts["semantic_ids"][old],
        parts["codebook_sizes"],
        texts=None if parts["texts"] is None else parts["texts"][old],
    )
    both = first.appended(
        parts["item_ids"][new],
        parts["semantic_ids"][new],
        texts=None if parts["texts"] is None else parts["texts"][new],
    )
    assert both.version == whole.version
    assert both.parent_version == first.version != both.version
    assert torch.equal(both.semantic_ids[:num_old], first.semantic_ids)
    assert both.ids_of(np.arange(num_old)) == first.ids_of(np.arange(num_old))
    assert torch.equal(both.trie.codes, whole.trie.codes)
    if parts["texts"] is not None:
        assert both.texts.collect().equals(whole.texts.collect())


def test_new_items_are_last_in_their_bucket_and_lack_the_texts_that_nobody_gave():
    catalog = small().appended(["new", "x"], NEW, texts=pl.DataFrame({"color": ["red", "blue"]}))
    bucket = catalog.trie.items(catalog.trie.leaf_of(torch.tensor([[0]])))[0, 0].tolist()
    assert bucket == [2, 0, 6]
    assert catalog.popularity.tolist() == [1, 0, 5, 0, 0, 0, 0]
    assert catalog.texts_of(np.array([6, 1])).to_dict(as_series=False) == {"title": [None, "saw"]}


@pytest.mark.parametrize(
    ("item_ids", "words"),
    [([], "no new items"), (["x", "10"], "1 of 2 .* '10'; .* keeps"), (["x", "x"], "'x' stands")],
)
def test_items_that_are_not_new_are_refused(item_ids, words):
    with pytest.raises(ValueError, match=words):
        small().appended(item_ids, NEW[: len(item_ids)])


def test_a_text_is_no_list_of_items_to_retire():
    with pytest.raises(TypeError, match="item_ids is a list of item IDs, got a text"):
        small().retired("xy")


def test_a_tombstone_is_kept_and_lifted_and_changes_no_version(tmp_path):
    catalog = small().retired(["a", "9"])
    catalog.save(tmp_path / "catalog")
    loaded = Catalog.load(tmp_path / "catalog", verify=True)
    assert loaded.version == small().version
    assert loaded.is_retired.tolist() == [False, True, False, False, True]
    assert loaded.retired(["10"]).num_retired == 3
    assert loaded.restored(["10", "9"]).is_retired.sum() == 1
    assert loaded.restored(["a", "9"]).is_retired is None
    assert loaded.num_retired == 2
    grown = loaded.appended(["new", "x"], NEW)
    assert grown.is_retired.tolist() == [False, True, False, False, True, False, False]
    grown.save(tmp_path / "grown")
    assert Catalog.load(tmp_path / "grown").parent_version == small().version


def test_items_that_cannot_be_retired_or_restored_are_refused():
    with pytest.raises(KeyError, match="no item 'gone'"):
        small().restored(["a", "gone"])
    with pytest.raises(KeyError, match="no item 'gone'"):
        small().retired(["a", "gone"])
    with pytest.raises(ValueError, match="nothing left to recommend"):
        small().retired(IDS)


def test_what_the_tokenizer_left_beside_a_catalog_goes_where_the_catalog_goes(tmp_path):
    small().save(tmp_path / "catalog")
    (tmp_path / "catalog" / "codebooks.safetensors").write_bytes(b"codewords")
    loaded = Catalog.load(tmp_path / "catalog")
    loaded.appended(["new", "x"], NEW).save(tmp_path / "copy")
    assert (tmp_path / "copy" / "codebooks.safetensors").read_bytes() == b"codewords"
    loaded.save(tmp_path / "catalog")
    assert (tmp_path / "catalog" / "codebooks.safetensors").read_bytes() == b"codewords"


def test_what_goes_beside_a_catalog_is_saved_with_it_or_nothing_is(tmp_path):
    def keep(folder):
        (folder / "tokenizer.json").write_text("kept")

    def fail(folder):
        keep(folder)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        small().save(tmp_path / "catalog", write_companions=fail)
    assert not list(tmp_path.iterdir())
    small().save(tmp_path / "catalog", write_companions=keep)
    (kept,) = Catalog.load(tmp_path / "catalog", verify=True).companions
    assert kept.read_text() == "kept"


def test_items_are_called_by_their_title_whatever_column_comes_first():
    texts = pl.DataFrame({"brand": list("abcde"), "title": ["drill", None, "", "tape", "file"]})
    titles = small(texts=texts).titles_of(np.array([3, 1, 2]))
    assert titles == ["tape", "a", "Ω"]  # the ID stands in for what is missing
    untitled = small(texts=texts.select("brand"))
    assert untitled.titles_of(np.array([4, 0])) == ["e", "a"]


def test_titles_are_read_once(tmp_path):
    """Lists need them at every request: the file is not asked again."""
    texts = pl.DataFrame({"title": ["A", "B", "C", "D", "E"], "other": ["long"] * 5})
    small(texts=texts).save(tmp_path / "catalog")
    catalog = Catalog.load(tmp_path / "catalog")
    assert catalog.titles_of(np.array([1])) == ["B"]
    (tmp_path / "catalog" / "texts.parquet").unlink()
    assert catalog.titles_of(np.array([4, 0])) == ["E", "A"]
    retired = catalog.retired(catalog.ids_of(np.array([1])))
    assert retired.titles_of(np.array([4, 0])) == ["E", "A"]


def test_a_catalog_is_mapped_without_being_read_unless_that_is_asked_for(tmp_path):
    path = tmp_path / "catalog"
    small().save(path)
    file = path / "popularity.npy"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(bytes(damaged))
    assert Catalog.load(path).num_items == 5
    with pytest.raises(ValueError, match=r"popularity\.npy"):
        Catalog.load(path, verify=True)
