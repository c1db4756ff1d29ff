"""Errors as problems in JSON (RFC 9457), for every route alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from sidestep.service.asking import EngineGoneError, RefusalError
from sidestep.service.messages import Problem
from sidestep.service.scheduler import ClosedError, QueueFullError, TooLateError

_PROBLEM = "application/problem+json"

FORESEEN = (
    StarletteHTTPException,
    RequestValidationError,
    QueueFullError,
    TooLateError,
    ClosedError,
    RefusalError,
    EngineGoneError,
)
"""Errors that `problem_response` tells to the caller."""

_TITLES = {
    404: "Not found",
    413: "Body too large",
    429: "Too many requests",
    500: "Internal error",
    503: "Not now",
}

_MOST_MISTAKES = 10
"""Mistakes of one request that an answer names."""


def problem_response(error: Exception, request_id: str) -> Response:
    """The answer to a request that met a foreseen error.

    Args:
        error: one of `FORESEEN`.
        request_id: of the request.
    """
    problem, headers = _problem_of(error)
    told = problem.model_copy(update={"request_id": request_id})
    return Response(
        told.model_dump_json(exclude_none=True),
        status_code=problem.status,
        media_type=_PROBLEM,
        headers=headers,
    )


def misread_body(error: ValidationError) -> RequestValidationError:
    """The mistakes of a body as those of a request: each place begins with "body"."""
    mistakes = error.errors(include_url=False, include_input=False, include_context=False)
    return RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in mistakes])


def _problem_of(error: Exception) -> tuple[Problem, Mapping[str, str]]:
    if isinstance(error, RequestValidationError):
        return _misread(error.errors()), {}
    if isinstance(error, QueueFullError):
        return _told(429, str(error)), {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, RefusalError):
        again = error.refusal.retry_after_s
        headers = {} if again is None else {"Retry-After": str(again)}
        return _told(error.refusal.status, error.refusal.detail), headers
    if isinstance(error, StarletteHTTPException):
        return _told(error.status_code, str(error.detail)), error.headers or {}
    return _told(503, str(error)), {"Retry-After": "1"}


def _told(status: int, detail: str) -> Problem:
    return Problem(title=_TITLES.get(status, "Refused"), status=status, detail=detail)


def _misread(errors: Any) -> Problem:
    mistakes = [
        {"at": ".".join(map(str, each["loc"])), "detail": each["msg"]}
        for each in errors[:_MOST_MISTAKES]
    ]
    detail = "; ".join(f"{each['at']}: {each['detail']}" for each in mistakes)
    return Problem(title="Not a valid request", status=422, detail=detail, errors=mistakes)
