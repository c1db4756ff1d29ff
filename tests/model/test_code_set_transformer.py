"""The network over sets of codes passes the laws of every model, and knows no order of codes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.model import transformer
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.config import CodeSetConfig
from sidestep.step import CodebookChoice, StepOutput, log_probs
from tests.model.code_set_contract import CodeSetContract, flat_ids
from tests.model.contract import (
    CODEBOOK_SIZES,
    FULL_TREE,
    HISTORIES,
    NUM_LEVELS,
    NUM_USERS,
    SEMANTIC_IDS,
    extend,
)


def tiny(**changes) -> CodeSetTransformer:
    torch.manual_seed(0)
    shape = {"dim": 16, "num_layers": 2, "ffn_dim": 24, "num_heads": 2}
    config = CodeSetConfig(**{**shape, **changes})
    model = CodeSetTransformer(config, SEMANTIC_IDS, CODEBOOK_SIZES)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


class TestCodeSets(CodeSetContract):
    def of_sets(self, **changes):
        return tiny(**changes).eval()

    def shallow(self):
        return tiny(num_layers=1).eval()

    def build(self):
        return tiny(item_embedding=True)


class TestCodeSetsOfSeveralRows(TestCodeSets):
    def build(self):
        return tiny(rows_per_code=2)


class TestCodeSetsByItems(TestCodeSets):
    """Laws of a network in which items choose the codes of every set below the root."""

    looks_items_up = True

    def assert_flops(self, told, counted):
        most = 2 * self.model.config.dim * self.model.config.few_items
        assert counted <= told <= counted + most

    def build(self):
        model = tiny(item_embedding=True, item_head=True, tied_item_head=True, repeat_bias=True)
        model = model.with_last_code_by_items()
        model.query_mix.data = torch.tensor([0.75, 0.5])
        return model

    def scoring_as_the_head(self):
        model = self.build().eval()
        model.query_mix.data = torch.tensor([1.0, 0.0])
        return model

    @torch.no_grad()
    def test_untrained_codes_are_as_likely_in_a_set_as_the_item_head_says(self):
        model = self.scoring_as_the_head()
        codes = torch.tensor([[flat_ids(0)[0]]] * NUM_USERS)
        root, context = model.encode(HISTORIES, capacity=1)
        depths = torch.ones_like(codes)
        step, _ = model.extend(context, codes, depths - 1, depths, is_node=depths > 0)
        scores = model.item_logits(root.hidden[:, 0], HISTORIES)
        items = [item for item in range(len(SEMANTIC_IDS)) if flat_ids(item)[0] == codes[0, 0]]
        assert 1 < len(items) < len(SEMANTIC_IDS)
        probs = scores[:, items].softmax(dim=1)
        for second in range(CODEBOOK_SIZES[0], sum(CODEBOOK_SIZES[:2])):
            has_code = torch.tensor([second in flat_ids(item) for item in items])
            own = step.logits[:, 0, CODEBOOK_SIZES[0] : sum(CODEBOOK_SIZES[:2])].softmax(dim=1)
            expected = (probs * has_code).sum(dim=1)
            torch.testing.assert_close(own[:, second - CODEBOOK_SIZES[0]], expected)

    @torch.no_grad()
    def test_there_are_logits_up_to_the_end_of_the_next_codebook_and_none_below_a_leaf(self):
        tree = FULL_TREE
        root, context = self.model.encode(HISTORIES, capacity=7)
        step, _ = extend(self.model, context, tree)
        assert root.logits.isfinite().all()
        for user, column in tree.nodes():
            decided = set(tree.path(user, column))
            sets = [set(flat_ids(item)) for item in range(len(SEMANTIC_IDS))]
            left = [codes for codes in sets if decided <= codes]
            expected = set.union(*left) if left else set()
            is_inner = int(tree.depths[user, column]) < NUM_LEVELS
            found = set(step.logits[user, column].isfinite().nonzero()[:, 0].tolist())
            assert found == (expected if is_inner else set())


class TestCodeSetsByTheStateAfterTheHistory(TestCodeSetsByItems):
    def build(self):
        model = super().build().with_last_code_by_items(prefix_queries=False)
        assert not model.reads_prefixes
        return model

    def scoring_as_the_head(self):
        return self.build().eval()


class TestCodeSetsByTheStateAfterTheHistoryInALargeCatalog(TestCodeSetsByTheStateAfterTheHistory):
    @pytest.fixture(autouse=True)
    def large(self, monkeypatch):
        monkeypatch.setattr(transformer, "SCORED_ITEMS", 0)


def choice_of(logits, legal, ranks=None, **rule):
    choice = CodebookChoice(sizes=(2, 3), ranks=ranks, **rule)
    return choice.legal(torch.tensor([[logits]]), torch.tensor([[legal]]))[0, 0].tolist()


def test_the_codebook_of_the_most_confident_code_is_chosen():
    # Shares by hand: (.5, .5) in the first codebook, (e², 1, 1) / (e² + 2) in the second.
    assert choice_of([7.0, 7.0, 2.0, 0.0, 0.0], [True] * 5) == [False, False, True, True, True]
    assert choice_of([0.0, 3.0, 2.0, 0.0, 0.0], [True] * 5) == [True, True, False, False, False]


def test_the_informative_rule_takes_the_codebook_of_the_largest_entropy():
    # log 2 in the first codebook; near 0 or log 3 in the second.
    informative = {"prefers": "informative"}
    sure = choice_of([7.0, 7.0, 9.0, 0.0, 0.0], [True] * 5, **informative)
    assert sure == [True, True, False, False, False]
    open_still = choice_of([7.0, 7.0, 1.0, 1.0, 1.0], [True] * 5, **informative)
    assert open_still == [False, False, True, True, True]
    # With two legal codes, the second codebook has at most log 2 as well, and here less.
    fewer = choice_of([7.0, 7.0, 1.0, 2.0, 1.0], [True, True, True, True, False], **informative)
    assert fewer == [True, True, False, False, False]


def test_codes_that_are_not_legal_give_no_confidence():
    # Without its first code, the second codebook has shares of one half.
    legal = [True, True, False, True, True]
    assert choice_of([1.0, 0.0, 9.0, 0.0, 0.0], legal) == [True, True, False, False, False]


def test_a_codebook_with_one_legal_code_waits_for_those_that_decide():
    legal = [False, True, True, True, False]
    assert choice_of([0.0, 0.0, 0.0, 0.0, 0.0], legal) == [False, False, True, True, False]
    alone = [False, True, False, False, False]
    assert choice_of([0.0] * 5, alone) == alone
    ranks = torch.tensor([[[0.0, 1.0]]])
    assert choice_of([0.0] * 5, legal, ranks) == [False, False, True, True, False]


def test_where_nothing_is_legal_nothing_is_chosen():
    assert choice_of([0.0] * 5, [False] * 5) == [False] * 5


@settings(max_examples=30)
@given(st.lists(st.booleans(), min_size=5, max_size=5), st.integers(0, 99))
def test_the_probabilities_of_the_followed_codes_sum_to_one(legal, seed):
    logits = torch.randn(1, 1, 5, generator=torch.Generator().manual_seed(seed))
    step = StepOutput(
        logits=logits, hidden=torch.zeros(1, 1, 1), choice=CodebookChoice(sizes=(2, 3))
    )
    allowed = torch.tensor([[legal]])
    followed = step.followed(allowed)
    assert not (followed & ~allowed).any()
    assert not (followed[..., :2].any() and followed[..., 2:].any())
    total = log_probs(step, allowed).exp().sum()
    assert float(total) == pytest.approx(float(any(legal)))
