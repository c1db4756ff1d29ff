"""Scheduling: questions become micro-batches, which one thread answers; no tensors are here.

A question waits a little for others, so that one call answers many. A queue is bounded: what does
not fit is refused at once, since a late answer helps nobody. When questions come faster than they
are answered, the thread takes a cheaper way to answer: a rung of a ladder, best first.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Generic, TypeVar

from sidestep.service.config import Queueing

Q = TypeVar("Q")
A = TypeVar("A")

_MEMORY = 0.8
"""The weight of the past in the estimated time of an answer."""

_CAUTION = 1.5
"""A rung is taken if so many times its estimated time fits before the first deadline."""


class QueueFullError(RuntimeError):
    """The queue has no place.

    retry_after_s: whole seconds after which there is likely to be one.
    """

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooLateError(RuntimeError):
    """A question reached its deadline before its turn."""


class ClosedError(RuntimeError):
    """The scheduler takes no more questions."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiting(Generic[Q, A]):
    """A question that waits, in seconds of the scheduler's clock."""

    question: Q
    came: float
    deadline: float
    future: "Future[A]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """Facts about questions that were answered together.

    size: the number of questions.
    rung: the way in which they were answered; 0 is the best one.
    seconds: of the work.
    waited_s: of the question that waited longest.
    """

    size: int
    rung: int
    seconds: float
    waited_s: float


class Scheduler(Generic[Q, A]):
    """Answers questions in micro-batches, in a thread of its own; `close` ends it.

    num_late: questions that got no answer, since their deadline had passed.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q], int], Sequence[A]],
        config: Queueing,
        *,
        num_rungs: int = 1,
        clock: Callable[[], float] = time.monotonic,
        report: Callable[[BatchReport], None] = lambda report: None,
        starts: bool = True,
    ) -> None:
        """Starts the thread.

        Args:
            answer: answers questions by a rung; one answer per question, in their order. Where it
                raises for several questions, each of them is asked alone.
            config: sizes and times.
            num_rungs: ways to answer, best first. The last one must be fast.
            clock: seconds.
            report: is told about every batch, in the thread.
            starts: False leaves the work to calls of `work_once`.
        """
        self._answer = answer
        self._config = config
        self._clock = clock
        self._report = report
        self._seconds: list[float | None] = [None] * num_rungs
        """Estimated seconds per question of every rung; None before the first batch."""
        self._queue: deque[_Waiting[Q, A]] = deque()
        self._changed = Condition()
        self._is_closed = False
        self.num_late = 0
        self._thread = Thread(target=self._work, name="sidestep-scheduler", daemon=True)
        if starts:
            self._thread.start()

    def submit(self, question: Q, *, deadline_s: float | None = None) -> "Future[A]":
        """Puts a question into the queue.

        Args:
            question: which `answer` understands.
            deadline_s: seconds from now after which the answer is not needed; None takes the
                setting, which is also the most.

        Returns:
            The answer to come. To cancel it takes the question out of the queue.

        Raises:
            QueueFullError: the queue is full.
            ClosedError: after `close`.
        """
        most = self._config.deadline_ms / 1000
        with self._changed:
            if self._is_closed:
                raise ClosedError("the service is closing, and takes no more requests.")
            if len(self._queue) >= self._config.max_queue:
                self._drop_cancelled()
            if len(self._queue) >= self._config.max_queue:
                raise QueueFullError(
                    f"{len(self._queue)} users wait already, and no more may; try again later.",
                    retry_after_s=self._backlog_s(),
                )
            now = self._clock()
            deadline = now + (most if deadline_s is None else min(deadline_s, most))
            waiting = _Waiting[Q, A](question=question, came=now, deadline=deadline)
            self._queue.append(waiting)
            self._changed.notify_all()
        return waiting.future

    @property
    def num_waiting(self) -> int:
        """Questions in the queue."""
        return len(self._queue)

    def close(self, *, timeout_s: float | None = None) -> None:
        """Takes no more questions, answers those that wait, and ends the thread.

        Args:
            timeout_s: seconds to wait for the thread; None waits for all answers.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def work_once(self) -> list[BatchReport]:
        """Answers one batch of the questions that wait.

        Questions that have too little time for the best rung are answered first, by a cheaper one.

        Returns:
            One report per rung that answered; none where nobody waits.
        """
        with self._changed:
            batch, num_late = self._taken()
        now = self._clock()
        by_rung: dict[int, list[_Waiting[Q, A]]] = {}
        for each in batch:
            by_rung.setdefault(self._rung(each.deadline - now, len(batch)), []).append(each)
        reports = []
        for rung in sorted(by_rung, reverse=True):
            some, began = by_rung[rung], self._clock()
            self._answer_batch(some, rung)
            seconds = self._clock() - began
            self._learn(rung, seconds / len(some))
            waited_s = max(began - each.came for each in some)
            reports.append(
                BatchReport(size=len(some), rung=rung, seconds=seconds, waited_s=waited_s)
            )
        for report in reports:
            self._report(report)
        self.num_late += num_late
        return reports

    def _work(self) -> None:
        while self._wait_for_batch():
            self.work_once()

    def _wait_for_batch(self) -> bool:
        """Waits until a batch is full, or its first question has waited long enough.

        Returns:
            False where the scheduler is closed and nobody waits.
        """
        with self._changed:
            while not self._queue:
                if self._is_closed:
                    return False
                self._changed.wait()
            until = self._queue[0].came + self._config.max_wait_ms / 1000
            while len(self._queue) < self._config.max_batch and not self._is_closed:
                left = until - self._clock()
                if left <= 0 or not self._queue:
                    break
                self._changed.wait(left)
        return True

    def _taken(self) -> tuple[list[_Waiting[Q, A]], int]:
        """The next batch, taken out of the queue, and the number of questions that are too late."""
        batch: list[_Waiting[Q, A]] = []
        num_late, now = 0, self._clock()
        while self._queue and len(batch) < self._config.max_batch:
            waiting = self._queue.popleft()
            if not waiting.future.set_running_or_notify_cancel():
                continue
            if waiting.deadline <= now:
                num_late += 1
                waiting.future.set_exception(
                    TooLateError("the deadline passed before the turn of this request came.")
                )
                continue
            batch.append(waiting)
        return batch, num_late

    def _answer_batch(self, batch: Sequence[_Waiting[Q, A]], rung: int) -> None:
        """Gives every question its answer, or its own error."""
        try:
            answers = self._answer([each.question for each in batch], rung)
        except Exception as error:  # whatever it is, it belongs to those who asked
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for each in batch:
                self._answer_batch([each], rung)
            return
        for each, answer in zip(batch, answers, strict=True):
            each.future.set_result(answer)

    def _rung(self, left_s: float, size: int) -> int:
        """The best rung that is likely to answer in time.

        The questions that stay in the queue count, too: whoever takes too long for one batch makes
        the next ones late.

        Args:
            left_s: seconds before the deadline.
            size: questions of the batch.
        """
        last = len(self._seconds) - 1
        for rung, seconds in enumerate(self._seconds[:last]):
            if (seconds or 0.0) * size * _CAUTION <= left_s and not self._falls_behind(seconds):
                return rung
        return last

    def _falls_behind(self, seconds: float | None) -> bool:
        """Whether the last in the queue would wait longer than the deadline, with such answers."""
        return (seconds or 0.0) * len(self._queue) > self._config.deadline_ms / 1000

    def _learn(self, rung: int, seconds: float) -> None:
        known = self._seconds[rung]
        self._seconds[rung] = (
            seconds if known is None else _MEMORY * known + (1 - _MEMORY) * seconds
        )

    def _backlog_s(self) -> int:
        """Whole seconds that the fastest known rung needs for the whole queue; at least one."""
        known = [seconds for seconds in self._seconds if seconds is not None]
        return max(1, math.ceil(min(known, default=0.0) * len(self._queue)))

    def _drop_cancelled(self) -> None:
        kept = [each for each in self._queue if not each.future.cancelled()]
        self._queue.clear()
        self._queue.extend(kept)
