"""Serving: the application in one or several worker processes, until somebody stops it."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import torch
import uvicorn
from prometheus_client.multiprocess import mark_process_dead

from sidestep.service.app import make_app
from sidestep.service.config import ServiceConfig
from sidestep.service.metrics import SHARED_FOLDER
from sidestep.service.middleware import RequestMiddleware
from sidestep.service.state import SharedState

_SETTINGS = "SIDESTEP_SERVICE"
"""The environment variable by which worker processes are given the settings."""

_PING_S = 30
"""Seconds in which a worker process must give a sign of life, also while it starts on a busy
machine. A process that dies while it is asked for one is replaced after this time."""

_SWITCH_S = 0.0005
"""Seconds after which a thread of Python lets another one go on. The thread that answers works in
Python most of the time, and each of the many small steps of a request would wait for it."""

_DRAIN_S = 30
"""Seconds in which requests may end after somebody stops the service."""


def serve(config: ServiceConfig, *, host: str, port: int, workers: int = 1) -> None:
    """Serves until a signal stops the service: SIGINT or SIGTERM.

    Requests that wait are answered before the end. A worker process that dies is replaced.

    Args:
        config: of the service.
        host: the address to listen on.
        port: 0 takes a free one, which the log names.
        workers: processes, each with a copy of the network.
    """
    state = SharedState(config.state)
    with ExitStack() as stack:
        stack.enter_context(state.held())
        state.start(config.bundle.absolute())
        if workers > 1 and SHARED_FOLDER not in os.environ:
            folder = tempfile.TemporaryDirectory(prefix="sidestep-metrics-")
            os.environ[SHARED_FOLDER] = stack.enter_context(folder)
        os.environ[_SETTINGS] = config.model_dump_json()
        uvicorn.run(
            f"{__name__}:app_of_worker",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            log_config=_logging(),
            access_log=False,  # the application writes its own lines
            timeout_graceful_shutdown=_DRAIN_S,
            timeout_worker_healthcheck=_PING_S,
        )


def app_of_worker() -> RequestMiddleware:
    """The application of a worker process, with the settings of its parent."""
    config = ServiceConfig.model_validate_json(os.environ[_SETTINGS])
    _forget_dead_processes()
    sys.setswitchinterval(_SWITCH_S)
    # Lines name none of these, and to ask for them takes time at every request.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    return make_app(config)


def _forget_dead_processes() -> None:
    """Takes worker processes that died out of the metrics."""
    folder = os.environ.get(SHARED_FOLDER)
    for file in Path(folder).glob("gauge_live*.db") if folder is not None else ():
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


class JsonLines(logging.Formatter):
    """Log lines as JSON, one object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; its `fields` become part of the object."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def _logging() -> dict[str, Any]:
    """The logging of a service: JSON lines on standard error."""
    stream = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    logger = {"handlers": ["stream"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{__name__}.JsonLines"}},
        "handlers": {"stream": stream},
        "loggers": {"uvicorn": logger, "sidestep": logger},
    }
