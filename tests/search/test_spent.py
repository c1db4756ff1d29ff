"""The costs of searches: worked examples, and golden numbers of every form of model."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from sidestep.catalog.trie import Trie
from sidestep.model.config import ProcessRewardConfig, T5Config, TransformerConfig, ValueHeadConfig
from sidestep.model.heads import HeadedModel
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.prompt_tokens import PromptTokens
from sidestep.model.t5 import T5
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_ranking import ItemRanking
from sidestep.search.item_support import ItemSupport
from sidestep.search.live_item_support import LiveItemSupport
from sidestep.search.policy import Scope
from sidestep.search.process_reward import ProcessReward
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance
from sidestep.search.spent import Spent
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.search.ved import ValueGuidedDecoding
from tests.model.batches import history_of

from .fakes import PrefixTable

SIZES = (4, 3, 5)
IDS = np.array(list(itertools.product(*map(range, SIZES))))[::2]
TRIE = Trie.build(IDS, SIZES)
HISTORIES = history_of(torch.tensor([[2, 0, 5, 1], [4, 9, NO_ITEM, NO_ITEM], [NO_ITEM] * 4]))
SEARCHES = {
    "beam": BeamSearch(num_beams=3),
    "sampling": Sampling(num_samples=4, seed=1),
    "exhaustive": ExhaustiveSearch(chunk_size=5),
    "value-beam": ValueBeamSearch(num_beams=2, candidates=4),
    "ved": ValueGuidedDecoding(budget=20, warm_width=2, num_leaves=4),
    "ved of three paths": ValueGuidedDecoding(
        budget=30, warm_width=2, num_leaves=4, paths_per_round=3
    ),
}


def with_values(network, dim):
    torch.manual_seed(1)
    head = ValueHead(ValueHeadConfig(num_heads=2), dim=dim, num_levels=len(SIZES))
    for weights in head.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    return HeadedModel(network, head.eval())


def transformer(**changes):
    torch.manual_seed(0)
    shape = TransformerConfig(**{"dim": 8, "num_layers": 2, "num_heads": 2, **changes})
    return Transformer(shape, torch.from_numpy(IDS), SIZES).eval()


def t5(**changes):
    torch.manual_seed(0)
    shape = T5Config(dim=8, num_layers=1, num_decoder_layers=2, num_heads=2, **changes)
    return T5(shape, torch.from_numpy(IDS), SIZES).eval()


def llama():
    transformers = pytest.importorskip("transformers")
    hugging_face = pytest.importorskip("sidestep.model.hugging_face")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=13,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=0,
    )
    return hugging_face.HuggingFaceModel(
        transformers.LlamaForCausalLM(config).eval(),
        torch.from_numpy(IDS),
        SIZES,
        prompt=PromptTokens(opening=(0,), codes=torch.arange(1, 13)),
    )


NETWORKS = {
    "transformer": transformer,
    "transformer of items": lambda: transformer(history="items", num_kv_heads=1),
    "t5": t5,
    "t5 of items": lambda: t5(history="items", ffn="gated-gelu"),
    "llama": llama,
}


def spent_by(search, model):
    """Tokens, scored prefixes and FLOPs of each user."""
    spent = search.search(model, HISTORIES, Scope(trie=TRIE)).spent
    return spent.tokens.tolist(), spent.scored.tolist(), spent.flops.tolist()


def guided_searches(network):
    torch.manual_seed(2)
    rewards = ProcessRewardModel(
        ProcessRewardConfig(dim=4, num_heads=2), num_features=TRIE.num_nodes(), memory_dim=8
    ).eval()
    by_reward = Guidance(scorer=ProcessReward(network=rewards), likelihood_weight=0.5)
    by_items = Guidance(scorer=ItemSupport(head=network), likelihood_weight=0.5)
    by_live_items = Guidance(scorer=LiveItemSupport(head=network), likelihood_weight=0.5)
    return {
        "prm-beam": GuidedBeamSearch(guidance=by_reward, num_beams=3, candidates=6),
        "exhaustive-prm": ExhaustiveSearch(guidance=by_reward, chunk_size=5),
        "item-beam": GuidedBeamSearch(guidance=by_items, num_beams=3, candidates=(None, 6, 4)),
        "live-item-beam": GuidedBeamSearch(
            guidance=by_live_items, num_beams=3, candidates=(None, 6, 4)
        ),
        "item-head": ItemRanking(head=network),
    }


TOKENS = {
    "beam": 7,
    "sampling": 9,
    "exhaustive": 19,
    "value-beam": 13,
    "ved": 20,
    "ved of three paths": 30,
}
"""Tokens of each search, the same for every user and every network."""

FLOPS = {
    "transformer": {
        "beam": [105520, 74608, 46000],
        "sampling": [120240, 88560, 59184],
        "exhaustive": [194224, 158704, 125488],
        "value-beam": [150000, 116784, 85872],
        "ved": [202048, 166128, 132544],
        "ved of three paths": [276416, 236672, 199232],
    },
    "transformer of items": {
        "beam": [62000, 52976, 44208],
        "sampling": [75184, 65904, 56880],
        "exhaustive": [141488, 130928, 120624],
        "value-beam": [101872, 92080, 82544],
        "ved": [148544, 137856, 127424],
        "ved of three paths": [215232, 203264, 191552],
    },
    "t5": {
        "beam": [80272, 61456, 44944],
        "sampling": [94096, 74512, 57232],
        "exhaustive": [163600, 140176, 119056],
        "value-beam": [122064, 100944, 82128],
        "ved": [170960, 147168, 125664],
        "ved of three paths": [240832, 213200, 187856],
    },
    "t5 of items": {
        "beam": [65424, 58896, 52624],
        "sampling": [80272, 73488, 66960],
        "exhaustive": [154896, 146832, 139024],
        "value-beam": [110288, 102992, 95952],
        "ved": [162768, 154576, 146656],
        "ved of three paths": [237760, 228288, 219104],
    },
    "llama": {
        "beam": [64176, 46320, 30768],
        "sampling": [74544, 55920, 39600],
        "exhaustive": [126768, 104304, 84144],
        "value-beam": [95600, 75440, 57584],
        "ved": [132416, 109552, 89024],
        "ved of three paths": [185024, 158336, 133968],
    },
}

GUIDED = {
    "prm-beam": ([7, 7, 7], [16, 16, 16], [54592, 44288, 34240]),
    "exhaustive-prm": ([19, 19, 19], [30, 30, 30], [114160, 101872, 89840]),
    "item-beam": ([7, 7, 7], [10, 10, 10], [49440, 39904, 30624]),
    "live-item-beam": ([7, 7, 7], [10, 10, 10], [49264, 39712, 30448]),
    "item-head": ([1, 1, 1], [30, 30, 30], [21984, 13216, 4704]),
}
"""Tokens, scored prefixes and FLOPs of searches that a scorer guides."""


@pytest.mark.parametrize("network", NETWORKS)
def test_the_costs_of_searches_are_what_they_were_when_contexts_counted_them(network):
    model = with_values(NETWORKS[network](), 8)
    for name, search in SEARCHES.items():
        expected = ([TOKENS[name]] * 3, [0] * 3, FLOPS[network][name])
        assert spent_by(search, model) == expected, name


@pytest.mark.parametrize("name", GUIDED)
def test_the_costs_of_guided_searches_are_what_they_were_when_scorers_counted_them(name):
    network = transformer(history="items", item_head=True)
    assert spent_by(guided_searches(network)[name], network) == GUIDED[name]


class Told(PrefixTable):
    """A model that tells what it is told to tell."""

    def __init__(self, flops):
        super().__init__(SIZES)
        self.told = flops

    def flops_by_depth(self, histories):
        return self.told


ONE = history_of(torch.tensor([[3]]))
NODES = torch.tensor([[1, 2, 3, 0]])
"""A root, two nodes of one code and three of two."""


def test_a_worked_example():
    spent = Spent.on_nodes(Told(torch.tensor([[100, 7, 8, 9]])), ONE, NODES)
    assert (spent.tokens.tolist(), spent.scored.tolist()) == ([6], [0])
    assert spent.flops.tolist() == [100 + 2 * 7 + 3 * 8]
    # A model may have more levels than the space has steps.
    assert Spent.on_nodes(Told(torch.tensor([[100, 7, 8, 9]])), ONE, NODES[:, :2]).flops == 114


def test_a_model_that_tells_nothing_has_tokens_all_the_same():
    for model in (PrefixTable(SIZES), Told(None)):
        spent = Spent.on_nodes(model, ONE, NODES)
        assert (spent.tokens.tolist(), spent.flops) == ([6], None)


@pytest.mark.parametrize("shape", [(2, 4), (1, 3)])
def test_costs_of_other_users_or_of_too_few_depths_are_refused(shape):
    with pytest.raises(ValueError, match=r"flops_by_depth of Told gave the shape .* give \[1, 4\]"):
        Spent.on_nodes(Told(torch.ones(shape, dtype=torch.long)), ONE, NODES)


def test_costs_add_up_and_what_is_not_known_stays_so():
    ours = Spent(tokens=torch.tensor([3]), scored=torch.tensor([1]), flops=torch.tensor([10]))
    theirs = Spent(tokens=torch.tensor([4]), scored=torch.tensor([2]), flops=torch.tensor([20]))
    both = ours + theirs
    assert (both.tokens.tolist(), both.scored.tolist(), both.flops.tolist()) == ([7], [3], [30])
    unknown = ours + replace(theirs, flops=None)
    assert (unknown.tokens.tolist(), unknown.flops) == ([7], None)
