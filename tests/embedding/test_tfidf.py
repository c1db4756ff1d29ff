import hashlib
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from sidestep.data.importers.lcrec import import_lcrec, lcrec_files
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


def test_texts_of_ascii_letters_have_the_terms_and_the_vectors_they_always_had():
    # Recorded before words of other scripts were read with their marks.
    titles = ["Steel drill bits, 5 mm", "Cordless drill 18V (2-pack)", "drill_bit set, steel mm"]
    config = TfidfConfig(dim=2, min_items=1, max_words=1)
    fitted = fit_tfidf({"title": titles}, config, seed=0)
    assert fitted.terms == (
        *("18v", "bits", "cordless", "drill", "drill_bit", "mm", "pack", "set", "steel"),
    )
    np.testing.assert_allclose(
        fitted.encode({"title": titles}),
        [[1, 0], [0.36961636, 0.92918444], [0.87457365, -0.4848927]],
        atol=1e-6,
    )


def test_of_terms_that_occur_equally_often_the_first_are_taken():
    # A sort that is not stable takes others, and not the same on every processor.
    names = [f"word{number:04}" for number in range(2_000)]
    twice, thrice = names[1::3], names[2::3]
    texts = [" ".join(names), " ".join(twice + thrice), " ".join(reversed(thrice))]
    most = len(thrice) + 100
    config = TfidfConfig(dim=2, min_items=1, max_words=1, max_terms=most)
    fitted = fit_tfidf({"title": texts}, config, seed=0)
    assert fitted.terms == tuple(sorted(thrice + twice[:100]))


def test_the_terms_of_a_real_catalog_are_those_they_always_were(real_data):
    # Recorded after equal terms were told apart; the catalog holds ™, ½, ℃ and some Latin letters
    # with marks.
    dataset = import_lcrec(*lcrec_files(real_data / "scientific"))
    columns = {name: dataset.items.frame[name].to_list() for name in dataset.items.text_columns}
    fitted = fit_tfidf(columns, TfidfConfig(dim=2), seed=0)
    assert len(fitted.terms) == 50_000
    assert hashlib.sha256("\n".join(fitted.terms).encode()).hexdigest()[:16] == "79d4bdc5fada3d38"


def test_words_that_differ_in_the_marks_of_their_script_are_two():
    glass, crow = "赤い ガラス", "赤い カラス"
    vectors = tfidf_svd({"title": [glass, crow, glass]}, SMALL, seed=0)
    assert vectors[0] @ vectors[2] == pytest.approx(1)
    assert vectors[0] @ vectors[1] < 0.9


def test_titles_without_blanks_between_words_are_near_where_they_share_letters():
    phones = ["红色手机壳", "蓝色手机壳", "手机充电器"]
    teas = ["红茶礼盒", "绿茶礼盒", "绿茶茶包"]
    vectors = tfidf_svd({"title": [*phones, *teas]}, TfidfConfig(), seed=0, may_be_narrower=True)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > 0.5 > 0.1 > similarity[1, 4]


@pytest.mark.parametrize(
    ("titles", "decided"),
    [
        (["café mug", "cafe mug", "red mug"], "fold"),
        (["áo thun nữ", "áo dài lụa tơ tằm", "ao cá"], "keep"),
        (["phở bowl", *(f"mug {n}" for n in range(20))], "fold"),
    ],
)
def test_latin_letters_keep_their_marks_where_texts_are_vietnamese(titles, decided):
    fitted = fit_tfidf({"title": titles}, TfidfConfig(dim=1, min_items=1), seed=0)
    assert fitted.config.latin_marks == decided
    assert ("cafe" in fitted.terms) == (titles[0] == "café mug")
    assert {"ao", unicodedata.normalize("NFKD", "áo")} <= set(fitted.terms) or decided == "fold"


def test_one_item_and_one_word_have_vectors_of_one_dimension():
    alone = tfidf_svd({"title": ["drill"]}, TfidfConfig(), seed=0, may_be_narrower=True)
    np.testing.assert_allclose(alone, [[1]])
    some = tfidf_svd({"title": ["drill", "drill", ""]}, TfidfConfig(dim=1), seed=0)
    np.testing.assert_allclose(some, [[1], [1], [0]])


def test_the_same_seed_gives_the_same_vectors():
    first = tfidf_svd({"title": TITLES}, SMALL, seed=1)
    assert np.array_equal(first, tfidf_svd({"title": TITLES}, SMALL, seed=1))


@pytest.mark.parametrize(
    ("columns", "config", "error", "words"),
    [
        ({"title": ["", " "]}, {}, ValueError, r"no item has any text in the columns \['title'\]"),
        ({"title": []}, {}, ValueError, "no item has any text"),
        ({}, {}, ValueError, "no item has any text"),
        ({"title": ["x", "y"]}, {}, ValueError, "no word stands in"),
        ({"title": ["aa", "bb"]}, {}, ValueError, "texts of 2 or more of the 2 items.*--columns"),
        (
            {"title": ["aa", "bb"]},
            {},
            ValueError,
            r"--collaborative.*--given.*TfidfConfig.min_items",
        ),
        ({"title": [f"Thing {n}" for n in range(4)]}, {}, ValueError, "4 items are alike.*'thing'"),
        ({"title": ["red mug"] * 3}, {}, ValueError, r"'mug', 'red', 'red mug'\).*tell no item"),
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


@pytest.mark.parametrize(("title", "is_read"), [("drill 10kΩ café", True), ("кружка", False)])
def test_a_file_from_before_marks_were_kept_is_read_where_its_words_are_still_the_same(
    tmp_path, title, is_read
):
    file = tmp_path / "tfidf.safetensors"
    fitted = fit_tfidf({"title": [title, f"{title} set"]}, SMALL, seed=0)
    before = fitted.config.model_copy(update={"latin_marks": None})
    replace(fitted, config=before).save(file)
    if is_read:
        read = FittedTfidf.load(file).encode({"title": ["cafe DRILL"]})
        np.testing.assert_array_equal(read, fitted.encode({"title": ["cafe DRILL"]}))
    else:
        with pytest.raises(ValueError, match=r"marks off the letters of all scripts.*embed again"):
            FittedTfidf.load(file)


def test_texts_without_a_column_and_files_of_something_else_are_refused(tmp_path):
    fitted = fit_tfidf({"title": TITLES, "brand": BRANDS}, SMALL, seed=0)
    with pytest.raises(KeyError, match=r"\['brand'\] are missing"):
        fitted.encode({"title": ["drill"]})
    file = tmp_path / "tfidf.safetensors"
    fitted.save(file)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match="damaged"):
        FittedTfidf.load(file)
