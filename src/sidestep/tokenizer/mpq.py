"""MPQ: parallel codebooks, each with an expert of its own, and one decoder of their mixture."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, Field
from torch import Tensor, nn

from sidestep.array_files import ArrayFormat, Stored
from sidestep.tokenizer.clustering import ClusteringConfig, clustered
from sidestep.tokenizer.codebooks import nearest
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

_FORMAT = ArrayFormat(name="an MPQ tokenizer", version=3, remedy="run tokenize again")


class MpqConfig(VqTrainingConfig):
    """Configuration of MPQ: experts with a codebook each, a gate, and a decoder."""

    codebook_sizes: tuple[int, ...] = Field((256,) * 8, min_length=1)
    """Number of codes of each expert."""

    codeword_dim: int | None = Field(None, ge=1)
    """Width of the codewords; None divides the width of the vectors by the number of experts. This
    is the largest width at which all projections can be orthogonal to each other."""

    hidden_sizes: tuple[int, ...] = (256,)
    """Widths of the decoder's hidden layers."""

    orthogonality: float = Field(1e-3, ge=0)
    """Weight α of the term that draws the experts' projections apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedMpq:
    """Experts with their codebooks, and a decoder.

    projections: matrix of each expert, from centred and scaled vectors to what its codebook
        quantises, side by side.
    levels: the codewords of each expert.
    gates: the mean weight of each code in the mixture, over the items that have it.
    decoder: from mixtures to centred and scaled vectors, on the CPU.
    mean: mean of the vectors that the tokenizer was fitted on.
    scale: one number for all dimensions, so that distances keep their proportions.
    """

    projections: Float[np.ndarray, "dim all_widths"]
    levels: tuple[Float[np.ndarray, "_ width"], ...]
    gates: tuple[Float[np.ndarray, " _"], ...]
    decoder: nn.Sequential
    mean: Float[np.ndarray, " dim"]
    scale: float

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each expert."""
        return tuple(len(codewords) for codewords in self.levels)

    @property
    def dim(self) -> int:
        """Width of the vectors that can be encoded."""
        return len(self.mean)

    def quantised(
        self, vectors: Float[np.ndarray, "items dim"]
    ) -> list[Float[np.ndarray, "items width"]]:
        """The output of each expert, which its codebook quantises."""
        check_encodable(vectors, self.dim)
        scaled = (vectors.astype(np.float32) - self.mean) / np.float32(self.scale)
        return list(np.split(scaled @ self.projections, len(self.levels), axis=1))

    def encode(self, vectors: Float[np.ndarray, "items dim"]) -> Int[np.ndarray, "items levels"]:
        """Encodes vectors by the codeword nearest to the output of each expert."""
        parts = zip(self.quantised(vectors), self.levels, strict=True)
        return np.stack([nearest(part, codewords) for part, codewords in parts], axis=1)

    def reconstruct(
        self, semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items dim"]:
        """Output of the decoder for the mixture of each item's codewords.

        Codes do not tell how the gate weighed the experts. So each code has its mean weight, and
        the weights of an item are scaled to the sum one.
        """
        mixed = np.zeros((len(semantic_ids), self.levels[0].shape[1]), dtype=np.float32)
        sums = np.zeros((len(semantic_ids), 1), dtype=np.float32)
        for codes, codewords, gates in zip(semantic_ids.T, self.levels, self.gates, strict=True):
            mixed += gates[codes, None] * codewords[codes]
            sums += gates[codes, None]
        mixed /= sums
        vectors: np.ndarray = applied(self.decoder, mixed) * np.float32(self.scale) + self.mean
        return vectors

    def last_residuals(
        self, vectors: Float[np.ndarray, "items dim"], semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items width"]:
        """The output of the last expert; no code depends on another."""
        return self.quantised(vectors)[-1]

    @property
    def last_codewords(self) -> Float[np.ndarray, "codes width"]:
        """The codebook of the last expert."""
        return self.levels[-1]

    def save(self, path: Path) -> None:
        """Writes experts, codebooks and decoder as safetensors, whole or not at all."""
        arrays = {f"level_{level}": codewords for level, codewords in enumerate(self.levels)}
        arrays |= {f"gates_{level}": gates for level, gates in enumerate(self.gates)}
        weights = self.decoder.state_dict().items()
        arrays |= {f"decoder.{key}": weight.numpy() for key, weight in weights}
        arrays |= {"projections": self.projections, "mean": self.mean}
        layers = [layer for layer in self.decoder if isinstance(layer, nn.Linear)]
        settings = {
            "hidden_sizes": [layer.out_features for layer in layers[:-1]],
            "num_levels": len(self.levels),
            "scale": self.scale,
        }
        _FORMAT.write(path, Stored(arrays=arrays, settings=settings))

    @classmethod
    def load(cls, path: Path) -> "FittedMpq":
        """Reads what `save` wrote; the errors are those of `ArrayFormat.read`."""
        stored = _FORMAT.read(path)
        numbers = range(stored.settings["num_levels"])
        levels = tuple(stored.arrays[f"level_{level}"] for level in numbers)
        mean = stored.arrays["mean"]
        hidden = stored.settings["hidden_sizes"]
        decoder = linear_layers([levels[0].shape[1], *hidden, len(mean)])
        decoder.load_state_dict(
            {
                key.removeprefix("decoder."): torch.from_numpy(array)
                for key, array in stored.arrays.items()
                if key.startswith("decoder.")
            }
        )
        return cls(
            projections=stored.arrays["projections"],
            levels=levels,
            gates=tuple(stored.arrays[f"gates_{level}"] for level in numbers),
            decoder=decoder,
            mean=mean,
            scale=stored.settings["scale"],
        )


class Mpq:
    """Learns parallel codebooks: the codes of an item are a set without an order.

    Source: REG4Rec (arXiv:2508.15308), equations 1-4. Every expert r projects the vector v to
    e_r = W_r v and takes the nearest codeword z_r; a softmax gate h mixes the codewords, and one
    decoder reads the mixture:

        q = Σ_r h_r(v) z_r,   L = |v - decoder(q)|² + α |W̄ᵀW̄ - I|²

    W̄ holds all projections, each column brought to length 1. Our choices, where the paper is
    silent: experts are linear; gradients pass the quantisation unchanged (straight through); the
    loss of codewords and commitment is that of RQ-VAE, summed over experts; |·|² is a mean over
    dimensions, except in the orthogonality term. For the rest of the training see `vq_training`.
    """

    Config: ClassVar[type[BaseModel]] = MpqConfig

    space: ClassVar[str] = "sets"
    """The code space of the codes, unless another is asked for."""

    def __init__(self, config: MpqConfig) -> None:
        self.config = config

    def fit(
        self, vectors: Float[np.ndarray, "items dim"], *, seed: int, report: Report | None = None
    ) -> Fit:
        """Learns network and codebooks, see `Tokenizer.fit`."""
        check_fittable(vectors, self.config.codebook_sizes)
        scaled = ScaledVectors.of(vectors)  # the check above refuses equal vectors
        device = self.config.chosen_device()
        network = MpqNetwork(vectors.shape[1], self.config, seed).to(device)
        inputs = scaled.vectors.to(device)
        VqTraining(network, inputs, self.config, seed).run(report)
        network, inputs = network.cpu(), inputs.cpu()
        with torch.no_grad():
            gates = network.gates(inputs)
            parts = zip(network.experts(inputs), network.codebooks, strict=True)
            codes = [nearest_codes(part, codewords) for part, codewords in parts]
        tokenizer = FittedMpq(
            projections=np.ascontiguousarray(network.projections.weight.detach().numpy().T),
            levels=tuple(codewords.detach().numpy() for codewords in network.codebooks),
            gates=tuple(
                mean_by_code(gate, code, size).numpy()
                for gate, code, size in zip(gates.T, codes, self.config.codebook_sizes, strict=True)
            ),
            decoder=network.decoder,
            mean=scaled.mean,
            scale=scaled.scale,
        )
        return Fit(tokenizer=tokenizer, semantic_ids=tokenizer.encode(vectors))


class MpqNetwork(QuantisingNetwork):
    """Experts, gate, codebooks and decoder.

    projections: those of all experts side by side.
    """

    def __init__(self, dim: int, config: MpqConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        num_experts = len(config.codebook_sizes)
        width = config.codeword_dim or max(1, dim // num_experts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projections = nn.Linear(dim, num_experts * width, bias=False)
            self.gate = nn.Linear(dim, num_experts)
            self.decoder = linear_layers([width, *config.hidden_sizes, dim])
        self.codebooks = nn.ParameterList(
            nn.Parameter(torch.zeros(size, width)) for size in config.codebook_sizes
        )

    def experts(self, batch: Float[Tensor, "items dim"]) -> list[Float[Tensor, "items width"]]:
        """The output of each expert."""
        return list(self.projections(batch).chunk(len(self.codebooks), dim=1))

    def gates(self, batch: Float[Tensor, "items dim"]) -> Float[Tensor, "items experts"]:
        """The weight of each expert in the mixture."""
        weights: Tensor = self.gate(batch).softmax(dim=1)
        return weights

    def orthogonality_loss(self) -> Float[Tensor, ""]:
        """Equation 3: squared scalar products of different projections, both of length 1."""
        normed = nn.functional.normalize(self.projections.weight, dim=1)
        identity = torch.eye(len(normed), device=normed.device)
        return (normed @ normed.T - identity).square().sum()

    def passed(self, batch: Float[Tensor, "items dim"], *, is_quantised: bool) -> Pass:
        """See `QuantisingNetwork.passed`."""
        parts, codes = self.experts(batch), []
        loss = self.config.orthogonality * self.orthogonality_loss()
        mixed = list(parts)
        if is_quantised:
            for expert, codewords in enumerate(self.codebooks):
                part = parts[expert]
                code = nearest_codes(part, codewords)
                codeword = codewords[code]
                loss = loss + (part.detach() - codeword).square().mean()
                loss = loss + self.config.commitment * (part - codeword.detach()).square().mean()
                mixed[expert] = part + (codeword - part).detach()
                codes.append(code)
        mixture = (torch.stack(mixed, dim=1) * self.gates(batch)[..., None]).sum(dim=1)
        loss = loss + (self.decoder(mixture) - batch).square().mean()
        quantised = [part.detach() for part in parts] if is_quantised else []
        return Pass(loss=loss, codes=codes, quantised=quantised)

    def clusters(
        self, sample: Float[Tensor, "items dim"], seed: int
    ) -> list[Float[Tensor, "_ width"]]:
        """See `QuantisingNetwork.clusters`."""
        config = ClusteringConfig(max_iterations=20)
        seeds = np.random.SeedSequence(seed).generate_state(len(self.codebooks)).tolist()
        return [
            torch.from_numpy(clustered(part.cpu().numpy(), len(codewords), config, seed=own))
            for part, codewords, own in zip(
                self.experts(sample), self.codebooks, seeds, strict=True
            )
        ]


def mean_by_code(
    values: Float[Tensor, " items"], codes: Int[Tensor, " items"], size: int
) -> Float[Tensor, " codes"]:
    """The mean value of the items of each code; the mean of all items for codes of no item."""
    counts = codes.bincount(minlength=size)
    sums = torch.zeros(size).index_add_(0, codes, values)
    return torch.where(counts > 0, sums / counts.clamp(min=1), values.mean())
