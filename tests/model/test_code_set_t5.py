"""The T5 over sets of codes passes the laws of every model over sets."""

import pytest
import torch

from sidestep.model.code_set_t5 import CodeSetT5
from sidestep.model.config import CodeSetT5Config
from tests.model.code_set_contract import CodeSetContract
from tests.model.contract import CODEBOOK_SIZES, SEMANTIC_IDS
from tests.model.test_t5 import T5Contract, random_weights


def tiny(**changes) -> CodeSetT5:
    # Few buckets, so that distances within a tree would fall into several.
    shape = {"dim": 16, "num_layers": 2, "num_heads": 2, "num_buckets": 4, "max_distance": 5}
    config = CodeSetT5Config(**{**shape, **changes})
    return random_weights(CodeSetT5(config, SEMANTIC_IDS, CODEBOOK_SIZES))


class TestCodeSetT5(CodeSetContract, T5Contract):
    tokens_per_item = 1

    def of_sets(self, **changes):
        return tiny(**changes)

    def shallow(self):
        return tiny(num_layers=1)

    def build(self):
        return tiny(item_embedding=True, tied_head=False)


def test_what_needs_an_item_head_is_refused():
    with pytest.raises(ValueError, match="item_head"):
        CodeSetT5Config(item_head=True)
    with pytest.raises(ValueError, match="items cannot choose the codes of a CodeSetT5"):
        tiny().with_last_code_by_items()
    with pytest.raises(ValueError, match="history"):
        CodeSetT5Config(history="codes")


def test_new_codes_of_items_are_read_with_the_same_weights():
    model, others = tiny(), SEMANTIC_IDS.flip(0)
    moved = model.with_semantic_ids(others)
    assert moved.head_weight.equal(model.head_weight)
    assert moved.item_codes(torch.tensor([0])).equal(others[:1])
