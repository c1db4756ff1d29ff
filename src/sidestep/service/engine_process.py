"""An engine in a process of its own.

Threads of Python take turns. In one process, the thread that speaks HTTP and the thread that
answers would wait for each other at every small step. The two processes send each other frames: a
head in JSON, a new line, and parts of bytes whose sizes the head tells. Nothing is pickled.
"""

from __future__ import annotations

import logging
import logging.config
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from multiprocessing import get_context, util
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

import orjson

from sidestep.service.asking import Asked, EngineGoneError, Refusal, RefusalError, Timing, Told
from sidestep.service.config import ServiceConfig
from sidestep.service.logs import leave_out_of_records, log_settings

if TYPE_CHECKING:
    from sidestep.service.engine import LocalEngine

_LOG = logging.getLogger("sidestep.service")

_RESTARTS_S = (0.0, 1.0, 5.0, 30.0)
"""Seconds to wait before a process that has ended is started again: after the first end, the second
end and so on. Once a process has lived for a minute, the count begins anew."""

_WELL_AFTER_S = 60.0
"""Seconds after which a process counts as well."""

_END_S = 10.0
"""Seconds that a process may take to end before it is killed."""

_NUM_THREADS = 4
"""Threads of an engine for calls other than for lists."""

_ANSWER, _END = "answer", "end"

_HAS_ENDED = "the process that answers has ended; another one starts."

Frame = tuple[dict[str, Any], list[bytes]]


