"""Requests: each gets the answer that it gets alone, whatever stands beside it."""

import inspect
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.bundle.appending import append_items
from sidestep.bundle.folder import load, save_bundle
from sidestep.bundle.request_batch import RequestBatch
from sidestep.bundle.requests import Request
from sidestep.catalog import filters
from sidestep.catalog.catalog import Catalog
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.search.beam import BeamSearch
from sidestep.search.sampling import Sampling
from tests.model.item_networks import TIED_KINDS, tiny_network

ITEM_IDS = [f"id-{index}" for index in range(12)]
NEW_IDS = ["new-a", "new-b"]
GENRES = ["Drama", "War", "Drama|War", "Comedy"] * 3
KINDS = ("transformer", *TIED_KINDS, "popularity")


@cache
def shop(kind, folder):
    """A recommender of 12 items and 2 new ones, of which one is retired; all have a genre."""
    torch.manual_seed(0)
    codes = np.array([[index // 3, index % 3] for index in range(12)])
    texts = pl.DataFrame({"title": ITEM_IDS, "genre": GENRES})
    catalog = Catalog.build(ITEM_IDS, codes, (4, 4), texts=texts)
    network = counts = None
    if kind == "transformer":
        config = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items", times=True)
        network = Transformer(config, catalog.semantic_ids, (4, 4))
    elif kind in TIED_KINDS:
        network = tiny_network(kind, catalog.semantic_ids, (4, 4), times=True)
    else:
        counts = np.arange(12)[::-1].copy()
    if network is not None:
        for weights in network.parameters():  # so that no two items have equal scores
            torch.nn.init.normal_(weights)
    save_bundle(folder, network=network, counts=counts, catalog=catalog, max_history=4, seed=0)
    new = append_items(
        load(folder, device="cpu"),
        NEW_IDS,
        np.array([[1, 3], [2, 3]], dtype=np.int32),
        texts=pl.DataFrame({"title": NEW_IDS, "genre": ["War", "Drama"]}),
    )
    return replace(new, catalog=new.catalog.retired(["id-5"]))


@pytest.fixture(scope="module", params=KINDS)
def recommender(request, tmp_path_factory):
    return shop(request.param, tmp_path_factory.mktemp(request.param) / "bundle")


IDS = st.sampled_from([*ITEM_IDS, *NEW_IDS, "gone"])
SEARCHES = (None, BeamSearch(num_beams=3), BeamSearch(num_beams=3), Sampling(num_samples=4, seed=1))


@st.composite
def requests(draw):
    """The values of a request, some of which a recommender may refuse, see `fitting`."""
    k = draw(st.integers(1, 16))
    history = draw(st.lists(IDS, max_size=6))
    steps = draw(st.none() | st.lists(st.integers(0, 99), min_size=6, max_size=6))
    times = None if steps is None else np.cumsum(steps)[: len(history)].tolist()
    has_moment = times and draw(st.booleans())
    return {
        "history": history,
        "times": times,
        "moment": times[-1] + 7 if has_moment else None,
        "k": k,
        "exclude_seen": draw(st.booleans()),
        "excluded": draw(st.lists(IDS, max_size=4)),
        "available": draw(st.none() | st.lists(IDS, max_size=6).map(lambda ids: ["id-3", *ids])),
        "where": draw(st.sampled_from([None, {"genre": "Drama"}, {"genre": ["War", "Comedy"]}])),
        "search": draw(st.sampled_from(SEARCHES)),
        "num_new_places": draw(st.just(0) | st.integers(0, min(k, 3))),
    }


def fitting(recommender, values):
    """The request without what the recommender would refuse."""
    refused = [] if recommender.is_searched else ["search"]
    refused += [] if recommender.reads_times else ["times", "moment"]
    return Request(**{name: value for name, value in values.items() if name not in refused})


@settings(max_examples=25)
@given(asked=st.lists(requests(), min_size=1, max_size=6))
def test_a_request_is_answered_alone_as_in_any_batch(recommender, asked):
    asked = [fitting(recommender, values) for values in asked]
    for request, among in zip(asked, recommender.answer(asked), strict=True):
        [alone] = recommender.answer([request])
        assert among.scores == pytest.approx(alone.scores, abs=1e-4)
        assert replace(among, scores=[]) == replace(alone, scores=[])


@settings(max_examples=40)
@given(values=requests())
def test_an_answer_holds_nothing_that_the_request_leaves_out(recommender, values):
    request = fitting(recommender, values)
    [answer] = recommender.answer([request])
    genres = dict(zip([*ITEM_IDS, *NEW_IDS], [*GENRES, "War", "Drama"], strict=True))
    may = {*ITEM_IDS, *NEW_IDS} - {"id-5"} - {*request.excluded}
    if request.exclude_seen:
        may -= {*request.history}
    if request.available is not None:
        may &= {*request.available}
    if request.where is not None:
        wanted = request.where["genre"]
        wanted = {wanted} if isinstance(wanted, str) else {*wanted}
        may = {item for item in may if wanted & {*genres[item].split("|")}}
    assert {*answer.item_ids} <= may
    assert len({*answer.item_ids}) == len(answer.item_ids) <= request.k
    if request.search is None:  # 50 beams find everything
        assert len(answer.item_ids) == min(request.k, len(may))


def test_filtered_items_take_no_place_in_a_search(recommender):
    drama = [item for item, genre in zip(ITEM_IDS, GENRES, strict=True) if "Drama" in genre]
    search = BeamSearch(num_beams=3) if recommender.is_searched else None
    [answer] = recommender.recommend([["id-1"]], 3, search=search, where={"genre": "Drama"})
    [named] = recommender.recommend([["id-1"]], 3, search=search, available=[*drama, "new-b"])
    assert answer == named
    assert len(answer.item_ids) == 3


def test_a_filter_that_nothing_passes_gives_an_empty_list_and_an_unknown_one_is_refused(
    recommender,
):
    none_left = {"genre": "Comedy", "title": "id-0"}
    assert recommender.recommend([[]], where=none_left)[0].item_ids == []
    with pytest.raises(KeyError, match="there are title, genre"):
        recommender.recommend([[]], where={"brand": "b"})
    with pytest.raises(KeyError, match="no item has 'Opera'"):
        recommender.check(Request(history=[], where={"genre": "Opera"}))


def test_frames_take_filters_and_places_ask_for_new_items_that_pass_them(recommender):
    frame = recommender.recommend_frame({"ann": ["id-1"]}, k=14, where={"genre": "Comedy"})
    assert sorted(frame["item_id"]) == ["id-11", "id-3", "id-7"]
    [answer] = recommender.recommend([[]], 4, where={"genre": "War"}, num_new_places=2)
    assert [item for item in answer.item_ids if item in NEW_IDS] == ["new-a"]


def test_a_filter_that_is_asked_for_again_is_not_worked_out_again(recommender, monkeypatch):
    recommender, worked_out = replace(recommender), []
    work_out = filters.matching

    def counted(texts, where):
        worked_out.append(where)
        return work_out(texts, where)

    monkeypatch.setattr("sidestep.bundle.eligibility.matching", counted)
    first = recommender.recommend([["id-1"]], where={"genre": ["Drama", "War"]})
    assert recommender.recommend([["id-1"]], where={"genre": ("War", "Drama")}) == first
    assert len(worked_out) == 1
    recommender.recommend([["id-1"]], where={"genre": "War"})
    assert len(worked_out) == 2


def test_requests_of_one_search_are_searched_for_together(tmp_path):
    batches = []

    class Counting(BeamSearch):
        def search(self, model, histories, scope):
            batches.append(len(histories.lengths))
            return super().search(model, histories, scope)

    recommender = shop("transformer", tmp_path / "bundle")
    recommender.answer(
        [
            Request(history=["id-1"], search=Counting(num_beams=3), k=2),
            Request(history=[], search=Counting(num_beams=3), k=9, excluded=["id-2"]),
            Request(history=["id-2"], search=Counting(num_beams=3), times=[3], exclude_seen=True),
            Request(history=["id-2"], search=Counting(num_beams=4)),
            Request(history=["id-2"], search=Counting(num_beams=4), available=["id-3"]),
        ]
    )
    assert sorted(batches) == [1, 1, 3]


def test_a_batch_hides_the_gaps_that_a_request_does_not_tell():
    nan = float("nan")
    asked = [
        Request(history=["0", "1"], times=[0, 5]),
        Request(history=["2"], times=[0], moment=3),
        Request(history=["1", "2", "3"], exclude_seen=True, excluded=["0"]),
    ]
    batch = RequestBatch.of(asked, lambda ids: np.array([*map(int, ids)]))
    expected = [[5, nan, nan], [3, nan, nan], [nan, nan, nan]]
    torch.testing.assert_close(batch.histories.gaps, torch.tensor(expected), equal_nan=True)
    assert batch.unwanted.tolist() == [[-1] * 4, [-1] * 4, [1, 2, 3, 0]]
    assert RequestBatch.of([Request(history=["1"])], lambda ids: np.array([1])).unwanted is None


def test_no_requests_have_no_answers(recommender):
    assert recommender.answer([]) == []


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"history": "id-1"}, TypeError, "history must be a list of item IDs, got 'id-1'"),
        ({"history": None}, TypeError, "history must be a list of item IDs, got None"),
        ({"history": [1]}, TypeError, "item IDs are text, got int 1; pass '1'"),
        ({"history": [], "excluded": "id-1"}, TypeError, "excluded must be a list of item IDs"),
        ({"history": [], "available": "id-1"}, TypeError, r'pass \["id-1"\]'),
        ({"history": [], "available": ["gone"]}, KeyError, "available names no item"),
        ({"history": [], "where": "genre"}, TypeError, "where names columns and values"),
        ({"history": [], "k": 0}, ValueError, "k must be at least 1"),
        ({"history": [], "search": "beam"}, TypeError, "search is a policy"),
        ({"history": [], "num_new_places": 11}, ValueError, "length of the list, 10, got 11"),
        ({"history": ["id-1"], "times": [1, 2]}, ValueError, "one time per item"),
        ({"history": [], "moment": 3}, ValueError, "moments need the times"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused_before_the_batch(
    tmp_path, monkeypatch, values, error, words
):
    # Without the type checks of the tests, which users do not have.
    monkeypatch.setattr(Request, "__init__", inspect.unwrap(Request.__init__))
    recommender = shop("transformer", tmp_path / "bundle")
    wrong = Request(**values)
    with pytest.raises(error, match=words):
        recommender.check(wrong)
    with pytest.raises(error, match=words):
        recommender.answer([Request(history=[]), wrong])


@pytest.mark.parametrize("requests", [Request(history=["id-1"]), [{"history": ["id-1"]}]])
def test_requests_are_a_list_of_requests(recommender, requests):
    with pytest.raises(TypeError, match=r"requests is a list of Request; pass \[Request\("):
        inspect.unwrap(type(recommender).answer)(recommender, requests)
