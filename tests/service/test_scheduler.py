"""The scheduler: every question gets one answer or one error, in time or not at all."""

import math
import threading
from concurrent.futures import CancelledError, Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.service.config import Queueing
from sidestep.service.scheduler import (
    ClosedError,
    QueueFullError,
    Scheduler,
    TooLateError,
)


class Clock:
    """Time that passes when somebody says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Answering:
    """Doubles numbers; every question takes the seconds of its rung."""

    def __init__(self, clock, seconds=(1.0,)):
        self.clock, self.seconds, self.batches = clock, seconds, []

    def __call__(self, questions, rung):
        self.batches.append((list(questions), rung))
        self.clock.now += self.seconds[rung] * len(questions)
        if any(question is None for question in questions):
            raise ValueError("None cannot be doubled")
        return [2 * question for question in questions]


def at_once(answer):
    """A way to ask that waits for the answer."""

    def ask(questions, rung):
        future = Future()
        try:
            future.set_result(answer(questions, rung))
        except Exception as error:
            future.set_exception(error)
        return future

    return ask


class Sending:
    """Keeps batches until somebody answers the oldest one, as an engine does."""

    def __init__(self, clock, num_rungs=1):
        self.clock, self.seconds, self.sent = clock, (1.0,) * num_rungs, []

    def __call__(self, questions, rung):
        future = Future()
        self.sent.append((list(questions), rung, future))
        return future

    def answer_oldest(self, seconds=0.0):
        self.clock.now += seconds
        questions, _, future = self.sent.pop(0)
        future.set_result([2 * question for question in questions])


def scheduler(answering, *, num_in_flight=1, ask=None, is_late=lambda answer: False, **settings):
    reports = []
    made = Scheduler(
        ask or at_once(answering),
        Queueing(**{"max_wait_ms": 0, **settings}),
        num_rungs=len(answering.seconds),
        num_in_flight=num_in_flight,
        clock=answering.clock,
        report=reports.append,
        is_late=is_late,
        starts=False,
    )
    made.reports = reports
    return made


def worked(made):
    """Sends a batch; returns the reports of all batches that were answered meanwhile."""
    known = len(made.reports)
    made.work_once()
    return made.reports[known:]


def work_all(made):
    """Sends batches until nobody waits."""
    while made.num_waiting:
        made.work_once()


def test_questions_that_wait_are_answered_together_in_their_order():
    answering = Answering(Clock())
    made = scheduler(answering, max_batch=3, deadline_ms=60_000)
    futures = [made.submit(number) for number in range(5)]
    assert [made.work_once() for _ in range(3)] == [3, 2, 0]
    assert [report.size for report in made.reports] == [3, 2]
    assert [future.result(0) for future in futures] == [0, 2, 4, 6, 8]
    assert answering.batches == [([0, 1, 2], 0), ([3, 4], 0)]


def test_a_question_that_cannot_be_answered_spoils_no_other():
    made = scheduler(Answering(Clock()), deadline_ms=60_000)
    futures = [made.submit(question) for question in (1, None, 3)]
    work_all(made)
    assert (futures[0].result(0), futures[2].result(0)) == (2, 6)
    with pytest.raises(ValueError, match="None cannot be doubled"):
        futures[1].result(0)


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again():
    made = scheduler(Answering(Clock(), (4.0,)), max_batch=1, max_queue=2, deadline_ms=60_000)
    made.submit(0)
    made.work_once()  # from now on, an answer is known to take four seconds
    futures = [made.submit(number) for number in range(2)]
    with pytest.raises(QueueFullError, match="2 users wait already") as refused:
        made.submit(2)
    assert refused.value.retry_after_s == 8
    assert futures[0].cancel()
    made.submit(3)
    assert made.num_waiting == 2, "a cancelled question leaves its place"


def test_a_cancelled_question_costs_nothing():
    answering = Answering(Clock())
    made = scheduler(answering, deadline_ms=60_000)
    futures = [made.submit(number) for number in range(3)]
    futures[1].cancel()
    made.work_once()
    assert answering.batches == [([0, 2], 0)]
    with pytest.raises(CancelledError):
        futures[1].result(0)


def test_a_question_past_its_deadline_gets_an_error_and_no_work():
    clock = Clock()
    answering = Answering(clock)
    made = scheduler(answering, deadline_ms=2000)
    early, late = made.submit(1), made.submit(2, deadline_s=0.5)
    clock.now = 1.0
    made.work_once()
    assert early.result(0) == 2
    with pytest.raises(TooLateError):
        late.result(0)
    assert made.num_late == 1
    assert answering.batches == [([1], 0)]


def test_no_deadline_is_later_than_that_of_the_service():
    clock = Clock()
    made = scheduler(Answering(clock), deadline_ms=1000)
    future = made.submit(1, deadline_s=3600.0)
    clock.now = 1.1
    made.work_once()
    with pytest.raises(TooLateError):
        future.result(0)


def test_who_is_in_a_hurry_is_answered_by_a_cheaper_rung_and_the_others_are_not():
    answering = Answering(Clock(), (1.0, 0.1))
    made = scheduler(answering, deadline_ms=60_000)
    made.submit(0)
    made.work_once()
    patient, hasty = made.submit(1), made.submit(2, deadline_s=1.0)
    reports = worked(made)
    assert [(report.size, report.rung) for report in reports] == [(1, 1), (1, 0)]
    assert (patient.result(0), hasty.result(0)) == (2, 4)


def test_a_long_queue_goes_down_the_ladder_and_a_short_one_up_again():
    answering = Answering(Clock(), (1.0, 0.1))
    made = scheduler(answering, max_batch=2, deadline_ms=10_000, max_queue=100)
    made.submit(0)
    made.work_once()
    for number in range(20):
        made.submit(number)
    rungs = []
    while made.num_waiting:
        rungs += [report.rung for report in worked(made)]
    assert 1 in rungs, "twenty seconds of work do not fit into ten"
    assert 0 in rungs, "as soon as the rest fits, nobody gets less than the best"
    assert made.num_late == 0
    made.submit(0)
    assert worked(made)[0].rung == 0


def test_refusals_of_who_is_late_are_counted_and_do_not_make_a_rung_look_fast():
    answering = Answering(Clock(), (1.0, 0.1))
    made = scheduler(answering, is_late=lambda answer: answer < 0, deadline_ms=60_000)
    made.submit(0)
    made.work_once()
    answering.seconds = (0.0, 0.1)  # a refusal takes no time
    for _ in range(20):
        made.submit(-1)
        made.work_once()
    assert made.num_late == 20
    hasty = made.submit(2, deadline_s=0.5)
    assert [report.rung for report in worked(made)] == [1], "the best rung takes a second"
    assert hasty.result(0) == 4


def test_one_slow_answer_does_not_degrade_the_lists_for_ever():
    """As after a pause of the machine: the best rung is tried again, and found to be fast."""
    answering = Answering(Clock(), (5.0, 0.01))
    made = scheduler(answering, deadline_ms=1000)
    made.submit(0)
    made.work_once()
    answering.seconds = (0.01, 0.01)
    rungs = []
    for number in range(20):
        made.submit(number)
        rungs += [report.rung for report in worked(made)]
    assert rungs[0] == 1, "five seconds do not fit"
    assert rungs[-10:] == [0] * 10


def test_a_burst_on_an_idle_service_is_answered_by_the_best_rung():
    """A batch costs about as much as one question: a queue is judged by its batches."""
    clock = Clock()
    batches = []

    def answer(questions, rung):
        clock.now += 0.02
        batches.append(rung)
        return questions

    made = Scheduler(
        at_once(answer),
        Queueing(max_batch=32, max_wait_ms=0, deadline_ms=1000),
        num_rungs=2,
        clock=clock,
        starts=False,
    )
    made.submit(0)
    made.work_once()
    futures = [made.submit(number) for number in range(256)]
    while made.num_waiting:
        made.work_once()
    assert batches == [0] * 9
    assert all(future.done() for future in futures)


def test_after_its_end_it_answers_who_waits_and_takes_nobody_else():
    answered = threading.Event()

    def answer(questions, rung):
        answered.wait(10)
        return questions

    made = Scheduler(at_once(answer), Queueing(max_batch=1, deadline_ms=60_000))
    futures = [made.submit(number) for number in range(3)]
    closing = threading.Thread(target=made.close)
    closing.start()
    while not made._is_closed:
        pass
    with pytest.raises(ClosedError):
        made.submit(4)
    answered.set()
    closing.join(10)
    assert [future.result(0) for future in futures] == [0, 1, 2]
    assert not made._thread.is_alive()


def test_a_full_batch_is_sent_while_the_one_before_is_answered_and_no_third_one():
    sending = Sending(Clock())
    made = scheduler(sending, ask=sending, num_in_flight=2, max_batch=2, deadline_ms=60_000)
    futures = [made.submit(number) for number in range(7)]
    assert made._seconds_to_batch() == 0
    made.work_once()
    assert made._seconds_to_batch() == 0, "two more fill a batch"
    made.work_once()
    assert [questions for questions, _, _ in sending.sent] == [[0, 1], [2, 3]]
    assert made._seconds_to_batch() == math.inf, "two batches are on their way"
    sending.answer_oldest()
    assert [future.done() for future in futures] == [True] * 2 + [False] * 5
    made.work_once()
    sending.answer_oldest()
    assert made._seconds_to_batch() == math.inf, "the last one waits for others"
    sending.answer_oldest()
    assert made._seconds_to_batch() == 0
    made.work_once()
    sending.answer_oldest()
    assert [future.result(0) for future in futures] == [0, 2, 4, 6, 8, 10, 12]


def test_the_time_of_a_batch_begins_when_the_one_before_it_is_done():
    sending = Sending(Clock())
    made = scheduler(sending, ask=sending, num_in_flight=2, max_batch=1, deadline_ms=60_000)
    for number in range(2):
        made.submit(number)
        made.work_once()
    sending.answer_oldest(seconds=4)
    sending.answer_oldest(seconds=3)
    assert [(report.seconds, report.waited_s) for report in made.reports] == [(4, 0), (3, 4)]


def test_a_rung_is_chosen_by_the_time_after_the_batch_that_is_on_its_way():
    clock = Clock()
    sending = Sending(clock, num_rungs=2)
    made = scheduler(sending, ask=sending, num_in_flight=2, max_batch=1, deadline_ms=60_000)

    def rung_of(deadline_s):
        made.submit(1, deadline_s=deadline_s)
        made.work_once()
        return sending.sent[-1][1]

    rung_of(60.0)
    sending.answer_oldest(seconds=4)  # from now on, an answer is known to take four seconds
    assert rung_of(7.0) == 0, "six seconds are enough for whoever need not wait"
    assert rung_of(9.0) == 1, "four seconds of nine are gone before the work begins"
    sending.answer_oldest(seconds=4)
    sending.answer_oldest()
    rung_of(60.0)
    clock.now += 3  # by now, the estimate is 2.8 seconds: 70 % of the four
    assert rung_of(5.0) == 0, "the one before is about to be done"


def test_two_batches_with_one_error_are_asked_for_again_one_by_one():
    """As when an engine dies; whoever cannot be asked for any more gets the error."""
    sending = Sending(Clock())
    made = scheduler(sending, ask=sending, num_in_flight=2, max_batch=2, deadline_ms=60_000)
    futures = [made.submit(number) for number in range(4)]
    made.work_once()
    made.work_once()
    lost, sending.sent = sending.sent, []
    for _, _, future in lost:
        future.set_exception(ValueError("gone"))
    for _ in range(4):
        made.work_once()
    assert [questions for questions, _, _ in sending.sent] == [[0], [1], [2], [3]]
    for _ in range(3):
        sending.answer_oldest()
    sending.sent[0][2].set_exception(ValueError("gone again"))
    assert [future.result(0) for future in futures[:3]] == [0, 2, 4]
    with pytest.raises(ValueError, match="gone again"):
        futures[3].result(0)
    assert made._seconds_to_batch() == math.inf, "nobody waits any more"


def test_who_cannot_be_sent_gets_the_error():
    def gone(questions, rung):
        raise ValueError("nobody is there")

    sending = Sending(Clock())
    made = scheduler(sending, ask=gone, deadline_ms=60_000)
    futures = [made.submit(number) for number in range(3)]
    work_all(made)
    for future in futures:
        with pytest.raises(ValueError, match="nobody is there"):
            future.result(0)


def test_at_its_end_it_waits_for_two_batches_and_for_the_one_that_is_not_full():
    sending = Sending(Clock())
    made = Scheduler(sending, Queueing(max_batch=2, deadline_ms=60_000), num_in_flight=2)
    futures = [made.submit(number) for number in range(5)]
    closing = threading.Thread(target=made.close)
    closing.start()
    while not all(future.done() for future in futures):
        if sending.sent:
            sending.answer_oldest()
    closing.join(10)
    assert [future.result(0) for future in futures] == [0, 2, 4, 6, 8]
    assert not made.is_alive


@given(
    st.lists(
        st.tuples(st.integers(0, 9) | st.none(), st.booleans(), st.sampled_from([None, 0.2, 5.0])),
        max_size=30,
    ),
    st.integers(1, 5),
)
def test_every_question_ends_in_exactly_one_way(questions, max_batch):
    """Law: an answer, its own error, a refusal or a cancellation, whatever happens beside it."""
    answering = Answering(Clock(), (0.3, 0.05))
    made = scheduler(answering, max_batch=max_batch, max_queue=12, deadline_ms=3000)
    futures = []
    for question, cancels, deadline_s in questions:
        try:
            future = made.submit(question, deadline_s=deadline_s)
        except QueueFullError:
            work_all(made)
            continue
        futures.append((question, future))
        if cancels:
            future.cancel()
    work_all(made)
    for question, future in futures:
        assert future.done()
        if future.cancelled():
            continue
        error = future.exception(0)
        assert (
            isinstance(error, TooLateError)
            or (question is None and isinstance(error, ValueError))
            or future.result(0) == 2 * question
        )
