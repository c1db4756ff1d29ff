"""The service over HTTP: right lists, plain refusals, and nothing of its inside in an answer."""

import json
import logging
import re
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient

from sidestep.bundle.folder import load
from sidestep.service.app import make_app
from sidestep.service.config import Limits, Queueing, ServiceConfig
from sidestep.service.engine import LocalEngine
from sidestep.service.messages import RecommendResponse
from sidestep.service.questions import Answering
from sidestep.service.state import SharedState

TOKEN = "a-secret-of-the-tests"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}


def app_of(folder, shops, *, make=LocalEngine, tracing=None, **settings):
    state = folder / "state.json"
    SharedState(state).start(shops / "shop")
    settings = {"admin_token": TOKEN, "queueing": Queueing(deadline_ms=60_000), **settings}
    config = ServiceConfig(bundle=shops / "shop", state=state, device="cpu", **settings)
    return make_app(config, make, tracing)  # in this process, where tests can slow it down


@contextmanager
def ready(app):
    """A client of an application that has loaded its bundle."""
    with TestClient(app) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.01)
        yield client


@pytest.fixture
def service(tmp_path, shops):
    limits = Limits(users=4, k=20, history=5, beams=20, body_bytes=2000)
    with ready(app_of(tmp_path, shops, limits=limits)) as client:
        yield client


def ask(service, *histories, **settings):
    users = [{"history": list(history)} for history in histories]
    return service.post("/v1/recommend", json={"users": users, **settings})


def listed(answer):
    return [item["item_id"] for item in answer["items"]]


def test_lists_are_those_of_the_library(service, shops):
    histories = [["id-1", "id-2"], [], ["id-7", "unknown"]]
    response = ask(service, *histories, k=5, exclude_seen=True)
    assert response.status_code == 200
    answers = response.json()["answers"]
    expected = load(shops / "shop", device="cpu").recommend(histories, 5, exclude_seen=True)
    for answer, right in zip(answers, expected, strict=True):
        assert listed(answer) == right.item_ids
        assert [item["title"] for item in answer["items"]] == right.titles
        assert [item["score"] for item in answer["items"]] == pytest.approx(right.scores)
        assert answer["unknown"] == right.num_unknown
        assert answer["degraded"] is None
        assert answer["snapshot"]


def test_what_a_request_leaves_out_is_left_out(service):
    only = ["id-2", "id-3", "id-4"]
    user = {"history": ["id-1"], "exclude": ["id-3"]}
    body = {"users": [user], "only": only, "search": {"name": "beam", "beams": 12}}
    [answer] = service.post("/v1/recommend", json=body).json()["answers"]
    assert {*listed(answer)} == {"id-2", "id-4"}
    where = {"title": ["Thing 5"]}
    [answer] = ask(service, ["id-1"], where=where).json()["answers"]
    assert listed(answer) == ["id-5"]


