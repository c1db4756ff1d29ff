"""The Python API: from frames to recommendations, and every function on a small shop."""

import inspect
import re
import warnings

import polars as pl
import pytest

import sidestep
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.runs.defaults import default_run
from sidestep.runs.folder import RunFolder
from sidestep.runs.kinds.transformer import TransformerRun


@pytest.fixture(scope="module")
def frames():
    """Interactions and items of a shop."""
    config = SyntheticShopConfig(num_users=60, num_departments=2, items_per_kind=4)
    shop, _ = synthetic_shop(config, 0)
    log = shop.interactions.frame.select(
        "user_id", "item_id", timestamp=pl.int_range(pl.len(), dtype=pl.Int64)
    )
    return log, shop.items.frame


@pytest.fixture(scope="module")
def data(frames):
    return sidestep.Dataset.from_frames(*frames)


SMALL = {
    "kind": "transformer",
    "model": {"dim": 16, "num_layers": 1, "num_heads": 2, "history": "items", "item_head": True},
    "objective": {"item_weight": 1.0},
    "training": {"epochs": 1, "batch_size": 32, "device": "cpu"},
    "validation": {"num_users": 20, "num_beams": 10},
}


COUNTED = {"kind": "popularity"}


@pytest.fixture(scope="module")
def catalog(data):
    vectors = sidestep.embed(data)
    return sidestep.tokenize(data, vectors, settings={"codebook_sizes": (4, 4, 8)})


@pytest.fixture(scope="module")
def shop(data, catalog):
    return sidestep.train(data, SMALL, catalog=catalog)


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    """The recommender of the defaults, its folder, and the messages of its training."""
    told = []
    out = tmp_path_factory.mktemp("fitted")
    return sidestep.fit(data, epochs=1, out=out, on_progress=told.append), out, told


def test_ten_lines_from_two_frames_to_recommendations(frames, fitted, tmp_path):
    log, items = frames
    shop, _, _ = fitted
    users = log["user_id"].unique(maintain_order=True)[:2].to_list()
    found = shop.recommend_frame(users, k=10)
    assert found.columns == ["user_id", "item_id", "rank", "score", "title"]
    assert found["user_id"].to_list() == [user for user in users for _ in range(10)]
    assert found["rank"].to_list() == [*range(1, 11)] * 2
    titles = dict(items.select("item_id", "title").iter_rows())
    assert found["title"].to_list() == [titles[item] for item in found["item_id"]]
    for user in users:
        scores = found.filter(pl.col("user_id") == user)["score"].to_list()
        assert scores == sorted(scores, reverse=True)
    shop.save(tmp_path / "shop")
    again = sidestep.load(tmp_path / "shop")
    assert again.recommend_frame(users, k=10).equals(found)
    assert again.similar(items["item_id"][0], k=5).equals(shop.similar(items["item_id"][0], k=5))


def test_a_known_user_is_answered_as_by_the_whole_history(frames, fitted):
    log, _ = frames
    shop, _, _ = fitted
    history = log.filter(pl.col("user_id") == log["user_id"][0]).sort("timestamp")["item_id"]
    by_user = shop.recommend_frame([log["user_id"][0]], k=5)
    by_history = shop.recommend_frame({"me": history.to_list()}, k=5)
    assert by_user["item_id"].equals(by_history["item_id"])
    assert by_history["user_id"].unique().to_list() == ["me"]
    answer = shop.recommend([history.to_list()], k=5)[0]
    assert by_user["item_id"].to_list() == answer.item_ids
    everybody = shop.recommend_frame(k=1)
    assert everybody["user_id"].to_list() == list(shop.users.user_ids)


def test_fit_keeps_its_run_and_takes_the_search_that_was_measured_best(data, fitted):
    shop, out, told = fitted
    assert told[-1].epoch == 1
    kept = sidestep.load(out / "run")
    assert kept.manifest.search == shop.manifest.search
    scores = kept.manifest.training["searches"]
    assert scores.keys() == {"item-beam", "beam"}
    assert kept.manifest.search.name == max(scores, key=scores.get)
    assert kept.users.user_ids == data.histories().user_ids
    evaluated = sidestep.evaluate(shop, data)
    assert evaluated.per_user.setting.search == kept.manifest.search.name


def test_similar_items_are_the_nearest_by_the_cosine_of_their_vectors(shop):
    vectors = shop.network.catalog_vectors().double()
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    cosines = (vectors @ vectors[3]).tolist()
    others = sorted((c, item) for item, c in enumerate(cosines) if item != 3)[::-1][:4]
    item_ids = shop.catalog.item_ids.to_pylist()
    found = shop.similar(item_ids[3], k=4)
    assert found["item_id"].to_list() == [item_ids[item] for _, item in others]
    assert found["score"].to_list() == pytest.approx([c for c, _ in others], abs=1e-5)
    assert len(shop.similar(item_ids[3], k=1000)) == shop.catalog.num_items - 1


