"""Rows of new prefixes in weights: a process reward model gets rows for appended items."""

import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.bundle.networks import plain_weights
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.trie import Trie
from sidestep.model.process_reward import ProcessRewardModel


def with_new_features(network: ProcessRewardModel, old: Catalog, new: Catalog) -> dict[str, Tensor]:
    """The weights for a catalog with appended items, of semantic IDs or of sets of codes.

    Sets keep the rows of their codes. A new code has the row of the highest old code, as in a
    network over codes.

    Raises:
        ValueError: see `with_prefixes`.
    """
    if isinstance(old.spanned, Trie):
        return with_prefixes(network, old.trie, new.trie)
    weights = plain_weights(network)
    num_new = sum(new.codebook_sizes) - sum(old.codebook_sizes)
    if num_new and network.config.hashed_rows is None:
        rows = weights["embedding.weight"]
        weights["embedding.weight"] = torch.cat([rows, rows[-1:].expand(num_new, -1)])
    return weights


def with_prefixes(network: ProcessRewardModel, old: Trie, new: Trie) -> dict[str, Tensor]:
    """The weights for a trie with appended items, which numbers its prefixes otherwise.

    Old prefixes keep their rows, and so their scores. A new prefix gets the mean row of the old
    prefixes of its own length that share most codes with it. The row of its parent would not do:
    only scores of prefixes of one length are comparable.

    Raises:
        ValueError: prefixes share rows by their numbers, so that old ones would get others' rows.
    """
    if network.config.hashed_rows is not None:
        raise ValueError(
            "the process reward model shares rows among prefixes by their numbers "
            "(model.hashed_rows), which appending changes; append to its backbone, and train a "
            "process reward model on that."
        )
    weights = plain_weights(network)
    weights["embedding.weight"] = _carried_rows(weights["embedding.weight"], old, new)
    return weights


def _carried_rows(rows: Float[Tensor, "old dim"], old: Trie, new: Trie) -> Float[Tensor, "new dim"]:
    """The rows of the new trie's prefixes, see `with_prefixes`."""
    items = torch.arange(old.num_items)
    carried = rows.new_zeros(new.num_nodes(), rows.shape[1])
    is_old = torch.zeros(new.num_nodes(), dtype=torch.bool)
    for depth in range(new.num_levels + 1):
        # Items keep their indices and their codes: they say which number became which.
        renumbered = new.ancestor(new.leaf_of(items), depth)
        carried[renumbered] = rows[old.ancestor(old.leaf_of(items), depth)]
        is_old[renumbered] = True
    for depth in range(1, new.num_levels + 1):
        nodes = torch.tensor(new.nodes_at(depth))
        known, unknown = nodes[is_old[nodes]], nodes[~is_old[nodes]]
        # From the root down: what shares more codes has the last word.
        for num_shared in range(depth):
            sums = rows.new_zeros(new.num_nodes(), rows.shape[1])
            sums.index_add_(0, new.ancestor(known, num_shared), carried[known])
            counts = torch.bincount(new.ancestor(known, num_shared), minlength=new.num_nodes())
            shared = new.ancestor(unknown, num_shared)
            has_relatives = counts[shared] > 0
            shared = shared[has_relatives]
            carried[unknown[has_relatives]] = sums[shared] / counts[shared, None]
    return carried
