"""Tracing: the spans of a request have its times, continue its trace, and hold no history."""

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError

import pytest

from sidestep.service import tracing
from sidestep.service.asking import Timing
from sidestep.service.config import Limits
from sidestep.service.tracing import (
    RequestTrace,
    SpanTracing,
    exporter_names,
    exporters_of,
    spans_of,
    tracing_of,
)
from tests.service.test_app import app_of, ask, ready

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


class Kept:
    """Keeps the traces of requests."""

    def __init__(self):
        self.traces, self.is_closed = [], False

    def take(self, trace):
        self.traces.append(trace)

    def close(self):
        self.is_closed = True


def answered(**facts):
    """The trace of a request whose two users were answered in two batches."""
    timings = [
        Timing(began=6.0, search_s=1.0, encode_s=0.5),
        Timing(began=4.0, search_s=1.0, encode_s=0.5),
    ]
    settings = {"headers": [], "began": 2.0, "ended": 8.0, "status": 200, "queued": 3.0}
    return RequestTrace(**{**settings, "timings": timings, **facts})


def test_the_service_tells_its_tracing_about_every_request(tmp_path, shops):
    kept = Kept()
    app = app_of(tmp_path, shops, tracing=kept, limits=Limits(users=4))
    with ready(app) as client:
        assert ask(client, ["id-1"], ["id-2"], search={"name": "beam"}).status_code == 200
        assert ask(client, ["id-1"]).status_code == 200
        assert ask(client, *[["id-1"]] * 5).status_code == 422
        assert client.post("/v1/recommend", content=b"{").status_code == 415
        assert client.get("/v1/recommend").status_code == 405  # no request for lists
        assert client.get("/v1/searches").status_code == 200
        assert not kept.is_closed
    assert kept.is_closed
    told = [(each.status, each.num_users, each.search) for each in kept.traces]
    assert told == [(200, 2, "beam"), (200, 1, "own"), (422, 5, "own"), (415, None, None)]
    for trace in kept.traces[:2]:
        assert len(trace.timings) == trace.num_users
        for timing in trace.timings:
            found = timing.began + timing.search_s
            assert trace.began <= trace.queued <= timing.began < found
            assert timing.encode_s > 0
            assert found + timing.encode_s <= trace.ended
    assert [each.timings for each in kept.traces[2:]] == [(), ()]
    facts = [{**asdict(each), "headers": None} for each in kept.traces]
    assert "id-1" not in repr(facts)


def test_a_cheaper_way_is_told(tmp_path, shops, monkeypatch):
    kept = Kept()
    with ready(app_of(tmp_path, shops, tracing=kept)) as client:
        monkeypatch.setattr("sidestep.service.scheduler.Scheduler._rung", lambda *_: 2)
        degraded = ask(client, ["id-1"]).json()["answers"][0]["degraded"]
    assert degraded is not None
    assert kept.traces[0].ways == [degraded]


def test_stages_of_several_batches_follow_each_other():
    spans = spans_of(answered(num_users=2, search="own", ways=["beam-10"]), 10**9)
    times = {each.name: (each.began_ns / 1e9, each.ended_ns / 1e9) for each in spans}
    assert times == {
        "POST /v1/recommend": (3.0, 9.0),
        "queue": (4.0, 5.0),
        "search": (5.0, 8.0),
        "encode": (8.0, 8.5),
    }
    assert spans[0].attributes == {
        "http.response.status_code": 200,
        "sidestep.num_users": 2,
        "sidestep.search": "own",
        "sidestep.degraded": ("beam-10",),
    }


def test_a_request_without_an_answer_has_no_stages():
    [span] = spans_of(answered(timings=[], status=503), 0)
    assert span.attributes == {"http.response.status_code": 503}


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "shop"}, []),
        (ENDPOINT, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector"}, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, []),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["otlp_proto_grpc"]),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, []),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, []),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp_proto_http"]),
    ],
)
def test_the_variables_of_the_standard_choose_the_exporters(environment, names):
    assert exporter_names(environment) == names


def test_without_the_extra_the_log_says_what_to_install(monkeypatch, caplog):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(tracing, "version", missing)
    assert tracing_of({}) is None
    assert not caplog.records
    assert tracing_of(ENDPOINT) is None
    assert "install 'sidestep[otel]'" in caplog.text


def test_an_unknown_exporter_is_refused(monkeypatch):
    monkeypatch.setattr(tracing, "version", lambda name: "1")
    with pytest.raises(ValueError, match="no installed package has the exporter 'smoke'"):
        exporters_of({"OTEL_TRACES_EXPORTER": "smoke"})


@pytest.fixture
def exported():
    """The tracing of an SDK that keeps its spans, and a function that gives them."""
    reason = "the extra otel is not installed"
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason=reason)
    export = pytest.importorskip("opentelemetry.sdk.trace.export", reason=reason)
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    yield SpanTracing(provider), exporter.get_finished_spans
    provider.shutdown()


def test_spans_continue_the_trace_of_the_caller(tmp_path, shops, exported):
    made, spans = exported
    parent = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    body = {"users": [{"history": ["id-1"]}]}
    with ready(app_of(tmp_path, shops, tracing=made)) as client:
        assert client.post("/v1/recommend", json=body, headers=parent).status_code == 200
    by_name = {each.name: each for each in spans()}
    assert {*by_name} == {"POST /v1/recommend", "queue", "search", "encode"}
    whole = by_name.pop("POST /v1/recommend")
    assert f"{whole.parent.span_id:016x}" == PARENT_ID
    assert whole.kind.name == "SERVER"
    assert dict(whole.attributes) == {
        "http.response.status_code": 200,
        "sidestep.num_users": 1,
        "sidestep.search": "own",
    }
    for each in by_name.values():
        assert each.parent.span_id == whole.context.span_id
        assert whole.start_time <= each.start_time <= each.end_time <= whole.end_time
    assert {f"{each.context.trace_id:032x}" for each in spans()} == {TRACE_ID}
    assert not any("id-1" in each.to_json() for each in spans())


def test_a_span_is_an_error_only_if_the_service_failed(exported):
    made, spans = exported
    for status in (200, 422, 503):
        made.take(answered(status=status, timings=[]))
    assert [each.status.is_ok for each in spans()] == [True, True, False]
    assert all(each.parent is None for each in spans())


def test_the_sdk_reads_the_variables_of_the_exporter(exported, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    made = tracing_of({"OTEL_TRACES_EXPORTER": "console"})
    assert isinstance(made, SpanTracing)
    made.close()
