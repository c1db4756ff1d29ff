import numpy as np
import polars as pl
import pytest
import torch

from sidestep.bundle.appending import NewVectors, append_items, restore_items, retire_items
from sidestep.bundle.folder import load, save_bundle
from sidestep.catalog.catalog import Catalog
from sidestep.model.cobra import Cobra
from sidestep.model.config import (
    CobraConfig,
    SasRecConfig,
    StreamRecConfig,
    T5Config,
    TransformerConfig,
)
from sidestep.model.sasrec import SasRec
from sidestep.model.stream_rec import StreamRec
from sidestep.model.t5 import T5
from sidestep.model.transformer import Transformer
from sidestep.search.exhaustive import ExhaustiveSearch
from tests.model.item_networks import KINDS as ITEM_KINDS
from tests.model.item_networks import tiny_network

ITEM_IDS = [f"id-{index}" for index in range(12)]
NEW_IDS = ["new-a", "new-b"]
NEW_CODES = np.array([[1, 3], [2, 3]], dtype=np.int32)
KINDS = (
    *("transformer", "tied transformer", "cobra", "sasrec of code sums"),
    *(*ITEM_KINDS, "popularity"),
)


def catalog():
    semantic_ids = np.array([[index // 3, index % 3] for index in range(12)])
    return Catalog.build(ITEM_IDS, semantic_ids, (4, 4), texts=pl.DataFrame({"title": [*ITEM_IDS]}))


def a_cobra(known, dim=8):
    config = CobraConfig(dim=dim, num_layers=1, num_heads=2, vector_dim=3)
    network = Cobra(config, known.semantic_ids, known.codebook_sizes)
    network.set_item_vectors(torch.randn(known.num_items, 3).numpy())
    torch.nn.init.normal_(network.head.weight)
    return network


def loaded(folder, kind, known=None, *, dim=8):
    torch.manual_seed(0)
    known = known or catalog()
    network, counts = None, None
    if kind in ("transformer", "tied transformer"):
        config = TransformerConfig(
            dim=dim,
            num_layers=1,
            num_heads=2,
            history="items",
            item_embedding=True,
            item_head=True,
            tied_item_head=kind == "tied transformer",
        )
        network = Transformer(config, known.semantic_ids, known.codebook_sizes)
        torch.nn.init.normal_(network.head.weight)  # so that no two leaves have equal scores
    elif kind == "cobra":
        network = a_cobra(known, dim)
    elif kind in ("t5", "tied t5"):
        config = T5Config(dim=dim, num_layers=1, num_heads=2, tied_head=kind == "tied t5")
        network = T5(config, known.semantic_ids, known.codebook_sizes)
        torch.nn.init.normal_(network.head_weight)
    elif kind == "stream-rec":
        config = StreamRecConfig(dim=dim, num_layers=1, num_heads=2, num_thoughts=2)
        network = StreamRec(config, known.semantic_ids, known.codebook_sizes)
    elif kind == "sasrec of code sums":
        config = SasRecConfig(dim=dim, num_layers=1, max_items=4, code_embedding=True)
        network = SasRec.of_codes(config, known.semantic_ids, known.codebook_sizes)
    elif kind in ITEM_KINDS:
        network = tiny_network(kind, known.semantic_ids, known.codebook_sizes, dim=dim)
    else:
        counts = np.arange(known.num_items)[::-1].copy()
    save_bundle(folder, network=network, counts=counts, catalog=known, max_history=4, seed=0)
    return load(folder, device="cpu")


def appended(old):
    texts = pl.DataFrame({"title": ["New A", "New B"]})
    return append_items(old, NEW_IDS, NEW_CODES, texts=texts)


@pytest.mark.parametrize("kind", KINDS)
def test_appending_changes_no_old_id_and_no_old_weight_and_survives_the_folder(tmp_path, kind):
    old = loaded(tmp_path / "old", kind)
    new = appended(old)
    new.save(tmp_path / "new")
    for grown in (new, load(tmp_path / "new", device="cpu")):
        assert (old.num_new_items, grown.num_new_items) == (0, 2)
        assert grown.new_item_ids == NEW_IDS
        assert grown.catalog.parent_version == old.catalog.version
        assert torch.equal(grown.catalog.semantic_ids[:12], old.catalog.semantic_ids)
        assert grown.catalog.ids_of(np.arange(12, 14)) == NEW_IDS
        if old.network is not None:
            for name, weights in old.network.state_dict().items():
                mine = grown.network.state_dict()[name]
                assert torch.equal(mine[: len(weights)], weights), name
                assert len(mine) == len(weights) + 2 * (name.split(".")[0].startswith("item_"))
    assert old.catalog.num_items == 12


@pytest.mark.parametrize("kind", KINDS)
def test_new_items_are_recommended_and_may_stand_in_histories(tmp_path, kind):
    new = appended(loaded(tmp_path / "old", kind))
    [answer] = new.recommend([["id-3", "new-a"]], k=14)
    assert answer.num_unknown == 0
    assert set(answer.item_ids) == {*ITEM_IDS, *NEW_IDS}
    assert "New A" in answer.titles
    if kind == "popularity":
        assert answer.item_ids[-2:] == NEW_IDS
        assert answer.scores[-2:] == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_lists_without_new_items_keep_their_order(tmp_path, kind):
    old = loaded(tmp_path / "old", kind)
    new = appended(old)
    histories = [["id-3", "id-7"], [], ["id-1"]]
    available = [*ITEM_IDS]
    for before, after in zip(
        old.recommend(histories, k=12),
        new.recommend(histories, k=12, available=available),
        strict=True,
    ):
        assert after.item_ids == before.item_ids
        assert after.scores == pytest.approx(before.scores, abs=1e-5)


HISTORIES = [["id-3", "id-7"], [], ["id-1", "new-b"]]


@pytest.mark.parametrize("form", ["codes", "items"])
def test_a_network_without_rows_per_item_stays_and_reads_the_codes_of_the_catalog(tmp_path, form):
    torch.manual_seed(0)
    known = catalog()
    config = TransformerConfig(dim=8, num_layers=1, num_heads=2, history=form)
    network = Transformer(config, known.semantic_ids, known.codebook_sizes)
    for weights in network.parameters():
        torch.nn.init.normal_(weights)
    save_bundle(tmp_path / "old", network=network, catalog=known, max_history=4, seed=0)
    old = load(tmp_path / "old", device="cpu")
    assert old.network.semantic_ids is old.catalog.semantic_ids
    before = old.recommend([["id-3", "new-a"]], k=14)
    new = appended(old)
    assert new.network.semantic_ids is new.catalog.semantic_ids
    for ours, theirs in zip(new.network.parameters(), old.network.parameters(), strict=True):
        assert ours is theirs
    # The old recommender knows nothing of the new items.
    assert old.network.num_items == 12
    assert old.recommend([["id-3", "new-a"]], k=14) == before
    new.save(tmp_path / "new")
    history = [["id-3", "new-a"]]
    assert new.recommend(history, k=14) == load(tmp_path / "new", device="cpu").recommend(
        history, k=14
    )
    assert new.recommend(history, k=14)[0].item_ids != before[0].item_ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_new_places", [0, 1, 2, 4, 5])
def test_the_last_places_go_to_the_best_new_items(tmp_path, kind, num_new_places):
    new = appended(loaded(tmp_path / "old", kind))
    ordinary = new.recommend(HISTORIES, k=5)
    among_new = new.recommend(HISTORIES, k=5, available=NEW_IDS)
    lists = new.recommend(HISTORIES, k=5, num_new_places=num_new_places)
    for answer, usual, newest in zip(lists, ordinary, among_new, strict=True):
        scores = dict(zip(usual.item_ids, usual.scores, strict=True))
        head = usual.item_ids[: 5 - num_new_places]
        fresh = [item for item in newest.item_ids if item not in head][:num_new_places]
        rest = [item for item in usual.item_ids if item not in [*head, *fresh]]
        assert answer.item_ids == [*head, *fresh, *rest][:5]
        assert answer.is_new == [item in NEW_IDS for item in answer.item_ids]
        scores |= {item: newest.scores[newest.item_ids.index(item)] for item in fresh}
        assert answer.scores == pytest.approx([scores[item] for item in answer.item_ids])
    assert new.recommend([[]], 2, num_new_places=2)[0].item_ids == among_new[1].item_ids
    # More places than there are items for change nothing.
    many = new.recommend(HISTORIES, k=10**12 + 2, num_new_places=10**12)
    few = new.recommend(HISTORIES, k=len(ITEM_IDS) + 2, num_new_places=len(ITEM_IDS))
    assert [answer.item_ids for answer in many] == [answer.item_ids for answer in few]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rpg"])  # new-b is first there
def test_a_place_for_a_new_item_that_nobody_may_get_goes_to_the_next_old_one(tmp_path, kind):
    new = appended(loaded(tmp_path / "old", kind))
    usual = new.recommend([["id-3"]], k=5, available=ITEM_IDS)[0].item_ids
    without = (
        new.recommend([["id-3"]], k=5, available=ITEM_IDS, num_new_places=2),
        new.recommend([["id-3"]], k=5, excluded=[NEW_IDS], num_new_places=2),
        new.recommend([["id-3", *NEW_IDS]], k=5, exclude_seen=True, num_new_places=2),
        retire_items(new, NEW_IDS).recommend([["id-3"]], k=5, num_new_places=2),
    )
    for [answer] in without:
        assert not any(answer.is_new)
        assert len(answer.item_ids) == 5
    assert without[0][0].item_ids == without[3][0].item_ids == usual
    [answer] = new.recommend([["id-3"]], k=5, excluded=[["new-a"]], num_new_places=2)
    assert answer.item_ids[3] == "new-b"
    assert sum(answer.is_new) == 1


def test_places_for_new_items_that_cannot_be_filled_are_refused(tmp_path):
    old = loaded(tmp_path / "old", "transformer")
    with pytest.raises(ValueError, match="no item was appended to this bundle"):
        old.recommend([[]], k=3, num_new_places=1)
    new = appended(old)
    for wrong in (4, -1):
        with pytest.raises(
            ValueError, match=f"between 0 and the length of the list, 3, got {wrong}"
        ):
            new.recommend([[]], k=3, num_new_places=wrong)
    with pytest.raises(TypeError, match="num_new_places is an integer, got bool True"):
        new.recommend([[]], k=3, num_new_places=True)


def test_what_is_appended_twice_is_new_twice(tmp_path):
    new = appended(loaded(tmp_path / "old", "transformer"))
    again = append_items(new, ["new-c"], np.array([[3, 3]], dtype=np.int32))
    assert again.new_item_ids == [*NEW_IDS, "new-c"]


def test_a_new_row_is_the_mean_of_the_siblings(tmp_path):
    old = loaded(tmp_path / "old", "transformer")
    rows = old.network.item_embedding.weight
    grown = appended(old).network
    torch.testing.assert_close(grown.item_embedding.weight[12], rows[3:6].mean(0))
    torch.testing.assert_close(grown.item_embedding.weight[13], rows[6:9].mean(0))
    torch.testing.assert_close(
        grown.item_head.weight[12], old.network.item_head.weight[3:6].mean(0)
    )
    without = append_items(old, NEW_IDS, NEW_CODES, new_rows="zeros").network
    assert not without.item_embedding.weight[12:].any()


@pytest.mark.parametrize(
    ("made_of", "is_read"),
    [
        ({"embeddings_sha256": "f", "vectors_sha256": "these"}, True),
        ({"backbone": {"embeddings_sha256": "f", "vectors_sha256": "these"}}, True),
        ({"embeddings_sha256": "f", "vectors_sha256": "others"}, False),
        ({}, False),
    ],
)
def test_cobra_reads_the_given_vectors_of_new_items_or_the_mean_of_their_siblings(
    tmp_path, made_of, is_read, caplog
):
    known = catalog()
    network = a_cobra(known)
    about = {"max_history": 4, "seed": 0, "training": made_of}
    save_bundle(tmp_path / "old", network=network, catalog=known, **about)
    given = np.array([[0.0, 3.0, 4.0], [2.0, 0.0, 0.0]], dtype=np.float32)
    vectors = NewVectors(values=given, of="these")
    old = load(tmp_path / "old", device="cpu")
    with caplog.at_level("INFO"):
        grown = append_items(old, NEW_IDS, NEW_CODES, vectors=vectors).network.item_vectors
    assert torch.equal(grown[:12], network.item_vectors)
    siblings = torch.stack([grown[3:6].mean(0), grown[6:9].mean(0)])
    expected = torch.tensor([[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]]) if is_read else siblings
    torch.testing.assert_close(grown[12:], expected)
    told = "COBRA gets no vectors of the new items" in caplog.text
    assert told == (made_of != {} and not is_read)


def test_a_new_item_of_code_sums_is_its_codes_and_the_mean_of_the_siblings(tmp_path):
    old = loaded(tmp_path / "old", "sasrec of code sums")
    assert old.network.semantic_ids is old.catalog.semantic_ids
    codes, own = old.network.code_embedding.weight, old.network.item_embedding.weight
    vectors = appended(old).network.catalog_vectors()
    torch.testing.assert_close(vectors[:12], old.network.catalog_vectors())
    torch.testing.assert_close(vectors[12], codes[1] + codes[4 + 3] + own[3:6].mean(0))
    without = append_items(old, NEW_IDS, NEW_CODES, new_rows="zeros").network
    torch.testing.assert_close(without.catalog_vectors()[13], codes[2] + codes[4 + 3])


def test_an_item_without_a_relative_gets_the_mean_of_all(tmp_path):
    known = Catalog.build(["a", "b"], np.array([[0, 0], [1, 0]]), (3, 2))
    grown = append_items(
        loaded(tmp_path / "old", "sasrec", known), ["c"], np.array([[2, 1]], dtype=np.int32)
    )
    rows = grown.network.item_embedding.weight
    torch.testing.assert_close(rows[2], rows[:2].mean(0))


def flat():
    return Catalog.build(["a", "b", "c"], np.arange(3)[:, None], (3,))


def test_popularity_without_semantic_ids_takes_new_items(tmp_path):
    grown = append_items(loaded(tmp_path / "old", "popularity", flat()), ["d"], None)
    [answer] = grown.recommend([[]], k=4)
    assert answer.item_ids == ["a", "b", "c", "d"]
    grown.save(tmp_path / "new")
    assert load(tmp_path / "new").catalog.codebook_sizes == (4,)


@pytest.mark.parametrize("kind", [*KINDS, "t5", "tied t5", "stream-rec"])
def test_a_last_codebook_that_grows_changes_no_old_weight_and_no_old_score(tmp_path, kind):
    old = loaded(tmp_path / "old", kind)
    codes = np.array([[1, 3], [1, 4], [1, 5]], dtype=np.int32)  # codes 4 and 5 are new
    new_ids = ["new-a", "new-b", "new-c"]
    append_items(old, new_ids, codes, last_codebook_size=6).save(tmp_path / "new")
    grown = load(tmp_path / "new", device="cpu")
    assert grown.catalog.codebook_sizes == (4, 6)
    assert torch.equal(grown.catalog.semantic_ids[:12], old.catalog.semantic_ids)
    reads_codes = kind not in ("sasrec", "popularity")
    if old.network is not None:
        num_grown = 0
        for name, weights in old.network.state_dict().items():
            mine = grown.network.state_dict()[name]
            assert torch.equal(mine[: len(weights)], weights), name
            if name in ("code_embedding.weight", "head.weight") and len(mine) > len(weights):
                assert torch.equal(mine[8:], weights[7:].expand(2, -1))
                num_grown += 1
        counts = {"transformer": 2, "tied transformer": 2, "t5": 2, "tied t5": 1}
        counts |= {"sasrec of code sums": 1, "rpg": 1, "stream-rec": 1, "cobra": 1}
        assert num_grown == counts.get(kind, 0)
    histories = [["id-3", "id-7"], [], ["id-1"]]
    for before, after in zip(
        old.recommend(histories, k=12),
        grown.recommend(histories, k=12, available=ITEM_IDS),
        strict=True,
    ):
        assert after.item_ids == before.item_ids
        # The scores of RPG are normalised over a codebook that grows, so all of them move alike.
        moved = after.scores[0] - before.scores[0] if kind == "rpg" else 0.0
        expected = [score + moved for score in before.scores]
        assert after.scores == pytest.approx(expected, abs=1e-4 if moved else 1e-5)
    [answer] = grown.recommend([["new-c", "id-3"]], k=15)
    assert set(answer.item_ids) == {*ITEM_IDS, *new_ids}
    if reads_codes:
        scores = dict(zip(answer.item_ids, answer.scores, strict=True))
        assert scores["new-b"] == pytest.approx(scores["new-c"], abs=1e-5)
    with pytest.raises(ValueError, match="3, but the last level has 4 codes"):
        append_items(old, new_ids, codes, last_codebook_size=3)
    with pytest.raises(ValueError, match="has code 4 at level 2"):
        append_items(old, new_ids, codes)


def test_what_cannot_know_new_items_refuses_them_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="Train it with --catalog"):
        append_items(loaded(tmp_path / "a", "sasrec", flat()), ["d"], None)
    with pytest.raises(ValueError, match="new items need theirs"):
        append_items(loaded(tmp_path / "b", "transformer"), ["d"], None)
    with pytest.raises(ValueError, match="in the catalog already"):
        append_items(loaded(tmp_path / "c", "transformer"), ["id-1"], NEW_CODES[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_retired_items_are_not_recommended_but_may_stand_in_histories(tmp_path, kind):
    old = loaded(tmp_path / "old", kind)
    gone = ["id-3", "id-0", "id-7"]
    retire_items(old, gone).save(tmp_path / "new")
    retired = load(tmp_path / "new", device="cpu")
    histories = [["id-3", "id-1"], ["id-8"]]
    search = ExhaustiveSearch(num_leaves=12) if kind == "transformer" else None
    for chosen in (None, search):
        found = retired.recommend(histories, k=12, search=chosen)
        left = [item_id for item_id in ITEM_IDS if item_id not in gone]
        limited = old.recommend(histories, k=12, search=chosen, available=left)
        for answer, expected in zip(found, limited, strict=True):
            assert answer.num_unknown == 0
            assert answer.item_ids == expected.item_ids
            assert sorted(answer.item_ids) == sorted(left)
    [answer] = retired.recommend([[]], k=12, available=["id-0", "id-2"])
    assert answer.item_ids == ["id-2"]
    again = restore_items(retired, ["id-0"])
    assert "id-0" in again.recommend([[]], k=12)[0].item_ids
    if old.network is not None:
        assert all(
            torch.equal(weights, old.network.state_dict()[name])
            for name, weights in retired.network.state_dict().items()
        )
