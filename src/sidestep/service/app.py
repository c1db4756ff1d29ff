"""The application: routes of the service over HTTP."""

from __future__ import annotations

import asyncio
import hmac
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from threading import Thread
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from sidestep.service.asking import NUM_RUNGS, Asked, Engine, EngineGoneError, Told
from sidestep.service.config import ServiceConfig
from sidestep.service.engine_process import EngineProcess
from sidestep.service.messages import (
    Availability,
    CatalogItem,
    Examples,
    ExplainRequest,
    ExplainResponse,
    ItemOfId,
    ItemsOfWords,
    ItemsResponse,
    Problem,
    Ready,
    Reload,
    Searches,
    ServiceState,
)
from sidestep.service.metrics import Metrics
from sidestep.service.middleware import Receive, RequestMiddleware, Scope, Send
from sidestep.service.problems import FORESEEN, problem_response
from sidestep.service.recommending import RecommendApp, recommend
from sidestep.service.scheduler import Scheduler
from sidestep.service.tracing import Tracing
from sidestep.version import __version__

_LOG = logging.getLogger("sidestep.service")

STARTUP_FAILURE = 3
"""The exit status of a process that could not start. At this status, uvicorn ends all workers."""

MakeEngine = Callable[[ServiceConfig, Callable[[int], None]], Engine]
"""A class of engines: of the settings, and of a function that is told about generations."""


class Service:
    """The parts of a running service; `start` makes them."""

    def __init__(self, config: ServiceConfig, engine: MakeEngine) -> None:
        """Keeps the settings; nothing is loaded yet."""
        self.config = config
        self.metrics = Metrics()
        self.engine = engine(config, self.metrics.generation.set)
        self._scheduler: Scheduler[Asked, Told] | None = None
        self._thread: Thread | None = None
        self._is_stopping = False

    def start(self) -> None:
        """Loads the bundle and warms it up.

        Raises:
            ImportError, OSError, RuntimeError, ValueError: the bundle cannot answer.
        """
        self.engine.start()
        self._scheduler = Scheduler(
            self.engine.ask,
            self.config.queueing,
            num_rungs=NUM_RUNGS,
            num_in_flight=self.engine.num_in_flight,
            report=self.metrics.of_batch,
            is_late=lambda told: told.is_late,
        )
        _LOG.info("the bundle is loaded; this worker answers")

    def start_beside(self, failed: Callable[[], None]) -> None:
        """Starts in a thread; until the bundle is loaded, requests are told to come again.

        Args:
            failed: is called in the thread if the bundle cannot answer.
        """

        def started() -> None:
            try:
                self.start()
            except (ImportError, OSError, ValueError) as error:
                if not self._is_stopping:
                    _LOG.error(f"the bundle cannot answer, so the service ends: {error}")
                    failed()
            except Exception:
                if not self._is_stopping:
                    _LOG.exception("the bundle cannot answer, so the service ends")
                    failed()

        self._thread = Thread(target=started, name="sidestep-start", daemon=True)
        self._thread.start()

    @property
    def scheduler(self) -> Scheduler[Asked, Told]:
        """Makes batches of the questions of all requests.

        Raises:
            EngineGoneError: the bundle is being loaded.
        """
        self._refuse_early()
        assert self._scheduler is not None
        return self._scheduler

    @property
    def num_waiting(self) -> int:
        """Users in the queue."""
        return 0 if self._scheduler is None else self._scheduler.num_waiting

    def told(self, name: str, content: BaseModel | None = None) -> Response:
        """The engine's answer to a call, see `sidestep.service.calls`.

        Args:
            name: of the call.
            content: the message of the call; None for a call without one.

        Raises:
            EngineGoneError: the bundle is being loaded.
            RefusalError: the call cannot be answered.
        """
        self._refuse_early()
        asked = b"" if content is None else content.model_dump_json().encode()
        return Response(self.engine.call(name, asked), media_type="application/json")

    def _refuse_early(self) -> None:
        """Raises an `EngineGoneError` while the bundle is being loaded for the first time."""
        if self._scheduler is None:
            raise EngineGoneError("the bundle is being loaded; try again later.")

    def stop(self) -> None:
        """Answers all who wait, and ends the threads."""
        self._is_stopping = True
        if self._thread is not None:
            if self._scheduler is None:  # it need not load to the end
                self.engine.close()
            self._thread.join()
        if self._scheduler is not None:
            self._scheduler.close()
        self.engine.close()


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


