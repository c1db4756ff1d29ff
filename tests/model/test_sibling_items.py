"""Sibling items: which items a prefix leaves, and their scores as logits of the last code."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import Trie
from sidestep.model import transformer
from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.heads import HeadedModel
from sidestep.model.sibling_items import SiblingItems
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.step import HistoryBatch

IDS = torch.tensor([[1, 0, 2], [0, 0, 1], [1, 0, 0], [0, 2, 1], [1, 0, 2]])
SIZES = (2, 3, 3)
TIED = {
    "history": "items",
    "item_head": True,
    "tied_item_head": True,
    "last_code_head": "items",
}


def a_network(ids=IDS, sizes=SIZES, **shape) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(dim=8, num_layers=1, num_heads=2, dropout=0.0, **{**TIED, **shape})
    network = Transformer(config, ids, sizes)
    for weights in network.parameters():
        torch.nn.init.normal_(weights)
    return network.eval()


def numbers_of(siblings: SiblingItems, prefixes: list[list[int]]) -> torch.Tensor:
    numbers = torch.zeros(len(prefixes), dtype=torch.long)
    for codes in torch.tensor(prefixes).T:
        numbers = siblings.next_number(numbers, codes)
    return numbers


def test_items_below_by_hand():
    siblings = SiblingItems(IDS, SIZES)
    assert siblings.widest == (0, 0, 3)
    assert siblings.choose_all == (False, False, True)
    items, codes = siblings.below(numbers_of(siblings, [[1, 0], [0, 2], [0, 1], [1, 2]]), 2)
    assert items.tolist() == [
        [2, 0, 4],
        [3, NO_ITEM, NO_ITEM],
        [NO_ITEM] * 3,
        [NO_ITEM] * 3,
    ]
    assert codes[0].tolist() == [0, 2, 2]
    assert codes[1, 0] == 1


def test_logits_by_hand_add_up_the_items_of_one_code():
    siblings = SiblingItems(IDS, SIZES)
    items, codes = siblings.below(numbers_of(siblings, [[1, 0], [0, 2]]), 2)
    scores = torch.tensor([[0.5, 0.25, 0.25], [3.0, 9.0, 9.0]]).log()
    probs = siblings.code_logits(scores, items, codes, 2).exp()
    torch.testing.assert_close(probs, torch.tensor([[0.5, 0.0, 0.5], [0.0, 3.0, 0.0]]))


ids_of_items = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12
)


@settings(max_examples=60)
@given(ids_of_items, st.integers(0, 2**20))
def test_logits_are_those_of_all_items_one_after_the_other(ids, seed):
    ids = torch.tensor(ids)
    siblings = SiblingItems(ids, SIZES)
    prefixes = [[first, second] for first in range(2) for second in range(3)]
    items, codes = siblings.below(numbers_of(siblings, prefixes), 2)
    generator = torch.Generator().manual_seed(seed)
    of_item = 30 * torch.randn(len(ids), generator=generator)
    of_item.requires_grad_()
    logits = siblings.code_logits(of_item[items.clamp(min=0)], items, codes, 2)
    for row, prefix in enumerate(prefixes):
        for code in range(3):
            here = (ids == torch.tensor([*prefix, code])).all(dim=1)
            expected = of_item[here].logsumexp(dim=0) if here.any() else -torch.tensor(torch.inf)
            torch.testing.assert_close(logits[row, code], expected)
    logits[logits > -torch.inf].sum().backward()
    assert of_item.grad.isfinite().all()
    assert of_item.grad.sum() == pytest.approx(len({tuple(i) for i in ids.tolist()}), rel=1e-4)


def test_items_below_a_shorter_prefix_by_hand():
    siblings = SiblingItems(IDS, SIZES, few_items=2)
    # Below the first code 0 are items 1 and 3, below the first code 1 three items: too many.
    assert siblings.widest == (0, 2, 3)
    assert siblings.choose_all == (False, False, True)
    items, codes = siblings.below(torch.tensor([0, 1]), 1)
    assert items.tolist() == [[1, 3], [NO_ITEM, NO_ITEM]]
    assert codes[0].tolist() == [0, 2]
    scores = torch.tensor([[0.75, 0.25], [1.0, 1.0]]).log()
    probs = siblings.code_logits(scores, items, codes, 1).exp()
    torch.testing.assert_close(probs, torch.tensor([[0.75, 0.0, 0.25], [0.0, 0.0, 0.0]]))


def test_a_code_with_several_items_has_the_sum_of_their_shares():
    siblings = SiblingItems(IDS, SIZES, few_items=3)
    assert siblings.choose_all == (False, True, True)
    items, codes = siblings.below(torch.tensor([1]), 1)
    assert items.tolist() == [[2, 0, 4]]
    probs = siblings.code_logits(torch.tensor([[0.1, 0.3, 0.6]]).log(), items, codes, 1).exp()
    torch.testing.assert_close(probs, torch.tensor([[1.0, 0.0, 0.0]]))


def test_below_few_items_every_code_is_as_likely_as_its_items():
    """The first code is chosen by a row. The probability of an item below it is the head's own."""
    shape = {"last_code_head": "codes", "repeat_bias": True}
    network = a_network(**shape).with_last_code_by_items(few_items=3)
    trie = Trie.build(IDS, SIZES)
    histories = HistoryBatch(items=torch.tensor([[2, 3]]), lengths=torch.tensor([2]))
    with torch.no_grad():
        root, _ = network.encode(histories, capacity=1)
        found = BeamSearch(num_beams=10).search(network, histories, Scope(trie=trie))
        first = root.logits[0, 0, :2].softmax(dim=0)
        probs = network.item_logits(root.hidden[:, 0], histories)[0].softmax(dim=0)
    shares = torch.stack([probs[IDS[:, 0] == code].sum() for code in range(2)])
    by_leaf = dict(zip(found.leaves[0].tolist(), found.log_probs[0].exp().tolist(), strict=True))
    for item, leaf in enumerate(trie.leaf_of(torch.arange(5)).tolist()):
        same = (IDS[item] == IDS).all(dim=1)
        expected = first[IDS[item, 0]] * probs[same].sum() / shares[IDS[item, 0]]
        assert by_leaf[leaf] == pytest.approx(float(expected), rel=1e-4)