class EngineProcess:
    """An engine in a process of its own, see `sidestep.service.asking.Engine`.

    If the process ends, another one is started where this is the only worker; until then nobody is
    answered. Where there are other workers, this one ends, too: they take its connections, and
    another worker takes its place.

    While one batch is answered, the next one waits in the process.
    """

    num_in_flight = 2

    def __init__(
        self, config: ServiceConfig, report: Callable[[int], None] = lambda generation: None
    ) -> None:
        """Starts nothing yet.

        Args:
            config: of the service.
            report: is given the generation of every bundle that begins to answer.
        """
        self._config = config
        self._report = report
        self._numbers = count()
        self._waiting: dict[int, Future[Frame]] = {}
        self._lock = Lock()
        self._ready, self._closed = Event(), Event()
        self._connection: Connection | None = None
        self._process: Any = None
        self._follower: Thread | None = None

    def start(self) -> None:
        """Starts the process, and waits until the bundle is loaded and warm.

        Raises:
            ValueError: the bundle cannot answer.
        """
        self._begin()
        self._follower = Thread(target=self._follow, name="sidestep-engine", daemon=True)
        self._follower.start()

    @property
    def is_ready(self) -> bool:
        """Whether the bundle is loaded and warm."""
        return self._ready.is_set()

    @property
    def pid(self) -> int:
        """The number of the process that answers now."""
        number: int = self._process.pid
        return number

    def ask(self, asked: Sequence[Asked], rung: int) -> Future[list[Told]]:
        """Sends users to be answered together."""
        bodies = {id(each.body): each.body for each in asked}
        numbers = {key: number for number, key in enumerate(bodies)}
        rows = [(numbers[id(each.body)], each.row, each.deadline) for each in asked]
        head = {"call": _ANSWER, "rung": rung, "rows": rows}
        told: Future[list[Told]] = Future()
        self._send(head, [*bodies.values()]).add_done_callback(lambda frame: _settle(told, frame))
        return told

    def call(self, name: str, content: bytes = b"") -> bytes:
        """Answers a call of another kind."""
        return _told_frame(self._send({"call": name}, [content]))[1][0]

    def close(self) -> None:
        """Ends the process after the batch that it works on."""
        self._closed.set()
        with self._lock:
            if self._connection is not None:
                with suppress(OSError):  # the process has ended already
                    self._connection.send_bytes(_frame({"call": _END}, []))
            elif self._process is not None:  # it still loads
                self._process.kill()
        self._end()
        if self._follower is not None:
            self._follower.join()
        self._forget()

    def _send(self, head: dict[str, Any], parts: Sequence[bytes]) -> Future[Frame]:
        """Sends a frame; returns the frame to come that answers it."""
        number = next(self._numbers)
        future: Future[Frame] = Future()
        with self._lock:
            if self._connection is None:
                raise EngineGoneError("the bundle is being loaded again; try again later.")
            self._waiting[number] = future
            try:
                self._connection.send_bytes(_frame({**head, "number": number}, parts))
            except OSError as error:
                del self._waiting[number]
                raise EngineGoneError(_HAS_ENDED) from error
        return future

    def _begin(self) -> None:
        """Starts a process, and waits for its first frame.

        Raises:
            ValueError: the bundle cannot answer.
        """
        spawn = get_context("spawn")
        ours, theirs = spawn.Pipe()
        settings = self._config.model_dump_json()
        process = spawn.Process(
            target=run_engine, args=(theirs, settings), name="sidestep-engine", daemon=True
        )
        process.start()
        # At its end Python waits for this process, which ignores SIGTERM.
        util.Finalize(None, process.kill, exitpriority=0)
        theirs.close()  # so that its end is seen here
        self._process = process
        head: dict[str, Any] = {}
        while "ready" not in head:
            try:
                head, _ = _read(ours)
            except (EOFError, OSError) as error:
                raise ValueError("the process that answers ended while it started.") from error
            if "generation" in head:
                self._report(head["generation"])
            elif "failure" in head:
                raise ValueError(head["failure"])
        with self._lock:
            self._connection = ours
        self._ready.set()

    def _end(self) -> None:
        """Waits for the end of the process; kills it if that takes too long."""
        self._ready.clear()
        if self._process is not None:
            self._process.join(_END_S)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()

    def _forget(self) -> None:
        """Closes the connection to a process that has ended, and tells whoever waits for it."""
        with self._lock:
            connection, self._connection = self._connection, None
            waiting, self._waiting = self._waiting, {}
        if connection is not None:
            connection.close()
        for future in waiting.values():
            future.set_exception(EngineGoneError(_HAS_ENDED))

    def _follow(self) -> None:
        """Reads frames; starts the process again if it ends."""
        num_starts = 0
        while not self._closed.is_set():
            began = time.monotonic()
            self._read_all()
            self._ready.clear()
            self._forget()
            if self._closed.is_set():
                return
            self._end()
            if self._config.num_workers > 1:
                _LOG.error("the process that answers has ended; this worker ends, too")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            num_starts = 0 if time.monotonic() - began > _WELL_AFTER_S else num_starts
            wait_s = _RESTARTS_S[min(num_starts, len(_RESTARTS_S) - 1)]
            num_starts += 1
            _LOG.error(f"the process that answers has ended; the next one starts in {wait_s:g} s")
            if self._closed.wait(wait_s):
                return
            try:
                self._begin()
            except Exception:  # the next try comes later
                _LOG.exception("the process that answers could not be started")

    def _read_all(self) -> None:
        """Reads frames until the process ends."""
        connection = self._connection
        while connection is not None:
            try:
                head, parts = _read(connection)
            except (EOFError, OSError):
                return
            try:
                self._take(head, parts)
            except Exception:  # nobody would read the next frames: begin anew
                _LOG.exception("a frame of the process that answers could not be used")
                self._process.kill()
                return

    def _take(self, head: dict[str, Any], parts: list[bytes]) -> None:
        """Tells whoever waits for a frame."""
        if "generation" in head:
            self._report(head["generation"])
        elif (future := self._waiting.pop(head["number"], None)) is not None:
            future.set_result((head, parts))


def _settle(told: Future[list[Told]], answered: Future[Frame]) -> None:
    """Gives the answers of a frame, or its error, to whoever waits for them."""
    try:
        head, parts = _told_frame(answered)
        answers = [
            Told(
                content=content,
                degraded=degraded,
                refusal=None if refused is None else Refusal(**refused),
                timing=None if timing is None else Timing(**timing),
            )
            for content, degraded, refused, timing in zip(
                parts, head["degraded"], head["refusals"], head["timings"], strict=True
            )
        ]
    except Exception as error:
        told.set_exception(error)
    else:
        told.set_result(answers)


