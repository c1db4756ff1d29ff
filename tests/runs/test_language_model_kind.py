"""Runs of kind language-model: what learns, what is kept, and what is refused."""

import json

import numpy as np
import polars as pl
import pytest
import torch

import sidestep
import sidestep.step
from sidestep.bundle.folder import load
from sidestep.catalog.catalog import Catalog
from sidestep.embedding.vectors import save_vectors
from sidestep.evaluation.evaluator import evaluate
from sidestep.recommender import GenerativeRecommender
from sidestep.runs.config import checked_run
from sidestep.runs.language_titles import END_OF_TITLE, title_catalog
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import whole_space
from sidestep.tokenizer.title_codes import PADDING, title_codes

from .test_learning import NUM_ITEMS, SIZES, a_catalog, a_split, fitted

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

from sidestep.model.language_models import read_language_model, read_tokenizer, tokens_of  # noqa: E402
from tests.model.languages import write_language_model  # noqa: E402

COLOURS = ("red", "blue", "green")
TITLES = [
    *(f"{colour} {thing}" for colour in COLOURS for thing in ("lamp", "chair", "table")),
    *(f"{colour} lamp of the shop" for colour in COLOURS),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_language_model(tmp_path_factory.mktemp("language"), chat=True)


def titled_catalog():
    texts = pl.DataFrame({"title": TITLES, "shelf": [f"the {t.split()[0]} shop" for t in TITLES]})
    plain = a_catalog()
    return Catalog.build(plain.item_ids, plain.semantic_ids, plain.codebook_sizes, texts=texts)


def run_of(folder, *, trained="all", epochs=2, max_seconds=None, objective=None, **model):
    content = {
        "kind": "language-model",
        "max_history": 4,
        "model": {"language_model": str(folder), "trained": trained, **model},
        "objective": objective or {},
        "training": {
            "epochs": epochs,
            "batch_size": 8,
            "learning_rate": 1e-2,
            "max_seconds": max_seconds,
            "device": "cpu",
            "validate_every": epochs,
        },
    }
    return checked_run(content, "test")


def test_it_learns_codes_and_words(folder, tmp_path):
    tasks = {"tasks": "minionerec", "texts_per_step": 2, "text_weight": 0.1}
    config = run_of(folder, epochs=40, objective=tasks)
    catalog = titled_catalog()
    network, _ = fitted(config, tmp_path, seed=0, catalog=catalog)
    lines = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    first, *_, last = (line["parts"] for line in lines if line["kind"] == "epoch")
    codes_before, codes_after = (parts["code_1"] + parts["code_2"] for parts in (first, last))
    assert codes_before > 2.4  # chance is log 12
    assert codes_after < 2.0
    assert last["words"] < 0.6 * first["words"]
    recommender = GenerativeRecommender(
        network.eval(), whole_space(catalog.spanned), BeamSearch(num_beams=4), max_history=4
    )
    assert evaluate(recommender, a_split().validation, k=3).metrics["HR@1"] > 1 / NUM_ITEMS


@pytest.mark.parametrize("trained", ["lora", "rows"])
def test_an_adapter_alone_learns_and_is_merged(folder, tmp_path, trained):
    before = run_of(folder, trained="all").untrained(a_catalog())
    network, _ = fitted(run_of(folder, trained=trained), tmp_path, seed=0)
    history = a_split().test.histories
    batch = sidestep.step.HistoryBatch(
        items=torch.from_numpy(history.items[:4])[None], lengths=torch.tensor([4])
    )
    with torch.no_grad():
        expected, _ = network.eval().encode(batch, capacity=0)
        network.merge_adapter()
        merged, _ = network.encode(batch, capacity=0)
    torch.testing.assert_close(merged.logits, expected.logits, atol=1e-5, rtol=1e-4)
    old, new = (each.language_model.state_dict() for each in (before, network))
    assert old.keys() == new.keys()
    tables = old["model.embed_tokens.weight"], new["model.embed_tokens.weight"]
    moved = (tables[0] != tables[1]).any(dim=1).nonzero()[:, 0]
    is_word = torch.arange(len(tables[0])) < int(network.code_tokens.min())
    assert not is_word[moved].any()
    assert set(network.code_tokens.tolist()) <= set(moved.tolist())
    inner = [name for name in old if "proj" in name]
    changed = [not old[name].equal(new[name]) for name in inner]
    assert all(changed) if trained == "lora" else not any(changed)


@pytest.mark.parametrize("trained", ["lora", "all"])
def test_an_interrupted_training_goes_on_as_if_it_had_never_stopped(folder, tmp_path, trained):
    tasks = {"tasks": {"id-to-title": 1.0, "titles-to-id": 1.0}, "texts_per_step": 2}
    catalog = titled_catalog()

    def run(name, *, seconds=None, resume=False):
        config = run_of(folder, trained=trained, max_seconds=seconds, objective=tasks)
        return fitted(config, tmp_path / name, seed=0, resume=resume, catalog=catalog)

    whole, _ = run("whole")
    _, stopped = run("parts", seconds=1e-6)
    assert stopped.stopped != "finished"
    resumed, result = run("parts", resume=True)
    assert result.stopped == "finished"
    for name, weights in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weights), name


