"""Contrasts over sets: the wrong codes of all open codebooks, after the set on the way."""

import pytest
import torch

from sidestep.catalog.trie import NO_STATE
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.training.contrasts import SetContrasts, contrasts_of
from sidestep.training.leaf_ways import chosen_ways
from tests.catalog.test_space import TITLES

from .test_set_distillation import IDS, SETS, SIZES, SPACE, a_policy
from .test_value import BATCH


def a_draw(number, backbone):
    """The contrasts of each depth, the way of each target, and the target."""
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    drawn = list(SetContrasts(space=SPACE, number=number).draw(backbone, BATCH, users, positions))
    after = torch.arange(BATCH.items.shape[1]).expand(BATCH.items.shape)
    ways = chosen_ways(backbone, BATCH.histories, BATCH.items, SPACE.shortened(), after=after)
    states = torch.cat([torch.zeros_like(ways.states[..., :1]), ways.states], dim=2)
    return drawn, states[users, positions], BATCH.items[users, positions].tolist()


def wrong_sets(above, item):
    """By plain Python: the sets that one wrong code makes of a set, as all codes of their items."""
    if bool(SPACE.is_complete(torch.tensor([[above]]))):
        return set()
    held = [code for code in SPACE.features(torch.tensor([[above]]))[0, 0].tolist() if code >= 0]
    right = set(SETS[item].tolist())
    sets = set()
    for codes in SETS.tolist():
        for code in set(codes) - right if set(held) <= set(codes) else ():
            sets.add(frozenset({*held, code}))
    lone = {one: [own for own in SETS.tolist() if one <= set(own)] for one in sets}
    return {frozenset(own[0]) if len(own) == 1 else one for one, own in lone.items()}


def as_sets(states):
    """The codes of each state."""
    return [frozenset(row) - {-1} for row in SPACE.features(states[None])[0].tolist()]


@pytest.mark.parametrize("order", ["confident", "fixed"])
def test_all_wrong_codes_are_drawn_where_there_are_few(order):
    drawn, states, items = a_draw(99, a_policy(order=order).eval())
    assert len(drawn) == len(SIZES)
    for depth, contrast in enumerate(drawn, start=1):
        assert contrast.own.equal(states[:, depth])
        for row, item in enumerate(items):
            others = contrast.others[row][contrast.others[row] != NO_STATE]
            found = as_sets(others)
            assert len(found) == len(others)
            assert set(found) == wrong_sets(int(states[row, depth - 1]), item)
            assert frozenset(SETS[item].tolist()) not in found
    assert any((contrast.others != NO_STATE).any() for contrast in drawn[1:])


def test_few_are_drawn_uniformly_and_each_once():
    backbone, counts = a_policy().eval(), {}
    _, states, items = a_draw(2, backbone)
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    contrasts = SetContrasts(space=SPACE, number=2)
    for _ in range(300):
        first = next(contrasts.draw(backbone, BATCH, users[:1], positions[:1]))
        own = as_sets(first.others[0])
        assert len(set(own)) == 2
        for one in own:
            counts[one] = counts.get(one, 0) + 1
    every = wrong_sets(int(states[0, 0]), items[0])
    assert counts.keys() == every
    expected = 2 * 300 / len(every)
    assert all(0.6 * expected < number < 1.4 * expected for number in counts.values())


def test_a_network_of_codes_in_an_order_or_another_space_is_refused():
    ordered = Transformer(TransformerConfig(dim=8, num_layers=1, num_heads=2), IDS, SIZES)
    with pytest.raises(ValueError, match="got the space SetSpace and a Transformer"):
        contrasts_of(SPACE, ordered, 1)
    with pytest.raises(ValueError, match="got the space Titles"):
        contrasts_of(TITLES, a_policy(), 1)
