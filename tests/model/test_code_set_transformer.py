"""The network over sets of codes passes the laws of every model, and knows no order of codes."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.config import CodeSetConfig
from sidestep.step import CodebookChoice, StepOutput, log_probs
from tests.model.contract import (
    CODEBOOK_SIZES,
    FULL_TREE,
    HISTORIES,
    NUM_LEVELS,
    NUM_USERS,
    SEMANTIC_IDS,
    ModelContract,
    along,
    extend,
)


def tiny(**changes) -> CodeSetTransformer:
    torch.manual_seed(0)
    config = CodeSetConfig(dim=16, num_layers=2, ffn_dim=24, num_heads=2, **changes)
    model = CodeSetTransformer(config, SEMANTIC_IDS, CODEBOOK_SIZES)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


class TestCodeSets(ModelContract):
    tokens_per_item = 1

    def build(self):
        return tiny(item_embedding=True)

    def actions_of(self, item):
        return flat_ids(item)

    @torch.no_grad()
    def test_under_autocast_logits_are_float32_from_the_states_on(self):
        model = self.build().eval()
        with torch.autocast("cpu", torch.bfloat16):
            root, _ = model.encode(HISTORIES, capacity=14)
        assert root.logits.dtype == torch.float32
        torch.testing.assert_close(root.logits, root.hidden.float() @ model.head_weight.T)

    @torch.no_grad()
    def test_there_are_logits_up_to_the_end_of_the_next_codebook_and_none_below_a_leaf(self):
        tree = FULL_TREE
        root, context = self.model.encode(HISTORIES, capacity=7)
        step, _ = extend(self.model, context, tree)
        assert root.logits.shape == (NUM_USERS, 1, sum(CODEBOOK_SIZES))
        assert root.logits.isfinite().all()
        is_inner = (tree.depths < NUM_LEVELS)[..., None].expand(step.logits.shape)
        assert step.logits.isfinite().equal(is_inner)


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

    @torch.no_grad()
    def test_untrained_codes_are_as_likely_in_a_set_as_the_item_head_says(self):
        model = TestCodeSetsByItems().build().eval()
        model.query_mix.data = torch.tensor([1.0, 0.0])
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


def flat_ids(item):
    starts = [0, *itertools.accumulate(CODEBOOK_SIZES)]
    return [starts[level] + int(SEMANTIC_IDS[item, level]) for level in range(NUM_LEVELS)]


@torch.no_grad()
@pytest.mark.parametrize("order", list(itertools.permutations(range(NUM_LEVELS))))
def test_teacher_forced_states_in_any_order_are_those_of_the_search(order):
    model = tiny().double().eval()
    orders = torch.tensor(order).expand(NUM_USERS, 4, -1)
    states = model.set_states(HISTORIES, orders)
    for user, position in ((0, 0), (0, 3), (3, 1)):
        before = HISTORIES.select(torch.tensor([user])).first(torch.tensor([position]))
        codes = [flat_ids(int(HISTORIES.items[user, position]))[level] for level in order]
        for step in range(NUM_LEVELS):
            alone = along(model, before, [codes[:step]])
            torch.testing.assert_close(states[user, position, step], alone.hidden[0, 0])


@torch.no_grad()
def test_fewer_steps_are_the_first_ones():
    model = tiny().double().eval()
    orders = torch.tensor([2, 0, 1]).expand(NUM_USERS, 4, -1)
    whole, part = model.set_states(HISTORIES, orders), model.set_states(HISTORIES, orders[..., :2])
    torch.testing.assert_close(part, whole[:, :, :2])


def test_a_fixed_order_takes_one_codebook_after_the_other():
    model = tiny(order="fixed").eval()
    step, _ = model.encode(HISTORIES, capacity=1)
    legal = torch.ones(NUM_USERS, 1, sum(CODEBOOK_SIZES), dtype=torch.bool)
    assert step.followed(legal)[0, 0].nonzero()[:, 0].tolist() == [0, 1, 2, 3]
    legal[..., :4] = False
    assert step.followed(legal)[0, 0].nonzero()[:, 0].tolist() == [4, 5, 6]


def test_random_orders_differ_by_seed_and_stay_the_same():
    orders = [tiny(order="random", order_seed=seed).order.tolist() for seed in range(8)]
    assert sorted(orders[0]) == [0, 1, 2]
    assert len({tuple(order) for order in orders}) > 2
    assert tiny(order="random", order_seed=3).order.tolist() == orders[3]


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


def test_without_legal_codes_one_whole_codebook_sums_to_one():
    step, _ = tiny(order="fixed").eval().encode(HISTORIES, capacity=1)
    probs = log_probs(step, None).exp()
    torch.testing.assert_close(probs[..., :4].sum(dim=-1), torch.ones(NUM_USERS, 1))
    assert not probs[..., 4:].any()