def a_dataset():
    rows = [
        (f"u{user}", f"i{(user + step) % NUM_ITEMS}", step)
        for user in range(NUM_ITEMS)
        for step in range(5)
    ]
    items = pl.DataFrame({"item_id": [f"i{item}" for item in range(NUM_ITEMS)], "title": TITLES})
    return sidestep.Dataset.from_frames(
        pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"), items
    )


def test_a_bundle_and_a_folder_of_hugging_face_recommend_the_same(folder, tmp_path):
    from sidestep.bundle.hugging_face import (
        export_hugging_face,
        network_from_hugging_face,
        read_token_map,
    )

    run = sidestep.train(
        a_dataset(), run_of(folder, trained="lora"), catalog=titled_catalog(), out=tmp_path / "run"
    )
    bundle = load(tmp_path / "run", device="cpu")
    assert bundle.kind == "hugging-face"
    histories = [["i1", "i2"], [], ["i5"]]
    lists = bundle.recommend(histories, k=5)
    assert [answer.item_ids for answer in run.recommend(histories, k=5)] == [
        answer.item_ids for answer in lists
    ]
    export_hugging_face(tmp_path / "hf", bundle)
    tokens = read_token_map(tmp_path / "hf", bundle.catalog, max_history=1)
    back = network_from_hugging_face(tmp_path / "hf", bundle.catalog, tokens)
    assert back.description()["instruction"] == bundle.network.description()["instruction"]
    exported = read_language_model(str(tmp_path / "hf"))
    assert exported.encode("red<a_0>")[0] == 13
    assert exported.turn(chat=None) == bundle.network.prompt.turn
    batch = sidestep.step.HistoryBatch(items=torch.tensor([[1, 2]]), lengths=torch.tensor([2]))
    with torch.no_grad():
        ours, _ = bundle.network.encode(batch, capacity=0)
        theirs, _ = back.encode(batch, capacity=0)
    torch.testing.assert_close(theirs.logits, ours.logits)


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_begin_at_the_means_of_the_words_of_their_items(tmp_path, tied):
    from sidestep.model import language_models

    language = language_models.read_language_model(
        str(write_language_model(tmp_path / "language", tied=tied))
    )
    table = language.model.get_input_embeddings().weight.detach().clone()
    words = [table[language.encode(title)].mean(dim=0) for title in TITLES]
    ids = a_catalog().semantic_ids
    tokens = language_models.add_code_tokens(language, ids, SIZES, texts=TITLES, seed=0)
    rows = language.model.get_input_embeddings().weight.detach()
    assert len(rows) % 64 == 0
    of_first = torch.stack([words[item] for item in (ids[:, 0] == 0).nonzero()[:, 0].tolist()])
    # The noise is a tenth of the spread of the rows.
    distance = (rows[tokens[0]] - of_first.mean(dim=0)).abs()
    assert (distance < 0.5 * table.std(dim=0)).all()
    assert (distance > 0).any()
    head = language.model.get_output_embeddings().weight
    assert (head is language.model.get_input_embeddings().weight) == tied
    assert not head[tokens[0]].equal(head[tokens[1]])
    again = language_models.add_code_tokens(language, ids, SIZES, texts=TITLES, seed=0)
    assert again.equal(tokens)
    with pytest.raises(ValueError, match="some tokens of codes, such as <a_0>"):
        language_models.add_code_tokens(language, ids, (*SIZES, 9), texts=TITLES, seed=0)


