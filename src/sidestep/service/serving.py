"""Serving: the application in one or several workers, until somebody stops it."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from sidestep.service.app import STARTUP_FAILURE, make_app
from sidestep.service.config import ServiceConfig
from sidestep.service.logs import leave_out_of_records, log_settings
from sidestep.service.metrics import SHARED_FOLDER
from sidestep.service.middleware import RequestMiddleware
from sidestep.service.state import SharedState
from sidestep.service.tracing import exporters_of, tracing_of

_SETTINGS = "SIDESTEP_SERVICE"
"""The environment variable by which worker processes are given the settings."""

_PING_S = 30
"""Seconds in which a worker process must give a sign of life, also while it starts on a busy
machine. A process that dies while it is asked for one is replaced after this time."""

_SWITCH_S = 0.0005
"""Seconds after which a thread of Python lets another one go on. With Python's own 5 ms, the engine
waits longer for its next batch while many requests come."""

_KEEP_ALIVE_S = 75
"""Seconds for which an idle connection stays open. A load balancer keeps its connections for 60 s
as a rule. If the service closed them earlier, a request could meet a connection that just
closes."""

_DRAIN_S = 30
"""Seconds in which requests may end after somebody stops the service."""


def serve(config: ServiceConfig, *, host: str, port: int) -> None:
    """Serves until a signal stops the service: SIGINT or SIGTERM.

    Requests that wait are answered before the end. A worker that dies is replaced.

    Args:
        config: of the service.
        host: the address to listen on.
        port: 0 takes a free one, which the log names.

    Raises:
        SystemExit: the bundle cannot answer; the log says why.
        ValueError: another service uses the state, or OTEL_ variables name an unknown exporter.
    """
    exporters_of(os.environ)  # a worker could only end
    state = SharedState(config.state)
    with ExitStack() as stack:
        stack.enter_context(state.held())
        state.start(config.bundle.absolute())
        if config.num_workers > 1 and SHARED_FOLDER not in os.environ:
            folder = tempfile.TemporaryDirectory(prefix="sidestep-metrics-")
            os.environ[SHARED_FOLDER] = stack.enter_context(folder)
        os.environ[_SETTINGS] = config.model_dump_json()
        settings = uvicorn.Config(
            f"{__name__}:app_of_worker",
            factory=True,
            host=host,
            port=port,
            workers=config.num_workers,
            log_config=log_settings(),
            access_log=False,  # the application writes its own lines
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_DRAIN_S,
            timeout_worker_healthcheck=_PING_S,
        )
        run = _run_alone if config.num_workers == 1 else _run_workers
        with suppress(KeyboardInterrupt):  # uvicorn has ended the service in order
            run(settings)


def _run_alone(settings: uvicorn.Config) -> None:
    server = uvicorn.Server(settings)
    server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


def _run_workers(settings: uvicorn.Config) -> None:
    workers = Multiprocess(settings, sockets=[settings.bind_socket()])
    workers.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in workers.processes):
        raise SystemExit(STARTUP_FAILURE)


def app_of_worker() -> RequestMiddleware:
    """The application of a worker process, with the settings of its parent."""
    config = ServiceConfig.model_validate_json(os.environ[_SETTINGS])
    _forget_dead_processes()
    sys.setswitchinterval(_SWITCH_S)
    leave_out_of_records()
    return make_app(config, tracing=tracing_of(os.environ))


def _forget_dead_processes() -> None:
    """Takes worker processes that died out of the metrics."""
    folder = os.environ.get(SHARED_FOLDER)
    for file in Path(folder).glob("gauge_live*.db") if folder is not None else ():
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
