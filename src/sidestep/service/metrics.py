"""Metrics of the service for Prometheus; with several workers, their sums."""

import os
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from sidestep.service.scheduler import BatchReport

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which workers share their metrics."""

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counts what happens in one process."""

    def __init__(self) -> None:
        """Makes all metrics, with no counts."""
        self._registry = CollectorRegistry()
        common: dict[str, Any] = {"namespace": "sidestep", "registry": self._registry}
        self.requests = Counter("requests", "Requests", ["route", "status"], **common)
        self.request_seconds = Histogram(
            "request_seconds", "Seconds of a request", ["route"], buckets=_SECONDS, **common
        )
        self.batch_size = Histogram(
            "batch_size", "Users answered together", buckets=_SIZES, **common
        )
        self.batch_seconds = Histogram(
            "batch_seconds", "Seconds of a batch", ["rung"], buckets=_SECONDS, **common
        )
        self.waited_seconds = Histogram(
            "waited_seconds", "Seconds in the queue", buckets=_SECONDS, **common
        )
        self.degraded = Counter("degraded", "Lists made in a cheaper way", ["way"], **common)
        self.waiting = Gauge("waiting", "Users in the queue", multiprocess_mode="livesum", **common)
        self.generation = Gauge(
            "generation", "Reloads so far", multiprocess_mode="livemin", **common
        )

    def of_batch(self, report: BatchReport) -> None:
        """Counts a batch."""
        self.batch_size.observe(report.size)
        self.batch_seconds.labels(rung=report.rung).observe(report.seconds)
        self.waited_seconds.observe(report.waited_s)

    def text(self) -> bytes:
        """All metrics in the format of Prometheus."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