def test_the_instruction_is_the_turn_of_a_user(folder, tmp_path):
    def opening(at, **model):
        network = run_of(at, instruction="Items: ", **model).untrained(a_catalog())
        return network.prompt.opening

    vocabulary = transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
    words = [vocabulary[word] for word in ("Items", ":", " ")]
    turn = [vocabulary["<user>"], *words, vocabulary["<answer>"]]
    plain = [vocabulary["<s>"], *words, vocabulary["\n"]]
    assert opening(folder) == tuple(turn)
    assert opening(folder, chat=False) == tuple(plain)
    bare = write_language_model(tmp_path / "bare")
    assert opening(bare) == tuple(plain)
    with pytest.raises(ValueError, match=r"model\.chat: true needs the chat template"):
        opening(bare, chat=True)


def test_what_cannot_be_read_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"a language model needs config\.json"):
        run_of(tmp_path).untrained(a_catalog())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="needs weights as"):
        run_of(tmp_path).untrained(a_catalog())
    with pytest.raises(ValueError, match="lora is of trained: lora, and trained is rows"):
        run_of(folder, trained="rows", lora={"rank": 2})
    with pytest.raises(ValueError, match="name their column in query_column"):
        run_of(folder, objective={"tasks": "lc-rec"})
    config = run_of(folder, objective={"tasks": "lc-rec", "query_column": "brand"})
    with pytest.raises(ValueError, match="no column 'brand'; there are: title, shelf"):
        config.made_objective(config.untrained(titled_catalog()), titled_catalog())
    config = run_of(folder, objective={"tasks": "minionerec"})
    with pytest.raises(ValueError, match=r"no item has one; set objective\.tasks to none"):
        config.made_objective(config.untrained(a_catalog()), a_catalog())
    config = run_of(folder, trained="lora", lora={"modules": ["nothing"]})
    with pytest.raises(ValueError, match=r"model\.lora\.modules"):
        config.untrained(a_catalog())


def test_rewards_preferences_and_values_improve_a_language_model_as_any_other(folder, tmp_path):
    dataset, catalog = a_dataset(), titled_catalog()
    config = run_of(folder, trained="rows", epochs=1)
    sft = sidestep.train(dataset, config, catalog=catalog, out=tmp_path / "sft")
    training = {"epochs": 1, "batch_size": 6, "device": "cpu", "learning_rate": 1e-4}
    settings = {"training": training, "validation": {"num_beams": 4}}
    for recipe in ("grpo-beam", "sdpo"):
        better = sidestep.align(dataset, sft, recipe, settings=settings)
        assert better.kind == "hugging-face"
        assert better.network.tokenizer == sft.network.tokenizer
        old, new = (each.network.language_model.state_dict() for each in (sft, better))
        assert not all(new[name].equal(weights) for name, weights in old.items())
    ids = [f"i{item}" for item in range(NUM_ITEMS)]
    vectors = np.random.default_rng(0).normal(size=(NUM_ITEMS, 8)).astype(np.float32)
    save_vectors(tmp_path / "vectors.npy", vectors, item_ids=ids, made_of={})
    beside = {"backbone": str(tmp_path / "sft"), "training": training}
    value = {"kind": "value", "embeddings": str(tmp_path / "vectors.npy"), **beside}
    value["model"] = {"num_heads": 4}
    valued = sidestep.train(dataset, value, out=tmp_path / "value")
    found = sidestep.evaluate(valued, dataset, search="value-beam")
    assert found.metrics["invalid_rate"] == 0
    wide = {
        **settings,
        "embeddings": value["embeddings"],
        "objective": {"rollouts": {"search": "ved", "budget": 40}},
    }
    assert sidestep.align(dataset, valued, "vstar", settings=wide).kind == "hugging-face"
    rewarded = sidestep.train(dataset, {"kind": "process-reward", **beside}, out=tmp_path / "prm")
    found = sidestep.evaluate(rewarded, dataset, search="prm-beam")
    assert found.metrics["invalid_rate"] == 0


