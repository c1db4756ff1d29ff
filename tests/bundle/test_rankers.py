"""Rankers beside networks: attached, written, read, used by searches over items, appended to."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.baselines.transition_graph import TransitionGraph
from sidestep.baselines.window_popularity import WindowPopularity
from sidestep.bundle.appending import NewVectors, append_items, retire_items
from sidestep.bundle.attaching import attach_ranker
from sidestep.bundle.folder import load, save_bundle
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.own_space import SETS
from sidestep.data.histories import Histories
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.config import CodeSetConfig, SasRecConfig, TransformerConfig
from sidestep.model.sasrec import SasRec
from sidestep.model.transformer import Transformer
from sidestep.search.beam import BeamSearch
from sidestep.search.config import GuidanceConfig
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.scorer import Guidance

IDS = np.array([[0, 0], [0, 2], [2, 1], [2, 2], [3, 0]], dtype=np.int32)
SIZES = (4, 4)
ITEM_IDS = [f"id-{index}" for index in range(len(IDS))]
HISTORIES = [["id-3"], ["id-1", "id-4", "id-2"], []]
GUIDANCE = GuidanceConfig(likelihood_weight=0.5)
DATA = {"name": "shop", "split": "abc"}


def a_sasrec(path, item_ids=ITEM_IDS, data=DATA, max_history=2, seed=3):
    torch.manual_seed(seed)
    network = SasRec(SasRecConfig(dim=8, num_layers=1, num_heads=2, max_items=4), len(item_ids))
    torch.nn.init.normal_(network.item_embedding.weight)
    codes = np.arange(len(item_ids), dtype=np.int32)[:, None]
    catalog = Catalog.build(item_ids, codes, (len(item_ids),))
    save_bundle(
        path, network=network, catalog=catalog, max_history=max_history, seed=seed, data=data
    )
    return load(path, device="cpu")


def a_transformer(path):
    torch.manual_seed(0)
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items", item_head=True)
    network = Transformer(shape, torch.from_numpy(IDS), SIZES)
    catalog = Catalog.build(ITEM_IDS, IDS, SIZES)
    save_bundle(path, network=network, catalog=catalog, max_history=4, seed=0, data=DATA)
    return load(path, device="cpu")


def a_network_over_sets(path):
    torch.manual_seed(0)
    shape = CodeSetConfig(dim=8, num_layers=1, num_heads=2)
    network = CodeSetTransformer(shape, torch.from_numpy(IDS), SIZES)
    catalog = Catalog.build(ITEM_IDS, IDS, SIZES, space=SETS)
    save_bundle(path, network=network, catalog=catalog, max_history=4, seed=0, data=DATA)
    return load(path, device="cpu")


def scores_of(loaded):
    """Score of every item after every history, by item ID, from a model that scores items."""
    answers = loaded.recommend(HISTORIES, 10)
    return [dict(zip(answer.item_ids, answer.scores, strict=True)) for answer in answers]


def by_ranker(loaded):
    """Log-probabilities of every item after every history, by the ranker alone."""
    scorer = ItemSupport(ranker=loaded.item_ranker)
    search = ExhaustiveSearch(guidance=Guidance(scorer=scorer))
    answers = loaded.recommend(HISTORIES, 10, search=search)
    return [dict(zip(answer.item_ids, answer.scores, strict=True)) for answer in answers]


def normalised(scores):
    whole = torch.tensor(list(scores.values())).logsumexp(0).item()
    return {item: score - whole for item, score in scores.items()}


@pytest.mark.parametrize(
    "order", [ITEM_IDS, ITEM_IDS[::-1], ["id-2", "id-0", "id-4", *ITEM_IDS[1::2]]]
)
def test_a_ranker_scores_as_it_did_by_itself_whatever_the_order_of_its_items(tmp_path, order):
    sasrec = a_sasrec(tmp_path / "sasrec", item_ids=order)
    base = a_transformer(tmp_path / "base")
    attach_ranker(base, sasrec, weight=0.7, guidance=GUIDANCE).save(tmp_path / "both")
    both = load(tmp_path / "both", device="cpu")
    for own, found in zip(scores_of(sasrec), by_ranker(both), strict=True):
        assert found == pytest.approx(normalised(own), abs=1e-5)
    assert both.ranker_use.weight == 0.7
    assert both.ranker_use.guidance == GUIDANCE
    assert both.ranker_use.trained["seed"] == 3


def test_a_ranker_beside_a_network_over_sets_guides_its_beam(tmp_path):
    sasrec = a_sasrec(tmp_path / "sasrec", item_ids=ITEM_IDS[::-1])
    base = a_network_over_sets(tmp_path / "base")
    attach_ranker(base, sasrec, weight=0.7).save(tmp_path / "both")
    both = load(tmp_path / "both", device="cpu")
    guidance = Guidance(scorer=ItemSupport(ranker=both.item_ranker), likelihood_weight=0.0)
    search = GuidedBeamSearch(num_beams=5, guidance=guidance)
    answers = both.recommend(HISTORIES, 5, search=search)
    for own, answer in zip(scores_of(sasrec), answers, strict=True):
        found = dict(zip(answer.item_ids, answer.scores, strict=True))
        assert found == pytest.approx(normalised(own), abs=1e-5)


def a_sasrec_of_code_sums(path, order, codes=IDS):
    catalog = Catalog.build([ITEM_IDS[item] for item in order], codes[order], SIZES)
    torch.manual_seed(3)
    shape = SasRecConfig(dim=8, num_layers=1, num_heads=2, max_items=4, code_embedding=True)
    network = SasRec.of_codes(shape, catalog.semantic_ids, SIZES)
    for rows in (network.item_embedding.weight, network.code_embedding.weight):
        torch.nn.init.normal_(rows)
    save_bundle(path, network=network, catalog=catalog, max_history=2, seed=3, data=DATA)
    return load(path, device="cpu")


def test_a_ranker_of_code_sums_reads_the_codes_of_the_catalog_that_it_stands_beside(tmp_path):
    sasrec = a_sasrec_of_code_sums(tmp_path / "sasrec", [3, 1, 4, 0, 2])
    attach_ranker(a_transformer(tmp_path / "base"), sasrec, weight=1.0).save(tmp_path / "both")
    both = load(tmp_path / "both", device="cpu")
    assert torch.equal(both.ranker.semantic_ids, torch.from_numpy(IDS))
    for own, found in zip(scores_of(sasrec), by_ranker(both), strict=True):
        assert found == pytest.approx(normalised(own), abs=1e-5)
    codes, own = both.ranker.code_embedding.weight, both.ranker.item_embedding.weight
    new = np.array([[2, 3], [2, 4]], dtype=np.int32)
    grown = append_items(both, ["new", "newer"], new, last_codebook_size=5)
    vectors = grown.ranker.catalog_vectors()
    torch.testing.assert_close(vectors[:5], both.ranker.catalog_vectors())
    # The code 4 of the last level is new, and gets the row of the code 3.
    expected = codes[2] + codes[4 + 3] + own[2:4].mean(dim=0)
    torch.testing.assert_close(vectors[5:], expected.expand(2, -1))


def test_a_ranker_of_other_codes_is_refused(tmp_path):
    base = a_transformer(tmp_path / "base")
    swapped = a_sasrec_of_code_sums(tmp_path / "swapped", [0, 1, 2, 3, 4], IDS[[1, 0, 2, 3, 4]])
    with pytest.raises(ValueError, match=r"reads the codes of items .* has other codes than"):
        attach_ranker(base, swapped, weight=1.0)


def test_without_a_search_that_asks_it_nothing_changes(tmp_path):
    base = a_transformer(tmp_path / "base")
    both = attach_ranker(base, a_sasrec(tmp_path / "sasrec"), weight=1.0)
    beam = BeamSearch(num_beams=5)
    plain = base.recommend(HISTORIES, 5)
    assert both.recommend(HISTORIES, 5, search=beam) == base.recommend(HISTORIES, 5, search=beam)
    assert both.recommend(HISTORIES, 5) != plain, "the ranker guides the search of the bundle"


def test_to_a_sasrec_the_scores_of_another_are_added(tmp_path):
    first, second = a_sasrec(tmp_path / "1"), a_sasrec(tmp_path / "2", max_history=1, seed=5)
    attach_ranker(first, second, weight=0.25).save(tmp_path / "both")
    both = load(tmp_path / "both", device="cpu")
    for ours, theirs, sums in zip(*map(scores_of, (first, second, both)), strict=True):
        expected = {item: ours[item] + 0.25 * theirs[item] for item in ours}
        assert sums == pytest.approx(expected, abs=1e-5)
        assert list(sums) == sorted(expected, key=lambda item: -expected[item])
    assert both.recommender().name == "sasrec+sasrec"


def test_a_ranker_reads_no_more_than_the_network_beside_it(tmp_path):
    first, second = a_sasrec(tmp_path / "1"), a_sasrec(tmp_path / "2", max_history=3, seed=5)
    both = attach_ranker(first, second, weight=1.0)
    long, latest = ["id-0", "id-3", "id-1", "id-4"], ["id-1", "id-4"]
    one, other = both.recommend([long, latest], 5)
    assert one.scores == pytest.approx(other.scores, abs=1e-6)
    one, other = second.recommend([long, latest], 5)
    assert one.scores != pytest.approx(other.scores, abs=1e-6)


def test_a_new_item_gets_what_its_siblings_have(tmp_path):
    base, sasrec = a_transformer(tmp_path / "base"), a_sasrec(tmp_path / "sasrec")
    both = attach_ranker(base, sasrec, weight=1.0)
    grown = append_items(both, ["new"], np.array([[2, 3]], dtype=np.int32))
    rows = grown.ranker.item_embedding.weight
    assert torch.equal(rows[:5], both.ranker.item_embedding.weight)
    torch.testing.assert_close(rows[5], rows[2:4].mean(dim=0))
    grown.save(tmp_path / "grown")
    assert "new" in by_ranker(load(tmp_path / "grown", device="cpu"))[0]


def test_what_is_no_ranker_of_these_items_is_refused(tmp_path):
    base, sasrec = a_transformer(tmp_path / "base"), a_sasrec(tmp_path / "sasrec")
    with pytest.raises(ValueError, match="the ranker is semantic-id-transformer; name a run"):
        attach_ranker(base, base, weight=1.0)
    other = a_sasrec(tmp_path / "other", item_ids=[*ITEM_IDS[:4], "id-9"])
    with pytest.raises(ValueError, match="5 items and the bundle 5, of which the ranker lacks 1"):
        attach_ranker(base, other, weight=1.0)
    more = a_sasrec(tmp_path / "more", item_ids=[*ITEM_IDS, "id-9"])
    with pytest.raises(ValueError, match="6 items and the bundle 5, of which the ranker lacks 0"):
        attach_ranker(base, more, weight=1.0)
    leaking = a_sasrec(tmp_path / "leaking", data={**DATA, "split": "later"})
    with pytest.raises(ValueError, match=r"different split\. It may have seen"):
        attach_ranker(base, leaking, weight=1.0)
    unknown = a_sasrec(tmp_path / "unknown", data=None)
    assert attach_ranker(base, unknown, weight=1.0).ranker is not None
    save_bundle(
        tmp_path / "popularity",
        network=None,
        counts=np.arange(5),
        catalog=base.catalog,
        max_history=4,
        seed=0,
    )
    with pytest.raises(ValueError, match="beside a network, and this bundle is popularity"):
        attach_ranker(load(tmp_path / "popularity"), sasrec, weight=1.0)


def test_a_ranker_with_a_ranker_is_refused_rather_than_halved(tmp_path):
    first, second = a_sasrec(tmp_path / "1"), a_sasrec(tmp_path / "2", seed=5)
    with pytest.raises(ValueError, match="has a ranker beside it, which would be left out"):
        attach_ranker(
            a_transformer(tmp_path / "base"), attach_ranker(first, second, weight=1.0), weight=1.0
        )


def test_a_network_that_was_trained_further_keeps_its_ranker(tmp_path):
    both = attach_ranker(a_transformer(tmp_path / "base"), a_sasrec(tmp_path / "s"), weight=1.0)
    moved = both.with_moved_network(both.network, None)
    assert moved.ranker is both.ranker
    assert moved.ranker_use == both.ranker_use


def test_what_may_not_be_recommended_is_left_out_by_a_guided_search(tmp_path):
    both = attach_ranker(a_transformer(tmp_path / "base"), a_sasrec(tmp_path / "s"), weight=1.0)
    guided = ExhaustiveSearch(guidance=Guidance(scorer=ItemSupport(ranker=both.item_ranker)))
    left = retire_items(both, ["id-0"])
    (answer,) = left.recommend(
        [["id-1"]], 5, search=guided, exclude_seen=True, available=["id-0", "id-1", "id-2", "id-4"]
    )
    assert sorted(answer.item_ids) == ["id-2", "id-4"]


def test_a_bundle_whose_ranker_knows_other_items_is_not_written(tmp_path):
    both = attach_ranker(
        a_transformer(tmp_path / "base"), a_sasrec(tmp_path / "sasrec"), weight=1.0
    )
    small = SasRec(both.ranker.config, 4)
    with pytest.raises(ValueError, match="the ranker knows 4 items, but the catalog has 5"):
        replace(both, parts={**both.parts, "ranker": small}).save(tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def a_graph(path, item_ids=ITEM_IDS):
    items = np.array([3, 1, 4, 2, 0, 3, 1, 2], dtype=np.int64)
    histories = Histories(items=items, offsets=np.array([0, 4, 8]), user_ids=("a", "b"))
    vectors = np.eye(5, 3, dtype=np.float32) + 0.1
    graph = TransitionGraph.fit(histories, 5, max_history=2, place_decay=0.5, vectors=vectors)
    codes = np.arange(len(item_ids), dtype=np.int32)[:, None]
    catalog = Catalog.build(item_ids, codes, (len(item_ids),))
    save_bundle(
        path,
        network=None,
        fitted=graph,
        catalog=catalog,
        max_history=2,
        seed=0,
        data=DATA,
        training={"vectors_sha256": "these"},
    )
    return load(path, device="cpu")


def test_a_graph_beside_a_network_scores_as_it_does_by_itself(tmp_path):
    graph, base = a_graph(tmp_path / "graph"), a_transformer(tmp_path / "base")
    attach_ranker(base, graph, weight=2.0).save(tmp_path / "both")
    both = load(tmp_path / "both", device="cpu")
    for own, found in zip(scores_of(graph), by_ranker(both), strict=True):
        assert found == pytest.approx(normalised(own), abs=1e-5)
    assert both.item_ranker.name == "graph"
    assert both.ranker_use.model.fitted == "graph"
    assert not both.reads_times
    default = attach_ranker(base, graph).ranker_use.weight
    assert default == 120.0
    assert attach_ranker(base, a_sasrec(tmp_path / "sasrec")).ranker_use.weight == 1.0


def test_a_graph_reads_no_more_than_the_network_beside_it(tmp_path):
    short, graph = a_sasrec(tmp_path / "short", max_history=1), a_graph(tmp_path / "graph")
    both = attach_ranker(short, graph, weight=3.0)
    one, other = both.recommend([["id-3", "id-1"], ["id-1"]], 5)
    assert one.scores == pytest.approx(other.scores, abs=1e-6)
    one, other = graph.recommend([["id-3", "id-1"], ["id-1"]], 5)
    assert one.scores != pytest.approx(other.scores, abs=1e-6)


def test_to_a_sasrec_the_scores_of_a_graph_are_added(tmp_path):
    sasrec, graph = a_sasrec(tmp_path / "sasrec"), a_graph(tmp_path / "graph")
    both = attach_ranker(sasrec, graph, weight=3.0)
    assert both.recommender().name == "sasrec+graph"
    for ours, theirs, sums in zip(*map(scores_of, (sasrec, graph, both)), strict=True):
        assert sums == pytest.approx({item: ours[item] + 3 * theirs[item] for item in ours})


def test_a_graph_of_items_in_another_order_is_refused(tmp_path):
    base = a_transformer(tmp_path / "base")
    with pytest.raises(ValueError, match="has the items in another order than the bundle; fit it"):
        attach_ranker(base, a_graph(tmp_path / "other", item_ids=ITEM_IDS[::-1]))


def test_a_graph_beside_a_network_takes_new_items_by_their_vectors(tmp_path):
    """Only vectors of the embedding that it was fitted on tell which items are like a new one."""
    graph = a_graph(tmp_path / "graph")
    both = attach_ranker(a_transformer(tmp_path / "base"), graph)
    codes = np.array([[2, 3]], dtype=np.int32)
    values = graph.fitted.vectors.numpy()[3:4]
    for of, is_found in (("these", True), ("others", False)):
        grown = append_items(both, ["new"], codes, vectors=NewVectors(values=values, of=of))
        grown.save(tmp_path / of)
        kept = load(tmp_path / of, device="cpu").ranker.recommender
        assert kept.num_items == 6
        assert bool(kept.vectors[5].any()) == is_found
    alone = append_items(graph, ["new"], None, vectors=NewVectors(values=values, of="these"))
    assert alone.recommend([["new"]], 1)[0].item_ids == ["id-3"]


def test_head_and_graph_rank_all_items_where_no_log_pi_is_asked_for(tmp_path):
    """So a new item is shown, whose last code the policy would propose to nobody."""
    graph, base = a_graph(tmp_path / "graph"), a_transformer(tmp_path / "base")
    both = attach_ranker(base, graph, weight=50.0)
    assert both.manifest.search.name == "item-head"
    assert attach_ranker(base, graph, guidance=GUIDANCE).manifest.search.name == "item-beam"
    sasrec = a_sasrec(tmp_path / "sasrec")
    assert attach_ranker(base, sasrec).manifest.search.name == "item-beam"
    new = NewVectors(values=graph.fitted.vectors.numpy()[3:4], of="these")
    append_items(both, ["new"], np.array([[2, 3]], dtype=np.int32), vectors=new).save(
        tmp_path / "grown"
    )
    grown = load(tmp_path / "grown", device="cpu")
    assert grown.manifest.search.name == "item-head"
    [answer] = grown.recommend([["id-3"]], 6)
    assert sorted(answer.item_ids) == sorted([*ITEM_IDS, "new"])
    assert answer.item_ids.index("new") < 2, "it is like id-3"
    [without] = grown.recommend([["id-3"]], 6, excluded=[["new"]], exclude_seen=True)
    assert sorted(without.item_ids) == sorted({*ITEM_IDS} - {"id-3"})


def test_a_ranker_of_an_unknown_kind_is_refused(tmp_path):
    both = attach_ranker(a_transformer(tmp_path / "base"), a_graph(tmp_path / "graph"))
    both.save(tmp_path / "both")
    manifest = tmp_path / "both" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"fitted": "graph"', '"fitted": "tree"'))
    with pytest.raises(ValueError, match="fitted is 'tree', which is no fitted recommender"):
        load(tmp_path / "both", device="cpu")


def test_a_fitted_recommender_whose_scores_have_an_unknown_size_needs_a_weight(tmp_path):
    base, other = a_transformer(tmp_path / "base"), a_graph(tmp_path / "graph")
    days = np.arange(5)
    renamed = other.manifest.model_copy(update={"kind": "popularity-window"})
    window = WindowPopularity(days, days, np.ones(5), 5, window_days=7, window=7)
    with pytest.raises(ValueError, match="it is not known how large its scores are; give a weight"):
        attach_ranker(base, replace(other, fitted=window, manifest=renamed))
