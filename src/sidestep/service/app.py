"""The application: routes of the service over HTTP."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from threading import Lock
from typing import Annotated, Any, TypeVar

import numpy as np
import polars as pl
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from sidestep.bundle import requests
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.filters import filter_key
from sidestep.padding import NO_ITEM
from sidestep.runs.searches import AskedSearch, can_search
from sidestep.search.specs import SPECS
from sidestep.service.config import Limits, ServiceConfig
from sidestep.service.explaining import explain
from sidestep.service.messages import (
    Availability,
    Boost,
    CatalogItem,
    ExplainRequest,
    ExplainResponse,
    ItemsResponse,
    Problem,
    RankedItem,
    RecommendRequest,
    RecommendResponse,
    Reload,
    Search,
    Searches,
    ServiceState,
    UserAnswer,
)
from sidestep.service.metrics import Metrics
from sidestep.service.questions import NUM_RUNGS, Answer, AskedBoost, Question
from sidestep.service.scheduler import (
    BatchReport,
    ClosedError,
    QueueFullError,
    Scheduler,
    TooLateError,
)
from sidestep.service.shelf import RefusedBundleError, Shelf, UnsteadyError
from sidestep.service.state import SharedState, State
from sidestep.service.watching import PROBLEM, Watched
from sidestep.version import __version__

T = TypeVar("T")

_REFUSALS = (KeyError, TypeError, ValueError, FileNotFoundError, UnsteadyError)
"""Errors of the library that refuse a request."""

_LOOK_EVERY_S = 0.1
"""Seconds between two looks whether the caller is still there."""

_CALLER_GONE = 499
"""The status in logs of a request whose caller did not wait."""


class Service:
    """The parts of a running service; `start` makes them ready."""

    def __init__(self, config: ServiceConfig) -> None:
        """Keeps the settings; nothing is loaded yet."""
        self.config = config
        self.metrics = Metrics()
        self._shelf: Shelf | None = None
        self._scheduler: Scheduler[Question, Answer] | None = None

    def start(self) -> None:
        """Loads the bundle and warms it up."""
        config = self.config
        shelf = Shelf(
            config.bundle,
            SharedState(config.state),
            device=config.device,
            max_batch=config.queueing.max_batch,
        )
        shelf.start_watching()
        self._scheduler = Scheduler(
            shelf.answer, config.queueing, num_rungs=NUM_RUNGS, report=self._count
        )
        self._shelf = shelf

    def stop(self) -> None:
        """Answers all who wait, and ends the threads."""
        if self._scheduler is not None:
            self._scheduler.close()
        if self._shelf is not None:
            self._shelf.close()

    @property
    def is_ready(self) -> bool:
        """Whether the bundle is loaded and warm."""
        return self._shelf is not None

    @property
    def shelf(self) -> Shelf:
        """The shelf; a refusal with 503 before the bundle is loaded."""
        if self._shelf is None:
            raise HTTPException(503, "the bundle is being loaded; try again soon.")
        return self._shelf

    @property
    def scheduler(self) -> Scheduler[Question, Answer]:
        """The scheduler, see `shelf`."""
        if self._scheduler is None:
            raise HTTPException(503, "the bundle is being loaded; try again soon.")
        return self._scheduler

    def _count(self, report: BatchReport) -> None:
        self.metrics.of_batch(report)


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
    app.add_middleware(Watched, metrics=service.metrics, body_bytes=config.limits.body_bytes)
    _add_errors(app)
    _add_page(app)
    _add_health(app, service)
    _add_answers(app, service)
    _add_admin(app, service)
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    limits = service.config.limits

    @app.post("/v1/recommend", responses=_BUSY)
    async def recommend(body: RecommendRequest, request: Request) -> RecommendResponse:
        """Lists of items for users, best item first."""
        shelf, scheduler = service.shelf, service.scheduler
        # In a thread: masks of items and filters of texts must not keep others waiting.
        questions = await run_in_threadpool(_checked_questions, body, shelf, limits)
        most_ms = service.config.queueing.deadline_ms
        asked_ms = most_ms if body.deadline_ms is None else min(body.deadline_ms, most_ms)
        # The time counts from the first byte, also that in which the body was read.
        left_s = asked_ms / 1000 - (time.perf_counter() - request.state.began)
        try:
            answers = await _answered(scheduler, questions, left_s, request)
        except _REFUSALS as error:  # another bundle came after the check
            raise _refusal(error) from error
        service.metrics.waiting.set(scheduler.num_waiting)
        for answer in answers:
            if answer.degraded is not None:
                service.metrics.degraded.labels(way=answer.degraded).inc()
        _log(request, body, answers, logs_histories=service.config.logs_histories)
        return RecommendResponse(answers=[_on_the_wire(answer) for answer in answers])

    @app.get("/v1/searches")
    def searches() -> Searches:
        """The searches that this bundle can be asked for by name."""
        recommender = service.shelf.answering.snapshot.recommender
        num_items = recommender.catalog.num_items
        able = [
            name
            for name, spec in SPECS.items()
            if can_search(name, recommender)
            and spec.goes_by != "scorer"  # which only code of one's own can name
            and not _is_too_wide(name, num_items, limits)
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
        [question] = _questions(body.as_recommendation, service.shelf, limits)
        if not one_at_a_time.acquire(blocking=False):
            raise QueueFullError("another search is being explained.", retry_after_s=1)
        try:
            return _checked(explain, service.shelf.answering, question)
        finally:
            one_at_a_time.release()

    @app.get("/v1/items/{item_id:path}", responses=_MISSING)
    def item(item_id: str) -> CatalogItem:
        """An item of the catalog."""
        catalog = service.shelf.answering.snapshot.recommender.catalog
        index = catalog.ids.index_of(item_id)
        if index < 0:
            raise HTTPException(404, f"the catalog has no item {item_id!r:.80}.")
        [found] = _catalog_items(catalog, np.array([index]))
        return found

    @app.get("/v1/items")
    def items(
        query: Annotated[str, Query(min_length=1, max_length=200)],
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> ItemsResponse:
        """Items whose title holds all words of the query, and the item of this ID first."""
        catalog = service.shelf.answering.snapshot.recommender.catalog
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
        return ItemsResponse(items=_catalog_items(catalog, found))


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
        return {"status": "ready", "snapshot": str(service.shelf.answering.snapshot.id)}

    @app.get("/metrics")
    def metrics() -> Response:
        """Metrics for Prometheus."""
        if service.is_ready:
            service.metrics.generation.set(service.shelf.generation)
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
        """Takes items out of all lists, or lets them come back; true when this returns."""
        shelf = service.shelf
        return told(_checked(shelf.make_unavailable, body.unavailable, body.available))

    @app.post("/v1/admin/reload", **admin)
    def reload(body: Reload) -> ServiceState:
        """Loads another bundle, tries it, and puts it in the place of the old one."""
        return told(_checked(service.shelf.reload, body.bundle))

    @app.post("/v1/admin/rollback", **admin)
    def rollback() -> ServiceState:
        """Goes back to the bundle of before the last reload."""
        return told(_checked(service.shelf.roll_back))


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


def _checked(function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function; its refusals become those of a request."""
    try:
        return function(*arguments)
    except _REFUSALS as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> HTTPException:
    """The refusal of a request for an error of the library."""
    if isinstance(error, RefusedBundleError):
        return HTTPException(409, str(error))
    if isinstance(error, FileNotFoundError):
        return HTTPException(404, str(error))
    if isinstance(error, UnsteadyError):
        return HTTPException(503, str(error))
    return HTTPException(422, str(error.args[0]) if isinstance(error, KeyError) else str(error))