def test_too_many_prefixes_are_refused():
    with pytest.raises(ValueError, match=r"more prefixes than a 64-bit number.*last_code_head"):
        SiblingItems(torch.zeros(1, 5, dtype=torch.long), (2**16,) * 5)


def test_the_last_code_is_as_likely_as_its_items_among_their_siblings():
    """Worked by hand from the states of the root and of the prefix, with the repeat bias."""
    network = a_network(repeat_bias=True)
    network.item_head.begin_at(-2.0)
    network.query_mix.data = torch.tensor([0.75, 0.5])
    histories = HistoryBatch(items=torch.tensor([[2, 3]]), lengths=torch.tensor([2]))
    with torch.no_grad():
        root, context = network.encode(histories, capacity=2)
        parents, depths = torch.tensor([[0, 1]]), torch.tensor([[1, 2]])
        step, _ = network.extend(
            context, torch.tensor([[1, 0]]), parents, depths, is_node=depths > 0
        )
        query = 0.75 * root.hidden[0, 0] + 0.5 * step.hidden[0, 1]
        scores = network.catalog_vectors() @ query
    assert scores.shape == (5,)
    scores[[2, 3]] -= 2.0
    below = scores[[0, 2, 4]].softmax(dim=0)
    expected = torch.tensor([below[1], 0.0, below[0] + below[2]])
    torch.testing.assert_close(step.logits[0, 1].softmax(dim=0), expected)


def test_untrained_items_are_as_likely_among_siblings_as_the_item_head_says():
    network = a_network(last_code_head="codes", repeat_bias=True).with_last_code_by_items()
    network.item_head.begin_at(-2.0)
    histories = HistoryBatch(items=torch.tensor([[2, 3]]), lengths=torch.tensor([2]))
    with torch.no_grad():
        root, context = network.encode(histories, capacity=2)
        nodes = (torch.tensor([[1, 0]]), torch.tensor([[0, 1]]), torch.tensor([[1, 2]]))
        step, _ = network.extend(context, *nodes, is_node=nodes[2] > 0)
        below = network.item_logits(root.hidden[:, 0], histories)[0, [0, 2, 4]].softmax(dim=0)
    expected = torch.tensor([below[1], 0.0, below[0] + below[2]])
    torch.testing.assert_close(step.logits[0, 1].softmax(dim=0), expected)


def test_a_beam_finds_every_item_and_the_probabilities_sum_to_one():
    network = a_network()
    trie = Trie.build(IDS, SIZES)
    histories = HistoryBatch(
        items=torch.tensor([[2, 3], [1, NO_ITEM]]), lengths=torch.tensor([2, 1])
    )
    found = BeamSearch(num_beams=10).search(network, histories, Scope(trie=trie))
    torch.testing.assert_close(found.log_probs.exp().sum(dim=1), torch.ones(2))


def test_a_grown_catalog_has_its_items_below_their_prefixes():
    network = a_network(few_items=2)
    more = torch.cat([IDS, torch.tensor([[0, 2, 0]])])
    grown = network.with_semantic_ids(more)
    assert grown.siblings.few_items == 2
    number = numbers_of(network.siblings, [[0, 2]])
    assert grown.siblings.below(number, 2)[0].tolist() == [[5, 3, NO_ITEM]]
    assert network.siblings.below(number, 2)[0].tolist() == [[3, NO_ITEM, NO_ITEM]]


