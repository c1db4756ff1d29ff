import pytest
import torch

from sidestep.model.prompt_tokens import PromptTokens
from tests.model.batches import history_of
from tests.model.contract import (
    CODEBOOK_SIZES,
    HISTORIES,
    SEMANTIC_IDS,
    CausalCodesContract,
    ModelContract,
)

transformers = pytest.importorskip("transformers")
hugging_face = pytest.importorskip("sidestep.model.hugging_face")

START_TOKEN = 3
CODE_TOKENS = torch.tensor([17, 4, 9, 11, 5, 6, 7, 2, 12, 13, 14, 15])
"""Tokens in no order, in a vocabulary of 20: other tokens must not be read."""

SHAPE = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


def language_model(kind="Llama", **changes):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SHAPE, **changes})
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def wrapped(model, **more):
    prompt = PromptTokens(**{"opening": (START_TOKEN,), "codes": CODE_TOKENS, **more})
    return hugging_face.HuggingFaceModel(model, SEMANTIC_IDS, CODEBOOK_SIZES, prompt=prompt)


class TestLlama(CausalCodesContract):
    tolerance = 1e-5  # the norms compute in float32 for any input

    def build(self):
        return wrapped(language_model())


class TestQwen2WithTiedHeadInstructionAndSeparator(ModelContract):
    tolerance = 1e-5
    tokens_before = 3
    tokens_per_item = 5

    def build(self):
        model = language_model("Qwen2", tie_word_embeddings=True)
        return wrapped(model, opening=(START_TOKEN, 16, 18), after_item=(19, 8))


@torch.no_grad()
def test_silent_codes_leave_no_gap_in_a_history():
    silent = (4, 8, 9, 11)
    model = wrapped(language_model(), opening=(START_TOKEN, 16), silent=silent)
    states = model.next_item_states(HISTORIES)
    roots, _ = model.encode(HISTORIES, capacity=0)
    for user, length in enumerate(HISTORIES.lengths.tolist()):
        tokens = [START_TOKEN, 16]
        for position, item in enumerate(HISTORIES.items[user, :length].tolist()):
            for level, code in enumerate((SEMANTIC_IDS[item] + torch.tensor([0, 4, 7])).tolist()):
                expected = _last_state(model, tokens)
                torch.testing.assert_close(states[user, position, level], expected)
                if code not in silent:
                    tokens.append(int(CODE_TOKENS[code]))
        torch.testing.assert_close(roots.hidden[user, 0], _last_state(model, tokens))


def _last_state(model, tokens):
    return model.language_model.base_model(torch.tensor([tokens])).last_hidden_state[0, -1]


@torch.no_grad()
def test_the_states_after_items_are_those_of_shorter_histories():
    model = wrapped(language_model(), opening=(START_TOKEN, 16), after_item=(19,), silent=(4, 9))
    _, context = model.encode(HISTORIES, capacity=0)
    found = context.history_states
    assert found.counts.equal(HISTORIES.lengths + 1)
    for number in range(HISTORIES.items.shape[1] + 1):
        shorter = HISTORIES.first(HISTORIES.lengths.clamp(max=number))
        root, _ = model.encode(shorter, capacity=0)
        is_long = HISTORIES.lengths >= number
        torch.testing.assert_close(found.states[is_long, number], root.hidden[is_long, 0])


def test_learned_positions_are_told_explicitly():
    config = transformers.GPT2Config(
        vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=40, resid_pdrop=0.0
    )
    model = wrapped(transformers.GPT2LMHeadModel(config).eval())
    tokens, _ = _tokens(HISTORIES.items[:1])
    expected = model.language_model(tokens).logits[0, -1, CODE_TOKENS[:4]]
    root, _ = model.encode(history_of(HISTORIES.items[:1]), capacity=0)
    torch.testing.assert_close(root.logits[0, 0, :4], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["Llama", "Qwen2"])
