"""The engine of a service: a bundle that answers users in batches, and calls of other kinds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import torch

from sidestep.catalog.latest import LatestAnswers
from sidestep.service.asking import TOO_LATE, Asked, Refusal, RefusalError, Timing, Told
from sidestep.service.calls import Calls
from sidestep.service.config import ServiceConfig
from sidestep.service.conversion import answer_json, checked_questions
from sidestep.service.examples import example_histories
from sidestep.service.messages import RecommendRequest
from sidestep.service.questions import Question
from sidestep.service.refusals import REFUSALS, refusal
from sidestep.service.served_bundle import ServedBundle
from sidestep.service.state import SharedState

_LARGE_BODY = 4_000
"""Bytes of a body from which on its questions are kept for the next batches."""

_NUM_LATEST = 4
"""Large bodies whose questions are kept."""


class LocalEngine:
    """An engine in this process, see `sidestep.service.asking.Engine`."""

    num_in_flight = 1

    def __init__(
        self, config: ServiceConfig, report: Callable[[int], None] = lambda generation: None
    ) -> None:
        """Loads nothing yet.

        Args:
            config: of the service. The state file must be there, see `SharedState.start`.
            report: is given the generation of every bundle that begins to answer.
        """
        self._config = config
        self._report = report
        self._calls: Calls | None = None
        self._latest = LatestAnswers[list[Question] | Refusal](_NUM_LATEST)

    def start(self) -> None:
        """Loads the bundle and warms it up."""
        config = self._config
        if config.num_threads is not None:
            torch.set_num_threads(config.num_threads)
        self.bundle = ServedBundle(
            config.bundle,
            SharedState(config.state),
            device=config.device,
            precision=config.precision,
            max_batch=config.queueing.max_batch,
            report=self._report,
        )
        self.bundle.start_watching()
        examples = [] if config.examples is None else example_histories(config.examples)
        self._calls = Calls(self.bundle, config.limits, examples)

    @property
    def is_ready(self) -> bool:
        """Whether the bundle is loaded and warm."""
        return self._calls is not None

    def ask(self, asked: Sequence[Asked], rung: int) -> Future[list[Told]]:
        """Answers users together, before this call returns."""
        answered: Future[list[Told]] = Future()
        try:
            answered.set_result(self.answer(asked, rung))
        except Exception as error:
            answered.set_exception(error)
        return answered

    def answer(self, asked: Sequence[Asked], rung: int) -> list[Told]:
        """Answers users together. A request with a user who cannot be answered is refused whole."""
        bodies = {id(each.body): each.body for each in asked}
        found = {key: self._known_questions(body) for key, body in bodies.items()}
        places, questions = [], []
        told = [Told()] * len(asked)
        now = time.monotonic()
        for place, each in enumerate(asked):
            known = found[id(each.body)]
            if isinstance(known, Refusal):
                told[place] = Told(refusal=known)
            elif each.deadline is not None and each.deadline <= now:
                told[place] = Told(refusal=Refusal(status=503, detail=TOO_LATE, retry_after_s=1))
            else:
                places.append(place)
                questions.append(known[each.row])
        began = time.monotonic()
        try:
            answers = self.bundle.answer(questions, rung) if questions else []
        except REFUSALS as error:  # another bundle came after the check
            if len(questions) > 1:
                raise
            told[places[0]] = Told(refusal=refusal(error).refusal)
            return told
        found_at = time.monotonic()
        contents = [answer_json(answer) for answer in answers]
        encode_s = time.monotonic() - found_at
        timing = Timing(began=began, search_s=found_at - began, encode_s=encode_s)
        for place, answer, content in zip(places, answers, contents, strict=True):
            told[place] = Told(content=content, degraded=answer.degraded, timing=timing)
        return told

    def call(self, name: str, content: bytes = b"") -> bytes:
        """Answers a call of another kind, see `sidestep.service.calls`."""
        assert self._calls is not None, "the engine was started"
        return self._calls.by_name[name](content).model_dump_json().encode()

    def close(self) -> None:
        """Ends the threads."""
        if self._calls is not None:
            self.bundle.close()

    def _known_questions(self, body: bytes) -> list[Question] | Refusal:
        """See `_questions`; a large request, whose users come in many batches, is read once."""
        if len(body) < _LARGE_BODY:
            return self._questions(body)
        key = (body, self.bundle.recent.snapshot.id)
        return self._latest.get(key, lambda: self._questions(body))

    def _questions(self, body: bytes) -> list[Question] | Refusal:
        """One question per user of a request, or why it cannot be answered."""
        try:
            asked = RecommendRequest.model_validate_json(body)
            return checked_questions(asked, self.bundle, self._config.limits)
        except RefusalError as error:
            return error.refusal
