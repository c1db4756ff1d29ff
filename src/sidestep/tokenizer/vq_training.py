"""Training of networks with codebooks: the loop that RQ-VAE and MPQ share.

The network learns a few epochs without quantisation before k-means initialises the codebooks. A
code that no item took in an epoch moves to a vector of a random item. The learning rate falls when
the loss stops falling.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from sidestep.tokenizer.tokenizer import Report, TokenizerConfig

_ROWS = 16_384
"""Number of items that pass through the network at once after training."""

_ITEMS_PER_START = 64
"""Number of items per code from which the first codebooks are clustered."""


class VqTrainingConfig(TokenizerConfig):
    """Settings of the training that networks with codebooks share."""

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

    def chosen_device(self) -> torch.device:
        """The device of the training."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledVectors:
    """Vectors that a network with codebooks learns from: centred, and divided by one number.

    vectors: of the items; the mean square of their numbers is 1.
    mean: of the given vectors.
    scale: the one number, so that distances keep their proportions.
    """

    vectors: Float[Tensor, "items dim"]
    mean: Float[np.ndarray, " dim"]
    scale: float

    @staticmethod
    def of(vectors: Float[np.ndarray, "items dim"]) -> "ScaledVectors":
        """Centres and scales vectors that are not all equal."""
        mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = vectors.astype(np.float32) - mean
        scale = float(np.sqrt(np.square(centred).mean(dtype=np.float64)))
        return ScaledVectors(
            vectors=torch.from_numpy(centred / np.float32(scale)), mean=mean, scale=scale
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """The result of one batch.

    loss: of the batch, the sum of all terms that the network learns from.
    codes: of each codebook; empty without quantisation.
    quantised: the vectors that each codebook quantised, without gradient.
    """

    loss: Float[Tensor, ""]
    codes: list[Int[Tensor, " items"]]
    quantised: list[Float[Tensor, "items _"]]


class QuantisingNetwork(nn.Module, ABC):
    """A network with codebooks, which the training clusters and keeps alive."""

    codebooks: nn.ParameterList

    @abstractmethod
    def passed(self, batch: Float[Tensor, "items dim"], *, is_quantised: bool) -> Pass:
        """The loss of a batch.

        Args:
            batch: of centred and scaled vectors.
            is_quantised: whether codewords stand in for latent vectors.
        """

    @abstractmethod
    def clusters(
        self, sample: Float[Tensor, "items dim"], seed: int
    ) -> Sequence[Float[Tensor, "_ _"]]:
        """First codewords of each codebook: clusters of what the codebook will quantise."""


class VqTraining:
    """One fit: its loop, its counters, and its randomness."""

    def __init__(
        self,
        network: QuantisingNetwork,
        inputs: Float[Tensor, "items dim"],
        config: VqTrainingConfig,
        seed: int,
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
            self.epoch(is_quantised=False)
        self.cluster()
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=1 / 3, patience=config.patience, threshold=1e-3
        )
        for epoch in range(config.epochs):
            if report is not None:
                report("epochs", epoch, config.epochs)
            schedule.step(self.epoch(is_quantised=True))
            if self.optimizer.param_groups[0]["lr"] < config.learning_rate / 100:
                break
        if report is not None:
            report("epochs", config.epochs, config.epochs)

    def epoch(self, *, is_quantised: bool) -> float:
        """Makes one pass over the items; returns the mean loss."""
        num_items = len(self.inputs)
        order = torch.randperm(num_items, generator=self.generator).to(self.inputs.device)
        uses = [
            torch.zeros(len(codewords), dtype=torch.long, device=self.inputs.device)
            for codewords in self.network.codebooks
        ]
        total = torch.zeros((), device=self.inputs.device)
        quantised: list[Float[Tensor, "items _"]] = []
        for rows in torch.split(order, self.config.batch_size):
            passed = self.network.passed(self.inputs[rows], is_quantised=is_quantised)
            for count, code in zip(uses, passed.codes, strict=is_quantised):
                count += torch.bincount(code, minlength=len(count))
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(passed.loss)
            self.optimizer.step()
            total += passed.loss.detach() * len(rows)
            quantised = passed.quantised
        if is_quantised:
            self._revive(uses, quantised)
        return float(total) / num_items

    @torch.no_grad()
    def _revive(
        self, uses: Sequence[Int[Tensor, " _"]], quantised: Sequence[Float[Tensor, "items _"]]
    ) -> None:
        """Moves codes that no item took to vectors of random items of the last batch."""
        for codewords, count, vectors in zip(self.network.codebooks, uses, quantised, strict=True):
            dead = (count == 0).nonzero()[:, 0]
            drawn = torch.randint(len(vectors), (len(dead),), generator=self.generator)
            codewords[dead] = vectors[drawn.to(vectors.device)]

    @torch.no_grad()
    def cluster(self) -> None:
        """Sets the codebooks to clusters of what they quantise, in a sample of the items."""
        drawn = torch.randperm(len(self.inputs), generator=self.generator)
        number = _ITEMS_PER_START * max(self.config.codebook_sizes)
        sample = self.inputs[drawn[:number].to(self.inputs.device)]
        clusters = self.network.clusters(sample, self.seed)
        for codewords, centres in zip(self.network.codebooks, clusters, strict=True):
            codewords.copy_(centres)


def nearest_codes(
    vectors: Float[Tensor, "items width"], codewords: Float[Tensor, "codes width"]
) -> Int[Tensor, " items"]:
    """The code of the codeword nearest to each vector, without gradient."""
    with torch.no_grad():
        offsets = 0.5 * codewords.square().sum(dim=1)
        return (vectors @ codewords.T - offsets).argmax(dim=1)


def linear_layers(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(widths)):
        if index:
            layers.append(nn.ReLU())
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


@torch.no_grad()
def applied(
    network: nn.Sequential, rows: Float[np.ndarray, "items width"]
) -> Float[np.ndarray, "items other_width"]:
    """Output of the network for every row. Rows pass through the network in parts."""
    inputs = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
    outputs = [network(part).numpy() for part in torch.split(inputs, _ROWS)]
    return np.concatenate(outputs)
