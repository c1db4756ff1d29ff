"""A watch that adds up the time of some calls."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class Watch:
    """Seconds of all timed calls, and their number."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = 0.0
        self.calls = 0

    def time(self) -> float:
        """Processor time on a CPU; on a GPU, wall-clock time after all work is done."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, call: Callable[[], T]) -> T:
        """Runs a call, adds its time, and returns its result."""
        start = self.time()
        answer = call()
        self.seconds += self.time() - start
        self.calls += 1
        return answer
