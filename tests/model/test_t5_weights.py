import pytest
import torch

from sidestep.model.t5_weights import t5_from_hugging_face
from tests.model.batches import history_of
from tests.model.contract import CODEBOOK_SIZES, SEMANTIC_IDS

CODE_TOKENS = torch.tensor([17, 4, 9, 11, 5, 6, 7, 2, 12, 13, 14, 15])
SHAPE = {"vocab_size": 20, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 2}


def hugging_face(**changes):
    """A configuration of Hugging Face, and a network of that shape with random weights."""
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(**{**SHAPE, **changes})
    torch.manual_seed(1)
    network = transformers.T5ForConditionalGeneration(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return config.to_dict(), network.eval()


def native(config, weights, *, code_tokens=CODE_TOKENS):
    return t5_from_hugging_face(
        config,
        weights,
        SEMANTIC_IDS,
        CODEBOOK_SIZES,
        start_token=3,
        decoder_start_token=0,
        code_tokens=code_tokens,
    ).eval()


@pytest.mark.parametrize(
    ("changes", "is_tied"),
    [
        ({}, True),
        ({"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, False),
        ({"num_decoder_layers": 1, "relative_attention_num_buckets": 8, "d_kv": 6}, True),
    ],
)
@torch.no_grad()
def test_logits_are_those_of_hugging_face_on_the_same_weights(changes, is_tied):
    config, original = hugging_face(**changes)
    model = native(config, original.state_dict())
    assert model.config.tied_head is is_tied
    # A long history, to reach the far buckets. Its last item is the target.
    items = torch.arange(24).view(1, 24) % 6
    code_tokens = CODE_TOKENS[SEMANTIC_IDS[items] + torch.tensor([0, 4, 7])]
    prompt = torch.cat([torch.tensor([[3]]), code_tokens[:, :-1].flatten(1)], dim=1)
    decoded = torch.cat([torch.tensor([[0]]), code_tokens[:, -1, :-1]], dim=1)
    expected = original(input_ids=prompt, decoder_input_ids=decoded).logits[0]
    states = model.next_item_states(history_of(items))[:, -1]
    logits = model.level_logits(states, items[:, -1], history_of(items[:, :-1]))[0]
    for level, (start, size) in enumerate([(0, 4), (4, 3), (7, 5)]):
        here = expected[level, CODE_TOKENS[start : start + size]]
        torch.testing.assert_close(logits[level, :size], here, atol=1e-5, rtol=1e-5)


def test_a_head_that_scales_but_is_not_tied_keeps_its_scale():
    config, original = hugging_face()
    weights = {**original.state_dict(), "lm_head.weight": torch.randn(20, 16)}
    model = native(config, weights)
    torch.testing.assert_close(model.head_weight, weights["lm_head.weight"][CODE_TOKENS] / 4)


def test_what_has_no_counterpart_is_refused_by_name():
    config, original = hugging_face()
    weights = original.state_dict()
    with pytest.raises(ValueError, match=r"no shared\.weight; is it that of a T5"):
        native(config, {})
    norm = "decoder.final_layer_norm.weight"
    with pytest.raises(ValueError, match=f"no {norm}; is it that of a T5"):
        native(config, {name: weight for name, weight in weights.items() if name != norm})
    with pytest.raises(ValueError, match="no place for adapter"):
        native(config, {**weights, "adapter": torch.zeros(1)})
    with pytest.raises(ValueError, match="not 'gated-silu'"):
        native({**config, "feed_forward_proj": "gated-silu"}, weights)
    with pytest.raises(ValueError, match="11 code_tokens for 12 codes"):
        native(config, weights, code_tokens=CODE_TOKENS[1:])
