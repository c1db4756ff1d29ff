"""The route of recommendations, as an application (ASGI) of its own.

Most requests of a service come here. The framework of the other routes takes longer to hand over a
request than the network takes to answer one in a batch, so this route does without the framework.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import HTTPException, Response
from pydantic import ValidationError

from sidestep.service.asking import Asked, RefusalError, Told
from sidestep.service.config import ServiceConfig
from sidestep.service.limits import refuse_large
from sidestep.service.messages import RecommendRequest, RecommendResponse
from sidestep.service.metrics import Metrics
from sidestep.service.middleware import Receive, Scope, Send
from sidestep.service.problems import FORESEEN, misread_body, problem_response
from sidestep.service.scheduler import Scheduler
from sidestep.service.tracing import RequestTrace, Tracing

_LOOK_AFTER_S = 0.1
"""Seconds after which a request that still waits is given up if its caller is gone."""

_CALLER_GONE = 499
"""The status in logs of a request whose caller did not wait."""


# Never called: the description (OpenAPI) reads its signature.
def recommend(body: RecommendRequest) -> RecommendResponse:  # type: ignore[empty-body]
    """Lists of items for users, best item first."""


class RecommendApp:
    """Answers `POST /v1/recommend`; `recommend` describes the route.

    path: of the route.
    """

    path = "/v1/recommend"

    def __init__(
        self,
        config: ServiceConfig,
        metrics: Metrics,
        scheduler: Callable[[], Scheduler[Asked, Told]],
        tracing: Tracing | None = None,
    ) -> None:
        """Makes the application of a service that has not started yet.

        Args:
            config: of the service.
            metrics: counts the lists that were made in a cheaper way.
            scheduler: gives the scheduler of the service that has started.
            tracing: takes the trace of every request; None traces nothing.
        """
        self._config = config
        self._metrics = metrics
        self._scheduler = scheduler
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        trace = RequestTrace(headers=scope["headers"], began=time.monotonic())
        try:
            try:
                response = await self._response(scope, receive, trace)
            except FORESEEN as error:
                response = problem_response(error, scope["state"]["request_id"])
            trace.status = response.status_code
            await response(scope, receive, send)
        finally:
            if self._tracing is not None and scope["method"] == "POST":
                trace.ended = time.monotonic()
                self._tracing.take(trace)

    async def _response(self, scope: Scope, receive: Receive, trace: RequestTrace) -> Response:
        if scope["method"] != "POST":
            raise HTTPException(405, "send a POST request.", headers={"Allow": "POST"})
        raw = await _body(receive)
        kind = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0]
        if kind.strip().lower() != b"application/json":
            raise HTTPException(415, "send JSON, with the header 'Content-Type: application/json'.")
        try:
            body = RecommendRequest.model_validate_json(raw)
        except ValidationError as error:
            raise misread_body(error) from error
        trace.num_users = len(body.users)
        trace.search = "own" if body.search is None else body.search.name
        refuse_large(body, self._config.limits)
        most_ms = self._config.queueing.deadline_ms
        asked_ms = most_ms if body.deadline_ms is None else min(body.deadline_ms, most_ms)
        # The time counts from the first byte, also that in which the body was read.
        left_s = asked_ms / 1000 - (time.perf_counter() - scope["state"]["began"])
        deadline = time.monotonic() + left_s
        asked = [Asked(body=raw, row=row, deadline=deadline) for row in range(len(body.users))]
        trace.queued = time.monotonic()
        answers = await _answered(self._scheduler(), asked, left_s, receive)
        for answer in answers:
            if answer.refusal is not None:
                raise RefusalError(**asdict(answer.refusal))
        for answer in answers:
            if answer.degraded is not None:
                self._metrics.degraded.labels(way=answer.degraded).inc()
        trace.ways = _ways(answers)
        trace.timings = [answer.timing for answer in answers if answer.timing is not None]
        logs_histories = self._config.logs_histories
        scope["state"]["logged"] = _logged(body, answers, logs_histories=logs_histories)
        told = b",".join(answer.content for answer in answers)
        return Response(b'{"answers":[%b]}' % told, media_type="application/json")


async def _body(receive: Receive) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: the body is too large, or the caller hung up before its end.
    """
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(_CALLER_GONE, "the caller did not send the whole request.")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _answered(
    scheduler: Scheduler[Asked, Told], asked: Sequence[Asked], deadline_s: float, receive: Receive
) -> list[Told]:
    """The answers to users. If the caller hangs up, questions that still wait are dropped."""
    futures = scheduler.submit_all(asked, deadline_s=deadline_s)
    waiting = asyncio.gather(*map(asyncio.wrap_future, futures))
    try:
        done, _ = await asyncio.wait([waiting], timeout=_LOOK_AFTER_S)
        if not done:
            await _done_or_gone(waiting, receive)
        return await waiting
    except BaseException:
        waiting.cancel()
        for future in futures:
            future.cancel()
        raise


async def _done_or_gone(waiting: asyncio.Future[Any], receive: Receive) -> None:
    """Waits until the answers are there.

    Raises:
        HTTPException: the caller has gone.
    """
    gone = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait([waiting, gone], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise HTTPException(_CALLER_GONE, "the caller did not wait for the answer.")
    finally:
        gone.cancel()


async def _hung_up(receive: Receive) -> None:
    """Returns when the caller hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _ways(answers: Sequence[Told]) -> list[str]:
    """The cheaper ways of answers, each once."""
    return sorted({answer.degraded for answer in answers if answer.degraded is not None})


def _logged(
    body: RecommendRequest, answers: Sequence[Told], *, logs_histories: bool
) -> dict[str, Any]:
    """The fields of a request's log line: what was asked, and how it was answered."""
    logged: dict[str, Any] = {"users": len(body.users), "k": body.k}
    if ways := _ways(answers):
        logged["degraded"] = ways
    if logs_histories:
        logged["histories"] = [user.history for user in body.users]
    return logged