def _told_frame(answered: Future[Frame]) -> Frame:
    """Waits for a frame.

    Raises:
        EngineGoneError, RefusalError, RuntimeError: there is no answer.
    """
    head, parts = answered.result()
    if (refused := head.get("refusal")) is not None:
        raise RefusalError(**refused)
    if (failure := head.get("failure")) is not None:
        raise RuntimeError(failure)
    return head, parts


def run_engine(connection: Connection, settings: str) -> None:
    """Answers frames until the other side hangs up: the process of an engine.

    A thread reads frames, also while a batch is being answered, so that the next batch is here when
    its turn comes and nobody waits to send a call.

    Args:
        connection: to the other side.
        settings: of the service, as JSON.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the other side says when to end
        signal.signal(number, signal.SIG_IGN)
    logging.config.dictConfig(log_settings())
    leave_out_of_records()
    from sidestep.service.engine import LocalEngine

    sending = Lock()

    def send(frame: bytes) -> None:
        with suppress(OSError), sending:  # nobody may wait for it any more
            connection.send_bytes(frame)

    config = ServiceConfig.model_validate_json(settings)
    engine = LocalEngine(config, lambda generation: send(_frame({"generation": generation}, [])))
    try:
        engine.start()
    except Exception as error:
        if not isinstance(error, ImportError | OSError | ValueError):  # the other side tells those
            _LOG.exception("the bundle cannot answer")
        send(_frame({"failure": str(error)}, []))
        return
    send(_frame({"ready": True}, []))
    batches: SimpleQueue[Frame | None] = SimpleQueue()

    def reply(frame: Frame) -> None:
        send(_reply(engine, *frame))

    with ThreadPoolExecutor(_NUM_THREADS) as threads:

        def hand_out() -> None:
            try:
                while (frame := _read(connection))[0]["call"] != _END:
                    if frame[0]["call"] == _ANSWER:
                        batches.put(frame)
                    else:
                        threads.submit(reply, frame)
            except (EOFError, OSError):  # the other side has hung up
                pass
            finally:
                batches.put(None)

        Thread(target=hand_out, name="sidestep-reader", daemon=True).start()
        while (batch := batches.get()) is not None:
            reply(batch)
    engine.close()


def _reply(engine: LocalEngine, head: dict[str, Any], parts: list[bytes]) -> bytes:
    """The frame that answers a frame."""
    number = {"number": head["number"]}
    try:
        if head["call"] != _ANSWER:
            return _frame(number, [engine.call(head["call"], parts[0])])
        asked = [
            Asked(body=parts[body], row=row, deadline=deadline)
            for body, row, deadline in head["rows"]
        ]
        told = engine.answer(asked, head["rung"])
        ways = {
            "degraded": [each.degraded for each in told],
            "refusals": [each.refusal for each in told],
            "timings": [each.timing for each in told],
        }
        return _frame({**number, **ways}, [each.content for each in told])
    except RefusalError as error:
        return _frame({**number, "refusal": error.refusal}, [])
    except Exception as error:
        _LOG.exception("an unforeseen error")
        return _frame({**number, "failure": repr(error)}, [])


def _frame(head: dict[str, Any], parts: Sequence[bytes]) -> bytes:
    """A head and parts as bytes."""
    sizes = [len(part) for part in parts]
    return b"".join([orjson.dumps({**head, "sizes": sizes}), b"\n", *parts])


def _read(connection: Connection) -> Frame:
    """The next frame.

    Raises:
        EOFError, OSError: the other side has hung up.
    """
    content = connection.recv_bytes()
    end = content.index(b"\n")
    head = orjson.loads(content[:end])
    parts, start = [], end + 1
    for size in head["sizes"]:
        parts.append(content[start : start + size])
        start += size
    return head, parts
