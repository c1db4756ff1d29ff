import pytest
import torch

from sidestep.model.layers import attend, rotary_angles, rotated


def heads(num_heads, width, seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, num_heads, width, 8, generator=generator).to(dtype)


def by_hand(queries, keys, values, bias, scale):
    """Softmax attention with keys repeated for the heads of a group."""
    group = queries.shape[1] // keys.shape[1]
    keys, values = (x.repeat_interleave(group, dim=1) for x in (keys, values))
    scores = queries @ keys.transpose(2, 3) * scale + bias
    return (scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("kind", ["causal", "one mask", "mask per user", "bias per head"])
def test_grouped_attention_equals_attention_with_repeated_keys(kv_heads, kind):
    width, columns = (5, 5) if kind == "causal" else (3, 5)
    queries, keys, values = (
        heads(4, width, 0),
        heads(kv_heads, columns, 1),
        heads(kv_heads, columns, 2),
    )
    generator = torch.Generator().manual_seed(3)
    sees = torch.rand(2, width, columns, generator=generator) > 0.4
    sees[..., 0] = True
    if kind == "causal":
        mask, sees = None, torch.ones(width, columns, dtype=torch.bool).tril()[None, None]
    elif kind == "one mask":
        mask, sees = sees[:1], sees[:1, None]
    elif kind == "mask per user":
        mask, sees = sees, sees[:, None]
    bias = torch.zeros(sees.shape).masked_fill(~sees.bool(), -torch.inf)
    if kind == "bias per head":
        mask = bias = torch.randn(2, 4, width, columns, generator=generator)
    scale = 0.5
    actual = attend(queries, keys, values, mask, scale=None if kind == "causal" else scale)
    expected = by_hand(queries, keys, values, bias, 8**-0.5 if kind == "causal" else scale)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("with_bias", [False, True])
def test_bfloat16_on_the_cpu_gives_bfloat16(with_bias):
    states = heads(2, 3, 0, torch.bfloat16)
    mask = torch.zeros(2, 2, 3, 3, dtype=torch.bfloat16) if with_bias else None
    mixed = attend(states, states, states, mask)
    assert mixed.dtype == torch.bfloat16
    exact = attend(
        states.float(), states.float(), states.float(), None if mask is None else mask.float()
    )
    torch.testing.assert_close(mixed.float(), exact, atol=2e-2, rtol=2e-2)


def test_scores_of_rotated_heads_depend_on_the_distance_alone():
    query, key = heads(1, 1, 0), heads(1, 1, 1)

    def score(query_position, key_position):
        turned = []
        for states, position in ((query, query_position), (key, key_position)):
            cosines, sines = rotary_angles(torch.tensor([[position]]), 8, 10_000.0)
            turned.append(rotated(states, cosines[:, None], sines[:, None]))
        return (turned[0] * turned[1]).sum(dim=-1)

    torch.testing.assert_close(score(7, 3), score(104, 100), atol=1e-4, rtol=1e-4)
    assert not score(7, 3).allclose(score(8, 3), atol=1e-2)
    torch.testing.assert_close(score(5, 5), (query * key).sum(dim=-1), atol=1e-5, rtol=1e-5)
