"""Middleware: every request gets an ID, a limit of its body, a log line and metrics."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import HTTPException

from sidestep.service.metrics import Metrics
from sidestep.service.problems import problem_response

_LOG = logging.getLogger("sidestep.service.access")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class RequestMiddleware:
    """An application (ASGI) with request IDs, a limit of bodies, log lines and metrics."""

    def __init__(self, app: Any, *, metrics: Metrics, body_bytes: int) -> None:
        """Watches an application.

        Args:
            app: the application.
            metrics: counts the requests.
            body_bytes: the largest body.
        """
        self._app = app
        self._metrics = metrics
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request, or hands on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        began, status, num_received = time.perf_counter(), 0, 0
        scope.setdefault("state", {}).update(request_id=request_id, began=began)

        async def counted() -> Message:
            nonlocal num_received
            message = await receive()
            num_received += len(message.get("body", b""))
            if num_received > self._body_bytes:  # the application answers such an error itself
                raise HTTPException(413, self._told())
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        async def refuse(status: int, detail: str) -> None:
            response = problem_response(HTTPException(status, detail), request_id)
            await response(scope, receive, noted)

        try:
            if _announced(scope) > self._body_bytes:
                await refuse(413, self._told())
            else:
                await self._app(scope, counted, noted)
        except Exception:
            _LOG.exception("an unforeseen error", extra={"fields": {"request_id": request_id}})
            if not status:
                told = "the service made a mistake; its log says more under this request ID."
                await refuse(500, told)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route=route, status=status).inc()
            self._metrics.request_seconds.labels(route=route).observe(seconds)
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(1000 * seconds, 2),
                **scope["state"].get("logged", {}),
            }
            _LOG.info("request", extra={"fields": fields})

    def _told(self) -> str:
        return f"a request may have {self._body_bytes:,} bytes; ask for fewer users at once."


def _request_id(scope: Scope) -> str:
    """The ID that the caller gave, if it is a harmless one; else a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"


def _announced(scope: Scope) -> int:
    """The size of the body that the header says; 0 where it says none."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0
