"""A language model by commands: the data of MiniOneRec, and two processes that train together."""

import json

import pytest
from safetensors.torch import load_file

from tests.cli.commands import call, run
from tests.cli.launched import Launched
from tests.data.importers.test_minionerec import NAME, SIDS, shop

pytest.importorskip("transformers")
pytest.importorskip("peft")

from tests.model.languages import write_language_model

SMALL = (
    *("--set", "training.epochs=2"),
    *("--set", "training.batch_size=4"),
    *("--set", "training.device=cpu"),
    *("--set", "training.learning_rate=1e-3"),
    *("--set", "validation.num_beams=4"),
)


@pytest.fixture(scope="module")
def industrial(tmp_path_factory):
    """MiniOneRec's folders of a tiny shop, imported, with their semantic IDs as a catalog."""
    folder = tmp_path_factory.mktemp("industrial")
    published = shop(folder / "published")
    (published / "index").mkdir()
    index = {str(item): sid.replace("><", "> <").split() for item, sid in enumerate(SIDS)}
    ids = published / "index" / f"{NAME}.index.json"
    ids.write_text(json.dumps(index))
    write_language_model(folder / "model", "Qwen2", chat=True)
    run("import", "minionerec", published, "--out", folder / "dataset")
    run("tokenize", folder / "dataset", "--published", ids, "--out", folder / "catalog")
    return folder


def training_of(folder, tasks):
    """The arguments of a training, without its folder."""
    return (
        *("train", "--set", "kind=language-model", "--set", "max_history=4", *SMALL),
        *("--set", f"model.language_model={folder / 'model'}"),
        *("--set", f"objective.tasks={tasks}", "--set", "objective.texts_per_step=2"),
        *("--dataset", folder / "dataset", "--catalog", folder / "catalog"),
    )


def lists_of(bundle):
    """The test lists of a bundle by a beam, for two histories."""
    given = ("recommend", bundle, "--k", 5, "--search", "beam", "--beams", 5, "--json")
    return [json.loads(run(*given, "--history", items)) for items in ("0,1", "3")]


def test_the_data_of_minionerec_go_through_training_and_rewards(industrial, tmp_path):
    trained = call(*training_of(industrial, "minionerec"), "--out", tmp_path / "lm")
    assert trained.exit_code == 0, trained.output
    assert not {"Loading", "FutureWarning"} & {*trained.output.replace(":", " ").split()}
    metrics = json.loads(run("evaluate", tmp_path / "lm", "--split", "test", "--json"))["metrics"]
    assert metrics["invalid_rate"] == 0
    run(
        *("align", tmp_path / "lm", "--recipe", "grpo-beam", "--out", tmp_path / "better"),
        *("--set", "training.batch_size=4", "--set", "validation.num_beams=4"),
    )
    run("export", tmp_path / "better", "--out", tmp_path / "published")
    run("adopt", tmp_path / "published", "--out", tmp_path / "back")
    assert lists_of(tmp_path / "back") == lists_of(tmp_path / "better")


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_train_a_language_model_as_one_does(industrial, tmp_path, sharding):
    arguments = [*training_of(industrial, "none"), "--set", f"training.sharding={sharding}"]
    run(*arguments, "--out", tmp_path / "one")
    code, said = Launched(tmp_path / "said", *arguments, "--out", tmp_path / "two").end()
    assert code == 0, said
    ours, theirs = (
        load_file(tmp_path / name / "bundle" / "model.safetensors") for name in ("one", "two")
    )
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        assert theirs[name].allclose(weights, atol=1e-4), name
