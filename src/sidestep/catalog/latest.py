"""The latest answers: what was worked out a moment ago and is asked for again.

Shops ask thousands of times with the same items in stock, and what follows from a million items
takes longer than a recommendation.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class LatestAnswers(Generic[Answer]):
    """Keeps a few answers by what they are answers to; threads may share it.

    An answer is shared by all who ask, so nobody may change it. A question that fails is not kept.
    """

    def __init__(self, number: int = 4) -> None:
        """Keeps at most `number` answers; what was asked longest ago goes first."""
        self._number = number
        self._by_question: OrderedDict[Hashable, Answer] = OrderedDict()
        self._lock = Lock()

    def get(self, question: Hashable, answer: Callable[[], Answer]) -> Answer:
        """The kept answer; where there is none, `answer()`.

        Args:
            question: different for all that have different answers.
            answer: works the answer out. Two threads may do so at the same time.
        """
        with self._lock:
            if question in self._by_question:
                self._by_question.move_to_end(question)
                return self._by_question[question]
        found = answer()
        with self._lock:
            self._by_question[question] = found
            self._by_question.move_to_end(question)
            while len(self._by_question) > self._number:
                self._by_question.popitem(last=False)
        return found
