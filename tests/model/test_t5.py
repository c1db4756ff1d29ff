import pytest
import torch

from sidestep.model.t5 import T5, RelativeBias, T5Config
from tests.model.batches import history_of
from tests.model.contract import CODEBOOK_SIZES, HISTORIES, SEMANTIC_IDS, ModelContract

CODE_TOKENS = torch.tensor([17, 4, 9, 11, 5, 6, 7, 2, 12, 13, 14, 15])


def random_weights(model):
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


class TestT5(ModelContract):
    sees_part_of_prompt = False

    def build(self):
        # Few buckets, so that distances within a tree fall into several.
        config = T5Config(dim=16, num_layers=2, num_heads=2, num_buckets=4, max_distance=5)
        return random_weights(T5(config, SEMANTIC_IDS, CODEBOOK_SIZES))


class TestT5OfVersion11(ModelContract):
    sees_part_of_prompt = False

    def build(self):
        config = T5Config(
            dim=16,
            num_layers=1,
            num_decoder_layers=2,
            head_dim=4,
            ffn="gated-gelu",
            tied_head=False,
        )
        return random_weights(T5(config, SEMANTIC_IDS, CODEBOOK_SIZES))


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
    transformers = pytest.importorskip("transformers")
    shape = {"vocab_size": 20, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2}
    config = transformers.T5Config(**{**shape, "num_heads": 2, **changes})
    original = random_weights(transformers.T5ForConditionalGeneration(config))
    model = T5.from_hugging_face(
        config.to_dict(),
        original.state_dict(),
        SEMANTIC_IDS,
        CODEBOOK_SIZES,
        start_token=3,
        decoder_start_token=0,
        code_tokens=CODE_TOKENS,
    ).eval()
    assert model.config.tied_head is is_tied
    # A long history, for the far buckets; its last item is the one to write.
    items = torch.arange(24).view(1, 24) % 6
    code_tokens = CODE_TOKENS[SEMANTIC_IDS[items] + torch.tensor([0, 4, 7])]
    prompt = torch.cat([torch.tensor([[3]]), code_tokens[:, :-1].flatten(1)], dim=1)
    decoded = torch.cat([torch.tensor([[0]]), code_tokens[:, -1, :-1]], dim=1)
    expected = original(input_ids=prompt, decoder_input_ids=decoded).logits[0]
    logits = model.level_logits(model.next_item_states(history_of(items)))[0, -1]
    for level, (start, size) in enumerate([(0, 4), (4, 3), (7, 5)]):
        here = expected[level, CODE_TOKENS[start : start + size]]
        torch.testing.assert_close(logits[level, :size], here, atol=1e-5, rtol=1e-5)


def test_a_head_that_scales_but_is_not_tied_keeps_its_scale():
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(vocab_size=20, d_model=16, d_kv=4, d_ff=8, num_layers=1)
    original = random_weights(transformers.T5ForConditionalGeneration(config))
    weights = {**original.state_dict(), "lm_head.weight": torch.randn(20, 16)}
    model = T5.from_hugging_face(
        config.to_dict(),
        weights,
        SEMANTIC_IDS,
        CODEBOOK_SIZES,
        start_token=3,
        decoder_start_token=0,
        code_tokens=CODE_TOKENS,
    )
    torch.testing.assert_close(model.head_weight, weights["lm_head.weight"][CODE_TOKENS] / 4)


def test_small_distances_have_buckets_of_their_own_and_far_ones_share():
    config = T5Config(dim=8, num_heads=2, num_buckets=8, max_distance=16)
    one_way = RelativeBias(config, is_bidirectional=False)
    offsets = torch.tensor([3, 0, -1, -3, -4, -5, -6, -8, -12, -16, -99])
    # 4 exact; then 4 + floor(4 * log(d / 4) / log(4)): 5 -> 4.6, 6 -> 5.2, 8 -> 6, 12 -> 7.2.
    assert one_way.buckets(offsets).tolist() == [0, 0, 1, 3, 4, 4, 5, 6, 7, 7, 7]
    both_ways = RelativeBias(config, is_bidirectional=True)
    assert both_ways.buckets(torch.tensor([-1, 0, 1, 99])).tolist() == [1, 0, 5, 7]


def test_a_new_model_starts_with_logits_of_moderate_size():
    torch.manual_seed(0)
    for tied_head in (True, False):
        config = T5Config(dim=64, tied_head=tied_head)
        root, _ = T5(config, SEMANTIC_IDS, CODEBOOK_SIZES).eval().encode(HISTORIES, capacity=0)
        assert 0.2 < root.logits[..., :4].std() < 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"dim": 18}, "dim 18"), ({"max_distance": 16}, "max_distance 16"), ({"ffn": "silu"}, "ffn")],
)
def test_a_shape_that_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        T5Config(**changes)
