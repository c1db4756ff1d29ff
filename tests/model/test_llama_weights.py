import pytest
import torch

from sidestep.model.config import TransformerConfig
from sidestep.model.llama_weights import transformer_from_llama
from sidestep.model.transformer import Transformer
from tests.model.batches import history_of
from tests.model.contract import CODEBOOK_SIZES, HISTORIES, SEMANTIC_IDS

transformers = pytest.importorskip("transformers")

CODE_TOKENS = torch.tensor([17, 4, 9, 11, 5, 6, 7, 2, 12, 13, 14, 15])
SHAPE = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
FOUR_ITEMS = history_of(HISTORIES.items[:1])


def random_weights(model):
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def native(model, **changes):
    return transformer_from_llama(
        {**model.config.to_dict(), **changes},
        model.state_dict(),
        SEMANTIC_IDS,
        CODEBOOK_SIZES,
        start_token=3,
        code_tokens=CODE_TOKENS,
    ).eval()


def assert_same_logits(model, language_model, start_token, code_tokens):
    states = model.next_item_states(FOUR_ITEMS).flatten(0, 1)
    users, width = FOUR_ITEMS.items.shape
    histories = FOUR_ITEMS.select(torch.arange(users).repeat_interleave(width))
    logits = model.level_logits(states, FOUR_ITEMS.items.flatten(), histories)
    logits = logits.view(users, -1, logits.shape[-1])
    flat = SEMANTIC_IDS[FOUR_ITEMS.items] + torch.tensor([0, 4, 7])
    tokens = torch.cat([torch.tensor([[start_token]]), code_tokens[flat].flatten(1)], dim=1)
    expected = language_model(tokens).logits
    for place in range(logits.shape[1]):
        start, size = [(0, 4), (4, 3), (7, 5)][place % 3]
        here = expected[0, place, code_tokens[start : start + size]]
        torch.testing.assert_close(logits[0, place, :size], here, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("Llama", {}),
        ("Llama", {"tie_word_embeddings": True, "rope_theta": 500.0, "rms_norm_eps": 1e-3}),
        ("Qwen2", {}),
        ("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    ],
)
@torch.no_grad()
def test_the_native_form_gives_the_logits_of_the_original(kind, changes):
    config = getattr(transformers, f"{kind}Config")(**{**SHAPE, **changes})
    original = random_weights(getattr(transformers, f"{kind}ForCausalLM")(config))
    model = native(original)
    assert model.config.attention_bias is (kind == "Qwen2")
    assert_same_logits(model, original, 3, CODE_TOKENS)


@pytest.mark.parametrize("attention_bias", [False, True])
@torch.no_grad()
def test_an_exported_model_gives_the_same_logits_and_comes_back_whole(attention_bias):
    config = TransformerConfig(
        dim=16, num_layers=2, num_kv_heads=2, attention_bias=attention_bias, rope_theta=500.0
    )
    model = random_weights(Transformer(config, SEMANTIC_IDS, CODEBOOK_SIZES))
    export = model.llama_form()
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**export.config)).eval()
    llama.load_state_dict(export.weights)
    assert_same_logits(model, llama, export.start_token, export.code_tokens)
    back = transformer_from_llama(
        llama.config.to_dict(),
        llama.state_dict(),
        SEMANTIC_IDS,
        CODEBOOK_SIZES,
        start_token=export.start_token,
        code_tokens=export.code_tokens,
        dropout=config.dropout,
    )
    assert back.config == config.model_copy(update={"ffn_dim": config.hidden_ffn_dim})
    for name, weight in model.state_dict().items():
        assert back.state_dict()[name].equal(weight), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_parameters"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "rope_parameters"),
        ({"head_dim": 8}, "head_dim"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"sliding_window": 8}, "sliding_window"),
    ],
)
def test_an_architecture_without_counterpart_is_refused(changes, message):
    original = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE))
    with pytest.raises(ValueError, match=message):
        native(original, **changes)


def test_weights_without_a_place_are_refused():
    config = transformers.LlamaConfig(**SHAPE, mlp_bias=True)
    with pytest.raises(ValueError, match=r"no place for model\.layers\.0\.mlp"):
        native(transformers.LlamaForCausalLM(config))
    config = transformers.LlamaConfig(**SHAPE, attention_bias=True)
    with pytest.raises(ValueError, match="o_proj has a bias"):
        native(random_weights(transformers.LlamaForCausalLM(config)))


def test_a_state_dict_of_something_else_is_refused():
    original = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE))
    with pytest.raises(ValueError, match=r"no model\.embed_tokens\.weight"):
        transformer_from_llama(
            original.config.to_dict(),
            {},
            SEMANTIC_IDS,
            CODEBOOK_SIZES,
            start_token=3,
            code_tokens=CODE_TOKENS,
        )


def test_vectors_have_no_token_ids():
    model = Transformer(TransformerConfig(dim=16, history="items"), SEMANTIC_IDS, CODEBOOK_SIZES)
    with pytest.raises(ValueError, match="history: codes"):
        model.llama_form()
