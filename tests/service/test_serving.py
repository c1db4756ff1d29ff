"""Real processes: `sidestep serve` with several workers, asked by the client of the package."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from sidestep.bundle.folder import load
from sidestep.client import Client, RefusedError
from sidestep.service.messages import RecommendRequest, User
from tests.documents import blocks_of

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"
TOKEN = "a-secret-of-the-tests"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def until(is_so, seconds=120):
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if is_so():
                return
        except (httpx.HTTPError, RefusedError):
            pass
        time.sleep(0.05)
    raise AssertionError("it never was so")


def children(pid):
    """The processes that a process has started, but for the one that tracks resources."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [child for task in tasks for child in task.read_text().split()]
    return [
        int(child)
        for child in found
        if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text()
    ]


@pytest.fixture(scope="module")
def served(shops, dataset, tmp_path_factory):
    """The process, its address, and the file of its log."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    command = [sys.executable, "-m", "sidestep", "serve", shops / "shop", "--port", port]
    command += ["--workers", 2, "--state", folder / "state.json", "--device", "cpu"]
    command += ["--deadline-ms", 30_000, "--examples", dataset]
    log = folder / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*map(str, command)],
            stderr=stream,
            env={**os.environ, "SIDESTEP_ADMIN_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        yield process, url, log
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def client(served):
    with Client(served[1], admin_token=TOKEN) as made:
        yield made


def test_the_client_gets_the_lists_of_the_library(client, shops):
    histories = [["id-1"], ["id-4", "id-2"], []]
    request = RecommendRequest(users=[User(history=each) for each in histories], k=5)
    expected = load(shops / "shop", device="cpu").recommend(histories, 5)
    for answer, right in zip(client.recommend_all(request), expected, strict=True):
        assert [item.item_id for item in answer.items] == right.item_ids
        assert answer.degraded is None
    alone = client.recommend(["id-1"], 5, exclude=["id-2"], exclude_seen=True)
    assert not {"id-1", "id-2"} & {item.item_id for item in alone.items}
    assert client.item("id-3").texts == {"title": "Thing 3"}
    assert [item.item_id for item in client.items("thing 3")] == ["id-3"]


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(served, shops):
    port = served[1].rpartition(":")[2]
    words = [sys.executable, "-m", "sidestep", "serve", str(shops / "shop"), "--port", port]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"--port {port}: nobody can listen there" in " ".join(done.stderr.split())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bundle_that_cannot_answer_ends_the_service_and_the_log_says_why(shops, workers):
    words = [sys.executable, "-m", "sidestep", "serve", str(shops / "damaged")]
    words += ["--workers", workers]
    words += ["--port", str(free_port()), "--device", "cpu"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "model.safetensors: not the file that manifest.json describes" in done.stderr


def test_the_client_takes_all_that_is_known_of_a_user(client):
    with pytest.raises(RefusedError, match="times are given, and this network reads none"):
        client.recommend(["id-1"], times=[3])
    with pytest.raises(TypeError, match="history is a list of item IDs, got a text"):
        client.recommend("id-1")


def test_a_refusal_has_its_sentence(client):
    with pytest.raises(RefusedError, match="no item 'a/b'") as refused:
        client.item("a/b")
    assert refused.value.status == 404
    assert refused.value.request_id
    with (
        Client(str(client._http.base_url)) as stranger,
        pytest.raises(RefusedError, match="401: send the header"),
    ):
        stranger.roll_back()


def test_an_item_that_one_worker_takes_out_is_in_no_list_of_any(client, served):
    assert client.set_availability(unavailable=["id-3"]).num_unavailable == 1
    for _ in range(20):
        with Client(served[1]) as other:  # a connection of its own, to any worker
            items = {item.item_id for item in other.recommend(["id-1"], 12).items}
        assert "id-3" not in items
    assert client.set_availability(available=["id-3"]).num_unavailable == 0


def test_all_workers_follow_a_reload(client, served):
    assert client.reload("other").bundle == "other"
    until(lambda: "sidestep_generation 1.0" in httpx.get(f"{served[1]}/metrics").text)
    assert client.roll_back().bundle == "shop"


def test_the_how_to_shows_requests_that_are_answered(served, tmp_path):
    """Against this service: its lines of curl and its Python."""
    address = served[1].removeprefix("http://")
    environment = {**os.environ, "SIDESTEP_ADMIN_TOKEN": TOKEN}
    ran = 0
    for block in blocks_of(HOW_TO):
        if not block.is_run:
            continue
        text = block.text.replace("localhost:8000", address)
        if block.language == "python":
            exec(compile(text, f"{HOW_TO.name}, line {block.line}", "exec"), {})
            continue
        for line in text.replace("\\\n", " ").splitlines():
            command = line.replace("curl -s", "curl -s --fail-with-body", 1)
            done = subprocess.run(
                command, shell=True, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (command, done.stdout)
            assert json.loads(done.stdout)
            ran += 1
    assert ran >= 6
    with Client(served[1], admin_token=TOKEN) as client:
        client.set_availability(available=["id-3"])


@pytest.fixture(params=[1280, 400])
def page(served, browser, request):
    """The page at a width of a desk and of a phone; no word may come on the console."""
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    told = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(served[1])
    yield page
    page.close()
    assert not told


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


def test_the_page_builds_a_history_compares_searches_and_grows_a_tree(page, shops):
    """By keyboard alone."""
    page.locator("#first-list li").first.wait_for()
    page.get_by_label("Find items").fill("thing 7")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Thing 7").focus()
    page.keyboard.press("Enter")
    page.locator("#history button").wait_for()
    shop = load(shops / "shop", device="cpu")
    [expected] = shop.recommend([["id-7"]], 10, exclude_seen=True)
    page.wait_for_function(
        "title => document.querySelector('#first-list li')?.innerText.startsWith(title)",
        arg=f"{expected.titles[0]} ",
    )
    found = [text.rpartition(" ")[0] for text in texts(page, "#first-list li")]
    assert found == expected.titles
    assert len(texts(page, "#second-list li.shared")) == 10, "a beam of fifty on twelve items"
    page.get_by_label("Beside it").select_option("exhaustive")
    page.wait_for_function("() => document.querySelectorAll('#second-list li').length === 10")
    offered = texts(page, "#second option")
    assert {"beam", "exhaustive"} <= {*offered}
    assert "item-head" not in offered, "this network has none"
    page.get_by_role("button", name="Grow the tree").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Level 2").wait_for()
    assert {"kept", "expanded"} <= {
        name
        for box in page.locator("#tree li").all()
        for name in box.get_attribute("class").split()
    }
    page.locator("#tree section").nth(1).locator("li").first.focus()
    assert page.locator("#tree li.way").count() == 2, "the leaf and the prefix above it"
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0
    page.get_by_label("Or take the history").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => document.querySelectorAll('#history button').length === 2")
    assert texts(page, "#history button") == ["Thing 7", "Thing 8"]
    if folder := os.environ.get("SIDESTEP_SCREENSHOTS"):
        width = page.viewport_size["width"]
        page.screenshot(path=f"{folder}/service-{width}.png", full_page=True)


def test_the_page_of_the_routes_loads_nothing_from_elsewhere(page, served):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{served[1]}/docs")
    page.get_by_role("heading", name="POST /v1/recommend").wait_for()
    paths = httpx.get(f"{served[1]}/openapi.json").json()["paths"]
    names = {f"{method.upper()} {path}" for path in paths for method in paths[path]}
    assert {*texts(page, "h2")} == names
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("cell", name="IDs of past items, oldest first").first.wait_for()
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0
    assert all(url.startswith((served[1], "data:")) for url in asked)


def test_a_killed_worker_is_replaced_and_the_others_answer_meanwhile(served):
    process, url, _ = served
    workers = children(process.pid)
    assert len(workers) == 2
    [engine] = children(workers[0])
    os.kill(workers[0], signal.SIGKILL)
    answered = 0
    for _ in range(20):
        try:
            with Client(url) as client:
                answered += len(client.recommend(["id-1"], 3).items) == 3
        except httpx.HTTPError:  # it held this very connection
            continue
    assert answered >= 15
    until(lambda: len(children(process.pid)) == 2 and workers[0] not in children(process.pid))
    until(lambda: not Path(f"/proc/{engine}").exists())  # it does not stay behind


def test_a_killed_engine_is_replaced_and_the_others_answer_meanwhile(served):
    process, url, _ = served
    until(lambda: all(len(children(worker)) == 1 for worker in children(process.pid)))
    worker = children(process.pid)[0]
    [engine] = children(worker)
    os.kill(engine, signal.SIGKILL)
    statuses = []
    for _ in range(40):
        try:
            response = httpx.post(f"{url}/v1/recommend", json={"users": [{"history": ["id-1"]}]})
        except httpx.HTTPError:  # this worker held the connection
            continue
        statuses.append(response.status_code)
        assert response.status_code == 200 or response.headers["retry-after"]
        time.sleep(0.02)
    assert statuses.count(200) >= 30
    assert {*statuses} <= {200, 503}
    until(lambda: len(children(process.pid)) == 2 and worker not in children(process.pid))
    until(lambda: all(httpx.get(f"{url}/readyz").status_code == 200 for _ in range(20)))


def test_who_stops_it_gets_a_clean_end_and_lines_of_json(served):
    process, url, log = served
    assert httpx.get(f"{url}/healthz").status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    routes = {line["route"] for line in lines if "route" in line}
    assert {"/v1/recommend", "/v1/admin/reload", "/readyz"} <= routes
    told = [line["message"] for line in lines if line["level"] == "error"]
    assert told == ["the process that answers has ended; this worker ends, too"]  # as killed
    assert "id-1" not in log.read_text()
