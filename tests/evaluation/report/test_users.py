import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.evaluation.report.users import shortened, users_section
from tests.evaluation.report.small_runs import BEAM, HISTORIES, SASREC, titles


def shown(runs, **options):
    section = users_section(runs, HISTORIES, titles, **options)
    return {example.title: example for example in section.parts}


def test_each_way_to_agree_or_differ_has_one_user():
    examples = shown({"beam": BEAM, "sasrec": SASREC})
    assert list(examples) == ["Found by all methods", "Found by sasrec alone"]
    assert "1 of 2 users (50.0%)" in examples["Found by all methods"].note
    assert "user bob" in examples["Found by sasrec alone"].note


def test_one_method_finds_or_misses():
    assert list(shown({"beam": BEAM})) == ["Found", "Missed"]
    assert list(shown({"sasrec": SASREC})) == ["Found"]


def test_past_target_and_hits_in_words():
    ann = shown({"beam": BEAM, "sasrec": SASREC}, num_items=2, num_past=2)["Found by all methods"]
    past, target = ann.given
    beam, sasrec = ann.lists
    assert (past.heading, past.items) == ("Past, oldest first, 1 before these", ("biscuits", "tea"))
    assert (target.items, target.marked) == (("cups",), (0,))
    assert (beam.items, beam.marked) == (("biscuits", "cups"), (1,))
    assert (sasrec.items, sasrec.marked) == (("cups", "tea"), (0,))
    assert beam.is_ranked


def test_headings_tell_of_hits_that_are_not_shown():
    examples = shown({"beam": BEAM, "sasrec": SASREC}, num_items=1)
    beam, _ = examples["Found by sasrec alone"].lists
    assert beam.marked == ()
    assert beam.heading in {"beam: only at place 2", "beam: not in its 2"}
    missed = shown({"beam": BEAM})["Missed"]
    assert missed.given[0].items == ()  # a user without a history
    assert missed.lists[0].heading == "beam: not in its 2"


def test_endless_titles_are_cut_between_words():
    section = users_section(
        {"beam": BEAM}, HISTORIES, lambda items: ["long words " * 50] * len(items)
    )
    title = section.parts[0].lists[0].items[0]
    assert title.endswith("words …")
    assert len(title) <= 90


@given(st.text(alphabet="ab 漢字", max_size=40), st.integers(4, 20))
def test_a_shortened_title_is_the_start_of_the_title(title, num_characters):
    whole = " ".join(title.split())
    short = shortened(title, num_characters)
    if len(whole) <= num_characters:
        assert short == whole
        return
    start = short.removesuffix("…").rstrip()
    assert short.endswith("…")
    assert whole.startswith(start)
    assert num_characters / 2 <= len(start) < len(short) <= num_characters


@pytest.mark.parametrize(
    ("title", "short"),
    [
        ("日本語の題名は空白なしで続く", "日本語の題名は空白…"),
        ("Donaudampfschiff", "Donaudamp…"),
        ("for Donaudampfschiff", "for Donau…"),
        ("eight or so", "eight or …"),
        ("eight or s", "eight or s"),
        ("the cup of tea", "the cup …"),
    ],
)
def test_titles_are_cut_within_a_word_only_where_little_else_would_be_left(title, short):
    assert shortened(title, 10) == short


@pytest.mark.parametrize("num_items", [1, 2, 3])
def test_the_same_users_are_drawn_again(num_items):
    runs = {"beam": BEAM, "sasrec": SASREC}
    assert shown(runs, num_items=num_items) == shown(runs, num_items=num_items)
