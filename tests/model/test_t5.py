import pytest
import torch

from sidestep.model.config import T5Config
from sidestep.model.t5 import T5, RelativeBias
from tests.model.contract import CODEBOOK_SIZES, HISTORIES, SEMANTIC_IDS, ModelContract


def random_weights(model):
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


class T5Contract(ModelContract):
    sees_part_of_prompt = False

    def masked_flops(self, width):
        return 0  # the encoder reads in both directions


class TestT5(T5Contract):
    def build(self):
        # Few buckets, so that distances within a tree fall into several.
        config = T5Config(dim=16, num_layers=2, num_heads=2, num_buckets=4, max_distance=5)
        return random_weights(T5(config, SEMANTIC_IDS, CODEBOOK_SIZES))


class TestT5OfVersion11(T5Contract):
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


class TestT5OfItems(T5Contract):
    tokens_per_item = 1

    def build(self):
        config = T5Config(dim=16, num_layers=1, num_heads=2, history="items", item_embedding=True)
        return random_weights(T5(config, SEMANTIC_IDS, CODEBOOK_SIZES))


def test_settings_of_readers_that_are_not_set_are_not_written_and_must_fit():
    assert not {"history", "item_embedding"} & set(T5Config().model_dump(mode="json"))
    written = T5Config(history="items", item_embedding=True).model_dump(mode="json")
    assert T5Config(**written).item_embedding
    with pytest.raises(ValueError, match="item_embedding needs history: items"):
        T5Config(item_embedding=True)


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
