"""A watch for the parts of something: how long some calls took, all together."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


class Watch:
    """Seconds that went into what was asked under it, and how often it was asked."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds = 0.0
        self.calls = 0

    def time(self) -> float:
        """Processor time on a CPU; on a GPU the wall clock, once all is done that was asked."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, call: Callable[[], T]) -> T:
        """The answer of a call, whose time is added up."""
        start = self.time()
        answer = call()
        self.seconds += self.time() - start
        self.calls += 1
        return answer
