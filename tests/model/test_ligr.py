import torch
from torch.nn import functional

from sidestep.model.ligr import LigrLayers

CAUSAL = torch.nn.Transformer.generate_square_subsequent_mask(4)


@torch.no_grad()
def test_a_layer_is_attention_and_swiglu_each_behind_a_gate_of_the_residual_stream():
    """The formulas of LiGR, one after the other, from the weights of the layer."""
    torch.manual_seed(0)
    layers = LigrLayers(dim=8, num_layers=1, num_heads=2, ffn_dim=12, dropout=0.5).eval()
    for weight in layers.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    [layer] = layers.layers
    x = torch.randn(3, 4, 8)
    found = layers(x, CAUSAL, is_causal=True)
    normed = functional.layer_norm(x, (8,), layer.attention_norm.weight, layer.attention_norm.bias)
    attention = layer.attention
    projected = normed @ attention.in_proj_weight.T + attention.in_proj_bias
    queries, keys, values = (each.view(3, 4, 2, 4) for each in projected.chunk(3, dim=-1))
    mixed = torch.zeros(3, 4, 8)
    for user in range(3):
        for place in range(4):
            for head in range(2):
                products = keys[user, : place + 1, head] @ queries[user, place, head] / 2
                seen = products.softmax(0) @ values[user, : place + 1, head]
                mixed[user, place, 4 * head : 4 * head + 4] = seen
    mixed = mixed @ attention.out_proj.weight.T + attention.out_proj.bias
    gate = layer.attention_gate.gate
    x = x + torch.sigmoid(x @ gate.weight.T + gate.bias) * mixed
    normed = functional.layer_norm(x, (8,), layer.ffn_norm.weight, layer.ffn_norm.bias)
    ffn, gate = layer.ffn, layer.ffn_gate.gate
    hidden = functional.silu(normed @ ffn.gate.weight.T) * (normed @ ffn.up.weight.T)
    x = x + torch.sigmoid(x @ gate.weight.T + gate.bias) * (hidden @ ffn.down.weight.T)
    expected = functional.layer_norm(x, (8,), layers.norm.weight, layers.norm.bias)
    torch.testing.assert_close(found, expected)