def make_app(
    config: ServiceConfig, engine: MakeEngine = EngineProcess, tracing: Tracing | None = None
) -> RequestMiddleware:
    """The application of a service.

    A single worker listens at once, and loads the bundle beside that. One of several workers loads
    the bundle before it listens: the other workers take its requests meanwhile.

    Args:
        config: of the service. The state file must be there, see `SharedState.start`.
        engine: makes the engine.
        tracing: takes the traces of requests, and is closed at the end; None traces nothing.
    """
    service = Service(config, engine)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        if config.num_workers > 1:
            await run_in_threadpool(service.start)
        else:

            def end() -> None:
                loop.call_soon_threadsafe(sys.exit, STARTUP_FAILURE)

            service.start_beside(end)
        yield
        await run_in_threadpool(service.stop)
        if tracing is not None:
            await run_in_threadpool(tracing.close)

    api = _Api(
        title="Sidestep",
        version=__version__,
        summary="Recommendations by semantic IDs",
        lifespan=lifespan,
        docs_url=None,  # these pages of the framework load scripts from the internet
        redoc_url=None,
        responses=_REFUSED,
    )
    _add_errors(api)
    _add_page(api)
    _add_health(api, service)
    _add_answers(api, service)
    _add_admin(api, service)
    recommending = RecommendApp(config, service.metrics, lambda: service.scheduler, tracing)
    return RequestMiddleware(
        _Routes(api, recommending), metrics=service.metrics, body_bytes=config.limits.body_bytes
    )


def _add_answers(app: FastAPI, service: Service) -> None:
    @app.get("/v1/searches", response_model=Searches)
    def searches() -> Response:
        """The searches that this bundle can be asked for by name."""
        return service.told("searches")

    @app.get("/v1/examples", response_model=Examples)
    def examples() -> Response:
        """Histories to try, if the service was started with a dataset of examples."""
        return service.told("examples")

    @app.post("/v1/explain", responses=_BUSY, response_model=ExplainResponse)
    def explain_search(body: ExplainRequest) -> Response:
        """The search tree of one request; one at a time, as it costs more than a list."""
        return service.told("explain", body)

    @app.get("/v1/items/{item_id:path}", responses=_MISSING, response_model=CatalogItem)
    def item(item_id: str) -> Response:
        """An item of the catalog."""
        return service.told("item", ItemOfId(item_id=item_id))

    @app.get("/v1/items", response_model=ItemsResponse)
    def items(
        query: Annotated[str, Query(min_length=1, max_length=200)],
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> Response:
        """Items whose title holds all words of the query, and the item of this ID first."""
        return service.told("items", ItemsOfWords(query=query, limit=limit))


def _add_page(app: FastAPI) -> None:
    """The pages for people; the description of the routes does not name their files."""
    folder = resources.files("sidestep.service") / "page"

    def add(path: str, name: str, kind: str) -> None:
        content = (folder / name).read_bytes()

        async def page(request: Request) -> Response:
            return Response(content, media_type=kind, headers=_ONLY_OURS)

        app.add_route(path, page, methods=["GET"])

    add("/", "index.html", "text/html")
    add("/page.css", "page.css", "text/css")
    add("/page.js", "page.js", "text/javascript")
    add("/docs", "docs.html", "text/html")
    add("/docs.js", "docs.js", "text/javascript")


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process is alive."""
        return {"status": "alive"}

    @app.get("/readyz", responses=_BUSY, response_model=Ready)
    def readyz() -> Response:
        """Whether the bundle is loaded and warm."""
        if not service.scheduler.is_alive:
            raise HTTPException(503, "the thread that answers has ended; start the service again.")
        if not service.engine.is_ready:
            raise EngineGoneError("the bundle is being loaded again; try again later.")
        return service.told("ready")

    @app.get("/metrics")
    def metrics() -> Response:
        """Metrics for Prometheus."""
        service.metrics.waiting.set(service.num_waiting)
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

    admin: dict[str, Any] = {
        "dependencies": [Depends(allowed)],
        "responses": _ADMIN,
        "response_model": ServiceState,
    }

    @app.post("/v1/admin/availability", **admin)
    def availability(body: Availability) -> Response:
        """Takes items out of all lists, or lets items come back, before the answer is sent."""
        return service.told("availability", body)

    @app.post("/v1/admin/reload", **admin)
    def reload(body: Reload) -> Response:
        """Loads another bundle, tries it, and puts it in the place of the old one."""
        return service.told("reload", body)

    @app.post("/v1/admin/rollback", **admin)
    def rollback() -> Response:
        """Goes back to the bundle of before the last reload."""
        return service.told("rollback")


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
