import pytest

from sidestep.catalog.latest import LatestAnswers


def test_only_the_latest_questions_are_answered_without_being_worked_out():
    answers, worked_out = LatestAnswers[str](number=2), []

    def ask(question):
        def answer():
            worked_out.append(question)
            return question.upper()

        assert answers.get(question, answer) == question.upper()

    for question in "abaaca":  # when c is asked for, b was used longest ago
        ask(question)
    assert worked_out == ["a", "b", "c"]
    ask("b")
    assert worked_out == ["a", "b", "c", "b"]


def test_a_question_that_fails_is_asked_anew():
    answers = LatestAnswers[int]()
    with pytest.raises(ZeroDivisionError):
        answers.get("one", lambda: 1 // 0)
    assert answers.get("one", lambda: 1) == 1
