"""The application: routes of the service over HTTP."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from threading import Lock
from typing import Annotated, Any

import numpy as np
import polars as pl
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from sidestep.padding import NO_ITEM
from sidestep.runs.searches import can_search
from sidestep.search.specs import SPECS
from sidestep.service.config import ServiceConfig
from sidestep.service.conversion import catalog_items, is_too_wide, questions_of
from sidestep.service.explaining import explain
from sidestep.service.messages import (
    Availability,
    CatalogItem,
    ExplainRequest,
    ExplainResponse,
    ItemsResponse,
    Problem,
    Reload,
    Searches,
    ServiceState,
)
from sidestep.service.metrics import Metrics
from sidestep.service.middleware import Receive, RequestMiddleware, Scope, Send
from sidestep.service.problems import FORESEEN, problem_response
from sidestep.service.questions import NUM_RUNGS, Answer, Question
from sidestep.service.recommending import RecommendApp, recommend
from sidestep.service.refusals import checked
from sidestep.service.scheduler import QueueFullError, Scheduler
from sidestep.service.served_bundle import ServedBundle
from sidestep.service.state import SharedState, State
from sidestep.version import __version__


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


class _Api(FastAPI):
    """The routes of the framework, whose description also names the route of recommendations."""

    def openapi(self) -> dict[str, Any]:
        """The description of all routes (OpenAPI)."""
        if self.openapi_schema is None:
            route = APIRoute(
                RecommendApp.path, recommend, methods=["POST"], responses={**_REFUSED, **_BUSY}
            )
            self.openapi_schema = get_openapi(
                title=self.title,
                version=self.version,
                summary=self.summary,
                routes=[route, *self.routes],
            )
        return self.openapi_schema


class _Routes:
    """An application (ASGI): recommendations go their own short way, see `RecommendApp`."""

    def __init__(self, api: FastAPI, recommending: RecommendApp) -> None:
        self._api = api
        self._recommending = recommending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands a request on."""
        if scope["type"] == "http" and scope["path"] == RecommendApp.path:
            scope["route"] = self._recommending
            await self._recommending(scope, receive, send)
        else:
            await self._api(scope, receive, send)


def make_app(config: ServiceConfig) -> RequestMiddleware:
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

    api = _Api(
        title="Sidestep",
        version=__version__,
        summary="Recommendations by semantic IDs",
        lifespan=lifespan,
        responses=_REFUSED,
    )
    _add_errors(api)
    _add_page(api)
    _add_health(api, service)
    _add_answers(api, service)
    _add_admin(api, service)
    recommending = RecommendApp(
        config, service.metrics, lambda: (service.bundle, service.scheduler)
    )
    return RequestMiddleware(
        _Routes(api, recommending), metrics=service.metrics, body_bytes=config.limits.body_bytes
    )


def _add_answers(app: FastAPI, service: Service) -> None:
    limits = service.config.limits

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
    async def told(request: Request, error: Exception) -> Response:
        return problem_response(error, request.state.request_id)

    for kind in FORESEEN:
        app.add_exception_handler(kind, told)


_ONLY_OURS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""Headers by which a browser loads nothing from elsewhere."""

_REFUSED: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "The request cannot be answered"},
}
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
