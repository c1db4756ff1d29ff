"""The application: routes of the service over HTTP."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from threading import Lock
from typing import Annotated, Any

import numpy as np
import polars as pl
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from sidestep.padding import NO_ITEM
from sidestep.runs.searches import can_search
from sidestep.search.specs import SPECS
from sidestep.service.config import ServiceConfig
from sidestep.service.conversion import (
    catalog_items,
    checked_questions,
    is_too_wide,
    on_the_wire,
    questions_of,
)
from sidestep.service.explaining import explain
from sidestep.service.messages import (
    Availability,
    CatalogItem,
    ExplainRequest,
    ExplainResponse,
    ItemsResponse,
    Problem,
    RecommendRequest,
    RecommendResponse,
    Reload,
    Searches,
    ServiceState,
)
from sidestep.service.metrics import Metrics
from sidestep.service.middleware import PROBLEM, RequestMiddleware
from sidestep.service.questions import NUM_RUNGS, Answer, Question
from sidestep.service.refusals import REFUSALS, checked, refusal
from sidestep.service.scheduler import (
    ClosedError,
    QueueFullError,
    Scheduler,
    TooLateError,
)
from sidestep.service.served_bundle import ServedBundle
from sidestep.service.state import SharedState, State
from sidestep.version import __version__

_LOOK_EVERY_S = 0.1
"""Seconds between two looks whether the caller is still there."""

_CALLER_GONE = 499
"""The status in logs of a request whose caller did not wait."""


class Service:
    """The parts of a running service; `start` makes them."""

    bundle: ServedBundle
    scheduler: Scheduler[Question, Answer]

    def __init__(self, config: ServiceConfig) -> None:
        """Keeps the settings; nothing is loaded yet."""
        self.config = config
        self.metrics = Metrics()

    def start(self) -> None:
        """Loads the bundle and warms it up; the service listens after that."""
        config = self.config
        self.bundle = ServedBundle(
            config.bundle,
            SharedState(config.state),
            device=config.device,
            max_batch=config.queueing.max_batch,
            report=self.metrics.generation.set,
        )
        self.bundle.start_watching()
        self.scheduler = Scheduler(
            self.bundle.answer, config.queueing, num_rungs=NUM_RUNGS, report=self.metrics.of_batch
        )

    def stop(self) -> None:
        """Answers all who wait, and ends the threads."""
        self.scheduler.close()
        self.bundle.close()


def make_app(config: ServiceConfig) -> FastAPI:
    """The application of a service.

    Args:
        config: of the service. The state file must be there, see `SharedState.start`.
    """
    service = Service(config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        yield
        await run_in_threadpool(service.stop)

    app = FastAPI(
        title="Sidestep",
        version=__version__,
        summary="Recommendations by semantic IDs",
        lifespan=lifespan,
        responses={422: {"model": Problem, "description": "The request cannot be answered"}},
    )
    app.add_middleware(
        RequestMiddleware, metrics=service.metrics, body_bytes=config.limits.body_bytes
    )
    _add_errors(app)
    _add_page(app)
    _add_health(app, service)
    _add_answers(app, service)
    _add_admin(app, service)
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    limits = service.config.limits

    @app.post("/v1/recommend", responses=_BUSY, response_model=RecommendResponse)
    async def recommend(body: RecommendRequest, request: Request) -> Response:
        """Lists of items for users, best item first."""
        bundle, scheduler = service.bundle, service.scheduler
        # In a thread: masks of items and filters of texts must not keep others waiting.
        questions = await run_in_threadpool(checked_questions, body, bundle, limits)
        most_ms = service.config.queueing.deadline_ms
        asked_ms = most_ms if body.deadline_ms is None else min(body.deadline_ms, most_ms)
        # The time counts from the first byte, also that in which the body was read.
        left_s = asked_ms / 1000 - (time.perf_counter() - request.state.began)
        try:
            answers = await _answered(scheduler, questions, left_s, request)
        except REFUSALS as error:  # another bundle came after the check
            raise refusal(error) from error
        service.metrics.waiting.set(scheduler.num_waiting)
        for answer in answers:
            if answer.degraded is not None:
                service.metrics.degraded.labels(way=answer.degraded).inc()
        _log(request, body, answers, logs_histories=service.config.logs_histories)
        told = RecommendResponse(answers=[on_the_wire(answer) for answer in answers])
        # Written here: the framework would check the message again.
        return Response(told.model_dump_json(), media_type="application/json")

    @app.get("/v1/searches")
    def searches() -> Searches:
        """The searches that this bundle can be asked for by name."""
        recommender = service.bundle.answering.snapshot.recommender
        num_items = recommender.catalog.num_items
        able = [
            name
            for name, spec in SPECS.items()
            if can_search(name, recommender)
            and spec.goes_by != "scorer"  # which only code of one's own can name
            and not is_too_wide(name, num_items, limits)
        ]
        is_tree = recommender.is_searched and recommender.catalog.space is None
        return Searches(
            own=recommender.manifest.search.name if recommender.is_searched else None,
            lists=able,
            trees=[name for name in able if is_tree and SPECS[name].grows is not None],
        )

    one_at_a_time = Lock()

    @app.post("/v1/explain", responses=_BUSY)
    def explain_search(body: ExplainRequest) -> ExplainResponse:
        """The search tree of one request; one at a time, as it costs more than a list."""
        [question] = questions_of(body.as_recommendation, service.bundle, limits)
        if not one_at_a_time.acquire(blocking=False):
            raise QueueFullError("another search is being explained.", retry_after_s=1)
        try:
            return checked(explain, service.bundle.answering, question)
        finally:
            one_at_a_time.release()

    @app.get("/v1/items/{item_id:path}", responses=_MISSING)
    def item(item_id: str) -> CatalogItem:
        """An item of the catalog."""
        catalog = service.bundle.answering.snapshot.recommender.catalog
        index = catalog.ids.index_of(item_id)
        if index < 0:
            raise HTTPException(404, f"the catalog has no item {item_id!r:.80}.")
        [found] = catalog_items(catalog, np.array([index]))
        return found

    @app.get("/v1/items")
    def items(
        query: Annotated[str, Query(min_length=1, max_length=200)],
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> ItemsResponse:
        """Items whose title holds all words of the query, and the item of this ID first."""
        catalog = service.bundle.answering.snapshot.recommender.catalog
        words = query.lower().split()
        if not words:
            raise HTTPException(422, "query: write a word of a title, or an ID.")
        if catalog.texts is None:
            title = pl.Series(catalog.item_ids.to_pylist(), dtype=pl.String)
        else:
            title = catalog.titles.cast(pl.String)
        title = title.str.to_lowercase()
        is_found = title.is_not_null()
        for word in words:
            is_found &= title.str.contains(word, literal=True).fill_null(False)
        own = catalog.indices_of([query.strip()])
        named = own[own != NO_ITEM]
        titled = is_found.arg_true().to_numpy().astype(np.int64)
        found = np.concatenate([named, titled[~np.isin(titled, named)]])[:limit]
        return ItemsResponse(items=catalog_items(catalog, found))


def _add_page(app: FastAPI) -> None:
    """The page for people; the description of the routes does not name its files."""
    folder = resources.files("sidestep.service") / "page"

    def add(path: str, name: str, kind: str) -> None:
        content = (folder / name).read_bytes()

        async def page(request: Request) -> Response:
            return Response(content, media_type=kind, headers=_ONLY_OURS)

        app.add_route(path, page, methods=["GET"])

    add("/", "index.html", "text/html")
    add("/page.css", "page.css", "text/css")
    add("/page.js", "page.js", "text/javascript")


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process is alive."""
        return {"status": "alive"}

    @app.get("/readyz", responses=_BUSY)
    async def readyz() -> dict[str, str]:
        """Whether the bundle is loaded and warm."""
        if not service.scheduler.is_alive:
            raise HTTPException(503, "the thread that answers has ended; start the service again.")
        return {"status": "ready", "snapshot": str(service.bundle.answering.snapshot.id)}

    @app.get("/metrics")
    def metrics() -> Response:
        """Metrics for Prometheus."""
        service.metrics.waiting.set(service.scheduler.num_waiting)
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_admin(app: FastAPI, service: Service) -> None:
    def allowed(authorization: Annotated[str, Header()] = "") -> None:
        """Refuses whoever does not know the token; the comparison takes a constant time."""
        token = service.config.admin_token
        if token is None:
            raise HTTPException(403, "this service was started without an admin token.")
        scheme, _, given = authorization.partition(" ")
        # Headers are bytes, which the framework reads as Latin-1.
        is_own = hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
        if scheme.lower() != "bearer" or not is_own:
            raise HTTPException(
                401,
                "send the header 'Authorization: Bearer TOKEN'.",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def told(state: State) -> ServiceState:
        return ServiceState(
            bundle=state.bundle.name,
            generation=state.generation,
            num_unavailable=len(state.unavailable),
        )

    admin: dict[str, Any] = {"dependencies": [Depends(allowed)], "responses": _ADMIN}

    @app.post("/v1/admin/availability", **admin)
    def availability(body: Availability) -> ServiceState:
        """Takes items out of all lists, or lets items come back, before the answer is sent."""
        change = service.bundle.make_unavailable
        return told(checked(change, body.unavailable, body.available))

    @app.post("/v1/admin/reload", **admin)
    def reload(body: Reload) -> ServiceState:
        """Loads another bundle, tries it, and puts it in the place of the old one."""
        return told(checked(service.bundle.reload, body.bundle))

    @app.post("/v1/admin/rollback", **admin)
    def rollback() -> ServiceState:
        """Goes back to the bundle of before the last reload."""
        return told(checked(service.bundle.roll_back))


def _add_errors(app: FastAPI) -> None:
    def answered(request: Request, problem: Problem, **headers: str) -> JSONResponse:
        problem = problem.model_copy(update={"request_id": request.state.request_id})
        return JSONResponse(
            problem.model_dump(exclude_none=True),
            status_code=problem.status,
            media_type=PROBLEM.decode(),
            headers=headers,
        )

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> JSONResponse:
        title = "Not found" if error.status_code == 404 else "Refused"
        problem = Problem(title=title, status=error.status_code, detail=str(error.detail))
        headers = {"Retry-After": "1"} if error.status_code == 503 else {}
        return answered(request, problem, **{**(error.headers or {}), **headers})

    @app.exception_handler(RequestValidationError)
    async def misread(request: Request, error: RequestValidationError) -> JSONResponse:
        mistakes = [
            {"at": ".".join(map(str, each["loc"])), "detail": each["msg"]}
            for each in error.errors()[:10]
        ]
        detail = "; ".join(f"{each['at']}: {each['detail']}" for each in mistakes)
        problem = Problem(title="Not a valid request", status=422, detail=detail, errors=mistakes)
        return answered(request, problem)

    @app.exception_handler(QueueFullError)
    async def full(request: Request, error: QueueFullError) -> JSONResponse:
        problem = Problem(title="Too many requests", status=429, detail=str(error))
        return answered(request, problem, **{"Retry-After": str(error.retry_after_s)})

    @app.exception_handler(TooLateError)
    @app.exception_handler(ClosedError)
    async def late(request: Request, error: Exception) -> JSONResponse:
        problem = Problem(title="Not in time", status=503, detail=str(error))
        return answered(request, problem, **{"Retry-After": "1"})


async def _answered(
    scheduler: Scheduler[Question, Answer],
    questions: Sequence[Question],
    deadline_s: float,
    request: Request,
) -> list[Answer]:
    """The answers to questions; nobody works on for a caller who is gone."""
    futures = scheduler.submit_all(questions, deadline_s=deadline_s)
    try:
        waiting = asyncio.gather(*map(asyncio.wrap_future, futures))
        while True:
            done, _ = await asyncio.wait([waiting], timeout=_LOOK_EVERY_S)
            if done:
                return await waiting
            if await request.is_disconnected():
                waiting.cancel()
                raise HTTPException(_CALLER_GONE, "the caller did not wait for the answer.")
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _log(
    request: Request, body: RecommendRequest, answers: Sequence[Answer], *, logs_histories: bool
) -> None:
    """Adds to the log line of a request what was asked and how it was answered."""
    logged: dict[str, Any] = {"users": len(body.users), "k": body.k}
    ways = sorted({answer.degraded for answer in answers if answer.degraded is not None})
    if ways:
        logged["degraded"] = ways
    if logs_histories:
        logged["histories"] = [user.history for user in body.users]
    request.state.logged = logged


_ONLY_OURS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""Headers by which a browser loads nothing from elsewhere."""

_BUSY: dict[int | str, dict[str, Any]] = {
    429: {"model": Problem, "description": "The queue is full; see Retry-After"},
    503: {"model": Problem, "description": "Not ready, closing, or not in time"},
}
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such item"},
}
_ADMIN: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The token is missing or wrong"},
    403: {"model": Problem, "description": "The service has no token"},
    404: {"model": Problem, "description": "There is no such bundle"},
    409: {"model": Problem, "description": "The bundle was refused; the old one goes on"},
}
