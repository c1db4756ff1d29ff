"""Logs of a service: one JSON object per line, on standard error."""

from __future__ import annotations

import logging
from typing import Any

import orjson


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


def leave_out_of_records() -> None:
    """Keeps `logging` from looking up the thread and the process of each record.

    No line names them.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def log_settings() -> dict[str, Any]:
    """The settings of `logging.config.dictConfig` for each process of a service."""
    stream = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    logger = {"handlers": ["stream"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{__name__}.JsonLines"}},
        "handlers": {"stream": stream},
        "loggers": {"uvicorn": logger, "sidestep": logger},
    }
