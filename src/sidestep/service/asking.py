"""Questions that the process for HTTP may ask of an engine, and the answers of the engine.

Nothing here knows tensors or bundles, so the process for HTTP loads neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

NUM_RUNGS = 3
"""The most ways in which an engine can answer, best first."""

TOO_LATE = "the deadline passed before the turn of this request came."
"""The detail of the refusal of a request that waited too long."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """One user of a request.

    body: the JSON of a `RecommendRequest`, one object for all its users.
    row: of the user in `users`.
    deadline: seconds of `time.monotonic`, which all processes share. A user whose turn comes later
        gets a refusal; None is never too late.
    """

    body: bytes
    row: int
    deadline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that cannot be answered.

    status: of HTTP.
    detail: a sentence.
    retry_after_s: seconds after which the same request may be answered; None if never.
    """

    status: int
    detail: str
    retry_after_s: int | None = None


class RefusalError(RuntimeError):
    """A refusal, raised.

    refusal: the refusal.
    """

    def __init__(self, status: int, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.refusal = Refusal(status=status, detail=detail, retry_after_s=retry_after_s)


class EngineGoneError(RuntimeError):
    """Nobody is there to answer: the bundle is being loaded for the first time, or again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times of the batch in which a user was answered.

    began: seconds of `time.monotonic`, which all processes share.
    search_s: seconds of the search, which begins the work.
    encode_s: seconds in which the lists became JSON, after the search.
    """

    began: float
    search_s: float
    encode_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The answer to one user.

    content: the JSON of a `UserAnswer`; empty for a refusal.
    degraded: the cheaper way that was taken for want of time; None where the list is as asked.
    refusal: of the whole request.
    timing: of the batch; None for a refusal.
    """

    content: bytes = b""
    degraded: str | None = None
    refusal: Refusal | None = None
    timing: Timing | None = field(default=None, compare=False)

    @property
    def is_late(self) -> bool:
        """Whether the deadline passed before the turn of the user came."""
        return self.refusal is not None and self.refusal.detail == TOO_LATE


class Engine(Protocol):
    """Answers users by a bundle, in this process or in another one.

    num_in_flight: batches that may be asked for before the answer to the first of them.
    """

    num_in_flight: int

    def start(self) -> None:
        """Loads the bundle and warms it up.

        Raises:
            ImportError, OSError, RuntimeError, ValueError: the bundle cannot answer.
        """

    def ask(self, asked: Sequence[Asked], rung: int) -> Future[list[Told]]:
        """Asks for answers to users together; batches are answered in the order of the calls.

        Args:
            asked: at least one user.
            rung: of the ladder of ways, see `NUM_RUNGS`.

        Returns:
            The answers to come; or an error, such as `EngineGoneError`, if nobody was answered. One
            user may be asked for again.

        Raises:
            EngineGoneError: nobody is there to answer.
        """

    def call(self, name: str, content: bytes = b"") -> bytes:
        """Answers a call of another kind, see `sidestep.service.calls`.

        Args:
            name: of the call.
            content: JSON, or nothing.

        Returns:
            JSON.

        Raises:
            RefusalError: the call cannot be answered.
            EngineGoneError: nobody was there to answer.
        """

    @property
    def is_ready(self) -> bool:
        """Whether the bundle is loaded and warm."""

    def close(self) -> None:
        """Ends the threads, and the process if there is one."""