@torch.no_grad()
def test_logits_are_the_language_models_own(kind):
    tokens, positions = _tokens(HISTORIES.items[:1])
    expected = language_model(kind)(tokens).logits  # with its own attention
    model = wrapped(language_model(kind))
    history = history_of(HISTORIES.items[:1])
    states = model.next_item_states(history)[0]
    histories = history.select(torch.zeros(len(states), dtype=torch.long))
    logits = model.level_logits(states, history.items[0], histories).flatten(0, 1)[None]
    for place in range(positions):
        start, size = [(0, 4), (4, 3), (7, 5)][place % 3]
        torch.testing.assert_close(
            logits[0, place, :size], expected[0, place, CODE_TOKENS[start : start + size]]
        )


@torch.no_grad()
def test_the_wrapped_model_still_works_by_itself():
    model = language_model()
    tokens, _ = _tokens(HISTORIES.items[:2].clamp(min=0))
    is_token = torch.ones_like(tokens)
    is_token[1, :4] = 0  # padding on the left, as in generation
    expected = model(tokens, attention_mask=is_token).logits
    written = model.generate(tokens, attention_mask=is_token, max_new_tokens=3, do_sample=False)
    wrapped(model)
    actual = model(tokens, attention_mask=is_token).logits
    torch.testing.assert_close(actual[0], expected[0])
    torch.testing.assert_close(actual[1, 4:], expected[1, 4:])
    again = model.generate(tokens, attention_mask=is_token, max_new_tokens=3, do_sample=False)
    assert again.equal(written)


@torch.no_grad()
def test_attention_dropout_is_at_work_while_training_and_only_then():
    model = wrapped(language_model(attention_dropout=0.5)).eval()
    one = torch.ones(4, 1, dtype=torch.long)

    def hidden_states():
        root, _ = model.encode(HISTORIES, capacity=1)
        node, _ = model.extend(evaluated, one, 0 * one, one, is_node=one == 1)
        return root.hidden, node.hidden

    _, evaluated = model.encode(HISTORIES, capacity=1)
    root, node = hidden_states()
    again_root, again_node = hidden_states()
    assert again_root.equal(root)
    assert again_node.equal(node)
    model.train()
    trained_root, trained_node = hidden_states()
    assert not trained_root.allclose(root)
    assert not trained_node.allclose(node)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("Mistral", {"sliding_window": 8}, "sliding window of 8"),
        ("Gemma2", {"head_dim": 4}, "sliding_attention"),
        ("Phi", {}, "without a bias"),
        ("Cohere", {"logit_scale": 0.1}, "otherwise than in a sequence"),
        ("Mamba", {"state_size": 4}, "Mamba"),
    ],
)
def test_models_that_cannot_hold_a_tree_are_refused(kind, changes, message):
    if kind == "Mamba":
        config = transformers.MambaConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1)
        model = transformers.MambaForCausalLM(config)
    else:
        model = language_model(kind, **changes)
    with pytest.raises(ValueError, match=message):
        wrapped(model)


def test_an_encoder_decoder_is_sent_to_the_native_form():
    config = transformers.T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1)
    with pytest.raises(ValueError, match=r"sidestep\.model\.t5"):
        wrapped(transformers.T5ForConditionalGeneration(config))


def test_histories_longer_than_the_positions_are_refused():
    model = wrapped(language_model(max_position_embeddings=10))
    with pytest.raises(ValueError, match="exceed the 10 positions"):
        model.encode(HISTORIES, capacity=0)


def test_the_number_of_code_tokens_must_fit():
    with pytest.raises(ValueError, match="11 code_tokens for 12 codes"):
        hugging_face.HuggingFaceModel(
            language_model(),
            SEMANTIC_IDS,
            CODEBOOK_SIZES,
            prompt=PromptTokens(opening=(0,), codes=CODE_TOKENS[:-1]),
        )


def _tokens(items):
    flat = SEMANTIC_IDS[items] + torch.tensor([0, 4, 7])
    tokens = CODE_TOKENS[flat].flatten(1)
    start = torch.full((len(items), 1), START_TOKEN)
    return torch.cat([start, tokens], dim=1), tokens.shape[1]
