import numpy as np
import pytest
import torch

from sidestep.tokenizer.mpq import FittedMpq, Mpq, MpqConfig, MpqNetwork, mean_by_code
from sidestep.tokenizer.quality import FitQuality
from sidestep.tokenizer.vq_training import linear_layers
from tests.tokenizer.contract import TokenizerContract
from tests.tokenizer.test_rq_vae import clustered


def fit(vectors, codebook_sizes, seed=0, **config):
    small = {"hidden_sizes": (16,), "codeword_dim": 6, "device": "cpu", **config}
    return Mpq(MpqConfig(codebook_sizes=codebook_sizes, **small)).fit(vectors, seed=seed)


class TestMpq(TokenizerContract):
    board_sizes = (8, 8)  # an expert may see two clusters in one place

    def fit(self, vectors, codebook_sizes, seed):
        return fit(vectors, codebook_sizes, seed, warmup_epochs=50, epochs=60, learning_rate=5e-3)


def network(dim=2, **config):
    config = MpqConfig(codebook_sizes=(2, 2), hidden_sizes=(), **config)
    made = MpqNetwork(dim, config, seed=0)
    with torch.no_grad():
        for weight in made.parameters():
            weight.zero_()
    return made


def test_the_loss_is_the_one_of_the_paper_worked_by_hand():
    made = network(codeword_dim=1, orthogonality=0.1, commitment=0.2)
    with torch.no_grad():
        # Experts see v_1 and v_1 + v_2; both weigh 1/2, whatever the vector is.
        made.projections.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        made.codebooks[0].copy_(torch.tensor([[0.0], [2.0]]))
        made.codebooks[1].copy_(torch.tensor([[0.0], [5.0]]))
        made.decoder[0].weight.copy_(torch.tensor([[1.0], [2.0]]))
    passed = made.passed(torch.tensor([[3.0, 1.0]]), is_quantised=True)
    # Outputs 3 and 4, codewords 2 and 5: both squared differences are 1. The mixture is 3.5, and
    # the decoder makes (3.5, 7) of it: (.5² + 6²)/2. The projections have the cosine sqrt(1/2).
    expected = 2 * 1.2 + (0.25 + 36) / 2 + 0.1 * 2 * 0.5
    assert passed.loss.item() == pytest.approx(expected, rel=1e-6)
    assert [code.tolist() for code in passed.codes] == [[1], [1]]
    assert [part.tolist() for part in passed.quantised] == [[[3.0]], [[4.0]]]


def test_gradients_go_straight_through_to_the_experts():
    made = network(codeword_dim=1, orthogonality=0, commitment=0)
    with torch.no_grad():
        made.codebooks[0].copy_(torch.tensor([[0.0], [2.0]]))
        made.decoder[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
    batch = torch.tensor([[1.0, 0.0]])
    made.passed(batch, is_quantised=True).loss.backward()
    # Both outputs are 0, so is the mixture: dL/dq = (0 - 1) · 2/2, a half for each expert.
    assert made.projections.weight.grad.tolist() == [[-0.5, 0.0], [-0.5, 0.0]]


def test_without_quantisation_the_mixture_is_of_the_outputs():
    made = network(codeword_dim=1, orthogonality=0)
    with torch.no_grad():
        made.projections.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        made.gate.bias.copy_(torch.tensor([0.0, float(np.log(3))]))  # weights 1/4 and 3/4
        made.decoder[0].weight.copy_(torch.tensor([[1.0], [1.0]]))
    # The mixture of 4 and 8 is 7.
    loss = made.passed(torch.tensor([[4.0, 8.0]]), is_quantised=False).loss
    assert loss.item() == pytest.approx((9 + 1) / 2)


def test_projections_that_stand_upright_cost_nothing():
    made = network(dim=4, codeword_dim=2)
    with torch.no_grad():
        made.projections.weight.copy_(5 * torch.eye(4))
    assert made.orthogonality_loss().item() == pytest.approx(0, abs=1e-10)


def test_the_width_is_shared_out_among_the_experts():
    made = MpqNetwork(128, MpqConfig(codebook_sizes=(4,) * 12), seed=0)
    assert made.codebooks[0].shape == (4, 10)
    assert MpqNetwork(2, MpqConfig(codebook_sizes=(4,) * 3), seed=0).codebooks[0].shape == (4, 1)


def test_a_reconstruction_mixes_codewords_by_the_mean_weights_of_their_codes():
    decoder = linear_layers([1, 2])
    with torch.no_grad():
        decoder[0].weight.copy_(torch.tensor([[1.0], [2.0]]))
        decoder[0].bias.zero_()
    levels = (np.array([[4.0], [8.0]]), np.array([[1.0], [2.0]]))
    fitted = FittedMpq(
        projections=np.eye(2, dtype=np.float32),
        levels=tuple(level.astype(np.float32) for level in levels),
        gates=(np.array([0.2, 0.6], dtype=np.float32), np.array([0.9, 0.2], dtype=np.float32)),
        decoder=decoder,
        mean=np.array([1.0, 0.0], dtype=np.float32),
        scale=10.0,
    )
    # (.6 · 8 + .2 · 2) / .8 = 6.5
    found = fitted.reconstruct(np.array([[1, 1]]))
    np.testing.assert_allclose(found, [[66.0, 130.0]], rtol=1e-5)


def test_nearly_all_codes_are_used_and_tell_clusters_apart():
    vectors = clustered()
    settings = {"hidden_sizes": (64,), "batch_size": 200, "learning_rate": 3e-3, "epochs": 150}
    done = fit(vectors, (16, 16, 16), **settings)
    quality = FitQuality.of(done, vectors)
    assert min(quality.utilisation) > 0.8
    assert quality.reconstruction_error < 0.3


def test_codes_of_no_item_have_the_mean_of_all():
    means = mean_by_code(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([2, 2, 0]), 3)
    assert means.tolist() == [6.0, 3.0, 1.5]
