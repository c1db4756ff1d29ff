"""Words: the units of a text that TF-IDF counts, in any script."""

import re
import unicodedata
from collections.abc import Sequence

import regex

_ASCII_WORD = re.compile(r"\w\w+")

_UNSPACED = (
    r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Tham}"
    r"\p{Javanese}\p{Balinese}]&&\p{L}]|ー|〇"
)
"""Letters of scripts without blanks between words; several of these scripts share the last two."""

_WORD = regex.compile(
    # One letter of such a script with its marks; or two or more letters, digits and underscores.
    rf"(?:{_UNSPACED})\p{{M}}*"
    rf"|(?!{_UNSPACED})[\p{{L}}\p{{N}}_](?:(?!{_UNSPACED})[\p{{L}}\p{{N}}_\p{{M}}])+",
    regex.V1,
)

_MARKED = regex.compile(r"(\P{M}?)(\p{M}[\p{M}\N{ZERO WIDTH JOINER}]*)", regex.V1)
"""A character with the marks over, under and beside it."""

_IGNORED = regex.compile(r"[\p{Variation_Selector}\N{ZERO WIDTH JOINER}]", regex.V1)
"""Characters that ask for another form of the same letter."""

_LATIN = regex.compile(r"\p{Latin}")

_VIETNAMESE = regex.compile(r"\p{Latin}\p{M}*(?:[\N{COMBINING HORN}\u0309\u0323]|\p{M}\p{M})")
"""Horn, hook above, dot below, or two marks: only Vietnamese has them, among large languages of
Latin script."""

_VIETNAMESE_SHARE = 0.1


def folded(text: str, *, keep_latin_marks: bool) -> str:
    """The text in lower case, with equal words as equal strings.

    Forms of a letter that differ only in width or style become one (NFKD). Letters of all scripts
    but the Latin one keep their marks: marks tell Japanese ガ from カ, and are the vowels of Hindi.
    Latin letters lose their marks, because many people leave them out: café becomes cafe.

    Args:
        text: any text.
        keep_latin_marks: whether Latin letters keep their marks too.
    """
    small = text.lower()
    if small.isascii():
        return small

    def marked(match: regex.Match[str]) -> str:
        base: str = match[1]
        marks: str = match[2]
        if base.isalpha() and (keep_latin_marks or not _LATIN.match(base)):
            return base + "".join(mark for mark in marks if not _IGNORED.match(mark))
        # A mark that is no accent, such as the frame of a keycap, ends a word.
        return base + "".join("" if unicodedata.combining(mark) else " " for mark in marks)

    unmarked: str = _MARKED.sub(marked, unicodedata.normalize("NFKD", small))
    return unmarked


def words(text: str) -> list[str]:
    """The words of a folded text, in their order, without words of one letter.

    In scripts without blanks between words, such as Chinese, Japanese and Thai, each letter with
    its marks is a word. Runs of words are then runs of letters.
    """
    found: list[str] = (_ASCII_WORD if text.isascii() else _WORD).findall(text)
    return found


def has_marks_that_matter(texts: Sequence[str]) -> bool:
    """Tells whether so many texts are Vietnamese that marks on Latin letters tell words apart.

    In Vietnamese, ma, má and mà are three words, and nobody writes one for another.
    """
    num_vietnamese = sum(
        1
        for text in texts
        if not text.isascii() and _VIETNAMESE.search(unicodedata.normalize("NFKD", text))
    )
    num_texts = sum(1 for text in texts if text.strip())
    return num_vietnamese > 0 and num_vietnamese >= _VIETNAMESE_SHARE * num_texts


def is_of_other_script(words_of_a_term: str) -> bool:
    """Tells whether one of these words has letters, but no Latin letters and no digits."""
    return any(
        regex.search(r"\p{L}", word) and not regex.search(r"[\p{Latin}\p{N}]", word)
        for word in words_of_a_term.split(" ")
    )
