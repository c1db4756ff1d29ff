import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from sidestep.embedding.words import folded, has_marks_that_matter, words

_UNMARKED = CountVectorizer(strip_accents="unicode").build_analyzer()


def words_of(text, **settings):
    """The words of a text. Each letter is composed with its marks, as people type it."""
    found = words(folded(text, **{"keep_latin_marks": False, **settings}))
    return [unicodedata.normalize("NFC", word) for word in found]


@given(st.text(st.characters(max_codepoint=0x17F)))
def test_latin_texts_have_the_words_that_scikit_learn_finds_without_accents(text):
    assert words(folded(text, keep_latin_marks=False)) == _UNMARKED(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CAFÉ crème, 2-pack No. 5", ["cafe", "creme", "pack", "no"]),
        ("ガラス", ["ガ", "ラ", "ス"]),
        ("ｶﾞﾗｽ", ["ガ", "ラ", "ス"]),
        ("iPhone手机壳 A4纸", ["iphone", "手", "机", "壳", "a4", "纸"]),
        ("スーパー", ["ス", "ー", "パ", "ー"]),
        ("कप की किताब", ["कप", "की", "किताब"]),
        ("ක්\u200dරියා", ["ක්රියා"]),
        ("เสื้อ ไม้", ["เ", "สื้", "อ", "ไ", "ม้"]),
        ("ເສື້ອ", ["ເ", "ສື້", "ອ"]),
        ("ខ្មែរ", ["ខ្", "មែ", "រ"]),
        ("책 상자", ["책", "상자"]),
        ("كِتَاب كتاب", ["كِتَاب", "كتاب"]),
        ("שָׁלוֹם שלום", ["שָׁלוֹם", "שלום"]),
        ("Чай и чайник, ёлка", ["чай", "чайник", "ёлка"]),
        ("νόμος νομός", ["νόμος", "νομός"]),
        ("葛\U000e0100 ❤\ufe0f 1\ufe0f\u20e32 a\u00b4b", ["葛"]),
    ],
)
def test_words_are_what_people_who_read_the_script_would_say(text, expected):
    assert words_of(text) == [unicodedata.normalize("NFC", word) for word in expected]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ガ", "カ"),
        ("パン", "バン"),
        ("की", "का"),
        ("มา", "ม้า"),
        ("كِتَاب", "كُتَّاب"),
        ("שָׁלוֹם", "שִׁלּוּם"),
        ("мой", "мои"),
        ("눈", "논"),
        ("காடு", "கடி"),
    ],
)
def test_marks_of_other_scripts_tell_words_apart(one, other):
    assert words_of(one) != words_of(other)


def test_latin_letters_keep_their_marks_where_that_is_asked_for():
    assert words_of("ma má mà café", keep_latin_marks=True) == ["ma", "má", "mà", "café"]
    assert words_of("ma má mà café") == ["ma", "ma", "ma", "cafe"]


@given(st.text())
def test_a_folded_text_is_folded(text):
    once = folded(text, keep_latin_marks=False)
    assert words(folded(once, keep_latin_marks=False)) == words(once)


def test_texts_are_vietnamese_where_one_in_ten_has_a_letter_of_theirs():
    ours = [*(["mug"] * 9), "nước mắm", ""]
    assert has_marks_that_matter(ours)
    assert not has_marks_that_matter([*ours, "cup"])
    assert not has_marks_that_matter(["crème brûlée", "Müller", "año", ""])
    assert not has_marks_that_matter([])