def test_a_seed_chooses_the_draws_of_a_search(service):
    def drawn(seed):
        search = {"name": "sampling", "beams": 3, "seed": seed}
        return listed(ask(service, ["id-1"], k=3, search=search).json()["answers"][0])

    lists = [drawn(seed) for seed in range(8)]
    assert lists == [drawn(seed) for seed in range(8)]
    assert len({*map(tuple, lists)}) > 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"users": []}, "body.users: List should have at least 1 item"),
        ({"users": [{"history": [7]}]}, "body.users.0.history.0: Input should be a valid string"),
        ({"users": [{"history": []}], "k": 21}, "k: 21 is more than this service takes, 20"),
        ({"users": [{}] * 5}, "users: 5 is more than this service takes, 4"),
        ({"users": [{"history": ["a"] * 6}]}, "history: 6 is more than"),
        ({"users": [{}], "search": {"name": "beam", "beams": 21}}, "beams: 21 is more than"),
        ({"users": [{}], "search": {"name": "beeam"}}, "beeam"),
        ({"users": [{}], "search": {"name": "os:system"}}, "body.search.name: String should match"),
        ({"users": [{}], "search": {"name": "item-beam"}}, "item-beam"),
        ({"users": [{}], "search": {"name": "beam", "budget": 2}}, "budget 2: the search beam has"),
        ({"users": [{}], "search": {"name": "beam", "seed": 2}}, "seed"),
        ({"users": [{}], "where": {"colour": "red"}}, "no column 'colour'"),
        ({"users": [{}], "new_places": 2}, "num_new_places is 2, but no item was appended"),
        ({"users": [{"times": [1]}]}, "times are given, and this network reads none"),
        ({"users": [{}], "kk": 3}, "body.kk: Extra inputs are not permitted"),
    ],
)
def test_a_request_that_cannot_be_answered_is_told_why(service, body, words):
    response = service.post("/v1/recommend", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert words in problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "body: Invalid JSON"),
        (b"", "body: Invalid JSON"),
        (b'{"users": [{"history": ["\\ud800"]}]}', "body: Invalid JSON"),
        (b"[]", "body: Input should be an object"),
    ],
)
def test_a_body_that_is_no_request_is_told_why(service, content, words):
    headers = {"content-type": "application/json"}
    response = service.post("/v1/recommend", content=content, headers=headers)
    assert response.status_code == 422
    assert words in response.json()["detail"]


def test_recommendations_are_asked_for_by_post_and_in_json(service):
    response = service.get("/v1/recommend")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    body = json.dumps({"users": [{}]})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        response = service.post("/v1/recommend", content=body, headers={"content-type": kind})
        assert response.status_code == 415
        assert "Content-Type: application/json" in response.json()["detail"]
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert service.post("/v1/recommend", content=body, headers=headers).status_code == 200


def test_an_answer_has_the_fields_of_its_message_and_no_others(service):
    told = ask(service, ["id-1"], ["id-2"], k=3).json()
    assert RecommendResponse.model_validate(told).model_dump() == told


def test_one_bad_user_refuses_the_request_and_no_other_request(service):
    bad = {"users": [{"history": ["id-1"]}, {"history": ["id-1"], "moment": 3}]}
    assert service.post("/v1/recommend", json=bad).status_code == 422
    assert ask(service, ["id-1"]).status_code == 200


def test_a_large_body_is_refused_whether_it_says_its_size_or_not(service):
    body = json.dumps({"users": [{"history": ["x" * 2000]}]}).encode()

    def parts():
        yield body[:100]
        yield body[100:]

    headers = {"content-type": "application/json"}
    for content in (body, parts()):
        response = service.post("/v1/recommend", content=content, headers=headers)
        assert response.status_code == 413
        assert "2,000 bytes" in response.json()["detail"]


def test_items_are_found_by_id_and_by_words_of_their_title(service):
    item = service.get("/v1/items/id-3").json()
    assert item["texts"] == {"title": "Thing 3"}
    assert item["is_available"]
    assert service.get("/v1/items/id-99").status_code == 404
    found = service.get("/v1/items", params={"query": "id-4"}).json()["items"]
    assert [item["item_id"] for item in found] == ["id-4"]
    assert service.get("/v1/items", params={"query": " "}).status_code == 422
    found = service.get("/v1/items", params={"query": "11 thing"}).json()["items"]
    assert [item["item_id"] for item in found] == ["id-11"]
    assert len(service.get("/v1/items?query=thing&limit=5").json()["items"]) == 5


def test_examples_are_the_histories_of_test_rows_that_the_catalog_knows(tmp_path, shops, dataset):
    with ready(app_of(tmp_path, shops, examples=dataset)) as client:
        found = client.get("/v1/examples").json()["examples"]
    assert [[item["item_id"] for item in each["items"]] for each in found] == [
        ["id-1", "id-2", "id-4"],
        ["id-7", "id-8"],
    ]
    assert found[1]["items"][0]["title"] == "Thing 7"


