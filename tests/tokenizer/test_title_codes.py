import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.tokenizer.title_codes import END, PADDING, title_codes


def test_worked_example():
    made = title_codes([[7, 5], [7], [], [9, 5, 7, 8]], num_levels=3)
    assert made.tokens == ((END, 7, 9), (PADDING, END, 5), (PADDING, END, 7))
    assert made.semantic_ids.tolist() == [[1, 2, 1], [1, 1, 0], [0, 0, 0], [2, 2, 2]]
    assert made.codebook_sizes == (3, 3, 3)


def test_short_titles_need_no_more_levels_than_their_end():
    assert title_codes([[1], [2, 3]], num_levels=16).semantic_ids.shape == (2, 3)


titles = st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=8)


@given(titles, st.integers(1, 6))
def test_the_codes_are_the_first_tokens_of_the_titles(titles, num_levels):
    made = title_codes(titles, num_levels=num_levels)
    levels = made.semantic_ids.shape[1]
    for codes, title in zip(made.semantic_ids.tolist(), titles, strict=True):
        written = [tokens[code] for code, tokens in zip(codes, made.tokens, strict=True)]
        kept = title[:levels]
        rest = [END, *[PADDING] * levels][: levels - len(kept)]
        assert written == [*kept, *rest]
    shared = {tuple(title[:levels]) for title in titles}
    assert len(np.unique(made.semantic_ids, axis=0)) == len(shared)


@pytest.mark.parametrize(("titles", "num_levels"), [([], 3), ([[1]], 0)])
def test_no_titles_or_no_levels_are_refused(titles, num_levels):
    with pytest.raises(ValueError, match="need at least one each"):
        title_codes(titles, num_levels=num_levels)
