"""Commands that are used wrongly: one message that says what to do, exit code 2."""

import shutil
import sys

import polars as pl
import pytest

from tests.cli.commands import call, refused, run


def test_a_typo_in_a_configuration_names_the_nearest_key(shop, files, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("kind: transformer\nmodel: {dims: 16}\n")
    train = ("train", "--dataset", shop / "dataset", "--out", tmp_path / "run", "--config", config)
    message = refused(*train)
    assert "'model.dims'" in message
    assert "did you mean 'dim'?" in message
    message = refused(*train, "--set", "model.dims=16", "--set", "trainin.epochs=3")
    assert "--set 'model.dims=16': unknown key 'model.dims'; did you mean 'dim'?" in message
    assert "--set 'trainin.epochs=3': unknown key 'trainin'; did you mean 'training'?" in message
    assert "config.yaml" not in message
    message = refused(*train, "--set", "model.num_layers=many")
    assert f"{config}: unknown key 'model.dims'" in message
    assert "--set 'model.num_layers=many': model.num_layers: Input should be a valid" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: transformer\nmodel: {dim: 3}", "dim 3 must be"),
        ("kind: transformer\nmodel: {dim: -2}", "model.dim"),
        (
            "kind: transformer\ntraining: {adaptive_precision: {fp32_share: 0.5}}",
            "training: adaptive_precision is set, but precision is auto: set precision to adaptive",
        ),
        ("kind: bert", "kind must be one of align, bert4rec, caser, cobra, code-sets"),
        ("model: {dim: 16}", "there is no kind; set kind to one of align, bert4rec"),
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


def test_a_folder_of_runs_is_refused_with_one_of_its_runs(tmp_path):
    (tmp_path / "shop" / "sasrec").mkdir(parents=True)
    (tmp_path / "shop" / "sasrec" / "run.json").write_text("{}")
    message = refused("evaluate", tmp_path / "shop")
    assert "name one of the runs in it, such as" in message
    assert "sasrec" in message


@pytest.mark.parametrize("setting", ["model.dim", "=3", "kind.dim=3", "model.dim=["])
def test_a_bad_setting_is_refused(shop, files, tmp_path, setting):
    message = refused(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--out", tmp_path / "run", "--set", setting),
    )
    assert setting in message


def test_a_context_that_no_history_has_is_refused_with_one_that_some_have(shop, files, tmp_path):
    train = (
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", "--out", tmp_path / "run", "--dry-run"),
    )
    message = refused(*train, "--set", "min_context=500")
    assert "min_context is 500, but the longest history to train on has" in message
    least = int(message.partition("at most ")[2].rstrip(".\n"))
    assert f"has {least + 1} items" in message
    assert f"min_context is {least + 1}" in refused(*train, "--set", f"min_context={least + 1}")
    assert "targets" in run(*train, "--set", f"min_context={least}")


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        ("{", "run.json, line 1, column 2: not valid JSON"),
        ("[]", "run.json: not the description of a run"),
        ('{"dataset": "d", "catalog": "c"}', "run.json: not the description of a run"),
    ],
)
def test_a_damaged_description_of_a_run_is_told_with_its_remedy(shop, tmp_path, damaged, words):
    shutil.copytree(shop / "beam", tmp_path / "beam")
    (tmp_path / "beam/run.json").write_text(damaged)
    (tmp_path / "value.yaml").write_text(
        f"kind: value\nbackbone: {tmp_path / 'beam'}\nembeddings: {shop / 'vectors.npy'}\n"
    )
    dataset = ("--dataset", shop / "dataset", "--out", tmp_path / "run")
    for command in (
        ("evaluate", tmp_path / "beam"),
        ("train", "--config", tmp_path / "value.yaml", *dataset),
    ):
        message = refused(*command)
        assert words in message
        assert "restore the file, or repeat the 'sidestep train' of this run" in message


def test_a_transformer_without_catalog_is_told_where_to_get_one(shop, files, tmp_path):
    message = refused(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--out", tmp_path / "run"),
    )
    assert "sidestep tokenize" in message
    assert not (tmp_path / "run").exists()