def test_learning_from_everything_holds_no_row_out(data, catalog):
    config = {**SMALL, "min_context": 0}
    held = sidestep.fit(data, config=config)
    whole = sidestep.fit(data, config=config, hold_out=False)
    assert whole.manifest.training["first_targets"] == held.manifest.training["first_targets"]
    assert whole.manifest.training["validation"] is None
    assert whole.manifest.training["steps"] >= held.manifest.training["steps"]
    with pytest.raises(ValueError, match="different split"):
        sidestep.evaluate(whole, data)


def test_evaluations_are_compared_in_a_frame(data, shop):
    beam = sidestep.evaluate(shop, data, search="beam", split="test")
    popularity = sidestep.train(data, {"kind": "popularity"})
    counted = sidestep.evaluate(popularity, data, split="test")
    found = sidestep.compare([counted, beam], reference="popularity", metrics=["NDCG@10"])
    assert found["metric"].unique().to_list() == ["NDCG@10"]
    row = found.row(1, named=True)
    assert row["mean"] == pytest.approx(beam.metrics["NDCG@10"])
    difference = beam.metrics["NDCG@10"] - counted.metrics["NDCG@10"]
    assert row["difference"] == pytest.approx(difference)
    assert row["low"] <= row["mean"] <= row["high"]
    assert found.row(0, named=True)["p"] is None
    # Lists without seen items answer another question and cannot be compared.
    unseen = sidestep.evaluate(shop, data, split="test", exclude_seen=True)
    with pytest.raises(ValueError, match="seen"):
        sidestep.compare([counted, unseen])


