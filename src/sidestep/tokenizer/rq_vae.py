"""RQ-VAE: an autoencoder and a residual quantiser of its latent space, learned together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
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
from sidestep.tokenizer.tokenizer import Fit, Report, TokenizerConfig
from sidestep.tokenizer.vectors import check_encodable, check_fittable

_FORMAT = ArrayFormat(name="an RQ-VAE tokenizer", version=3, remedy="run tokenize again")

_ROWS = 16_384
"""Number of items that pass through the network at once after training."""

_ITEMS_PER_START = 64
"""Number of items per code from which the first codebooks are clustered."""


class RqVaeConfig(TokenizerConfig):
    """Configuration of an RQ-VAE: an autoencoder and the codebooks of its latent space."""

    hidden_sizes: tuple[int, ...] = (256, 128)
    """Widths of the encoder's hidden layers; the decoder has them in reverse."""

    latent_dim: int = Field(32, ge=1)
    """Width of the latent vectors that are quantised."""

    commitment: float = Field(0.25, ge=0)
    """Weight of the term that draws latent vectors to their codewords."""

    learning_rate: float = Field(1e-3, gt=0)
    batch_size: int = Field(1024, ge=1)

    warmup_epochs: int = Field(20, ge=0)
    """Passes over the items without quantisation, before the codebooks are clustered. Clusters of
    the latent vectors of an untrained encoder would mean little."""

    epochs: int = Field(1000, ge=1)
    """Largest number of passes over the items after the warm-up."""

    patience: int = Field(20, ge=1)
    """Epochs without a better loss before the learning rate falls to a third. Training ends when it
    has fallen to a hundredth of the first learning rate."""

    device: str | None = None
    """Device of the training; None takes a GPU if there is one."""


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
        return _applied(self.encoder, (vectors.astype(np.float32) - self.mean) / self.scale)

    def encode(self, vectors: Float[np.ndarray, "items dim"]) -> Int[np.ndarray, "items levels"]:
        """Encodes vectors, level by level, by the codeword nearest to the latent residual."""
        return self.codebooks.encode(self.latent(vectors))

    def reconstruct(
        self, semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items dim"]:
        """Output of the decoder for the sum of each item's codewords."""
        decoded = _applied(self.decoder, self.codebooks.reconstruct(semantic_ids))
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
        networks = {"encoder": _layers(widths), "decoder": _layers(widths[::-1])}
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

    Our choices: vectors are centred and scaled by one number. The autoencoder learns a few epochs
    without quantisation before k-means initialises the codebooks. A code that no item took in an
    epoch moves to the residual of a random item. The learning rate falls when the loss stops
    falling.
    """

    Config: ClassVar[type[BaseModel]] = RqVaeConfig

    def __init__(self, config: RqVaeConfig) -> None:
        self.config = config

    def fit(
        self, vectors: Float[np.ndarray, "items dim"], *, seed: int, report: Report | None = None
    ) -> Fit:
        """Learns network and codebooks, see `Tokenizer.fit`."""
        check_fittable(vectors, self.config.codebook_sizes)
        mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = vectors.astype(np.float32) - mean
        # Vectors that are all equal have no scale; the check above refuses them.
        scale = float(np.sqrt(np.square(centred).mean(dtype=np.float64)))
        device = torch.device(
            self.config.device or ("cuda" if torch.cuda.is_available() else "cpu")
        )
        network = _Network(vectors.shape[1], self.config, seed).to(device)
        inputs = torch.from_numpy(centred / np.float32(scale)).to(device)
        _Training(network, inputs, self.config, seed).run(report)
        network = network.cpu()
        tokenizer = FittedRqVae(
            encoder=network.encoder,
            decoder=network.decoder,
            codebooks=ResidualCodebooks(
                tuple(codewords.detach().numpy() for codewords in network.codebooks)
            ),
            mean=mean,
            scale=scale,
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


class _Network(nn.Module):
    """Encoder, decoder and codebooks."""

    def __init__(self, dim: int, config: RqVaeConfig, seed: int) -> None:
        super().__init__()
        widths = [dim, *config.hidden_sizes, config.latent_dim]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = _layers(widths)
            self.decoder = _layers(widths[::-1])
        self.codebooks = nn.ParameterList(
            nn.Parameter(torch.zeros(size, config.latent_dim)) for size in config.codebook_sizes
        )

    def quantise(self, latent: Float[Tensor, "items latent"], commitment: float) -> _Quantised:
        """Quantises latent vectors by the nearest codewords, level by level."""
        codes, residuals = [], []
        residual, total, loss = latent, torch.zeros_like(latent), latent.new_zeros(())
        for codewords in self.codebooks:
            with torch.no_grad():
                offsets = 0.5 * codewords.square().sum(dim=1)
                code = (residual @ codewords.T - offsets).argmax(dim=1)
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


class _Training:
    """One fit: its loop, its counters, and its randomness."""

    def __init__(
        self, network: _Network, inputs: Float[Tensor, "items dim"], config: RqVaeConfig, seed: int
    ) -> None:
        self.network = network
        self.inputs = inputs
        self.config = config
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)

    def run(self, report: Report | None) -> None:
        """Trains until the loss stops falling, or the epochs are over."""
        config = self.config
        for epoch in range(config.warmup_epochs):
            if report is not None:
                report("epochs before quantisation", epoch, config.warmup_epochs)
            self._epoch(is_quantised=False)
        self._cluster()
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=1 / 3, patience=config.patience, threshold=1e-3
        )
        for epoch in range(config.epochs):
            if report is not None:
                report("epochs", epoch, config.epochs)
            schedule.step(self._epoch(is_quantised=True))
            if self.optimizer.param_groups[0]["lr"] < config.learning_rate / 100:
                break
        if report is not None:
            report("epochs", config.epochs, config.epochs)

    def _epoch(self, *, is_quantised: bool) -> float:
        """Makes one pass over the items; returns the mean loss."""
        num_items = len(self.inputs)
        order = torch.randperm(num_items, generator=self.generator).to(self.inputs.device)
        uses = [
            torch.zeros(len(codewords), dtype=torch.long, device=self.inputs.device)
            for codewords in self.network.codebooks
        ]
        total = torch.zeros((), device=self.inputs.device)
        last: _Quantised | None = None
        for rows in torch.split(order, self.config.batch_size):
            batch = self.inputs[rows]
            latent = self.network.encoder(batch)
            loss = latent.new_zeros(())
            if is_quantised:
                last = self.network.quantise(latent, self.config.commitment)
                latent, loss = last.latent, last.loss
                for count, code in zip(uses, last.codes, strict=True):
                    count += torch.bincount(code, minlength=len(count))
            loss = loss + (self.network.decoder(latent) - batch).square().mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(rows)
        if last is not None:
            self._revive(uses, last.residuals)
        return float(total) / num_items

    @torch.no_grad()
    def _revive(
        self,
        uses: Sequence[Int[Tensor, " _"]],
        residuals: Sequence[Float[Tensor, "items latent"]],
    ) -> None:
        """Moves codes that no item took to residuals of random items of the last batch."""
        for codewords, count, residual in zip(self.network.codebooks, uses, residuals, strict=True):
            dead = (count == 0).nonzero()[:, 0]
            drawn = torch.randint(len(residual), (len(dead),), generator=self.generator)
            codewords[dead] = residual[drawn.to(residual.device)]

    @torch.no_grad()
    def _cluster(self) -> None:
        """Sets the codebooks to clusters of the latent vectors of the items."""
        sizes = self.config.codebook_sizes
        drawn = torch.randperm(len(self.inputs), generator=self.generator)
        sample = self.inputs[drawn[: _ITEMS_PER_START * max(sizes)].to(self.inputs.device)]
        latent = self.network.encoder(sample).cpu().numpy()
        config = ResidualKMeansConfig(codebook_sizes=sizes, max_iterations=20)
        clustered = ResidualKMeans(config).fit(latent, seed=self.seed).tokenizer
        assert isinstance(clustered, ResidualCodebooks)
        for codewords, centres in zip(self.network.codebooks, clustered.levels, strict=True):
            codewords.copy_(torch.from_numpy(centres))


def _layers(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(widths)):
        if index:
            layers.append(nn.ReLU())
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


@torch.no_grad()
def _applied(
    network: nn.Sequential, rows: Float[np.ndarray, "items width"]
) -> Float[np.ndarray, "items other_width"]:
    """Output of the network for every row. Rows pass through the network in parts."""
    inputs = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
    outputs = [network(part).numpy() for part in torch.split(inputs, _ROWS)]
    return np.concatenate(outputs)
