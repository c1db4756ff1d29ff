import numpy as np
import pytest
import torch

from sidestep.catalog.trie import Trie
from sidestep.search.item_ranking import ItemRanking
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import Scope
from sidestep.search.scorer import Guidance
from sidestep.search.tilted_head import TiltedItemHead

from .fakes import ItemTable, PrefixTable, histories_of

IDS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
TRIE = Trie.build(IDS, (2, 2))
HEAD = ItemTable(4)
WORTHS = torch.tensor([1.0, 8.0, 0.5, 2.0])


class CountedHead(ItemTable):
    flops_per_item = 6


def probs_of(head, past):
    """The item probabilities of a head at the root."""
    histories = histories_of(past)
    step, _ = PrefixTable((2, 2)).encode(histories, capacity=0)
    return head.item_logits(step.hidden[:, 0], histories).softmax(dim=1)[0]


@pytest.mark.parametrize("past", [0, 2, 5])
def test_items_are_ranked_by_probability_times_worth(past):
    tilted = TiltedItemHead(head=HEAD, log_worths=WORTHS.log())
    answer = ItemRanking(head=tilted).search(
        PrefixTable((2, 2)), histories_of(past), Scope(trie=TRIE)
    )
    expected = (probs_of(HEAD, past) * WORTHS).argsort(descending=True)
    assert TRIE.items(answer.leaves)[0, :, 0].tolist() == expected.tolist()
    assert probs_of(tilted, past).equal(probs_of(tilted, past))


def test_a_prefix_is_guided_by_the_expected_worth_below_it():
    tilted = TiltedItemHead(head=HEAD, log_worths=WORTHS.log(), weight=0.5)
    model, histories, scope = PrefixTable((2, 2)), histories_of(3), Scope(trie=TRIE)
    step, context = model.encode(histories, capacity=0)
    guidance = Guidance(scorer=ItemSupport(head=tilted))
    states = TRIE.ancestor(TRIE.leaf_of(torch.tensor([[0, 2]])), 1)
    found = guidance.begin(histories, step, context, scope)(states, 1)
    weighted = probs_of(HEAD, 3) * WORTHS.sqrt()
    expected = weighted.view(2, 2).sum(dim=1) / weighted.sum()
    torch.testing.assert_close(found[0].exp(), expected)


def test_a_weight_of_0_changes_nothing_and_the_cost_is_that_of_the_head():
    plain = TiltedItemHead(head=HEAD, log_worths=WORTHS, weight=0.0)
    assert probs_of(plain, 1).equal(probs_of(HEAD, 1))
    assert TiltedItemHead(head=CountedHead(4), log_worths=WORTHS).flops_per_item == 6
    assert plain.flops_per_item is None


def test_worths_of_another_catalog_are_refused():
    tilted = TiltedItemHead(head=HEAD, log_worths=torch.zeros(3))
    with pytest.raises(ValueError, match="log_worths has 3 numbers, and the item head scores 4"):
        probs_of(tilted, 1)
