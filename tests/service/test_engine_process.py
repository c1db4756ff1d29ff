"""An engine in a process of its own: it tells what one in this process tells, and outlives its end.

Slow tests share one process.
"""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from sidestep.service import engine as engine_module
from sidestep.service.asking import Asked, EngineGoneError, RefusalError
from sidestep.service.config import ServiceConfig
from sidestep.service.engine import LocalEngine
from sidestep.service.engine_process import EngineProcess
from sidestep.service.state import SharedState


def settings_of(folder, bundle):
    state = folder / "state.json"
    SharedState(state).start(bundle)
    return ServiceConfig(bundle=bundle, state=state, device="cpu", num_threads=1)


@pytest.fixture(scope="module")
def generations():
    return []


@pytest.fixture(scope="module")
def engine(shops, tmp_path_factory, generations):
    config = settings_of(tmp_path_factory.mktemp("engine"), shops / "shop")
    made = EngineProcess(config, generations.append)
    made.start()
    yield made
    made.close()
    assert not made.is_ready


@pytest.fixture(scope="module")
def local(shops, tmp_path_factory):
    made = LocalEngine(settings_of(tmp_path_factory.mktemp("local"), shops / "shop"))
    made.start()
    yield made
    made.close()


def asked(*bodies):
    """All users of some requests."""
    raw = [orjson.dumps(body) for body in bodies]
    return [
        Asked(body=each, row=row)
        for each, body in zip(raw, bodies, strict=True)
        for row in range(len(body["users"]))
    ]


def until_ready_again(engine, killed):
    end = time.monotonic() + 120
    while not (engine.is_ready and engine.pid != killed) and time.monotonic() < end:
        time.sleep(0.05)
    assert engine.is_ready


def ask_again_and_again(engine):
    for _ in range(10_000):
        engine.ask(asked(TWO), 0).result(60)


def snapshot(told):
    return json.loads(told.content)["snapshot"]


def listed(told):
    return [item["item_id"] for item in json.loads(told.content)["items"]]


TWO = {"users": [{"history": ["id-1"]}, {"history": ["id-2", "id-5"]}], "k": 4}
BAD = {"users": [{"history": ["id-1"]}, {"history": [], "moment": 3}]}
OTHER = {"users": [{"history": ["id-7"]}], "exclude_seen": True, "search": {"name": "beam"}}


@pytest.mark.parametrize("rung", [0, 2])
def test_both_engines_tell_the_same(engine, local, rung):
    users = asked(TWO, BAD, OTHER)
    told = engine.ask(users, rung).result(60)
    assert told == local.answer(users, rung)
    assert [each.refusal is None for each in told] == [True, True, False, False, True]
    assert told[2].refusal.status == 422
    assert [each.degraded for each in told[:2]] == [None if rung == 0 else "popularity"] * 2
    items = orjson.loads(told[0].content)["items"]
    assert len(items) == 4


def test_a_large_request_is_read_once_for_all_its_batches(local, monkeypatch):
    users = [{"history": [f"id-{number % 12}"] * 4} for number in range(200)]
    everyone = asked({"users": users, "k": 3})
    alone = [local.answer(asked({"users": [user], "k": 3}), 0)[0] for user in users[:12]]
    read, questions = [], engine_module.checked_questions

    def counted(*arguments):
        read.append(arguments)
        return questions(*arguments)

    monkeypatch.setattr(engine_module, "checked_questions", counted)
    batches = [local.answer(everyone[start : start + 50], 0) for start in range(0, 200, 50)]
    assert len(read) == 1
    told = [answer for batch in batches for answer in batch]
    assert [*map(listed, told[:12])] == [*map(listed, alone)]


def test_batches_are_answered_in_the_order_in_which_they_were_asked_for(engine, local):
    users = [asked({"users": [{"history": [f"id-{number}"]}]}) for number in range(12)]
    order = []
    futures = [engine.ask(each, 0) for each in users]
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: order.append(number))
    assert [future.result(60) for future in futures] == [local.answer(each, 0) for each in users]
    assert order == sorted(order)


def test_who_is_late_when_the_turn_comes_is_refused_alone(engine, local):
    late, early = time.monotonic(), time.monotonic() + 600
    raw = orjson.dumps(TWO)
    users = [
        Asked(body=raw, row=0, deadline=late),
        Asked(body=raw, row=1, deadline=early),
    ]
    told = engine.ask(users, 0).result(60)
    assert told == local.answer(users, 0)
    assert (told[0].refusal.status, told[0].refusal.retry_after_s) == (503, 1)
    assert "deadline passed" in told[0].refusal.detail
    assert listed(told[1]) == listed(local.answer(asked(TWO), 0)[1])