def test_handing_the_last_code_to_items_changes_nothing_else():
    network = a_network(
        last_code_head="codes", item_columns={"kind": {"values": ["a", "b"]}}, repeat_bias=True
    )
    kinds = torch.tensor([[0], [1], [0], [1], [1]])
    network.item_columns.read(kinds, torch.ones(5, 1))
    handed = network.with_last_code_by_items()
    assert handed.config == network.config.model_copy(update={"last_code_head": "items"})
    histories = HistoryBatch(items=torch.tensor([[2, 3]]), lengths=torch.tensor([2]))
    with torch.no_grad():
        before, context = network.encode(histories, capacity=2)
        after, other = handed.encode(histories, capacity=2)
        assert after.logits.equal(before.logits)
        nodes = (torch.tensor([[1, 0]]), torch.tensor([[0, 1]]), torch.tensor([[1, 2]]))
        is_node = nodes[2] > 0
        expected, _ = network.extend(context, *nodes, is_node=is_node)
        step, _ = handed.extend(other, *nodes, is_node=is_node)
    assert step.hidden.equal(expected.hidden)
    assert step.logits[:, 0].equal(expected.logits[:, 0])
    assert not step.logits[:, 1].equal(expected.logits[:, 1])
    assert network.siblings is None
    rebuilt = Transformer(handed.config, IDS, SIZES)
    rebuilt.load_state_dict(handed.state_dict())


def test_no_row_is_kept_for_the_last_code():
    assert a_network().head.weight.shape[0] == 5
    assert a_network(last_code_head="codes").head.weight.shape[0] == 8


def test_it_needs_an_item_head():
    with pytest.raises(ValueError, match="last_code_head: items needs item_head: true"):
        TransformerConfig(last_code_head="items")
    with pytest.raises(ValueError, match="few_items needs last_code_head: items"):
        TransformerConfig(few_items=3)


def test_items_choose_below_whole_prefixes_and_below_few_items():
    siblings = SiblingItems(IDS, SIZES, few_items=2)
    codes = torch.tensor([[-1] * 3, [0, -1, -1], [1, -1, -1], [1, 0, -1], [1, 0, 2]])
    assert siblings.choose(codes).tolist() == [False, True, False, True, False]
    network = a_network(few_items=2)
    assert network.items_choose(codes).equal(siblings.choose(codes))
    assert not network.rows_choose_first_alone
    assert a_network(few_items=3).rows_choose_first_alone
    assert not a_network(last_code_head="codes").items_choose(codes).any()
    assert not a_network(last_code_head="codes").rows_choose_first_alone


def test_the_last_code_keeps_none_of_its_several_rows():
    network = a_network(last_code_head="codes", rows_per_code=3).with_last_code_by_items()
    assert [len(rows) for rows in network.code_rows] == [5, 5]
    rebuilt = Transformer(network.config, IDS, SIZES)
    rebuilt.load_state_dict(network.state_dict())


def test_the_state_after_the_history_alone_scores_as_a_mix_without_the_prefix():
    mixed = a_network(few_items=3)
    mixed.query_mix.data = torch.tensor([1.0, 0.0])
    alone = mixed.with_last_code_by_items(prefix_queries=False)
    histories = HistoryBatch(
        items=torch.tensor([[0, 2], [3, NO_ITEM]]), lengths=torch.tensor([2, 1])
    )
    codes = torch.tensor([[0], [1]])
    depths = torch.ones_like(codes)
    steps = []
    for network in (mixed.eval(), alone.eval()):
        _, context = network.encode(histories, capacity=1)
        step, _ = network.extend(context, codes, depths - 1, depths, is_node=depths > 0)
        steps.append(step)
    torch.testing.assert_close(steps[0].logits, steps[1].logits)
    assert mixed.reads_prefixes
    assert not alone.reads_prefixes
    again = alone.with_last_code_by_items(prefix_queries=True)
    assert again.query_mix.tolist() == [1.0, 0.0]


def test_a_network_that_reads_no_prefix_counts_the_root_alone(monkeypatch):
    network = a_network(few_items=3, prefix_queries=False).eval()
    histories = HistoryBatch(
        items=torch.tensor([[0, 2], [3, NO_ITEM]]), lengths=torch.tensor([2, 1])
    )
    found = BeamSearch(num_beams=3).search(network, histories, Scope(trie=Trie.build(IDS, SIZES)))
    assert found.spent.tokens.tolist() == [1, 1]
    small = network.flops_by_depth(histories)
    assert (small[:, 1:] == 0).all(), "the items of a small catalog are scored at the root"
    monkeypatch.setattr(transformer, "SCORED_ITEMS", 4)
    large = network.flops_by_depth(histories)
    assert (small[:, 0] - large[:, 0]).tolist() == [5 * 2 * 8] * 2
    assert (large[:, 1:] == network.head_flops(network.config.dim)[1:]).all()
    with pytest.raises(ValueError, match="align it with --set prefix_queries=true"):
        HeadedModel(network, ValueHead(ValueHeadConfig(), dim=network.config.dim, num_levels=3))
    with pytest.raises(ValueError, match="prefix_queries: false needs last_code_head: items"):
        TransformerConfig(prefix_queries=False)
