"""Tracing: spans of requests for OpenTelemetry, where somebody has asked for them.

The engine is another process and makes no spans. It sends its times with each answer, and the
process for HTTP makes all spans of a request when the request is done. OpenTelemetry is imported
only if the extra `otel` is installed and the variables of the environment ask for traces.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sidestep.service.asking import Timing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_LOG = logging.getLogger("sidestep.service")

_EXPORTER = "OTEL_TRACES_EXPORTER"

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_NAME = "POST /v1/recommend"


@dataclass(slots=True, kw_only=True)
class RequestTrace:
    """Facts about one request for recommendations; never a history.

    All times are seconds of `time.monotonic`, which all processes share.

    headers: of the request, as pairs of bytes.
    began: when the request came.
    ended: when the answer was sent.
    status: of HTTP; 500 until there is an answer.
    num_users: users of the request; None if its body could not be read.
    search: the name of the search that was asked for; "own" is the search of the bundle.
    queued: when the users of the request went into the queue; None if they did not.
    ways: the cheaper ways that were taken for want of time.
    timings: the times of the engine, one per user; empty without an answer.
    """

    headers: Iterable[tuple[bytes, bytes]]
    began: float
    ended: float = 0.0
    status: int = 500
    num_users: int | None = None
    search: str | None = None
    queued: float | None = None
    ways: Sequence[str] = ()
    timings: Sequence[Timing] = ()


@runtime_checkable
class Tracing(Protocol):
    """Takes the traces of requests."""

    def take(self, trace: RequestTrace) -> None:
        """Takes the trace of a request that is done."""

    def close(self) -> None:
        """Sends what was not sent yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanTimes:
    """A span before OpenTelemetry makes it.

    began_ns, ended_ns: nanoseconds since 1970.
    """

    name: str
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, str | int | tuple[str, ...]] = field(default_factory=dict)


def spans_of(trace: RequestTrace, offset_ns: int) -> list[SpanTimes]:
    """The span of a request and, if the engine answered, its stages queue, search and encode.

    The users of a large request are answered in several batches. Then `queue` ends when the first
    batch begins, `search` ends with the search of the last batch, and `encode` with the last batch.

    Args:
        trace: of the request.
        offset_ns: nanoseconds since 1970 at the zero of `time.monotonic`.
    """

    def span(
        name: str,
        began: float,
        ended: float,
        attributes: Mapping[str, str | int | tuple[str, ...]] | None = None,
    ) -> SpanTimes:
        return SpanTimes(
            name=name,
            began_ns=round(began * 1e9) + offset_ns,
            ended_ns=round(ended * 1e9) + offset_ns,
            attributes=attributes or {},
        )

    told: dict[str, str | int | tuple[str, ...]] = {"http.response.status_code": trace.status}
    if trace.num_users is not None:
        told["sidestep.num_users"] = trace.num_users
    if trace.search is not None:
        told["sidestep.search"] = trace.search
    if trace.ways:
        told["sidestep.degraded"] = tuple(trace.ways)
    spans = [span(_NAME, trace.began, trace.ended, told)]
    if trace.queued is not None and trace.timings:
        began = min(each.began for each in trace.timings)
        last = max(trace.timings, key=lambda each: each.began)
        found = last.began + last.search_s
        spans += [
            span("queue", trace.queued, began),
            span("search", began, found),
            span("encode", found, found + last.encode_s),
        ]
    return spans


class SpanTracing:
    """Makes spans of the traces of requests, see `Tracing`."""

    def __init__(self, provider: TracerProvider) -> None:
        """Makes spans by a provider, and closes the provider at the end."""
        from opentelemetry import propagate, trace

        self._propagate, self._api = propagate, trace
        self._provider = provider
        self._tracer = provider.get_tracer("sidestep.service")
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def take(self, trace: RequestTrace) -> None:
        """Makes the spans of a request; they continue the trace that its headers name."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in trace.headers}
        whole, *stages = spans_of(trace, self._offset_ns)
        span = self._tracer.start_span(
            whole.name,
            context=self._propagate.extract(headers),
            kind=self._api.SpanKind.SERVER,
            attributes=whole.attributes,
            start_time=whole.began_ns,
        )
        within = self._api.set_span_in_context(span)
        for stage in stages:
            child = self._tracer.start_span(stage.name, context=within, start_time=stage.began_ns)
            child.end(stage.ended_ns)
        if trace.status >= 500:
            span.set_status(self._api.StatusCode.ERROR)
        span.end(whole.ended_ns)

    def close(self) -> None:
        """Sends the spans that were not sent yet."""
        self._provider.shutdown()


def exporter_names(environment: Mapping[str, str]) -> list[str]:
    """The names of the exporters of traces that the standard variables of OpenTelemetry ask for.

    An exporter is an entry point of the group `opentelemetry_traces_exporter`. `otlp` becomes the
    exporter of its protocol; HTTP is the default of the standard, and the exporter of the extra.

    Args:
        environment: variables; an empty variable counts as none, as the standard says.

    Returns:
        No name if nobody asks for traces.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    default = "otlp" if any(environment.get(name) for name in _ENDPOINTS) else "none"
    asked = (environment.get(_EXPORTER) or default).split(",")
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http")
    otlp = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    names = [name.strip() for name in asked]
    return [otlp if name == "otlp" else name for name in names if name not in ("", "none")]


def exporters_of(environment: Mapping[str, str]) -> list[EntryPoint]:
    """The exporters that the variables of the environment ask for; nothing is imported.

    Args:
        environment: the variables of this process.

    Returns:
        No exporter if nobody asks for traces. No exporter, too, if the SDK is not installed.

    Raises:
        ValueError: no installed package has an exporter of a name.
    """
    names = exporter_names(environment)
    if not names or not _has_sdk():
        return []
    known = {each.name: each for each in entry_points(group="opentelemetry_traces_exporter")}
    for name in names:
        if name not in known:
            raise ValueError(
                f"{_EXPORTER}: no installed package has the exporter {name!r}; install its "
                f"package, or take one of {', '.join(sorted(known))}."
            )
    return [known[name] for name in names]


def _has_sdk() -> bool:
    """Whether the SDK of OpenTelemetry is installed; a look at its module would import some."""
    try:
        version("opentelemetry-sdk")
    except PackageNotFoundError:
        return False
    return True


def tracing_of(environment: Mapping[str, str]) -> Tracing | None:
    """The tracing that the variables of the environment ask for.

    The SDK itself reads the variables of samplers, resources, batches and endpoints.

    Args:
        environment: the variables of this process.

    Returns:
        None if nobody asks for traces. None, too, and a warning in the log, if the extra `otel` is
        not installed.

    Raises:
        ValueError: see `exporters_of`.
    """
    exporters = exporters_of(environment)
    if not exporters:
        if exporter_names(environment):
            _LOG.warning("OTEL_ variables ask for traces; install 'sidestep[otel]' to send them")
        return None
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter.load()()))
    return SpanTracing(provider)