def test_a_cobra_without_catalog_is_told_where_to_get_one(shop, tmp_path):
    message = refused(
        *("train", "--set", "kind=cobra", "--set", f"embeddings={shop / 'vectors.npy'}"),
        *("--dataset", shop / "dataset", "--out", tmp_path / "run"),
    )
    assert "a run of kind cobra needs semantic IDs: give --catalog" in message
    assert not (tmp_path / "run").exists()


def test_a_sasrec_that_reads_codes_without_catalog_is_told_where_to_get_one(shop, tmp_path):
    message = refused(
        *("train", "--set", "kind=sasrec", "--set", "model.code_embedding=true"),
        *("--dataset", shop / "dataset", "--out", tmp_path / "run"),
    )
    assert "model.code_embedding: true needs semantic IDs: give --catalog" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("objective.item_weight=1.0",), "the model has no item head"),
        (("kind=sasrec", "max_history=60", "model={}", "validation={}"), "max_history is 60"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_written(
    shop, files, tmp_path, settings, expected
):
    message = refused(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", "--out", tmp_path / "run"),
        *(word for setting in settings for word in ("--set", setting)),
    )
    assert expected in message
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
    ("arguments", "told"),
    [
        (("embed", "data", "--sentence", "--out", "v.npy"), ("--sentence", "--out")),
        (("import", "table", "log.csv", "--user", "--item", "sku"), ("--user", "--item")),
        (("recommend", "run", "--user", "-k", "5"), ("--user", "-k")),
        (("compare", "run", "--reference", "--include-seen"), ("--reference", "--include-seen")),
        (("recommend", "run", "--user", "--help"), ("--user", "--help")),
        (("data", "split", "dataset", "--strategy", "--json"), ("--strategy", "--json")),
    ],
)
def test_an_option_without_its_value_does_not_take_the_next_option_for_it(arguments, told):
    assert f"{told[0]} needs a value, and {told[1]} follows it." in call(*arguments).output


def test_a_value_may_begin_with_a_dash(shop):
    """A name that looks like an option, and what stands behind a double dash."""
    told = call("recommend", shop / "beam", "--history", "-1,item-2").output
    assert "1 of 2 items of the history are not in the catalog" in told
    assert "no bundle here" in refused("recommend", "--history", "item-1", "--", "--user")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("embed", "nowhere", "--out", "v.npy"), "sidestep import"),
        (("tokenize", "nowhere", "--vectors", "v.npy", "--out", "c"), "sidestep import"),
        (("inspect", "nowhere", "--dataset", "nowhere"), "sidestep import"),
        (("evaluate", "nowhere"), "sidestep train"),
        (("compare", "nowhere"), "sidestep evaluate"),
        (("recommend", "nowhere", "--history", "1"), "no bundle here"),
        (("recommend", "nowhere"), "--history"),
        (("import", "table", "nowhere.csv", "--out", "d"), "nowhere.csv: there is no such file"),
        (("import", "lcrec", "nowhere.json", "--out", "d"), "nowhere.json: no such file"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_makes_it(
    tmp_path, monkeypatch, arguments, expected
):
    monkeypatch.chdir(tmp_path)
    assert expected in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_an_unknown_user_is_refused(shop):
    message = refused("recommend", shop / "beam", "--user", "nobody", "--dataset", shop / "dataset")
    assert "no user 'nobody'" in message


def test_a_number_of_users_must_be_one(shop):
    assert "--users 'many'" in refused("evaluate", shop / "beam", "--users", "many")


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


def test_a_model_beyond_the_memory_is_refused_before_anything_is_written(shop, files, tmp_path):
    message = refused(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", "--out", tmp_path / "run", "--set", "model.dim=4000000"),
    )
    assert "model.dim 4000000" in message
    assert not (tmp_path / "run").exists()


def test_ray_without_a_k_core_or_without_ray_is_refused_before_anything_is_written(
    tmp_path, monkeypatch
):
    log = tmp_path / "log.parquet"
    pl.DataFrame({"user_id": ["a", "a"], "item_id": ["b", "b"]}).write_parquet(log)
    out = tmp_path / "dataset"
    imported = ("import", "table", log, "--out", out)
    assert "--engine ray needs --k-core" in refused(*imported, "--engine", "ray")
    assert "--ray-address needs --engine ray" in refused(*imported, "--ray-address", "auto")
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    assert "pip install 'sidestep[ray]'" in refused(*imported, "--engine", "ray", "--k-core", 2)
    assert not out.exists()
