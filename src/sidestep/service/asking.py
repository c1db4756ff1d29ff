"""Questions that the process for HTTP may ask of an engine, and the answers of the engine.

Nothing here knows tensors or bundles, so the process for HTTP loads neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

NUM_RUNGS = 3
"""The most ways in which an engine can answer, best first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """One user of a request.

    body: the JSON of a `RecommendRequest`, one object for all its users.
    row: of the user in `users`.
    """

    body: bytes
    row: int


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
    """The process of the engine has ended; another one is started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The answer to one user.

    content: the JSON of a `UserAnswer`; empty for a refusal.
    degraded: the cheaper way that was taken for want of time; None where the list is as asked.
    refusal: of the whole request.
    """

    content: bytes = b""
    degraded: str | None = None
    refusal: Refusal | None = None


class Engine(Protocol):
    """Answers users by a bundle, in this process or in another one."""

    def start(self) -> None:
        """Loads the bundle and warms it up.

        Raises:
            ImportError, OSError, RuntimeError, ValueError: the bundle cannot answer.
        """

    def answer(self, asked: Sequence[Asked], rung: int) -> list[Told]:
        """Answers users together.

        Args:
            asked: at least one user.
            rung: of the ladder of ways, see `NUM_RUNGS`.

        Raises:
            EngineGoneError, RuntimeError: nobody was answered. One user may be asked for again.
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