def test_calls_and_their_refusals_come_through(engine, local):
    for name, content in (("item", b'{"item_id": "id-3"}'), ("searches", b"")):
        assert engine.call(name, content) == local.call(name, content)
    with pytest.raises(RefusalError, match="no item 'id-99'") as refused:
        engine.call("item", b'{"item_id": "id-99"}')
    assert refused.value.refusal.status == 404


def test_what_nobody_foresaw_is_an_error_of_the_one_who_asked(engine):
    with pytest.raises(RuntimeError, match="KeyError"):
        engine.call("no-such-call")
    assert engine.ask(asked(OTHER), 0).result(60)[0].content


def test_many_threads_get_their_own_answers(engine, local):
    histories = [[f"id-{number % 12}", f"id-{number % 7}"] for number in range(40)]
    requests = [asked({"users": [{"history": history}]}) for history in histories]
    with ThreadPoolExecutor(8) as threads:
        found = [*threads.map(lambda users: engine.ask(users, 0).result(60), requests)]
    assert found == [local.answer(users, 0) for users in requests]


def test_a_reload_is_told(engine, generations):
    engine.call("reload", b'{"bundle": "other"}')
    assert generations[-1] == 1
    engine.call("rollback")
    assert generations[-1] == 2


def test_a_batch_that_waits_during_a_reload_is_answered_by_the_new_bundle(engine):
    """Two batches are in the process again and again while the bundle changes."""
    old = snapshot(engine.ask(asked(TWO), 0).result(60)[0])
    with ThreadPoolExecutor(1) as threads:
        reload = threads.submit(engine.call, "reload", b'{"bundle": "other"}')
        found = []
        while not reload.done():
            pair = [engine.ask(asked(TWO), 0) for _ in range(2)]
            found += [snapshot(future.result(60)[0]) for future in pair]
    new = snapshot(engine.ask(asked(TWO), 0).result(60)[0])
    assert new != old
    assert found == sorted(found, key=[old, new].index), "never back to the old one"
    engine.call("rollback")


def test_two_batches_of_a_process_that_is_killed_get_an_error(engine, local):
    killed = engine.pid
    os.kill(killed, signal.SIGSTOP)  # it answers neither
    futures = [engine.ask(asked(TWO), 0) for _ in range(2)]
    os.kill(killed, signal.SIGKILL)
    for future in futures:
        with pytest.raises(EngineGoneError):
            future.result(60)
    until_ready_again(engine, killed)
    assert engine.ask(asked(TWO), 0).result(60) == local.answer(asked(TWO), 0)


def test_a_process_that_is_killed_is_started_again(engine, local):
    killed = engine.pid
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(EngineGoneError):
        ask_again_and_again(engine)  # some may be answered before the signal comes
    until_ready_again(engine, killed)
    assert engine.ask(asked(TWO), 0).result(60) == local.answer(asked(TWO), 0)


def test_a_bundle_that_cannot_answer_is_said_at_the_start(shops, tmp_path):
    made = EngineProcess(settings_of(tmp_path, shops / "damaged"))
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        made.start()
    made.close()


LEAVES = """
from sidestep.service.config import ServiceConfig
from sidestep.service.engine_process import EngineProcess
import sys

if __name__ == "__main__":
    engine = EngineProcess(ServiceConfig.model_validate_json(sys.argv[1]))
    engine.start()
    print(engine.pid)
"""


def test_who_leaves_without_a_word_takes_the_process_along(shops, tmp_path):
    """As a service does that is interrupted twice."""
    script = tmp_path / "leaves.py"
    script.write_text(LEAVES)
    settings = settings_of(tmp_path, shops / "shop").model_dump_json()
    done = subprocess.run(
        [sys.executable, script, settings], capture_output=True, text=True, timeout=300, check=True
    )
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


def test_a_report_that_fails_costs_the_process_and_nothing_waits_for_ever(shops, tmp_path):
    refusals = [OSError("the disk of the metrics is full")]

    def refused(generation):
        if generation and refusals:
            raise refusals.pop()

    config = settings_of(tmp_path, shops / "shop")
    made = EngineProcess(config, refused)
    made.start()
    try:
        first = made.pid
        with pytest.raises(EngineGoneError):
            made.call("reload", b'{"bundle": "other"}')
        until_ready_again(made, first)
        assert made.ask(asked(TWO), 0).result(60)[0].content
    finally:
        made.close()


def test_the_process_that_speaks_http_loads_no_network_library():
    """Each worker process would need the memory twice. Nobody asks for traces here."""
    look = "import sys, sidestep.service.serving as s; s.tracing_of({}); print([*sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    modules = eval(done.stdout)
    loaded = {name.partition(".")[0] for name in modules}
    assert "sidestep" in loaded
    assert not loaded & {"torch", "polars", "numpy", "pyarrow"}
    # Other libraries import the interface of OpenTelemetry; what makes spans is its SDK.
    assert not [name for name in modules if name.startswith("opentelemetry.sdk")]
