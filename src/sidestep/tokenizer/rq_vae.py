"""RQ-VAE: an autoencoder and a residual quantiser of its latent space, learned together."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, Field
from torch import Tensor, nn

from sidestep.array_files import ArrayFormat, Stored
from sidestep.tokenizer.codebooks import ResidualCodebooks
from sidestep.tokenizer.residual_kmeans import ResidualKMeans, ResidualKMeansConfig
from sidestep.tokenizer.tokenizer import Fit, Report
from sidestep.tokenizer.vectors import check_encodable, check_fittable
from sidestep.tokenizer.vq_training import (
    Pass,
    QuantisingNetwork,
    ScaledVectors,
    VqTraining,
    VqTrainingConfig,
    applied,
    linear_layers,
    nearest_codes,
)

_FORMAT = ArrayFormat(name="an RQ-VAE tokenizer", version=3, remedy="run tokenize again")


class RqVaeConfig(VqTrainingConfig):
    """Configuration of an RQ-VAE: an autoencoder and the codebooks of its latent space."""

    hidden_sizes: tuple[int, ...] = (256, 128)
    """Widths of the encoder's hidden layers; the decoder has them in reverse."""

    latent_dim: int = Field(32, ge=1)
    """Width of the latent vectors that are quantised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedRqVae:
    """An autoencoder with codebooks in its latent space.

    encoder, decoder: networks from centred and scaled vectors to latent vectors, and back; on the
        CPU.
    codebooks: residual codebooks of latent vectors.
    mean: mean of the vectors that the tokenizer was fitted on.
    scale: one number for all dimensions, so that distances keep their proportions.
    """

    encoder: nn.Sequential
    decoder: nn.Sequential
    codebooks: ResidualCodebooks
    mean: Float[np.ndarray, " dim"]
    scale: float

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each level."""
        return self.codebooks.codebook_sizes

    @property
    def dim(self) -> int:
        """Width of the vectors that can be encoded."""
        return len(self.mean)

    def latent(self, vectors: Float[np.ndarray, "items dim"]) -> Float[np.ndarray, "items latent"]:
        """Latent vectors: the output of the encoder for these vectors."""
        check_encodable(vectors, self.dim)
        return applied(self.encoder, (vectors.astype(np.float32) - self.mean) / self.scale)

    def encode(self, vectors: Float[np.ndarray, "items dim"]) -> Int[np.ndarray, "items levels"]:
        """Encodes vectors, level by level, by the codeword nearest to the latent residual."""
        return self.codebooks.encode(self.latent(vectors))

    def reconstruct(
        self, semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items dim"]:
        """Output of the decoder for the sum of each item's codewords."""
        decoded = applied(self.decoder, self.codebooks.reconstruct(semantic_ids))
        vectors: np.ndarray = decoded * np.float32(self.scale) + self.mean
        return vectors

    def last_residuals(
        self, vectors: Float[np.ndarray, "items dim"], semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items latent"]:
        """Residual of each latent vector, which the last level quantises."""
        return self.codebooks.last_residuals(self.latent(vectors), semantic_ids)

    @property
    def last_codewords(self) -> Float[np.ndarray, "codes latent"]:
        """The codebook of the last level, in the latent space."""
        return self.codebooks.last_codewords

    def save(self, path: Path) -> None:
        """Writes weights and codebooks as safetensors, whole or not at all."""
        arrays = {f"level_{level}": words for level, words in enumerate(self.codebooks.levels)}
        for name, network in (("encoder", self.encoder), ("decoder", self.decoder)):
            weights = network.state_dict().items()
            arrays |= {f"{name}.{key}": weight.numpy() for key, weight in weights}
        arrays["mean"] = self.mean
        layers = [layer for layer in self.encoder if isinstance(layer, nn.Linear)]
        settings = {
            "widths": [self.dim, *(layer.out_features for layer in layers)],
            "num_levels": len(self.codebooks.levels),
            "scale": self.scale,
        }
        _FORMAT.write(path, Stored(arrays=arrays, settings=settings))

    @classmethod
    def load(cls, path: Path) -> "FittedRqVae":
        """Reads what `save` wrote; the errors are those of `ArrayFormat.read`."""
        stored = _FORMAT.read(path)
        widths = stored.settings["widths"]
        networks = {"encoder": linear_layers(widths), "decoder": linear_layers(widths[::-1])}
        for name, network in networks.items():
            weights = {
                key.removeprefix(f"{name}."): torch.from_numpy(array)
                for key, array in stored.arrays.items()
                if key.startswith(f"{name}.")
            }
            network.load_state_dict(weights)
        levels = range(stored.settings["num_levels"])
        return cls(
            **networks,
            codebooks=ResidualCodebooks(tuple(stored.arrays[f"level_{level}"] for level in levels)),
            mean=stored.arrays["mean"],
            scale=stored.settings["scale"],
        )


class RqVae:
    """Learns an RQ-VAE.

    Sources: Lee et al., "Autoregressive image generation using residual quantization" (CVPR 2022);
    for semantic IDs, TIGER (arXiv:2305.05065), whose loss this is, with means over dimensions:

        |x - x̂|² + Σ_level |sg(r) - e|² + commitment · |r - sg(e)|²

    Our choices: vectors are centred and scaled by one number; for the rest of the training see
    `vq_training`.
    """

    Config: ClassVar[type[BaseModel]] = RqVaeConfig

    def __init__(self, config: RqVaeConfig) -> None:
        self.config = config

    def fit(
        self, vectors: Float[np.ndarray, "items dim"], *, seed: int, report: Report | None = None
    ) -> Fit:
        """Learns network and codebooks, see `Tokenizer.fit`."""
        check_fittable(vectors, self.config.codebook_sizes)
        scaled = ScaledVectors.of(vectors)  # the check above refuses equal vectors
        device = self.config.chosen_device()
        network = _Network(vectors.shape[1], self.config, seed).to(device)
        inputs = scaled.vectors.to(device)
        VqTraining(network, inputs, self.config, seed).run(report)
        network = network.cpu()
        tokenizer = FittedRqVae(
            encoder=network.encoder,
            decoder=network.decoder,
            codebooks=ResidualCodebooks(
                tuple(codewords.detach().numpy() for codewords in network.codebooks)
            ),
            mean=scaled.mean,
            scale=scaled.scale,
        )
        return Fit(tokenizer=tokenizer, semantic_ids=tokenizer.encode(vectors))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quantised:
    """Latent vectors after quantisation.

    codes: codes of each level.
    residuals: residuals that each level quantised, without gradient.
    latent: the sum of the codewords; its gradient goes straight to the encoder.
    loss: loss of codewords and commitment, summed over levels.
    """

    codes: list[Int[Tensor, " items"]]
    residuals: list[Float[Tensor, "items latent"]]
    latent: Float[Tensor, "items latent"]
    loss: Float[Tensor, ""]


class _Network(QuantisingNetwork):
    """Encoder, decoder and codebooks."""

    def __init__(self, dim: int, config: RqVaeConfig, seed: int) -> None:
        super().__init__()
        widths = [dim, *config.hidden_sizes, config.latent_dim]
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = linear_layers(widths)
            self.decoder = linear_layers(widths[::-1])
        self.codebooks = nn.ParameterList(
            nn.Parameter(torch.zeros(size, config.latent_dim)) for size in config.codebook_sizes
        )

    def quantise(self, latent: Float[Tensor, "items latent"], commitment: float) -> _Quantised:
        """Quantises latent vectors by the nearest codewords, level by level."""
        codes, residuals = [], []
        residual, total, loss = latent, torch.zeros_like(latent), latent.new_zeros(())
        for codewords in self.codebooks:
            code = nearest_codes(residual, codewords)
            codeword = codewords[code]
            codes.append(code)
            residuals.append(residual.detach())
            loss = loss + (residual.detach() - codeword).square().mean()
            loss = loss + commitment * (residual - codeword.detach()).square().mean()
            residual = residual - codeword.detach()
            total = total + codeword.detach()
        return _Quantised(
            codes=codes, residuals=residuals, latent=latent + (total - latent).detach(), loss=loss
        )

    def passed(self, batch: Float[Tensor, "items dim"], *, is_quantised: bool) -> Pass:
        """See `QuantisingNetwork.passed`."""
        latent = self.encoder(batch)
        if not is_quantised:
            loss = (self.decoder(latent) - batch).square().mean()
            return Pass(loss=loss, codes=[], quantised=[])
        quantised = self.quantise(latent, self.config.commitment)
        loss = quantised.loss + (self.decoder(quantised.latent) - batch).square().mean()
        return Pass(loss=loss, codes=quantised.codes, quantised=quantised.residuals)

    def clusters(
        self, sample: Float[Tensor, "items dim"], seed: int
    ) -> list[Float[Tensor, "_ latent"]]:
        """See `QuantisingNetwork.clusters`."""
        latent = self.encoder(sample).cpu().numpy()
        config = ResidualKMeansConfig(codebook_sizes=self.config.codebook_sizes, max_iterations=20)
        clustered = ResidualKMeans(config).fit(latent, seed=seed).tokenizer
        assert isinstance(clustered, ResidualCodebooks)
        return [torch.from_numpy(centres) for centres in clustered.levels]
