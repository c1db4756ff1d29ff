"""What commands say when they are used wrongly: one message, what to do, exit code 2."""

import numpy as np
import pytest

import sidestep
from tests.cli.commands import call, refused, run


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("import",),
        *[("import", kind) for kind in ("lcrec", "p5", "table")],
        *[(name,) for name in ("embed", "tokenize", "train", "evaluate", "compare")],
        *[(name,) for name in ("recommend", "demo")],
    ],
)
def test_every_command_has_help(arguments):
    assert "Usage" in run(*arguments, "--help")


@pytest.mark.parametrize("name", ["embed", "tokenize", "train", "evaluate", "compare", "recommend"])
def test_the_help_of_a_command_has_examples(name):
    assert f"sidestep {name} " in run(name, "--help")


def test_a_typo_in_a_configuration_names_the_nearest_key(shop, files, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("kind: transformer\nmodel: {dims: 16}\n")
    train = ("train", "--dataset", shop / "dataset", "--out", tmp_path / "run", "--config", config)
    message = refused(*train)
    assert "'model.dims'" in message
    assert "did you mean 'dim'?" in message
    message = refused(*train, "--set", "model.dims=16", "--set", "trainin.epochs=3")
    assert "did you mean 'training'?" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: transformer\nmodel: {dim: 3}", "dim 3 must be"),
        ("kind: transformer\nmodel: {dim: -2}", "model.dim"),
        ("kind: bert", "kind must be one of transformer, sasrec, popularity"),
        ("kind: [", "line"),
        ("just text", "keys and values"),
    ],
)
def test_a_bad_configuration_is_refused_with_its_place(shop, tmp_path, text, expected):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    message = refused(
        *("train", "--config", config, "--dataset", shop / "dataset", "--out", tmp_path / "run")
    )
    assert expected in message
    assert "config.yaml" in message


@pytest.mark.parametrize("setting", ["model.dim", "=3", "kind.dim=3", "model.dim=["])
def test_a_bad_setting_is_refused(shop, files, tmp_path, setting):
    message = refused(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--out", tmp_path / "run", "--set", setting),
    )
    assert setting in message


def test_a_transformer_without_catalog_is_told_where_to_get_one(shop, files, tmp_path):
    message = refused(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--out", tmp_path / "run"),
    )
    assert "sidestep tokenize" in message
    assert not (tmp_path / "run").exists()


def test_a_catalog_of_other_items_is_refused(shop, files, tmp_path):
    small = tmp_path / "dataset"
    run(
        *("import", "table", files / "events.csv", "--user", "user", "--item", "sku"),
        *("--k-core", 5, "--out", small),
    )
    message = refused(
        *("train", "--config", files / "config.yaml", "--dataset", small),
        *("--catalog", shop / "catalog", "--out", tmp_path / "run"),
    )
    assert "not those of the dataset" in message


def test_another_dataset_is_refused_in_evaluation(shop, files, tmp_path):
    other = tmp_path / "dataset"
    run(
        *("import", "table", files / "events.csv", "--user", "user", "--item", "sku"),
        *("--duplicates", "last", "--out", other),
    )
    message = refused("evaluate", shop / "beam", "--dataset", other)
    assert "another dataset" in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("embed", "nowhere", "--out", "v.npy"), "sidestep import"),
        (("tokenize", "nowhere", "--vectors", "v.npy", "--out", "c"), "sidestep import"),
        (("evaluate", "nowhere"), "sidestep train"),
        (("compare", "nowhere"), "sidestep evaluate"),
        (("recommend", "nowhere", "--history", "1"), "no bundle here"),
        (("recommend", "nowhere"), "--history"),
        (("import", "table", "nowhere.csv", "--out", "d"), "nowhere.csv"),
        (("import", "lcrec", "nowhere.json", "--out", "d"), "nowhere.json"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(
    tmp_path, monkeypatch, arguments, expected
):
    monkeypatch.chdir(tmp_path)
    assert expected in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_vectors_of_another_number_of_items_are_refused(shop, tmp_path):
    np.save(tmp_path / "v.npy", np.ones((3, 4), dtype=np.float32))
    given = ("embed", shop / "dataset", "--given", tmp_path / "v.npy", "--out", tmp_path / "w.npy")
    assert "3 rows for 60 items" in refused(*given)
    vectors = ("--vectors", tmp_path / "v.npy")
    assert "3 vectors" in refused("tokenize", shop / "dataset", *vectors, "--out", tmp_path / "c")


def test_unknown_text_columns_are_refused(shop, tmp_path):
    message = refused("embed", shop / "dataset", "--columns", "titel", "--out", tmp_path / "v.npy")
    assert "titel" in message
    assert "title" in message


def test_an_unknown_user_is_refused(shop):
    message = refused("recommend", shop / "beam", "--user", "nobody", "--dataset", shop / "dataset")
    assert "no user 'nobody'" in message


def test_debug_shows_the_traceback(shop):
    done = call("--debug", "compare", "nowhere")
    assert isinstance(done.exception, FileNotFoundError)


def test_a_number_of_users_must_be_one(shop):
    assert "--users 'many'" in refused("evaluate", shop / "beam", "--users", "many")


def test_the_version_needs_no_command():
    assert run("--version") == f"sidestep {sidestep.__version__}\n"


def test_embed_overwrites_nothing_but_vectors(shop, tmp_path):
    notes = tmp_path / "notes.npy"
    notes.write_text("dear diary")
    assert "not overwritten" in refused("embed", shop / "dataset", "--out", notes)
    assert "vectors.npy" in refused("embed", shop / "dataset", "--out", tmp_path / "thesis.tex")
    assert notes.read_text() == "dear diary"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--collaborative-weight", "nan"), "--collaborative-weight must be finite"),
        (("--columns", ""), "give --columns, --collaborative-weight or --given"),
        (("--dim", 5000), "--dim"),
    ],
)
def test_what_cannot_be_embedded_is_refused(shop, tmp_path, options, expected):
    assert expected in refused("embed", shop / "dataset", "--out", tmp_path / "v.npy", *options)
    assert not list(tmp_path.iterdir())


def test_a_configuration_that_is_not_utf_8_is_named(shop, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_bytes("kind: sasrec # größer".encode("latin-1"))
    train = ("train", "--dataset", shop / "dataset", "--out", tmp_path / "run", "--config", config)
    assert "config.yaml: not UTF-8" in refused(*train)


def test_a_rule_of_the_configuration_is_told_without_its_values(shop, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("kind: transformer\nmodel: {dim: 3}")
    train = ("train", "--dataset", shop / "dataset", "--out", tmp_path / "run", "--config", config)
    message = refused(*train)
    assert "Value error" not in message
    assert "{" not in message


def test_what_searches_nothing_refuses_options_of_a_search(shop, tmp_path):
    (tmp_path / "config.yaml").write_text("kind: popularity\n")
    out = tmp_path / "run"
    run(
        *("train", "--config", tmp_path / "config.yaml"),
        *("--dataset", shop / "dataset", "--out", out),
    )
    assert "searches nothing" in refused("recommend", out, "--history", "item-1", "--beams", 3)
    assert "searches nothing" in refused("evaluate", out, "--search", "exhaustive")
