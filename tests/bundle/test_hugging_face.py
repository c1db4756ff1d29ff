"""Bundles in the layout of Hugging Face: read by transformers itself, and converted back."""

import numpy as np
import pytest
import torch

from sidestep.bundle.appending import append_items
from sidestep.bundle.folder import load, save_bundle
from sidestep.catalog.catalog import Catalog
from sidestep.model.config import TransformerConfig
from sidestep.model.prompt_tokens import PromptTokens
from sidestep.model.transformer import Transformer
from sidestep.step import HistoryBatch

transformers = pytest.importorskip("transformers")
layout = pytest.importorskip("sidestep.bundle.hugging_face")
adapter = pytest.importorskip("sidestep.model.hugging_face")

SIZES = (3, 4)
ITEM_IDS = [f"id-{index}" for index in range(12)]
TOKENS = torch.tensor([5, 3, 4, 11, 7, 9, 8])
"""Tokens in no order, in a vocabulary of 14."""


def catalog():
    semantic_ids = np.array([[index // 4, index % 4] for index in range(12)])
    return Catalog.build(ITEM_IDS, semantic_ids, SIZES)


def language_model(kind="Llama"):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=14,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=0,
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def network(kind):
    torch.manual_seed(0)
    if kind == "native":
        config = TransformerConfig(dim=8, num_layers=1, num_heads=2)
        model = Transformer(config, catalog().semantic_ids, SIZES)
        torch.nn.init.normal_(model.head.weight)
        return model
    return adapter.HuggingFaceModel(
        language_model(),
        catalog().semantic_ids,
        SIZES,
        prompt=PromptTokens(opening=(2,), codes=TOKENS),
    )


def loaded(folder, kind):
    save_bundle(folder, network=network(kind), catalog=catalog(), max_history=4, seed=0)
    return load(folder, device="cpu")


@pytest.mark.parametrize("kind", ["native", "adapter"])
@torch.no_grad()
def test_transformers_loads_an_export_and_gives_the_same_logits(tmp_path, kind):
    bundle = loaded(tmp_path / "bundle", kind)
    layout.export_hugging_face(tmp_path / "hf", bundle)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    tokens = layout.read_token_map(tmp_path / "hf", catalog(), max_history=1)
    assert tokens.max_history == 4
    # Items 1 and 6 are (0, 1) and (1, 2).
    words = tokenizer("<a_0><b_1><a_1><b_2>", return_tensors="pt").input_ids
    by_level = tokens.code_tokens
    assert words.tolist() == [
        [tokens.start_token, by_level[0][0], by_level[1][1], by_level[0][1], by_level[1][2]]
    ]
    histories = HistoryBatch(items=torch.tensor([[1, 6]]), lengths=torch.tensor([2]))
    root, _ = bundle.network.encode(histories, capacity=0)
    logits = theirs(words).logits[0, -1, by_level[0]]
    torch.testing.assert_close(root.logits[0, 0, :3], logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "native"), [("native", None), ("adapter", None), ("adapter", False)]
)
def test_an_export_comes_back_as_a_bundle_that_recommends_the_same(tmp_path, kind, native):
    bundle = loaded(tmp_path / "bundle", kind)
    layout.export_hugging_face(tmp_path / "hf", bundle)
    known = Catalog.load(tmp_path / "hf" / layout.CATALOG_FOLDER)
    tokens = layout.read_token_map(tmp_path / "hf", known, max_history=1)
    back = layout.network_from_hugging_face(tmp_path / "hf", known, tokens, native=native)
    save_bundle(tmp_path / "back", network=back, catalog=known, max_history=4, seed=0)
    again = load(tmp_path / "back", device="cpu")
    assert again.kind == ("hugging-face" if native is False else "semantic-id-transformer")
    histories = [["id-1", "id-6"], []]
    for ours, theirs in zip(
        bundle.recommend(histories, k=12), again.recommend(histories, k=12), strict=True
    ):
        assert ours.item_ids == theirs.item_ids
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-4)


def test_a_tokenizer_of_codes_stands_for_the_token_map(tmp_path):
    folder = tmp_path / "qwen"
    language_model("Qwen2").save_pretrained(folder)
    rows = [[3, 4, 5], [6, 7, 8, 9]]
    tokens = layout.TokenMap(start_token=2, code_tokens=rows, max_history=1)
    layout._tokenizer(tokens, None).save_pretrained(folder)
    found = layout.read_token_map(folder, catalog(), max_history=7)
    assert (found.start_token, found.code_tokens, found.max_history) == (2, rows, 7)
    network = layout.network_from_hugging_face(folder, catalog(), found)
    assert network.config.attention_bias
    wider = Catalog.build(["a"], np.array([[2, 5]]), (3, 6))
    with pytest.raises(ValueError, match="lacks 1 tokens of codes that items have, such as <b_5>"):
        layout.read_token_map(folder, wider, max_history=1)
    # Code 5 of a level needs no token, because no item has it.
    unused = Catalog.build(["a"], np.array([[2, 3]]), (3, 6))
    assert layout.read_token_map(folder, unused, max_history=1).code_tokens[1][4:] == [2, 2]


def test_what_is_no_language_model_over_codes_is_refused(tmp_path):
    config = TransformerConfig(dim=8, num_layers=1, num_heads=2, history="items")
    vectors = Transformer(config, catalog().semantic_ids, SIZES)
    save_bundle(tmp_path / "b", network=vectors, catalog=catalog(), max_history=4, seed=0)
    with pytest.raises(ValueError, match="reads items as vectors"):
        layout.export_hugging_face(tmp_path / "hf", load(tmp_path / "b", device="cpu"))
    assert not (tmp_path / "hf").exists()


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").write_text("precious")
    with pytest.raises(ValueError, match="is not an exported bundle"):
        layout.export_hugging_face(tmp_path / "photos", loaded(tmp_path / "bundle", "native"))


def test_pickled_weights_are_not_read(tmp_path):
    folder = tmp_path / "old"
    model = language_model()
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    tokens = layout.TokenMap(start_token=2, code_tokens=[[1], [2]], max_history=1)
    with pytest.raises(FileNotFoundError, match="would have to be unpickled"):
        layout.network_from_hugging_face(folder, catalog(), tokens)


def test_a_map_of_other_codebooks_or_beyond_the_vocabulary_is_refused(tmp_path):
    layout.export_hugging_face(tmp_path / "hf", loaded(tmp_path / "bundle", "native"))
    other = Catalog.build(["a"], np.array([[0, 0]]), (2, 2))
    with pytest.raises(ValueError, match=r"sizes \(3, 4\), but the catalog has \(2, 2\)"):
        layout.read_token_map(tmp_path / "hf", other, max_history=1)
    tokens = layout.TokenMap(start_token=0, code_tokens=[[1], [99]], max_history=1)
    with pytest.raises(ValueError, match="token 99 of the token map is outside"):
        layout.network_from_hugging_face(tmp_path / "hf", other, tokens)


def test_a_language_model_takes_new_items_but_no_new_codes(tmp_path):
    bundle = loaded(tmp_path / "bundle", "adapter")
    new, beyond = np.array([[0, 3]], dtype=np.int32), np.array([[0, 4]], dtype=np.int32)
    assert append_items(bundle, ["new"], new, last_codebook_size=4).catalog.num_items == 13
    with pytest.raises(ValueError, match="whose vocabulary stays; tokenize and train again"):
        append_items(bundle, ["new"], beyond, last_codebook_size=5)
