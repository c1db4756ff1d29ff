import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

import sidestep
from sidestep.baselines.transition_graph import TransitionGraph
from sidestep.bundle.folder import load, save_bundle
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import SCHEMA_VERSION
from sidestep.bundle.requests import Request
from sidestep.catalog.catalog import Catalog
from sidestep.data.histories import Histories
from sidestep.model.cobra import Cobra
from sidestep.model.config import CobraConfig, StreamRecConfig, T5Config, TransformerConfig
from sidestep.model.prompt_tokens import PromptTokens
from sidestep.model.stream_rec import StreamRec
from sidestep.model.t5 import T5
from sidestep.model.transformer import Transformer
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from tests.model.item_networks import KINDS as ITEM_KINDS
from tests.model.item_networks import tiny_network

hugging_face = pytest.importorskip("sidestep.model.hugging_face")
transformers = pytest.importorskip("transformers")

NUM_ITEMS = 12
ITEM_IDS = [f"id-{index}" for index in range(NUM_ITEMS)]
MAX_HISTORY = 4


def catalog(texts=True):
    semantic_ids = np.array([[index // 4, index % 4] for index in range(NUM_ITEMS)])
    frame = pl.DataFrame({"brand": ["b"] * NUM_ITEMS, "title": [f"Thing {i}" for i in ITEM_IDS]})
    return Catalog.build(ITEM_IDS, semantic_ids, (3, 4), texts=frame if texts else None)


def network(kind):
    torch.manual_seed(0)
    if kind == "semantic-id-transformer":
        config = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items")
        return Transformer(config, catalog().semantic_ids, (3, 4))
    if kind in ITEM_KINDS:
        return tiny_network(kind, catalog().semantic_ids, (3, 4), max_items=MAX_HISTORY)
    if kind == "semantic-id-t5":
        config = T5Config(dim=8, num_layers=1, num_heads=2)
        return T5(config, catalog().semantic_ids, (3, 4))
    if kind == "stream-rec":
        thinking = StreamRecConfig(dim=8, num_layers=1, num_heads=2, num_thoughts=2)
        return StreamRec(thinking, catalog().semantic_ids, (3, 4))
    if kind == "cobra":
        shape = CobraConfig(dim=8, num_layers=1, num_heads=2, vector_dim=5)
        made = Cobra(shape, catalog().semantic_ids, (3, 4))
        made.set_item_vectors(
            np.random.default_rng(0).normal(size=(NUM_ITEMS, 5)).astype(np.float32)
        )
        return made
    if kind == "hugging-face":
        config = transformers.LlamaConfig(
            vocab_size=12,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            tie_word_embeddings=True,
            pad_token_id=0,
        )
        return hugging_face.HuggingFaceModel(
            transformers.LlamaForCausalLM(config),
            catalog().semantic_ids,
            (3, 4),
            prompt=PromptTokens(opening=(2,), codes=torch.tensor([5, 3, 4, 11, 7, 9, 8])),
        )
    return None


KINDS = (
    "semantic-id-transformer",
    "semantic-id-t5",
    "stream-rec",
    "cobra",
    "hugging-face",
    *ITEM_KINDS,
    "popularity",
    "graph",
)


def fitted(kind):
    if kind != "graph":
        return None
    histories = Histories(
        items=np.arange(NUM_ITEMS, dtype=np.int32),
        offsets=np.array([0, NUM_ITEMS]),
        user_ids=("u",),
    )
    vectors = np.random.default_rng(0).normal(size=(NUM_ITEMS, 4)).astype(np.float32)
    return TransitionGraph.fit(
        histories,
        NUM_ITEMS,
        max_history=MAX_HISTORY,
        max_distance=2,
        distance_decay=0.5,
        backward_weight=0.0,
        prior=1.0,
        place_decay=0.5,
        similarity_weight=0.1,
        vectors=vectors,
    )


def saved(path, kind="semantic-id-transformer", *, texts=True):
    save_bundle(
        path,
        network=network(kind),
        counts=np.arange(NUM_ITEMS)[::-1].copy() if kind == "popularity" else None,
        fitted=fitted(kind),
        catalog=catalog(texts),
        max_history=MAX_HISTORY,
        seed=3,
        training={"seconds": 1.5},
        data={"name": "things"},
    )
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_bundle_recommends_what_the_saved_network_would(tmp_path, kind):
    loaded = load(saved(tmp_path / "bundle", kind), device="cpu")
    assert loaded.kind == kind
    assert loaded.manifest.seed == 3
    original = network(kind)
    if original is not None:
        for name, weights in original.state_dict().items():
            assert torch.equal(loaded.network.state_dict()[name], weights)
        assert not loaded.network.training
    [answer] = loaded.recommend([["id-1", "id-2"]], k=5)
    assert len(answer.item_ids) == len(answer.scores) == 5
    assert answer.scores == sorted(answer.scores, reverse=True)
    assert answer.titles == [f"Thing {item_id}" for item_id in answer.item_ids]


def places_of(file):
    """The ranges of addresses at which this process has mapped a file."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if line.endswith(str(file))]
    return [range(int(first, 16), int(last, 16)) for first, last in ranges]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells the mappings")
@pytest.mark.parametrize("kind", KINDS)
def test_mapped_weights_stay_in_their_file_and_recommend_the_same(tmp_path, kind):
    path = saved(tmp_path / "bundle", kind)
    copied = load(path, device="cpu")
    mapped = load(path, device="cpu", maps_weights=True)
    histories = [["id-1", "id-2"], []]
    for one, other in zip(
        copied.recommend(histories, 5), mapped.recommend(histories, 5), strict=True
    ):
        assert one.item_ids == other.item_ids
        assert one.scores == pytest.approx(other.scores)
    if mapped.network is not None:
        places = places_of(path / "model.safetensors")
        parameters = [*mapped.network.parameters()]
        assert parameters
        for parameter in parameters:
            assert any(parameter.data_ptr() in place for place in places)
        for parameter in copied.network.parameters():
            assert not any(parameter.data_ptr() in place for place in places)


def test_popularity_counts(tmp_path):
    loaded = load(saved(tmp_path / "bundle", "popularity"))
    [answer] = loaded.recommend([["id-1"]], k=3)
    assert answer.item_ids == ["id-0", "id-1", "id-2"]
    assert answer.scores == [11, 10, 9]
    assert answer.score_kind == "count"
    assert answer.tokens == 0


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_items_are_dropped_and_counted(tmp_path, kind):
    loaded = load(saved(tmp_path / "bundle", kind))
    first, second, third = loaded.recommend(
        [["id-1", "gone", "id-2", "gone"], ["id-1", "id-2"], []]
    )
    assert first.item_ids == second.item_ids
    assert first.scores == pytest.approx(second.scores)
    assert [first.num_unknown, second.num_unknown, third.num_unknown] == [2, 0, 0]
    assert third.item_ids


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_most_recent_items_are_looked_at(tmp_path, kind):
    loaded = load(saved(tmp_path / "bundle", kind))
    long, short = loaded.recommend([ITEM_IDS[:8], ITEM_IDS[4:8]])
    assert long.item_ids == short.item_ids


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_or_not_available_is_left_out_before_the_cut(tmp_path, kind):
    loaded = load(saved(tmp_path / "bundle", kind))
    [answer] = loaded.recommend(
        [["id-2", "id-5"]], k=12, exclude_seen=True, available=["id-5", "id-7", "id-9"]
    )
    assert sorted(answer.item_ids) == ["id-7", "id-9"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_user_must_not_get_another_may(tmp_path, kind):
    loaded = load(saved(tmp_path / "bundle", kind))
    first, second = loaded.recommend(
        [["id-2"], ["id-2"]], k=12, excluded=[["id-1", "id-2", "gone"], []]
    )
    assert set(second.item_ids) == set(ITEM_IDS)
    left = [item_id for item_id in ITEM_IDS if item_id not in ("id-1", "id-2")]
    [expected] = loaded.recommend([["id-2"]], k=12, available=left)
    assert first.item_ids == expected.item_ids
    # float32: products with one row and with two are rounded differently, by the size of a score.
    assert first.scores == pytest.approx(expected.scores, rel=1e-6, abs=1e-5)


def test_seen_items_are_left_out_also_where_they_are_too_old_to_be_looked_at(tmp_path):
    loaded = load(saved(tmp_path / "bundle"))
    [answer] = loaded.recommend([ITEM_IDS[:8]], k=12, exclude_seen=True)
    assert sorted(answer.item_ids) == sorted(ITEM_IDS[8:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_gets_the_same_answer_alone_and_among_others(tmp_path, kind):
    loaded = load(saved(tmp_path / "bundle", kind))
    together = loaded.recommend([["id-1", "id-2"], [], ["id-3", "gone"]])
    for answer, history in zip(
        together, ([["id-1", "id-2"]], [[]], [["id-3", "gone"]]), strict=True
    ):
        [alone] = loaded.recommend(history)
        assert alone.item_ids == answer.item_ids
        assert alone.num_unknown == answer.num_unknown


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").write_text("precious")
    with pytest.raises(ValueError, match="is not a bundle"):
        saved(tmp_path / "photos")
    assert (tmp_path / "photos" / "me.png").read_text() == "precious"


def test_the_search_may_be_chosen(tmp_path):
    loaded = load(saved(tmp_path / "bundle"))
    [exact] = loaded.recommend([["id-1"]], k=12, search=ExhaustiveSearch(num_leaves=12))
    [wide] = loaded.recommend([["id-1"]], k=12)
    [narrow] = loaded.recommend([["id-1"]], k=12, search=BeamSearch(num_beams=2))
    assert exact.item_ids == wide.item_ids
    assert len(narrow.item_ids) == 2
    assert narrow.tokens == 3


@pytest.mark.parametrize("kind", ["semantic-id-transformer", "sasrec"])
def test_a_list_is_as_long_as_the_catalog_however_many_items_are_asked_for(tmp_path, kind):
    loaded = load(saved(tmp_path / "bundle", kind))
    [every] = loaded.recommend([["id-1"]], k=12)
    [answer] = loaded.recommend([["id-1"]], k=10**12)  # such a tensor would not fit
    assert answer.item_ids == every.item_ids


def test_what_searches_nothing_refuses_a_search(tmp_path):
    loaded = load(saved(tmp_path / "bundle", "sasrec"))
    with pytest.raises(ValueError, match="omit search"):
        loaded.recommend([["id-1"]], search=BeamSearch())


def test_one_flat_list_is_not_taken_for_many_users(tmp_path):
    loaded = load(saved(tmp_path / "bundle"))
    with pytest.raises(TypeError, match="one list of item IDs per user"):
        loaded.recommend(["id-1", "id-2"])


def test_no_users_are_refused_with_how_to_ask_for_one_without_a_history(tmp_path):
    loaded = load(saved(tmp_path / "bundle"))
    with pytest.raises(ValueError, match=r"no user is asked for; .* \[\[\]\] for one user without"):
        loaded.recommend([])
    [answer] = loaded.recommend([[]])
    assert len(answer.item_ids) == 10


def test_a_bundle_knows_whether_its_network_was_trained_on_empty_histories(tmp_path):
    def trained(training):
        save_bundle(
            tmp_path / "b",
            network=network("sasrec"),
            catalog=catalog(),
            max_history=MAX_HISTORY,
            seed=0,
            training=training,
        )
        return load(tmp_path / "b").knows_empty_history

    assert trained({"first_targets": 7})
    assert not trained({"first_targets": 0})
    assert trained({})  # the manifest does not say it
    # A training beside a network, or one that improves it, starts from the learned weights.
    assert trained({"first_targets": 0, "backbone": {"first_targets": 7}})
    assert not trained({"first_targets": 7, "backbone": {"first_targets": 0}})


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"histories": [[1, 2]]}, "item IDs are text, got int 1; pass '1'"),
        ({"histories": [["id-1", None]]}, "item IDs are text, got NoneType None; leave it out"),
        ({"histories": [[["id-1"]]]}, "pass each ID as a text of its own"),
        ({"histories": [None]}, "one list of item IDs per user"),
        ({"histories": None}, "one list of item IDs per user"),
        ({"histories": iter([["id-1"]])}, "one list of item IDs per user, got <list_iterator"),
        ({"histories": [iter(["id-1"])]}, "one list of item IDs per user, got list_iterator"),
        ({"histories": [["id-1"]], "available": "id-1"}, r'available is .* pass \["id-1"\]'),
        ({"histories": [["id-1"]], "available": [1]}, "item IDs are text"),
        ({"histories": [["id-1"]], "excluded": ["id-1"]}, "excluded must be one list"),
        ({"histories": [["id-1"]], "excluded": [[1]]}, "item IDs are text"),
        ({"histories": [["id-1"]], "k": 2.0}, "k is an integer, got float 2.0"),
        ({"histories": [["id-1"]], "k": True}, "k is an integer"),
    ],
)
def test_values_of_another_type_are_refused(tmp_path, monkeypatch, request_, words):
    loaded = load(saved(tmp_path / "bundle"))
    # Without the type checks of the tests, which users do not have.
    recommend = inspect.unwrap(LoadedRecommender.recommend)
    monkeypatch.setattr(Request, "__init__", inspect.unwrap(Request.__init__))
    with pytest.raises(TypeError, match=words):
        recommend(loaded, **request_)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match='pass device="cpu"'):
        load(saved(tmp_path / "bundle"), device="cuda")


@pytest.mark.parametrize("kind", ["semantic-id-transformer", "popularity"])
def test_items_in_stock_that_are_named_again_are_not_looked_up_again(tmp_path, monkeypatch, kind):
    loaded = load(saved(tmp_path / "b", kind))
    looked_up, look_up = [], Catalog.indices_of

    def counted(catalog, item_ids):
        looked_up.append(item_ids)
        return look_up(catalog, item_ids)

    def listed(loaded, available):
        return loaded.recommend([[]], k=12, available=available)[0].item_ids

    monkeypatch.setattr(Catalog, "indices_of", counted)
    stock = ["id-5", "id-7", "id-9"]
    first = listed(loaded, stock)
    num_before = len(looked_up)
    assert sorted(first) == stock
    assert listed(loaded, {"id-9", "id-7", "id-5"}) == first
    of_histories = len(looked_up) - num_before
    assert stock not in looked_up[num_before:]
    stock.append("id-1")
    assert sorted(listed(loaded, stock)) == sorted(stock)
    assert len(looked_up) - num_before == 2 * of_histories + 1
    retired = replace(loaded, catalog=loaded.catalog.retired(["id-7"]))
    assert sorted(listed(retired, stock)) == ["id-1", "id-5", "id-9"]
    assert sorted(listed(loaded, stock)) == sorted(stock)


def test_unknown_available_items_do_no_harm_beside_known_ones(tmp_path):
    loaded = load(saved(tmp_path / "bundle"))
    [answer] = loaded.recommend([["id-1"]], available=["id-1", "gone", "id-2"])
    assert sorted(answer.item_ids) == ["id-1", "id-2"]
    with pytest.raises(KeyError, match=r"available names no item of the catalog, for .*'gone'"):
        loaded.recommend([["id-1"]], available=["gone", "lost"])
    assert loaded.recommend([["id-1"]], available=[])[0].item_ids == []


def test_a_catalog_without_texts_gives_no_titles(tmp_path):
    [answer] = load(saved(tmp_path / "bundle", texts=False)).recommend([["id-1"]])
    assert answer.titles is None


def test_loading_draws_no_random_number(tmp_path):
    saved(tmp_path / "bundle")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    load(tmp_path / "bundle")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_folder_stands_for_its_bundle(tmp_path):
    saved(tmp_path / "run" / "bundle")
    assert load(tmp_path / "run").kind == "semantic-id-transformer"


def changed(path, **values):
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_an_older_schema_is_read(tmp_path):
    folder = saved(tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["num_new_items"]
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 1}))
    loaded = load(folder)
    assert loaded.recommend([["id-1"]])[0].item_ids
    assert loaded.num_new_items == 0


def test_items_that_chose_codes_in_an_older_schema_still_read_the_state_of_the_prefix(tmp_path):
    head = {"item_head": True, "tied_item_head": True, "last_code_head": "items"}
    config = TransformerConfig(dim=16, num_layers=1, num_heads=2, history="items", **head)
    of_items = Transformer(config, catalog().semantic_ids, (3, 4)).eval()
    of_items.query_mix.data = torch.tensor([0.0, 1.0])
    folder = tmp_path / "bundle"
    about = {"max_history": MAX_HISTORY, "seed": 3, "training": {}, "data": {}}
    save_bundle(folder, network=of_items, catalog=catalog(), **about)
    expected = load(folder, device="cpu").recommend([["id-1", "id-2"]], k=5)
    weights = load_file(folder / "model.safetensors")
    assert weights.pop("query_mix").tolist() == [0.0, 1.0]
    save_file(weights, folder / "model.safetensors")
    changed(folder, schema_version=7)
    older = load(folder, device="cpu", verify=False)
    assert older.network.query_mix.tolist() == [0.0, 1.0]
    assert older.recommend([["id-1", "id-2"]], k=5) == expected


def test_a_network_whose_items_choose_by_the_history_alone_is_loaded_as_it_was(tmp_path):
    head = {"item_head": True, "last_code_head": "items", "prefix_queries": False}
    config = TransformerConfig(dim=16, num_layers=1, num_heads=2, history="items", **head)
    of_items = Transformer(config, catalog().semantic_ids, (3, 4)).eval()
    folder = tmp_path / "bundle"
    about = {"max_history": MAX_HISTORY, "seed": 3, "training": {}, "data": {}}
    save_bundle(folder, network=of_items, catalog=catalog(), **about)
    loaded = load(folder, device="cpu").network
    assert loaded.config == config
    assert loaded.query_mix is None


def test_a_newer_schema_is_refused_with_a_remedy(tmp_path):
    changed(saved(tmp_path / "bundle"), schema_version=SCHEMA_VERSION + 1, something="new")
    with pytest.raises(ValueError, match="Install a newer Sidestep"):
        load(tmp_path / "bundle")


def test_a_manifest_with_a_wrong_field_is_refused(tmp_path):
    changed(saved(tmp_path / "bundle"), kind="bert")
    with pytest.raises(ValueError, match="kind"):
        load(tmp_path / "bundle")


@pytest.mark.parametrize("name", ["model.safetensors", "catalog/semantic_ids.npy"])
def test_a_changed_file_is_refused(tmp_path, name):
    file = saved(tmp_path / "bundle") / name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="copy the bundle again, or repeat what wrote it"):
        load(tmp_path / "bundle")


@pytest.mark.parametrize("name", ["model.safetensors", "catalog/codes.npy"])
def test_a_missing_file_is_refused(tmp_path, name):
    (saved(tmp_path / "bundle") / name).unlink()
    with pytest.raises(FileNotFoundError, match="missing from the bundle"):
        load(tmp_path / "bundle")


def test_weights_of_another_network_are_refused(tmp_path):
    path = saved(tmp_path / "bundle")
    manifest = json.loads((path / "manifest.json").read_text())
    changed(path, model={**manifest["model"], "dim": 16})
    with pytest.raises(ValueError, match="do not fit"):
        load(path)


def test_no_bundle_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"has not ended; give the same .* command again"):
        load(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"no bundle here.*train first"):
        load(tmp_path)


def test_a_folder_of_runs_is_refused_with_one_of_its_runs(tmp_path):
    (tmp_path / "dataset").mkdir()
    for name in ("transformer", "sasrec"):
        saved(tmp_path / name / "bundle")
    with pytest.raises(FileNotFoundError, match=r"name one of the runs in it, such as .*sasrec\."):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not valid JSON.* Copy the bundle again"), ("[]", "describe a bundle; copy the bundle")],
)
def test_a_damaged_manifest_is_refused_with_what_to_do(tmp_path, text, message):
    path = saved(tmp_path / "bundle")
    (path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_a_bundle_holds_a_network_or_counts(tmp_path):
    with pytest.raises(ValueError, match="either a network, counts or"):
        save_bundle(
            tmp_path / "b", network=None, catalog=catalog(), max_history=MAX_HISTORY, seed=0
        )
    assert not list(tmp_path.iterdir())


def test_the_package_offers_load_and_nothing_it_does_not_have():
    assert sidestep.load is load
    with pytest.raises(AttributeError, match="nothing"):
        _ = sidestep.nothing


def test_importing_the_package_does_not_import_torch():
    code = "import sys, sidestep; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
