import numpy as np
import pytest
from pydantic import ValidationError

from sidestep.embedding.config import TfidfConfig
from sidestep.embedding.tfidf import FittedTfidf, fit_tfidf, tfidf_svd

TITLES = ["steel drill", "cordless drill", "red lipstick", "pink lipstick", "drill bits steel"]
BRANDS = ["Acme", "Acme", "Rouge", "Rouge", "Acme"]
SMALL = TfidfConfig(dim=2, min_items=1)


def test_items_of_like_words_are_near_and_others_far():
    vectors = tfidf_svd({"title": TITLES, "brand": BRANDS}, SMALL, seed=0)
    similarity = vectors @ vectors.T
    tools = np.array([0, 1, 4])
    assert similarity[np.ix_(tools, tools)].min() > 0.9
    assert similarity[2, 3] > 0.9
    assert abs(similarity[np.ix_(tools, [2, 3])]).max() < 0.1


def test_vectors_are_unit_float32_but_zero_for_an_item_without_known_terms():
    vectors = tfidf_svd({"title": [*TITLES, "", None]}, SMALL, seed=0)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1] * 5 + [0] * 2, atol=1e-6)


def test_in_all_dimensions_similarity_is_that_of_sublinear_tf_idf():
    # aa is in both items, once in the first and three times in the second, so its idf is
    # ln(3 / 3) + 1 = 1 and its weights are 1 and 1 + ln 3; bb is in the second alone, once.
    config = TfidfConfig(dim=2, min_items=1, max_words=1)
    vectors = tfidf_svd({"text": ["aa", "aa bb aa aa"]}, config, seed=0)
    aa, bb = 1 + np.log(3), np.log(3 / 2) + 1
    assert vectors[0] @ vectors[1] == pytest.approx(aa / np.hypot(aa, bb), abs=1e-6)


def test_a_columns_weight_counts_its_words_so_many_times():
    config = TfidfConfig(dim=3, min_items=1, max_words=1, column_weights={"title": 3})
    weighted = tfidf_svd({"title": TITLES, "brand": BRANDS}, config, seed=0)
    repeated = [
        f"{title} {title} {title} {brand}" for title, brand in zip(TITLES, BRANDS, strict=True)
    ]
    plain = tfidf_svd({"text": repeated}, TfidfConfig(dim=3, min_items=1, max_words=1), seed=0)
    np.testing.assert_allclose(weighted @ weighted.T, plain @ plain.T, atol=1e-5)


def test_the_same_seed_gives_the_same_vectors():
    first = tfidf_svd({"title": TITLES}, SMALL, seed=1)
    assert np.array_equal(first, tfidf_svd({"title": TITLES}, SMALL, seed=1))


@pytest.mark.parametrize(
    ("columns", "config", "error", "words"),
    [
        ({"title": ["", " "]}, {}, ValueError, r"no item has any text in the columns \['title'\]"),
        ({"title": []}, {}, ValueError, "no item has any text"),
        ({}, {}, ValueError, "no item has any text"),
        ({"title": ["x", "y"]}, {}, ValueError, "no term is found"),
        ({"title": ["aa", "bb"]}, {}, ValueError, "no term is found in 2 or more of 2 items"),
        (
            {"title": TITLES},
            {"dim": 6, "min_items": 1},
            ValueError,
            "5 items with .* at most 5 dimensions",
        ),
        ({"title": TITLES, "brand": ["x"]}, {}, ValueError, "one row per item"),
        ({"title": TITLES}, {"column_weights": {"tilte": 2}}, KeyError, "tilte"),
    ],
)
def test_texts_that_give_no_vectors_are_refused(columns, config, error, words):
    with pytest.raises(error, match=words):
        tfidf_svd(columns, TfidfConfig(**{"dim": 2, **config}), seed=0)


@pytest.mark.parametrize("config", [{"column_weights": {"title": 0.5}}, {"dim": 0}, {"dims": 3}])
def test_configurations_that_mean_nothing_are_refused(config):
    with pytest.raises(ValidationError):
        TfidfConfig(**config)


def test_vectors_are_as_narrow_as_the_texts_where_they_may_be():
    vectors = tfidf_svd(
        {"title": ["red mug", "blue mug", "red cup"]},
        TfidfConfig(dim=128, min_items=1, max_words=1),
        seed=0,
        may_be_narrower=True,
    )
    assert vectors.shape == (3, 3)


def test_what_was_fitted_embeds_further_texts_in_the_same_space(tmp_path):
    columns = {"title": TITLES, "brand": BRANDS}
    fitted = fit_tfidf(columns, SMALL, seed=0)
    np.testing.assert_array_equal(fitted.encode(columns), tfidf_svd(columns, SMALL, seed=0))
    fitted.save(tmp_path / "tfidf.safetensors")
    loaded = FittedTfidf.load(tmp_path / "tfidf.safetensors")
    new = {"brand": ["Rouge", None], "title": ["pink lipstick", "unheard of"], "price": ["1", "2"]}
    vectors = loaded.encode(new)
    np.testing.assert_array_equal(vectors, fitted.encode(new))
    np.testing.assert_allclose(vectors[0], fitted.encode(columns)[3], atol=1e-6)
    assert not vectors[1].any()


def test_texts_without_a_column_and_files_of_something_else_are_refused(tmp_path):
    fitted = fit_tfidf({"title": TITLES, "brand": BRANDS}, SMALL, seed=0)
    with pytest.raises(KeyError, match=r"\['brand'\] are missing"):
        fitted.encode({"title": ["drill"]})
    file = tmp_path / "tfidf.safetensors"
    fitted.save(file)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match="damaged"):
        FittedTfidf.load(file)
