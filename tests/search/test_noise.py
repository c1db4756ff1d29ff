"""Noise follows its distribution, and does not depend on batches or order."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.padding import NO_ITEM
from sidestep.search import noise as noises
from sidestep.search.noise import edge_gumbels, user_keys
from sidestep.step import HistoryBatch

EULER = 0.5772156649


def batch(*histories: list[int], width: int | None = None) -> HistoryBatch:
    width = width or max([len(items) for items in histories])
    rows = [items + [NO_ITEM] * (width - len(items)) for items in histories]
    items = torch.tensor(rows, dtype=torch.long).view(len(rows), width)
    return HistoryBatch(items=items, lengths=torch.tensor([len(items) for items in histories]))


def test_noise_is_standard_gumbel():
    keys = user_keys(batch(*([user] for user in range(200))), seed=3)
    noise = edge_gumbels(keys, torch.arange(20).expand(200, -1), 50).flatten()
    # 200,000 values; the tolerance is four standard errors.
    assert abs(float(noise.mean()) - EULER) < 4 * 1.2825 / len(noise) ** 0.5
    assert abs(float(noise.var()) - math.pi**2 / 6) < 4 * 3.43 / len(noise) ** 0.5
    for quantile in (-1.0, 0.0, 1.0, 4.0):
        expected = math.exp(-math.exp(-quantile))
        error = (expected * (1 - expected) / len(noise)) ** 0.5
        assert abs(float((noise <= quantile).double().mean()) - expected) < 4 * error


def test_neighbours_are_uncorrelated():
    keys = user_keys(batch(*([user] for user in range(300))), seed=0)
    noise = edge_gumbels(keys, torch.arange(30).expand(300, -1), 30)
    noise = (noise - noise.mean()) / noise.std()
    for axis in range(3):
        ahead = noise.narrow(axis, 1, noise.shape[axis] - 1)
        behind = noise.narrow(axis, 0, noise.shape[axis] - 1)
        product = ahead * behind
        assert abs(float(product.mean())) < 4 / product.numel() ** 0.5
    other = edge_gumbels(
        user_keys(batch(*([user] for user in range(300))), seed=1),
        torch.arange(30).expand(300, -1),
        30,
    )
    other = (other - other.mean()) / other.std()
    assert abs(float((noise * other).mean())) < 4 / noise.numel() ** 0.5


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=5), st.data())
def test_a_user_has_the_same_key_alone_and_in_any_padded_batch(histories, data):
    together = user_keys(batch(*histories, width=8), seed=5).tolist()
    order = data.draw(st.permutations(range(len(histories))))
    turned = user_keys(batch(*(histories[user] for user in order), width=6), seed=5).tolist()
    for place, user in enumerate(order):
        alone = user_keys(batch(histories[user], width=5), seed=5)
        assert together[user] == turned[place] == int(alone[0])
    different = {tuple(items) for items in histories}
    assert len(set(together)) == len(different)


def test_the_seed_the_order_of_items_and_the_length_make_other_keys():
    keys = [
        int(user_keys(batch(items, width=3), seed)[0])
        for items, seed in (([1, 2], 0), ([2, 1], 0), ([1, 2], 1), ([1, 2, 0], 0), ([], 0))
    ]
    assert len(set(keys)) == 5


def test_an_edge_has_the_same_noise_wherever_it_is_asked_for():
    keys = user_keys(batch([4], [7]), seed=2)
    wide = edge_gumbels(keys, torch.tensor([[3, 5, 3], [5, 0, 3]]), 6)
    assert wide[0, 0].equal(wide[0, 2])
    assert wide[1, 2, :4].equal(edge_gumbels(keys[1:], torch.tensor([[3]]), 4)[0, 0])
    assert not wide[0, 0].equal(wide[1, 2])


def test_the_keys_are_those_of_splitmix64():
    """The published first outputs of SplitMix64 from the state 0 (Steele et al. 2014)."""
    state, steps = torch.zeros(3, dtype=torch.long), torch.arange(3)
    outputs = [key % 2**64 for key in noises._absorbed(state, steps).tolist()]
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
