"""Tally of a run since its last line in the log."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.training.objective import Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Plain sums over some optimizer steps, which JSON keeps exactly.

    parts: by name, a term of the loss times its targets; `loss` is the loss itself.
    grad_norm: of the gradients before clipping.
    seconds: spent in the steps, without validation and saving.
    """

    parts: dict[str, float] = field(default_factory=dict)
    grad_norm: float = 0.0
    targets: int = 0
    steps: int = 0
    seconds: float = 0.0

    def plus(self, other: "Sums") -> "Sums":
        """The sums over the steps of both."""
        return Sums(
            parts={
                name: self.parts.get(name, 0.0) + other.parts.get(name, 0.0)
                for name in self.parts | other.parts
            },
            grad_norm=self.grad_norm + other.grad_norm,
            targets=self.targets + other.targets,
            steps=self.steps + other.steps,
            seconds=self.seconds + other.seconds,
        )

    def emptied(self) -> "Sums":
        """Counts and gradient norm unchanged, sums of zero: another process has the sums."""
        return replace(self, parts=dict.fromkeys(self.parts, 0.0))

    def means(self) -> dict[str, Any]:
        """Line of the log about these steps; their loss and its parts are means over targets."""
        means = {name: total / self.targets for name, total in self.parts.items()}
        return {
            "loss": means.pop("loss"),
            "parts": means,
            "grad_norm": self.grad_norm / self.steps,
            "targets_per_s": self.targets / max(self.seconds, 1e-9),
        }

    def is_finite(self) -> bool:
        """Whether no loss and no gradient was infinite or NaN."""
        return all(math.isfinite(total) for total in (self.grad_norm, *self.parts.values()))

    def refuse_infinite(self, step: int) -> None:
        """Raises a `FloatingPointError` where a loss or a gradient was infinite or NaN.

        Args:
            step: optimizer steps done, which the message names.
        """
        if not self.is_finite():
            raise FloatingPointError(
                f"the loss or its gradient is not finite between step {step - self.steps + 1} and "
                f"step {step}; train again into another folder with a lower "
                "training.learning_rate or training.max_grad_norm, or with training.precision "
                "fp32. If this is so from the first step on, look at the network and the data."
            )

    def as_json(self) -> dict[str, Any]:
        """Tally as plain JSON."""
        return asdict(self)


class Tally:
    """Sums that grow on the device, so that no step waits for a number to be read."""

    def __init__(self, device: torch.device, start: Sums) -> None:
        self._names = list(start.parts)
        self._sums = [torch.tensor(total, device=device) for total in start.parts.values()]
        self._grad_norm = torch.tensor(start.grad_norm, device=device)
        self._start = start
        self.targets = start.targets
        self.steps = start.steps
        self.seconds = start.seconds

    def add_loss(self, loss: Loss, num_targets: int) -> None:
        """Counts one batch; `num_targets` is zero where a batch only keeps the others company."""
        terms = {"loss": loss.loss.detach(), **loss.parts}
        if not self._names:
            self._names = list(terms)
            self._sums = [torch.zeros_like(self._grad_norm) for _ in terms]
        if list(terms) != self._names:
            raise ValueError(
                f"the objective gave the terms {list(terms)} and before {self._names}; "
                "give the same ones at every step."
            )
        for total, term in zip(self._sums, terms.values(), strict=True):
            total.add_(term.to(total.dtype), alpha=num_targets)

    def add_step(self, grad_norm: Float[Tensor, ""], num_targets: int, seconds: float) -> None:
        """Counts one optimizer step over the batches of all devices."""
        self._grad_norm.add_(grad_norm)
        self.targets += num_targets
        self.steps += 1
        self.seconds += seconds

    def tensor(self) -> Float[Tensor, " terms"]:
        """The device's own sums, the gradient norm last."""
        return torch.stack([*self._sums, self._grad_norm])

    def read(self, sums: Float[Tensor, " terms"]) -> Sums:
        """The sums as plain numbers, once `tensor()` was added up over the devices."""
        *totals, grad_norm = sums.tolist()
        return Sums(
            parts=dict(zip(self._names, totals, strict=True)),
            grad_norm=grad_norm,
            targets=self.targets,
            steps=self.steps,
            seconds=self.seconds,
        )