def _checked_questions(body: RecommendRequest, shelf: Shelf, limits: Limits) -> list[Question]:
    """See `_questions`; every one of them can be answered."""
    found, answering = _questions(body, shelf, limits), shelf.answering
    for question in found:
        _checked(answering.check, question)
    return found


def _questions(body: RecommendRequest, shelf: Shelf, limits: Limits) -> list[Question]:
    """One question per user; lists that are the same for all users stay one object."""
    _refuse_large(body, limits)
    num_items = shelf.answering.snapshot.recommender.catalog.num_items
    if body.search is not None and _is_too_wide(body.search.name, num_items, limits):
        raise HTTPException(
            422,
            f"search: {body.search.name} asks for all {num_items:,} items, and this service takes "
            f"exhaustive searches of {limits.exhaustive_items:,}.",
        )
    search = None if body.search is None else _checked(_search, body.search)
    boosts = tuple(_checked(_boost, boost) for boost in body.boosts)
    if boosts and body.new_places:
        raise HTTPException(422, "boosts would take new items from their places; leave one out.")
    return [
        Question(
            request=requests.Request(
                history=user.history,
                times=user.times,
                moment=user.moment,
                user_info=user.info,
                k=body.k,
                exclude_seen=body.exclude_seen,
                excluded=user.exclude,
                available=body.only,
                where=body.where,
                num_new_places=body.new_places,
            ),
            search=search,
            boosts=boosts,
        )
        for user in body.users
    ]


