"""Scheduling: questions become micro-batches, which one thread answers; no tensors are here.

A question waits a little for others, so that one call answers many. A question that finds the
queue full is refused at once: a late answer helps nobody. When questions come faster than they are
answered, the thread takes a cheaper way to answer. The ways are the rungs of a ladder, best first.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Generic, TypeVar

from sidestep.service.config import Queueing

_LOG = logging.getLogger("sidestep.service")

Q = TypeVar("Q")
A = TypeVar("A")

_RISE, _FALL = 0.5, 0.2
"""Weights of the latest batch in the estimated time of a batch: of a slower and a faster one."""

_FORGET = 0.7
"""Whenever a cheaper rung answers, so much is left of the estimates of the better ones. A rung that
was slow once is tried again."""

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
        """Estimated seconds per batch of every rung; None before the first batch."""
        self._queue: deque[_Waiting[Q, A]] = deque()
        self._changed = Condition()
        self._is_closed = False
        self.num_late = 0
        self._thread = Thread(target=self._work, name="sidestep-scheduler", daemon=True)
        if starts:
            self._thread.start()

    def submit(self, question: Q, *, deadline_s: float | None = None) -> "Future[A]":
        """Puts a question into the queue, see `submit_all`."""
        return self.submit_all([question], deadline_s=deadline_s)[0]

    def submit_all(
        self, questions: Sequence[Q], *, deadline_s: float | None = None
    ) -> "list[Future[A]]":
        """Puts questions into the queue: all of them, or none.

        Args:
            questions: which `answer` understands.
            deadline_s: seconds from now after which the answers are not needed; None takes the
                setting, which is also the most.

        Returns:
            The answers to come. To cancel one takes its question out of the queue.

        Raises:
            QueueFullError: the queue has too few places.
            ClosedError: after `close`.
        """
        most = self._config.deadline_ms / 1000
        with self._changed:
            if self._is_closed:
                raise ClosedError("the service is closing, and takes no more requests.")
            if len(self._queue) + len(questions) > self._config.max_queue:
                self._drop_cancelled()
            if len(self._queue) + len(questions) > self._config.max_queue:
                raise QueueFullError(
                    f"{len(self._queue)} users wait already, and at most {self._config.max_queue} "
                    "may; try again later.",
                    retry_after_s=self._backlog_s(),
                )
            now = self._clock()
            deadline = now + (most if deadline_s is None else min(deadline_s, most))
            waiting = [
                _Waiting[Q, A](question=question, came=now, deadline=deadline)
                for question in questions
            ]
            self._queue.extend(waiting)
            self._changed.notify_all()
        return [each.future for each in waiting]

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
            by_rung.setdefault(self._rung(each.deadline - now), []).append(each)
        reports = []
        for rung in sorted(by_rung, reverse=True):
            some, began = by_rung[rung], self._clock()
            self._answer_batch(some, rung)
            seconds = self._clock() - began
            self._learn(rung, seconds)
            waited_s = max(began - each.came for each in some)
            reports.append(
                BatchReport(size=len(some), rung=rung, seconds=seconds, waited_s=waited_s)
            )
        for report in reports:
            self._report(report)
        self.num_late += num_late
        return reports

    @property
    def is_alive(self) -> bool:
        """Whether the thread answers questions."""
        return self._thread.is_alive()

    def _work(self) -> None:
        while self._wait_for_batch():
            try:
                self.work_once()
            except Exception:  # whatever it is, the next questions must be answered
                _LOG.exception("a batch was counted wrongly")

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
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to {len(batch)} questions.")
        except Exception as error:  # whatever it is, it belongs to those who asked
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for each in batch:
                self._answer_batch([each], rung)
            return
        for each, answer in zip(batch, answers, strict=True):
            each.future.set_result(answer)

    def _rung(self, left_s: float) -> int:
        """The best rung that is likely to answer in time.

        The questions that stay in the queue count, too: whoever takes too long for one batch makes
        the next ones late.

        Args:
            left_s: seconds before the deadline.
        """
        last = len(self._seconds) - 1
        for rung, seconds in enumerate(self._seconds[:last]):
            known = seconds or 0.0
            if known * _CAUTION <= left_s and self._queue_s(known) <= self._queue_left_s():
                return rung
        return last

    def _queue_s(self, seconds: float) -> float:
        """Seconds that the whole queue takes, if every batch takes so many."""
        return seconds * math.ceil(len(self._queue) / self._config.max_batch)

    def _queue_left_s(self) -> float:
        """Seconds before the deadline of the last one in the queue; infinity without a queue."""
        try:
            return self._queue[-1].deadline - self._clock()
        except IndexError:
            return math.inf

    def _learn(self, rung: int, seconds: float) -> None:
        """Corrects the estimate of a rung by a batch, and forgets a little of the better ones."""
        known = self._seconds[rung]
        if known is None:
            self._seconds[rung] = seconds
        else:
            weight = _RISE if seconds > known else _FALL
            self._seconds[rung] = (1 - weight) * known + weight * seconds
        for better in range(rung):
            before = self._seconds[better]
            self._seconds[better] = None if before is None else _FORGET * before

    def _backlog_s(self) -> int:
        """Whole seconds that the fastest known rung needs for the whole queue; at least one."""
        known = [seconds for seconds in self._seconds if seconds is not None]
        return max(1, math.ceil(self._queue_s(min(known, default=0.0))))

    def _drop_cancelled(self) -> None:
        kept = [each for each in self._queue if not each.future.cancelled()]
        self._queue.clear()
        self._queue.extend(kept)