def test_without_a_dataset_there_are_no_examples(service):
    assert service.get("/v1/examples").json() == {"examples": []}


def test_the_service_changes_only_for_who_knows_the_token(service, caplog):
    path, body = "/v1/admin/availability", {"unavailable": ["id-3"]}
    assert service.post(path, json=body).status_code == 401
    wrong = {"Authorization": "Bearer not-the-secret-of-the-tests"}
    assert service.post(path, json=body, headers=wrong).status_code == 401
    assert "id-3" in listed(ask(service, ["id-1"], k=12).json()["answers"][0])
    alone = service.post(path, json=body, headers={"Authorization": TOKEN})
    assert (alone.status_code, alone.headers["www-authenticate"]) == (401, "Bearer")
    told = service.post(path, json=body, headers={"Authorization": f"bearer {TOKEN}"})
    assert told.json() == {"bundle": "shop", "generation": 0, "num_unavailable": 1}
    assert "id-3" not in listed(ask(service, ["id-1"], k=12).json()["answers"][0])
    assert not service.get("/v1/items/id-3").json()["is_available"]


def test_without_a_token_nobody_changes_the_service(tmp_path, shops):
    with ready(app_of(tmp_path, shops, admin_token=None)) as client:
        response = client.post("/v1/admin/reload", json={}, headers={"Authorization": "Bearer "})
        assert response.status_code == 403


def test_a_reload_and_its_way_back(service):
    before = ask(service, ["id-1"]).json()["answers"][0]
    told = service.post("/v1/admin/reload", json={"bundle": "other"}, headers=ADMIN)
    assert told.json() == {"bundle": "other", "generation": 1, "num_unavailable": 0}
    after = ask(service, ["id-1"]).json()["answers"][0]
    assert (after["snapshot"], listed(after)) != (before["snapshot"], listed(before))
    refused = service.post("/v1/admin/reload", json={"bundle": "damaged"}, headers=ADMIN)
    assert refused.status_code == 409
    assert ask(service, ["id-1"]).json()["answers"][0]["snapshot"] == after["snapshot"]
    assert service.post("/v1/admin/rollback", headers=ADMIN).json()["generation"] == 2
    assert ask(service, ["id-1"]).json()["answers"][0] == before
    assert service.post("/v1/admin/rollback", headers=ADMIN).status_code == 409
    outside = service.post("/v1/admin/reload", json={"bundle": "../shop"}, headers=ADMIN)
    assert outside.status_code == 422


def test_a_full_queue_says_when_to_come_again(tmp_path, shops, monkeypatch):
    queueing = Queueing(max_queue=2, deadline_ms=60_000)
    app = app_of(tmp_path, shops, queueing=queueing, limits=Limits(users=2))
    answered = threading.Event()
    compute = Answering.answer

    def slow(self, questions, rung):
        answered.wait(30)
        return compute(self, questions, rung)

    with ready(app) as client:
        monkeypatch.setattr(Answering, "answer", slow)
        waiting = [threading.Thread(target=ask, args=(client, ["id-1"], ["id-2"]))]
        waiting += [threading.Thread(target=ask, args=(client, ["id-3"], ["id-4"]))]
        for thread in waiting:
            thread.start()
            time.sleep(0.5)
        response = ask(client, ["id-1"])
        answered.set()
        for thread in waiting:
            thread.join()
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert ask(client, ["id-1"]).status_code == 200


class Holding(LocalEngine):
    """Answers no batch before somebody says so."""

    num_in_flight = 2

    def __init__(self, *given):
        super().__init__(*given)
        self.held, self.both = [], threading.Event()

    def ask(self, asked, rung):
        future = Future()
        self.held.append((future, self.answer(asked, rung)))
        if len(self.held) == 2:
            self.both.set()
        return future

    def answer_held(self):
        while self.held:
            future, told = self.held.pop(0)
            future.set_result(told)


