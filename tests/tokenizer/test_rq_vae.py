import numpy as np
import pytest
import torch

from sidestep.tokenizer.quality import FitQuality
from sidestep.tokenizer.rq_vae import RqVae, RqVaeConfig, _Network
from sidestep.tokenizer.vq_training import VqTraining
from tests.tokenizer.contract import TokenizerContract


def fit(vectors, codebook_sizes, seed=0, **config):
    small = {"hidden_sizes": (16,), "latent_dim": 8, "device": "cpu", **config}
    config = RqVaeConfig(codebook_sizes=codebook_sizes, **small)
    return RqVae(config).fit(vectors, seed=seed)


def clustered(num_items=600, num_clusters=60):
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(num_clusters, 10))
    vectors = centres[generator.integers(0, num_clusters, num_items)]
    return (vectors + generator.normal(0, 0.1, vectors.shape)).astype(np.float32)


class TestRqVae(TokenizerContract):
    def fit(self, vectors, codebook_sizes, seed):
        return fit(vectors, codebook_sizes, seed, warmup_epochs=50, epochs=60, learning_rate=5e-3)


def test_nearly_all_codes_are_used_and_tell_clusters_apart():
    vectors = clustered()
    wide = {"hidden_sizes": (64,), "latent_dim": 16}
    done = fit(vectors, (16, 16), epochs=150, batch_size=200, learning_rate=3e-3, **wide)
    quality = FitQuality.of(done, vectors)
    assert min(quality.utilisation) > 0.8
    assert quality.reconstruction_error < 0.3


def test_codes_that_nobody_takes_come_back():
    config = RqVaeConfig(codebook_sizes=(8,), hidden_sizes=(4,), latent_dim=2, batch_size=50)
    network = _Network(3, config, 0)
    inputs = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    training = VqTraining(network, inputs, config, 0)
    training.cluster()
    with torch.no_grad():
        network.codebooks[0][3:] = 1e6  # far from every latent vector
    training.epoch(is_quantised=True)
    assert network.codebooks[0].abs().max() < 1e3


def test_the_straight_through_gradient_is_that_of_the_sum_of_codewords():
    network = _Network(3, RqVaeConfig(codebook_sizes=(4, 4), latent_dim=2), 0)
    with torch.no_grad():
        for codewords in network.codebooks:
            codewords.normal_(generator=torch.Generator().manual_seed(1))
    latent = torch.tensor([[0.3, -2.0]], requires_grad=True)
    quantised = network.quantise(latent, 0.25)
    words = [book[code] for book, code in zip(network.codebooks, quantised.codes, strict=True)]
    torch.testing.assert_close(quantised.latent, sum(words))
    (quantised.latent * torch.tensor([[5.0, 7.0]])).sum().backward()
    assert latent.grad.tolist() == [[5.0, 7.0]]


def test_the_loss_is_the_one_of_the_paper_worked_by_hand():
    # Latent 3 with codewords {0, 2} and then {0, 0.5}: residuals 3 and 1, codewords 2 and 0.5,
    # squared differences 1 and 1/4; (1 + 1/4) · (1 + commitment).
    network = _Network(1, RqVaeConfig(codebook_sizes=(2, 2), latent_dim=1), 0)
    with torch.no_grad():
        network.codebooks[0].copy_(torch.tensor([[0.0], [2.0]]))
        network.codebooks[1].copy_(torch.tensor([[0.0], [0.5]]))
    latent = torch.tensor([[3.0]], requires_grad=True)
    loss = network.quantise(latent, 0.2).loss
    assert loss.item() == pytest.approx(1.25 * 1.2)
    loss.backward()
    # Codewords are drawn to residuals with weight 1, the latent vector to codewords with 0.2.
    assert network.codebooks[0].grad[1].item() == pytest.approx(-2 * 1)
    assert latent.grad.item() == pytest.approx(0.2 * (2 * 1 + 2 * 0.5))


def test_training_ends_when_the_loss_stays():
    reported = []
    vectors = clustered(60, 4)
    small = {"hidden_sizes": (4,), "latent_dim": 2, "device": "cpu", "patience": 1}
    config = RqVaeConfig(codebook_sizes=(2,), epochs=10_000, **small)
    RqVae(config).fit(vectors, seed=0, report=lambda *progress: reported.append(progress))
    assert reported[-1] == ("epochs", 10_000, 10_000)
    assert len(reported) < 2_000
