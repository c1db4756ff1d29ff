"""Scheduling: questions become micro-batches, which one thread sends to be answered in their order.

No tensors are here. A question waits a little for others, so that one call answers many. A question
that finds the queue full is refused at once: a late answer helps nobody. When questions come faster
than they are answered, a batch is answered in a cheaper way. The ways are the rungs of a ladder,
best first.

A batch that is full is sent while the batch before it is still being answered, so whoever answers
need not wait for the next batch. A batch with free places stays in the queue until its turn: more
questions may come.
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

from sidestep.service.asking import TOO_LATE
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sent(Generic[Q, A]):
    """Questions that were sent together.

    at: seconds of the scheduler's clock.
    """

    batch: "Sequence[_Waiting[Q, A]]"
    rung: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """Facts about questions that were answered together.

    size: the number of questions.
    rung: the way in which they were answered; 0 is the best one.
    seconds: of the work, which begins when the batch before it is done.
    waited_s: of the question that waited longest for the begin of the work.
    """

    size: int
    rung: int
    seconds: float
    waited_s: float


class Scheduler(Generic[Q, A]):
    """Sends questions in micro-batches, in a thread of its own; `close` ends it.

    num_late: questions that got no answer, since their deadline had passed.
    """

    def __init__(
        self,
        ask: "Callable[[Sequence[Q], int], Future[list[A]]]",
        config: Queueing,
        *,
        num_rungs: int = 1,
        num_in_flight: int = 1,
        clock: Callable[[], float] = time.monotonic,
        report: Callable[[BatchReport], None] = lambda report: None,
        is_late: Callable[[A], bool] = lambda answer: False,
        starts: bool = True,
    ) -> None:
        """Starts the thread.

        Args:
            ask: sends questions, which are answered by a rung: one answer per question, in their
                order. Batches are answered in the order in which they were sent. Where several
                questions get an error, each of them is asked alone.
            config: sizes and times.
            num_rungs: ways to answer, best first. The last one must be fast.
            num_in_flight: batches that are sent before the answer to the first of them.
            clock: seconds.
            report: is told about every batch that was answered, in the thread of the answer.
            is_late: whether an answer is a refusal, since the deadline passed before its turn.
            starts: False leaves the work to calls of `work_once`.
        """
        self._ask = ask
        self._config = config
        self._clock = clock
        self._report = report
        self._is_late = is_late
        self._seconds: list[float | None] = [None] * num_rungs
        """Estimated seconds per batch of every rung; None before the first batch."""
        self._queue: deque[_Waiting[Q, A]] = deque()
        self._alone: deque[tuple[_Waiting[Q, A], int]] = deque()
        """Questions that are asked again, each alone, with their rungs."""
        self._num_in_flight = num_in_flight
        self._in_flight: deque[_Sent[Q, A]] = deque()
        self._last_end = -math.inf
        """When the latest batch was done."""
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
            questions: which `ask` understands.
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
        """Questions that are to be sent, also those that are asked again."""
        return len(self._queue) + len(self._alone)

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

    def work_once(self) -> int:
        """Sends the questions that wait, as many as fit into a batch.

        Questions that have too little time for the best rung go first, by a cheaper one.

        Returns:
            The number of questions that were sent.
        """
        with self._changed:
            by_rung = self._taken_again() if self._alone else self._taken()
        for rung in sorted(by_rung, reverse=True):
            self._send(by_rung[rung], rung)
        return sum(map(len, by_rung.values()))

    @property
    def is_alive(self) -> bool:
        """Whether the thread sends questions."""
        return self._thread.is_alive()

    def _work(self) -> None:
        while self._wait_for_batch():
            try:
                self.work_once()
            except Exception:  # whatever it is, the next questions must be answered
                _LOG.exception("a batch was sent wrongly")

    def _wait_for_batch(self) -> bool:
        """Waits until a batch may be sent.

        Returns:
            False where the scheduler is closed and nobody waits.
        """
        with self._changed:
            while (seconds := self._seconds_to_batch()) > 0:
                is_done = not (self._queue or self._alone or self._in_flight)
                if self._is_closed and is_done:
                    return False
                self._changed.wait(None if seconds == math.inf else seconds)
        return True

    def _seconds_to_batch(self) -> float:
        """Seconds until a batch may be sent; infinity where something else must happen first."""
        if len(self._in_flight) >= self._num_in_flight:
            return math.inf
        if self._alone or len(self._queue) >= self._config.max_batch:
            return 0.0
        if self._in_flight or not self._queue:
            return math.inf
        if self._is_closed:
            return 0.0
        return self._queue[0].came + self._config.max_wait_ms / 1000 - self._clock()

    def _taken(self) -> dict[int, list[_Waiting[Q, A]]]:
        """The next batch by rung, taken out of the queue; who is too late gets an error."""
        batch: list[_Waiting[Q, A]] = []
        now = self._clock()
        while self._queue and len(batch) < self._config.max_batch:
            waiting = self._queue.popleft()
            if waiting.future.set_running_or_notify_cancel() and self._is_in_time(waiting, now):
                batch.append(waiting)
        by_rung: dict[int, list[_Waiting[Q, A]]] = {}
        busy_s = self._busy_s(now)
        for each in batch:
            by_rung.setdefault(self._rung(each.deadline - now - busy_s, busy_s), []).append(each)
        return by_rung

    def _taken_again(self) -> dict[int, list[_Waiting[Q, A]]]:
        """The next question that is asked again alone, by its rung."""
        waiting, rung = self._alone.popleft()
        return {rung: [waiting]} if self._is_in_time(waiting, self._clock()) else {}

    def _is_in_time(self, waiting: _Waiting[Q, A], now: float) -> bool:
        """Whether a deadline is still to come; if not, the question gets its error."""
        if waiting.deadline > now:
            return True
        self.num_late += 1
        waiting.future.set_exception(TooLateError(TOO_LATE))
        return False

    def _send(self, batch: Sequence[_Waiting[Q, A]], rung: int) -> None:
        """Sends questions."""
        sent: _Sent[Q, A] = _Sent(batch=batch, rung=rung, at=self._clock())
        with self._changed:
            self._in_flight.append(sent)
        try:
            future = self._ask([each.question for each in batch], rung)
        except Exception as error:  # whatever it is, it belongs to those who asked
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda answered: self._take(sent, answered))

    def _take(self, sent: _Sent[Q, A], answered: "Future[list[A]]") -> None:
        """Gives every question of a batch its answer, or its own error."""
        batch, error = sent.batch, answered.exception()
        if error is None and len(answered.result()) != len(batch):
            error = RuntimeError(f"{len(answered.result())} answers to {len(batch)} questions.")
        with self._changed:
            end = self._clock()
            began = max(sent.at, self._last_end)
            self._last_end = end
            self._in_flight.remove(sent)
            if error is None:
                num_late = sum(map(self._is_late, answered.result()))
                self.num_late += num_late
                # Refusals take no time: they say nothing of the time of answers.
                if num_late == 0:
                    self._learn(sent.rung, end - began)
            elif len(batch) > 1:
                self._alone.extend((each, sent.rung) for each in batch)
            self._changed.notify_all()  # the next batch is sent first
        if error is None:
            for each, answer in zip(batch, answered.result(), strict=True):
                each.future.set_result(answer)
            waited_s = max(began - each.came for each in batch)
            told = BatchReport(
                size=len(batch), rung=sent.rung, seconds=end - began, waited_s=waited_s
            )
            try:
                self._report(told)
            except Exception:  # whatever it is, the questions have their answers
                _LOG.exception("a batch was counted wrongly")
        elif len(batch) == 1:
            batch[0].future.set_exception(error)

    def _busy_s(self, now: float) -> float:
        """Estimated seconds until the batches that were sent are done."""
        seconds = 0.0
        for place, sent in enumerate(self._in_flight):
            known = self._seconds[sent.rung] or 0.0
            gone = now - max(sent.at, self._last_end) if place == 0 else 0.0
            seconds += max(0.0, known - gone)
        return seconds

    def _rung(self, left_s: float, busy_s: float) -> int:
        """The best rung that is likely to answer in time.

        The questions that stay in the queue count, too: whoever takes too long for one batch makes
        the next ones late.

        Args:
            left_s: seconds between the begin of the work and the deadline.
            busy_s: seconds until the begin of the work.
        """
        last = len(self._seconds) - 1
        for rung, seconds in enumerate(self._seconds[:last]):
            known = seconds or 0.0
            is_quick = known * _CAUTION <= left_s
            if is_quick and busy_s + self._queue_s(known) <= self._queue_left_s():
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