def test_a_recipe_improves_a_recommender(data, shop):
    settings = {
        "training": {"epochs": 1, "batch_size": 32, "device": "cpu"},
        "objective": {"num_prompts": 32, "rollouts": {"search": "beam", "num_beams": 4}},
        "validation": {"num_users": 10, "num_beams": 10},
    }
    aligned = sidestep.align(data, shop, "grpo-open", settings=settings)
    assert aligned.manifest.training["backbone"]["steps"] == shop.manifest.training["steps"]
    before, after = shop.network.state_dict(), aligned.network.state_dict()
    assert any(not before[name].equal(after[name]) for name in before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d, s: s.recommend_frame(["nobody"]), KeyError, "no history of 'nobody'"),
        (lambda d, s: s.recommend_frame("u0"), TypeError, r'pass \["u0"\]'),
        (lambda d, s: s.similar("nothing"), KeyError, "the catalog has no item 'nothing'"),
        (lambda d, s: sidestep.align(d, s, "magic"), ValueError, "recipe: there is no 'magic'"),
        (lambda d, s: sidestep.fit(d, config={"kind": "sasrecc"}), ValueError, "one of align"),
        (
            lambda d, s: sidestep.fit(d, config=COUNTED, epochs=2),
            ValueError,
            "epochs",
        ),
        (lambda d, s: sidestep.train(d, SMALL), ValueError, "semantic IDs: give catalog, from"),
    ],
)
def test_mistakes_name_arguments(data, shop, call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(data, shop)
    assert "--" not in str(caught.value)


def test_a_recommender_without_vectors_or_users_says_so(data, shop):
    popularity = sidestep.train(data, {"kind": "popularity"})
    with pytest.raises(ValueError, match="no vectors of items"):
        popularity.similar(data.items.item_ids[0])
    with pytest.raises(ValueError, match="knows no histories of users; pass them"):
        shop.with_users(None).recommend_frame()


def test_a_configuration_is_read_back(tmp_path, data):
    config = default_run(data, epochs=7)
    assert config.training.epochs == 7
    file = tmp_path / "config.yaml"
    file.write_text(config.to_yaml())
    assert TransformerRun.from_yaml(file) == config
    file.write_text(config.to_yaml().replace("dropout", "dropuot"))
    with pytest.raises(ValueError, match=r"config\.yaml: .*did you mean 'dropout'"):
        TransformerRun.from_yaml(file)


def test_nothing_is_printed(capsys, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sidestep.train(data, {"kind": "repeats"})
    assert capsys.readouterr() == ("", "")


def test_importing_the_package_is_light_and_names_are_listed():
    assert set(dir(sidestep)) == set(sidestep.__all__)
    for name in sidestep.__all__:
        assert getattr(sidestep, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sidestep.nothing  # noqa: B018


def test_a_part_that_is_not_there_is_never_taken_for_the_test_rows(data, shop):
    for split in ("valid", "tset", None):
        with pytest.raises((ValueError, TypeError)):
            sidestep.evaluate(shop, data, split=split)


def test_a_folder_with_other_things_is_left_alone(data, shop, tmp_path):
    shop.save(tmp_path / "shop")
    with pytest.raises(ValueError, match=r"holds other things .*; choose another folder"):
        sidestep.train(data, COUNTED, out=tmp_path / "shop")
    assert sidestep.load(tmp_path / "shop").kind == shop.kind
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file"):
        sidestep.train(data, COUNTED, out=tmp_path / "file")
    sidestep.train(data, COUNTED, out=tmp_path / "run-of-mine")
    assert sidestep.load(tmp_path / "run-of-mine").kind == "popularity"


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "1"])
def test_epochs_are_whole_numbers_from_one(data, epochs):
    with pytest.raises((ValueError, TypeError), match="epochs"):
        sidestep.fit(data, config={"kind": "sasrec"}, epochs=epochs)


def test_ids_that_are_numbers_are_told_their_text(shop):
    with pytest.raises(TypeError, match="user IDs are text, got int 7; pass '7'"):
        inspect.unwrap(type(shop).recommend_frame)(shop, [7])
    with pytest.raises(TypeError, match="item IDs are text, got int 7; pass '7'"):
        inspect.unwrap(type(shop).similar)(shop, 7)
    with pytest.raises(ValueError, match="k must be at least 1"):
        shop.similar("item-1", k=0)
    with pytest.raises(TypeError, match="search is a policy"):
        inspect.unwrap(type(shop).recommender)(shop, "beam")


def test_unknown_items_of_a_history_are_told(shop):
    with pytest.warns(UserWarning, match="1 items of the histories are not in the catalog"):
        shop.recommend_frame({"me": ["item-1", "nothing"]}, k=1)


def test_arguments_in_the_wrong_order_are_told(data, shop):
    with pytest.raises(TypeError, match="recommender"):
        sidestep.evaluate(data, shop)
    with pytest.raises(TypeError, match="dataset"):
        sidestep.align(shop, data)
    with pytest.raises(TypeError, match="config"):
        sidestep.train(data, "transformer")
    assert len(repr(shop).splitlines()) == 1


def test_a_run_in_a_folder_has_its_dataset_and_backbone_beside_it(data, shop, tmp_path):
    settings = {
        "training": {"epochs": 1, "batch_size": 32, "device": "cpu"},
        "objective": {"num_prompts": 16, "rollouts": {"search": "beam", "num_beams": 4}},
        "validation": {"num_users": 5, "num_beams": 10},
    }
    out = tmp_path / "aligned"
    sidestep.align(data, shop, "grpo-open", settings=settings, out=out)
    assert RunFolder(out / "run").dataset() == out / "dataset"
    assert (out / "backbone" / "manifest.json").is_file()
    other = sidestep.load(out)
    with pytest.raises(ValueError, match="an alignment of another recommender"):
        sidestep.align(data, other, "grpo-open", settings=settings, out=out)


def test_a_folder_of_another_dataset_is_named_in_words(frames, data, tmp_path):
    log, items = frames
    sidestep.train(data, COUNTED, out=tmp_path / "out")
    fewer = sidestep.Dataset.from_frames(log.head(400), items)
    with pytest.raises(ValueError, match=r"a run on another dataset \(different interactions\)"):
        sidestep.train(fewer, COUNTED, out=tmp_path / "out")


TUNED = {
    "kind": "sasrec",
    "model": {"num_layers": 1},
    "training": {"epochs": 1, "device": "cpu"},
}


def test_tune_returns_a_configuration_to_train_with(data, tmp_path):
    told = []
    out = tmp_path / "tuned"
    settings = {"space": {"model.dim": [8, 16]}, "only": True, "trials": 2}
    tuned = sidestep.tune(data, TUNED, out=out, on_progress=told.append, **settings)
    assert told
    assert tuned.score == tuned.trials["score"].max()
    assert set(tuned.trials["model.dim"]) <= {8, 16}
    assert tuned.config.trials == 2
    assert sidestep.tune(data, TUNED, out=out, **settings).config == tuned.config
    made = sidestep.train(data, tuned.config, out=out, seed=1)
    assert made.manifest.training["trials"] == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"trials": 0}, "trials 0: ask for at least one trial"),
        ({"space": {"model.dims": [8, 16]}}, "did you mean 'dim'?"),
        ({"space": {"model.dim": [8]}}, "one value leaves nothing to choose"),
        ({"only": True}, "only: no space names a setting"),
    ],
)
def test_tune_names_arguments_and_no_options(data, given, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        sidestep.tune(data, TUNED, **given)
    assert "--" not in str(error.value)