def test_titles_are_written_token_by_token_by_every_search(folder, tmp_path):
    dataset = a_dataset()
    catalog = title_catalog(dataset, str(folder), num_levels=12)
    tokenizer = read_tokenizer(str(folder))
    lengths = [len(words) for words in tokens_of(tokenizer, TITLES)]
    assert catalog.num_levels == max(lengths) + 1
    config = run_of(folder, trained="lora", epochs=1, codes="titles")
    made = sidestep.train(dataset, config, catalog=catalog, out=tmp_path / "run")
    network = load(tmp_path / "run", device="cpu").network
    # A history is the titles as a text has them, each with its end.
    text = "".join(f"{TITLES[item]}{END_OF_TITLE}" for item in (3, 10))
    batch = sidestep.step.HistoryBatch(items=torch.tensor([[3, 10]]), lengths=torch.tensor([2]))
    written = [*network.prompt.opening, *tokenizer.encode(text, add_special_tokens=False)]
    state = network.language_model.base_model(torch.tensor([written])).last_hidden_state[0, -1]
    root, _ = network.encode(batch, capacity=0)
    torch.testing.assert_close(root.hidden[0, 0], state)
    # Behind the end of a title there is nothing to learn, and nothing to choose.
    weights = network.code_weights(torch.arange(NUM_ITEMS))
    assert weights.sum(dim=1).tolist() == [length + 1 for length in lengths]
    exact = sidestep.evaluate(made, dataset, search="exhaustive")
    beam = sidestep.evaluate(made, dataset, search="beam")
    assert exact.metrics["invalid_rate"] == beam.metrics["invalid_rate"] == 0
    grounded = sidestep.evaluate(made, dataset, search="grounded")
    assert grounded.metrics["HR@1"] == pytest.approx(beam.metrics["HR@1"])
    [alike] = made.similar("i0", k=1)["title"]
    assert {"red", "lamp"} & set(alike.split())
    lists = made.recommend([["i1"]], k=NUM_ITEMS, search=BeamSearch(num_beams=NUM_ITEMS))
    probs = np.exp(lists[0].scores).sum()
    assert probs == pytest.approx(1, abs=1e-3)


def test_a_catalog_of_other_tokens_and_tasks_over_titles_are_refused(folder):
    config = run_of(folder, codes="titles")
    with pytest.raises(ValueError, match="make it with 'sidestep tokenize DATASET --titles"):
        config.untrained(titled_catalog())
    with pytest.raises(ValueError, match="codes: titles has no new tokens"):
        run_of(folder, trained="rows", codes="titles")
    with pytest.raises(ValueError, match=r"set objective\.tasks to none"):
        run_of(folder, codes="titles", objective={"tasks": "minionerec"})


def test_the_chance_that_a_title_ends_is_that_of_the_data(folder):
    texts = pl.DataFrame({"title": ["red", "red", "red lamp", "red lamp", "blue lamp", "red lamp"]})
    tokenizer = read_tokenizer(str(folder))
    made = title_codes(tokens_of(tokenizer, texts["title"].to_list()), num_levels=4)
    catalog = Catalog.build(
        [f"i{item}" for item in range(6)], made.semantic_ids, made.codebook_sizes, texts=texts
    )
    network = run_of(folder, codes="titles").untrained(catalog)
    assert network.prompt.silent
    items = torch.arange(6)
    batch = sidestep.step.HistoryBatch(items=items[None], lengths=torch.tensor([6]))
    logits = network.level_logits(network.next_item_states(batch)[0], items, batch)
    for level, tokens in enumerate(made.tokens):
        probs = logits[:, level, : len(tokens)].softmax(dim=-1)
        for code, token in enumerate(tokens):
            if token == PADDING:  # takes nothing from the codes that are in question
                assert (probs[:, code] < 1e-6).all() or len(tokens) == 1
    beam = BeamSearch(num_beams=6).search(network, batch, whole_space(catalog.spanned))
    assert beam.log_probs.exp().sum() == pytest.approx(1, abs=1e-3)


def test_a_catalog_of_titles_is_not_taken_for_semantic_ids(folder):
    catalog = title_catalog(a_dataset(), str(folder), num_levels=12)
    with pytest.raises(ValueError, match=r"set model\.codes to titles"):
        run_of(folder).untrained(catalog)