def test_the_next_batch_is_sent_while_one_is_answered(tmp_path, shops):
    made = []

    def engine(*given):
        made.append(Holding(*given))
        return made[0]

    queueing = Queueing(max_batch=1, max_wait_ms=0, deadline_ms=60_000)
    with (
        ready(app_of(tmp_path, shops, make=engine, queueing=queueing)) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        responses = [threads.submit(ask, client, [history]) for history in ("id-1", "id-7")]
        were_both = made[0].both.wait(10)
        while not all(each.done() for each in responses):
            made[0].answer_held()
            time.sleep(0.01)
        found = [listed(each.result(30).json()["answers"][0]) for each in responses]
    assert were_both
    right = load(shops / "shop", device="cpu").recommend([["id-1"], ["id-7"]], 10)
    assert found == [each.item_ids for each in right]


def test_while_the_bundle_is_loaded_it_lives_and_says_when_to_come_again(
    tmp_path, shops, monkeypatch
):
    may_load, start = threading.Event(), LocalEngine.start

    def slow(self):
        may_load.wait(30)
        start(self)

    monkeypatch.setattr(LocalEngine, "start", slow)
    with TestClient(app_of(tmp_path, shops)) as client:
        assert client.get("/healthz").status_code == 200
        assert "sidestep_waiting 0.0" in client.get("/metrics").text
        early = [client.get(path) for path in ("/readyz", "/v1/searches", "/v1/items/id-1")]
        early += [ask(client, ["id-1"])]
        early += [client.post("/v1/admin/reload", json={}, headers=ADMIN)]
        for response in early:
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["detail"] == "the bundle is being loaded; try again later."
        may_load.set()
        while client.get("/readyz").status_code != 200:
            time.sleep(0.01)
        assert ask(client, ["id-1"]).status_code == 200


def test_who_stops_it_while_it_loads_does_not_wait_for_ever(tmp_path, shops, monkeypatch):
    closed, was_closed = threading.Event(), []
    monkeypatch.setattr(LocalEngine, "start", lambda self: was_closed.append(closed.wait(30)))
    monkeypatch.setattr(LocalEngine, "close", lambda self: closed.set())
    with TestClient(app_of(tmp_path, shops)) as client:
        assert client.get("/readyz").status_code == 503
    assert was_closed == [True]


def test_health_readiness_and_metrics(service):
    assert service.get("/healthz").json() == {"status": "alive"}
    assert service.get("/readyz").json()["status"] == "ready"
    ask(service, ["id-1"], ["id-2"])
    ask(service, ["id-1"], k=21)
    text = service.get("/metrics").text
    for line in (
        'sidestep_requests_total{route="/v1/recommend",status="200"} 1.0',
        'sidestep_requests_total{route="/v1/recommend",status="422"} 1.0',
        "sidestep_batch_size_sum 2.0",
        "sidestep_generation 0.0",
    ):
        assert line in text


def test_log_lines_name_the_request_and_no_history(service, caplog):
    with caplog.at_level(logging.INFO, logger="sidestep.service.access"):
        response = service.post(
            "/v1/recommend",
            json={"users": [{"history": ["id-7"]}]},
            headers={"X-Request-ID": "from-the-shop.1"},
        )
        service.get("/healthz", headers={"X-Request-ID": "bad\tid"})
    assert response.headers["x-request-id"] == "from-the-shop.1"
    first, second = (record.fields for record in caplog.records)
    assert (first["request_id"], first["status"], first["users"]) == ("from-the-shop.1", 200, 1)
    assert "id-7" not in repr(first)
    assert second["request_id"] != "bad\tid"


def test_the_description_of_the_routes_is_whole(service):
    described = service.get("/openapi.json").json()
    assert {*described["paths"]} == {
        "/v1/recommend",
        "/v1/examples",
        "/v1/explain",
        "/v1/searches",
        "/v1/items",
        "/v1/items/{item_id}",
        "/v1/admin/availability",
        "/v1/admin/reload",
        "/v1/admin/rollback",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    for path in described["paths"].values():
        for operation in path.values():
            assert operation["description"]
    fields = described["components"]["schemas"]["User"]["properties"]
    assert fields["history"]["description"] == "IDs of past items, oldest first; may be empty."


def test_the_pages_load_nothing_from_elsewhere(service):
    for page in ("/", "/docs"):
        response = service.get(page)
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert "http" not in response.text
        names = re.findall(r'(?:src|href)="([^"]+)"', response.text)
        assert "page.css" in names
        for name in names:
            if name != "data:,":
                assert service.get(f"/{name.removeprefix('./')}").status_code == 200, name
    assert service.get("/redoc").status_code == 404


def test_a_request_that_comes_too_late_gets_no_list(tmp_path, shops):
    """The whole time is gone before the first batch: the body alone takes longer to read."""
    with ready(app_of(tmp_path, shops)) as client:
        response = ask(client, ["id-1"], deadline_ms=0.001)
        assert response.status_code == 503
        assert "deadline passed" in response.json()["detail"]
        assert response.headers["retry-after"] == "1"


def test_who_hangs_up_is_not_worked_for(tmp_path, shops, monkeypatch):
    """The request waits behind a batch that takes long; its caller goes meanwhile."""
    answered, asked = threading.Event(), []
    compute = Answering.answer

    def slow(self, questions, rung):
        asked.extend(question.request.k for question in questions)
        if any(question.request.k == 7 for question in questions):
            answered.wait(30)
        return compute(self, questions, rung)

    monkeypatch.setattr(Answering, "answer", slow)
    queueing = Queueing(max_batch=1, max_wait_ms=0, deadline_ms=60_000)
    app = app_of(tmp_path, shops, queueing=queueing)

    async def gone():
        body = json.dumps({"users": [{"history": ["id-1"]}], "k": 3}).encode()
        messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

        async def receive():
            return messages.pop(0) if len(messages) > 1 else messages[0]

        statuses = []

        async def send(message):
            statuses.append(message.get("status"))

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/recommend",
            "headers": [(b"content-type", b"application/json")],
            "query_string": b"",
        }
        await app(scope, receive, send)
        return statuses[0]

    with ready(app) as client:
        waiting = threading.Thread(target=ask, args=(client, ["id-1"]), kwargs={"k": 7})
        waiting.start()
        while 7 not in asked:
            time.sleep(0.01)
        assert client.portal.call(gone) == 499
        answered.set()
        waiting.join()
        assert ask(client, ["id-1"], k=4).status_code == 200
    assert 3 not in asked


def test_a_search_is_explained_by_its_tree(service):
    search = {"name": "beam", "beams": 3}
    asked = {"user": {"history": ["id-1"]}, "k": 3, "search": search}
    told = service.post("/v1/explain", json=asked).json()
    nodes = {node["node"]: node for node in told["nodes"]}
    assert (told["search"], told["num_levels"]) == ("beam", 2)
    [root] = [node for node in nodes.values() if node["parent"] is None]
    assert root["num_items"] == 12
    leaves = [node for node in nodes.values() if node["depth"] == 2 and node["fate"] == "kept"]
    best = sorted(leaves, key=lambda node: -node["score"])
    answers = ask(service, ["id-1"], k=3, search=search).json()["answers"]
    assert [leaf["words"] for leaf in best] == [[item["title"]] for item in answers[0]["items"]]
    assert [leaf["score"] for leaf in best] == pytest.approx(
        [item["score"] for item in answers[0]["items"]], abs=1e-5
    )
    for node in nodes.values():
        if node["parent"] is not None:
            parent = nodes[node["parent"]]
            assert parent["fate"] == "expanded"
            assert node["num_items"] <= parent["num_items"]
    assert "pruned" in {node["fate"] for node in nodes.values()}


def test_what_a_user_must_not_get_is_in_no_tree(service):
    user = {"history": ["id-1"], "exclude": ["id-0", "id-2"]}
    told = service.post("/v1/explain", json={"user": user, "exclude_seen": True}).json()
    leaves = [node for node in told["nodes"] if node["depth"] == 2]
    assert leaves
    gone = {"Thing 0", "Thing 1", "Thing 2", "Thing 11"}
    service.post("/v1/admin/availability", json={"unavailable": ["id-11"]}, headers=ADMIN)
    told = service.post("/v1/explain", json={"user": user, "exclude_seen": True}).json()
    assert not gone & {words for node in told["nodes"] for words in node["words"]}
    [root] = [node for node in told["nodes"] if node["parent"] is None]
    assert root["num_items"] == 12 - len(gone)


def test_every_search_that_is_offered_is_answered(service):
    offered = service.get("/v1/searches").json()
    assert offered["own"] == "beam"
    assert {"beam", "exhaustive"} <= {*offered["lists"]}
    assert "item-head" not in offered["lists"]
    for name in offered["lists"]:
        assert ask(service, ["id-1"], search={"name": name}).status_code == 200, name
    for name in offered["trees"]:
        asked = {"user": {"history": ["id-1"]}, "search": {"name": name}}
        assert service.post("/v1/explain", json=asked).status_code == 200, name


def test_an_exhaustive_search_of_a_large_catalog_is_refused_and_not_offered(tmp_path, shops):
    with ready(app_of(tmp_path, shops, limits=Limits(exhaustive_items=11))) as client:
        response = ask(client, ["id-1"], search={"name": "exhaustive"})
        assert response.status_code == 422
        assert "exhaustive asks for all 12 items" in response.json()["detail"]
        assert "exhaustive" not in client.get("/v1/searches").json()["lists"]


def test_boosts_reorder_the_list_of_the_search(service):
    [plain] = ask(service, ["id-1"], k=12).json()["answers"]
    scores = {item["item_id"]: item["score"] for item in plain["items"]}
    boosts = [
        {"items": ["id-7", "unknown"], "by": 1000},
        {"where": {"title": ["Thing 3", "Thing 4"]}, "by": -1000},
    ]
    [boosted] = ask(service, ["id-1"], k=10, boosts=boosts).json()["answers"]
    expected = scores | {"id-7": scores["id-7"] + 1000}
    expected |= {item_id: scores[item_id] - 1000 for item_id in ("id-3", "id-4")}
    best = sorted(expected, key=lambda item_id: -expected[item_id])[:10]
    assert listed(boosted) == best
    assert best[0] == "id-7"
    assert not {"id-3", "id-4"} & {*best}
    assert boosted["items"][0]["title"] == "Thing 7"
    assert [item["score"] for item in boosted["items"]] == pytest.approx(
        [expected[item_id] for item_id in best], abs=1e-3
    )


@pytest.mark.parametrize(
    ("boost", "words"),
    [
        ({"by": 1}, "a boost has either items or where"),
        ({"by": 1, "items": ["a"], "where": {"title": "b"}}, "a boost has either items or where"),
        ({"by": "high", "items": ["a"]}, "boosts.0.by: Input should be a valid number"),
        ({"by": 1, "where": {"colour": "red"}}, "no column 'colour'"),
    ],
)
def test_a_boost_that_means_nothing_is_refused(service, boost, words):
    response = ask(service, ["id-1"], boosts=[boost])
    assert response.status_code == 422
    assert words in response.json()["detail"]


def test_a_token_may_have_any_letters(tmp_path, shops):
    token = "pässwört-for-the-tests"
    with ready(app_of(tmp_path, shops, admin_token=token)) as client:
        headers = {"Authorization": f"Bearer {token}".encode()}
        assert client.post("/v1/admin/reload", json={}, headers=headers).status_code == 200
