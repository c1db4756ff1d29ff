import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.search.policy import Scope


def test_a_shared_leaf_means_what_its_items_mean_on_average():
    trie = Trie.build(np.array([[1], [0], [1]]), (2,))
    found = LeafEmbeddings.of(torch.tensor([[2.0, 0.0], [-3.0, 4.0], [0.0, 5.0]]), Scope(trie=trie))
    assert found.items.tolist() == [[1.0, 0.0], pytest.approx([-0.6, 0.8]), [0.0, 1.0]]
    leaves = trie.leaf_of(torch.tensor([[0, 1], [2, 1]]))
    shared, own = [0.5, 0.5], [-0.6, 0.8]
    expected = torch.tensor([[shared, own], [shared, own]])
    torch.testing.assert_close(found.at(leaves), expected)
    assert found.at(torch.tensor([[NO_STATE]])).isfinite().all()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12))
def test_every_leaf_is_the_mean_of_its_bucket(ids):
    trie = Trie.build(np.array(ids), (3, 3))
    generator = torch.Generator().manual_seed(len(ids))
    found = LeafEmbeddings.of(torch.randn(len(ids), 4, generator=generator), Scope(trie=trie))
    for leaf in range(trie.first_leaf, trie.num_nodes()):
        bucket = trie.items(torch.tensor([[leaf]])).flatten()
        mean = found.items[bucket].mean(dim=0)
        torch.testing.assert_close(found.at(torch.tensor([[leaf]]))[0, 0], mean)


def test_a_set_that_items_share_means_what_they_mean_on_average():
    space = SetSpace.of_codes(torch.tensor([[1, 0], [0, 0], [1, 0]]), (2, 1))
    embeddings = torch.tensor([[2.0, 0.0], [-3.0, 4.0], [0.0, 5.0]])
    found = LeafEmbeddings.of(embeddings, space).to("cpu")
    sets = space.state_of(torch.tensor([[0, 1], [2, 1]]))
    shared, own = [0.5, 0.5], [-0.6, 0.8]
    torch.testing.assert_close(found.at(sets), torch.tensor([[shared, own], [shared, own]]))
    assert found.at(torch.tensor([[NO_STATE]])).isfinite().all()
    with pytest.raises(ValueError, match="2 embeddings for a catalog of 3 items"):
        LeafEmbeddings.of(embeddings[:2], space)


def test_embeddings_of_another_catalog_are_refused():
    trie = Trie.build(np.array([[0], [0], [1]]), (2,))
    with pytest.raises(ValueError, match="2 embeddings for a catalog of 3 items"):
        LeafEmbeddings.of(torch.ones(2, 2), Scope(trie=trie))