def _refuse_large(body: RecommendRequest, limits: Limits) -> None:
    """Raises a refusal with 422 for a request beyond the limits."""
    asked = body.search
    sizes = {
        "users": (len(body.users), limits.users),
        "k": (body.k, limits.k),
        "history": (max(len(user.history) for user in body.users), limits.history),
        "exclude": (max(len(user.exclude) for user in body.users), limits.item_ids),
        "only": (len(body.only or ()), limits.item_ids),
        "boosts": (sum(len(boost.items or ()) for boost in body.boosts), limits.item_ids),
        "beams": (0 if asked is None else asked.beams or 0, limits.beams),
        "candidates": (0 if asked is None else asked.candidates or 0, 8 * limits.beams),
        "budget": (0 if asked is None else asked.budget or 0, limits.beams),
    }
    for name, (size, most) in sizes.items():
        if size > most:
            raise HTTPException(422, f"{name}: {size:,} is more than this service takes, {most:,}.")


def _boost(boost: Boost) -> AskedBoost:
    return AskedBoost(
        item_ids=None if boost.items is None else frozenset(boost.items),
        where=None if boost.where is None else filter_key(boost.where),
        by=boost.by,
    )


def _is_too_wide(name: str, num_items: int, limits: Limits) -> bool:
    """Whether a search looks at all prefixes of a catalog that is too large for that."""
    return name.startswith("exhaustive") and num_items > limits.exhaustive_items


def _search(search: Search) -> AskedSearch:
    return AskedSearch(
        name=search.name,
        beams=search.beams,
        candidates=search.candidates,
        likelihood_weight=search.likelihood_weight,
        budget=search.budget,
    )


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


def _on_the_wire(answer: Answer) -> UserAnswer:
    ranked = answer.ranked
    titles: Sequence[str | None] = ranked.titles or [None] * len(ranked.item_ids)
    return UserAnswer(
        items=[
            RankedItem(item_id=item_id, title=title, score=score, is_new=is_new)
            for item_id, title, score, is_new in zip(
                ranked.item_ids, titles, ranked.scores, ranked.is_new, strict=True
            )
        ],
        score_kind=ranked.score_kind,
        tokens=ranked.tokens,
        unknown=ranked.num_unknown,
        degraded=answer.degraded,
        snapshot=ranked.snapshot,
    )


def _catalog_items(catalog: Catalog, indices: np.ndarray) -> list[CatalogItem]:
    """Items of a catalog by index, as messages."""
    texts: list[dict[str, Any]] = [{}] * len(indices)
    titles: list[str | None] = [None] * len(indices)
    if catalog.texts is not None:
        texts, titles = catalog.texts_of(indices).to_dicts(), [*catalog.titles_of(indices)]
    is_retired = catalog.is_retired
    return [
        CatalogItem(
            item_id=item_id,
            title=title,
            texts={name: None if text is None else str(text) for name, text in row.items()},
            semantic_id=catalog.semantic_ids[index].tolist(),
            is_available=is_retired is None or not is_retired[index],
        )
        for index, item_id, title, row in zip(
            indices, catalog.ids_of(indices), titles, texts, strict=True
        )
    ]


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
